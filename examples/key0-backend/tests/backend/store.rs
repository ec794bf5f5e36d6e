//! Backups and checks of the store.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    process::{Ended, Request, Setup},
    serve::{PHOTO, issue},
};

fn store(setup: &Setup, arguments: &[&str]) -> Ended {
    arguments.iter().fold(setup.clone(), |setup, argument| setup.argument(argument)).run("store")
}

#[test]
fn a_backup_of_a_running_backend_holds_its_keys_and_what_was_issued() {
    let setup = Setup::new();
    let backend = setup.start();
    let key = issue(1).send(backend.public).member("token");
    let ended = store(&setup, &["backup", "backup.db"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let backup = setup.path("backup.db");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    drop(backend);

    let restored = Setup::new().file("key0-backend.db", fs::read(&backup).unwrap());
    assert_eq!(store(&restored, &["check"]).code, Some(0));
    let backend = restored.start();
    assert_eq!(issue(1).send(backend.public).member("token"), key, "it is replayed");
    assert_eq!(Request::get(PHOTO).bearer(&key).send(backend.public).status, 200);
}

#[test]
fn a_file_that_is_there_is_never_written_over() {
    let setup = Setup::new().file("backup.db", "mine");
    drop(setup.start());
    let ended = store(&setup, &["backup", "backup.db"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("can't be made"), "{ended:?}");
    assert_eq!(fs::read_to_string(setup.path("backup.db")).unwrap(), "mine");
    let ended = store(&setup, &["backup", "nowhere/backup.db", "--json"]);
    assert!(ended.code == Some(1) && ended.stdout.contains("\"error\""), "{ended:?}");
}

#[test]
fn no_command_but_serve_makes_a_database() {
    let setup = Setup::new();
    for arguments in [&["check"][..], &["backup", "backup.db"]] {
        assert_eq!(store(&setup, arguments).code, Some(2));
    }
    let list = setup.clone().argument("list").run("keys");
    assert_eq!(list.code, Some(2), "{list:?}");
    assert_eq!(setup.files(), [""; 0]);
    let memory = setup.set("DATABASE_URL", "memory://");
    for arguments in [&["check"][..], &["backup", "backup.db"]] {
        let ended = store(&memory, arguments);
        assert!(ended.code == Some(2) && ended.stderr.contains("memory"), "{ended:?}");
    }
}

#[test]
fn a_name_that_sqlite_reads_otherwise_is_a_name_all_the_same() {
    let setup = Setup::new();
    drop(setup.start());
    for name in [":memory:", "file:backup.db?mode=memory"] {
        let ended = store(&setup, &["backup", name]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let restored = Setup::new().file("key0-backend.db", fs::read(setup.path(name)).unwrap());
        assert_eq!(store(&restored, &["check"]).code, Some(0), "{name}");
    }
}

#[test]
fn damage_is_found() {
    let setup = Setup::new();
    let mut backend = setup.start();
    backend.terminate();
    backend.wait();
    let file = setup.database();
    let mut bytes = fs::read(&file).unwrap();
    let page = bytes.len() / 2 / 4_096 * 4_096;
    bytes[page..page + 4_096].fill(0x5a);
    fs::write(&file, bytes).unwrap();
    let ended = store(&setup, &["check"]);
    assert_ne!(ended.code, Some(0), "{ended:?}");
}
