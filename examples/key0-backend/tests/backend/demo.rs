//! The demo of the sample backend, as a user runs it.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tempfile::TempDir;

fn demo(temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_key0-backend"));
    command.args(["demo", "--exit"]).env_clear().env("TMPDIR", temporary).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn left_behind(folder: &TempDir) -> usize {
    fs::read_dir(folder.path()).unwrap().count()
}

#[test]
fn the_story_goes_as_it_should() {
    let folder = TempDir::new().unwrap();
    let Output { status, stdout, stderr } = demo(folder.path()).output().unwrap();
    assert_eq!(status.code(), Some(0), "{}\n{}", text(&stdout), text(&stderr));
    let stdout = text(&stdout);
    assert!(stdout.contains("The end: every step went as it should."), "{stdout}");
    // What it tells of: buying, retrying, refusing, crashing; then partners, customers, a refund.
    for told in [
        "< 200 OK",
        "< 401 Unauthorized",
        "< 403 Forbidden",
        "SIGKILL",
        "> GET /credential",
        "/rotate",
        "\"key_suspended\"",
        "$ key0-backend purchases list --json --tx 0x",
        "$ key0-backend keys resume 0",
        "\"key_revoked\"",
        "\"token_revoked\"",
        "< 409 Conflict",
    ] {
        assert!(stdout.contains(told), "{told} is not told:\n{stdout}");
    }
    // No key is told whole, nor what opens the rest.
    let is_key = |word: &&str| word.starts_with("ak_") && word.len() > 20 || word.len() == 64;
    let whole = stdout.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let whole: Vec<_> = whole.filter(is_key).collect();
    assert!(whole.is_empty(), "{whole:?}");
    assert_eq!(left_behind(&folder), 0);
}

/// Somebody revokes every key of the demo while it runs: the story can't come out right.
#[test]
fn a_story_that_goes_otherwise_is_a_failure() {
    let folder = TempDir::new().unwrap();
    let child = demo(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while revoke_all_keys(folder.path()).is_none() {
        assert!(Instant::now() < deadline, "the demo has no database");
        thread::sleep(Duration::from_millis(1));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert_eq!(status.code(), Some(1), "{}", text(&stdout));
    let (stdout, stderr) = (text(&stdout), text(&stderr));
    assert!(stdout.contains("  ! the status should be 200"), "{stdout}");
    assert!(stdout.contains(" steps went otherwise."), "{stdout}");
    assert!(stderr.contains(" steps differ from what they should be"), "{stderr}");
    assert_eq!(left_behind(&folder), 0);
}

/// Revokes the keys that are there and those that will be; nothing where there is no database yet.
fn revoke_all_keys(temporary: &Path) -> Option<()> {
    let folder: PathBuf = fs::read_dir(temporary).ok()?.next()?.ok()?.path();
    let database = folder.join("demo.db");
    // Only once the server has made it what it will be.
    if !folder.join("demo.db-wal").exists() {
        return None;
    }
    let conn = Connection::open(database).ok()?;
    conn.execute_batch(
        "BEGIN IMMEDIATE;
         CREATE TRIGGER spoiled AFTER INSERT ON keys BEGIN
             UPDATE keys SET revoked_at = created_at WHERE id = NEW.id;
         END;
         UPDATE keys SET revoked_at = created_at;
         COMMIT;",
    )
    .ok()
}

#[test]
fn a_demo_that_can_not_run_is_a_failure() {
    let folder = TempDir::new().unwrap();
    let output = demo(&folder.path().join("nowhere")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("error: the demo broke off: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
