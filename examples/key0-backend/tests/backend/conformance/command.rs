//! How the command takes what it is told, and what it prints.

use std::net::TcpListener;

use crate::conformance::{
    INTERNAL_SECRET, MASTER_KEY, TOKEN_SECRET, conformance,
    holes::{FaultyBackend, Hole},
    process::{MARK, Setup},
    stranger,
};

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_is_wrong() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let free = format!("http://{free}");
    for (setup, told) in [
        (Setup::bare(), "--url <URL>"),
        (stranger("https://localhost"), "https is not spoken here"),
        (stranger("localhost:3000"), "it begins with http:// and names a host"),
        (stranger(&free).argument("--timeout-seconds").argument("0"), "--timeout-seconds"),
        (stranger(&free).argument("--internal-url").argument("https://x"), "--internal-url"),
        (stranger(&free), "can't be reached"),
        (
            stranger(&free).set("KEY0_ACCESS_TOKEN_SECRET", "hush").set("MASTER_API_KEYS", "hush"),
            "KEY0_ACCESS_TOKEN_SECRET",
        ),
        (
            stranger(&free).argument("--secret-file").argument("nowhere"),
            "KEY0_ACCESS_TOKEN_SECRET_FILE",
        ),
        (
            stranger(&free).argument("--internal-secret-file").argument("nowhere"),
            "INTERNAL_AUTH_SECRET_FILE",
        ),
        (stranger(&free).argument("--master-key-file").argument("nowhere"), "MASTER_API_KEYS_FILE"),
    ] {
        let ended = setup.run("conformance");
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

/// Files on the command line win over whatever the environment says.
#[test]
fn secrets_come_from_files_too() {
    let faulty = FaultyBackend::start(Hole::None);
    let other = "hush-a-secret-that-nobody-asked-for-32-bytes";
    let setup = stranger(&faulty.url())
        .set("KEY0_ACCESS_TOKEN_SECRET", other)
        .set("INTERNAL_AUTH_SECRET", other)
        .set("MASTER_API_KEYS", other)
        .file("tokens", format!("{TOKEN_SECRET}\n"))
        .file("internal", INTERNAL_SECRET)
        .file("masters", format!("{MASTER_KEY}\n{other}\n"));
    let setup = [
        ("--secret-file", "tokens"),
        ("--internal-secret-file", "internal"),
        ("--master-key-file", "masters"),
    ]
    .into_iter()
    .fold(setup, |setup, (flag, file)| setup.argument(flag).argument(file));
    let ended = setup.run("conformance");
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn the_table_shows_what_was_expected_and_what_came() {
    let faulty = FaultyBackend::start(Hole::NoResourceCheck);
    let ended = conformance(&faulty.url()).run("conformance");
    assert_eq!(ended.code, Some(1));
    let told = "
FAIL  access tokens     a token for one photo does not open another
        sent      GET /api/photos/photo-2, authorization: Bearer ${token}
        expected  403 insufficient_permissions
        came      200 {";
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
    assert!(ended.stdout.contains("        fault     the status is 200, not 403\n"));
    assert!(ended.stdout.contains("\npass  health            health asks for nothing\n"));
    let skipped = "skip  outage            access tokens work in an outage: no --unreachable-key";
    assert!(ended.stdout.contains(skipped), "{}", ended.stdout);
    let last = ended.stdout.lines().last().unwrap();
    assert!(last.ends_with(" failed, 4 skipped and not checked"), "{last}");
    assert!(!ended.stdout.contains(MARK), "a secret is shown");
}

/// What a backend hands out is not printed, also where it is not what was expected.
#[test]
fn keys_are_not_shown_either() {
    for (hole, case) in [
        (Hole::ReplayDiffers, "a retry gets the same key, byte for byte"),
        // This one the run never takes for a key.
        (Hole::OtherTokenType, "a payment buys a key"),
    ] {
        let faulty = FaultyBackend::start(hole);
        for json in [false, true] {
            let setup = conformance(&faulty.url());
            let setup = if json { setup.argument("--json") } else { setup };
            let ended = setup.run("conformance");
            assert_eq!(ended.code, Some(1));
            assert!(ended.stdout.contains(case) && ended.stdout.contains("tokenType"));
            assert!(!ended.stdout.contains("ak_"), "{}", ended.stdout);
        }
    }
}
