//! The keys API and `key0-backend keys` on one store, at the same time.

use std::{fs, time::Duration};

use key0_auth::apikey::KeyDigest;
use serde_json::{Value, json};

use crate::{
    serve::{
        PHOTO, issue,
        process::{Backend, Ended, INPUT, Request, Setup},
    },
    servers::wait_until,
};

const MASTER: &str = "hush-a-master-key-of-32-bytes-or-more";

fn setup() -> Setup {
    Setup::new().set("MASTER_API_KEYS", MASTER)
}

/// Runs `key0-backend keys` on the same store, with nothing but its name.
fn keys(setup: &Setup, arguments: &[&str]) -> Ended {
    let url = format!("sqlite://{}", setup.database().display());
    let bare = arguments
        .iter()
        .fold(Setup::bare().set("DATABASE_URL", url), |setup, argument| setup.argument(argument));
    bare.run("keys")
}

fn json_of(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {ended:?}"))
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}")).to_owned()
}

fn create(backend: &Backend, terms: &Value) -> (String, String) {
    let answer = Request::post("/keys", terms).header("X-Api-Key", MASTER).send(backend.public);
    assert_eq!(answer.status, 201, "{answer:?}");
    (answer.member("id"), answer.member("key"))
}

/// What a partner's key gets where only masters may go: 403 while it is good, else 401.
fn status(backend: &Backend, key: &str) -> u16 {
    Request::get("/keys").header("X-Api-Key", key).send(backend.public).status
}

#[test]
fn a_revocation_on_the_host_reaches_the_running_server() {
    let setup = setup();
    let backend = setup.start();
    for _ in 0..5 {
        let (id, key) = create(&backend, &json!({"role": "read"}));
        assert_eq!(status(&backend, &key), 403);
        let ended = keys(&setup, &["revoke", &id]);
        assert_eq!((ended.code, &*ended.stdout), (Some(0), &*format!("revoked {id}\n")));
        assert!(wait_until(|| status(&backend, &key) != 403), "it lives on");
        let answer = Request::get("/keys").header("X-Api-Key", &key).send(backend.public);
        answer.assert_problem(401, "key_revoked", "Invalid API key");
        let again = keys(&setup, &["revoke", &id]);
        let told = (again.code, &*again.stderr);
        assert_eq!(told, (Some(1), "error: API key not found\n"));
    }
}

#[test]
fn the_host_makes_masters_and_rotates_them() {
    let setup = setup();
    let backend = setup.start();
    let made = json_of(&keys(&setup, &["create", "--role", "master", "--label", "boss", "--json"]));
    let (id, key) = (text(&made, "id"), text(&made, "key"));
    assert_eq!(status(&backend, &key), 200);
    let path = format!("/keys/{id}");
    let shown = Request::get(&path).header("X-Api-Key", &key).send(backend.public).json();
    let told = json!({
        "kind": shown["kind"], "role": shown["role"], "label": shown["label"],
        "by": shown["history"][0]["by"],
    });
    let expected = json!({"kind": "integrator", "role": "master", "label": "boss", "by": "host"});
    assert_eq!(told, expected);
    let rotate = format!("{path}/rotate");
    let answer = Request::new("POST", &rotate).header("X-Api-Key", &key).send(backend.public);
    assert_eq!(answer.status, 409, "{answer:?}");
    let rotated = json_of(&keys(&setup, &["rotate", &id, "--json"]));
    assert!(wait_until(|| status(&backend, &key) != 200), "the old secret lives on");
    assert_eq!(status(&backend, &text(&rotated, "key")), 200);
    let deleted = Request::new("DELETE", &path).header("X-Api-Key", MASTER).send(backend.public);
    assert_eq!((deleted.status, deleted.text()), (204, ""));
    assert_eq!(status(&backend, &text(&rotated, "key")), 401);
}

/// The whole life of a partner's key by the command line, on the store of a running server.
#[test]
fn a_key_is_changed_suspended_replaced_and_found_on_the_host() {
    let setup = setup().set("SUPPORT_API_KEYS", "a-support-key-of-the-operator-0001");
    let backend = setup.start();
    let (id, old) = create(&backend, &json!({"role": "read", "label": "partner 7"}));
    let until = |key: &str, wanted: u16| {
        assert!(wait_until(|| status(&backend, key) == wanted), "never {wanted}");
    };
    let run = |arguments: &[&str]| json_of(&keys(&setup, &[arguments, &["--json"]].concat()));
    until(&old, 403);
    run(&["suspend", &id]);
    until(&old, 401);
    let listed = keys(&setup, &["list", "--all", "--label", "partner 7"]);
    assert!(listed.stdout.contains("(suspended)"), "{listed:?}");
    run(&["resume", &id]);
    until(&old, 403);
    let new = text(&run(&["rotate", &id, "--grace", "24h"]), "key");
    until(&new, 403);
    assert_eq!(status(&backend, &old), 403);
    let edited =
        run(&["edit", &id, "--label", "", "--permission", "dpp:read", "--expires-at", "1d"]);
    assert_eq!(edited["permissions"], json!({"dpp": ["read"]}));
    assert!(edited.get("label").is_none() && edited.get("expiresAt").is_some());
    for sought in [&old[..7], &new[..7]] {
        let found = keys(&setup, &["find", sought, "--json"]);
        // The former secret is found by its plain text, and not by how it was shown.
        assert_eq!(found.code, Some(i32::from(sought == &old[..7])), "{found:?}");
    }
    let url = format!("sqlite://{}", setup.database().display());
    for key in [&old, &new] {
        let found = Setup::bare()
            .set("DATABASE_URL", url.clone())
            .argument("find")
            .argument("-")
            .argument("--json")
            .file(INPUT, format!("{key}\n"))
            .run("keys");
        assert_eq!(text(&json_of(&found), "id"), id);
    }
    let support = "a-support-key-of-the-operator-0001";
    assert_eq!(status(&backend, support), 200);
    let path = format!("/keys/{id}");
    let denied = Request::new("DELETE", &path).header("X-Api-Key", support).send(backend.public);
    assert_eq!(denied.status, 403);
    keys(&setup, &["revoke", &id, "--reason", "left the company"]);
    for key in [&old, &new] {
        until(key, 401);
    }
    let shown = keys(&setup, &["show", &id]).stdout;
    assert!(shown.contains("revoked by host: left the company"), "{shown}");
    for bad in [&["rotate", &id, "--grace", "1y"][..], &["list", "--idle", "0"]] {
        assert_ne!(keys(&setup, bad).code, Some(0), "{bad:?}");
    }
}

#[test]
fn what_the_host_is_told() {
    let setup = setup();
    let file = setup.path("one.txt");
    fs::write(&file, "ak_0123456789abcdef0123456789abcdef\n").unwrap();
    let file = file.to_str().unwrap();
    for arguments in [
        &["list"][..],
        &["show", "x"],
        &["revoke", "x"],
        &["rotate", "x"],
        &["create", "--role", "read"],
        &["import", file, "--role", "read"],
    ] {
        let ended = keys(&setup, arguments);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.starts_with("error: there is no database "), "{ended:?}");
        assert!(!setup.database().exists());
    }
    // Nor where the file is there, and empty.
    let empty = Setup::bare().file("key0-backend.db", "");
    let ended = keys(&empty, &["create", "--role", "read"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("there is no database"), "{ended:?}");
    assert_eq!(fs::read(empty.database()).unwrap(), b"");
    let told = json_failure(&keys(&setup, &["list", "--json"]), 2);
    assert!(told.starts_with("there is no database "), "{told}");
    drop(setup.start());
    let memory = Setup::bare().set("DATABASE_URL", "memory://").argument("list").run("keys");
    let told = "error: memory:// keeps nothing that another process could see\n";
    assert_eq!((memory.code, &*memory.stderr), (Some(2), told));
    let both = Setup::bare().set("DATABASE_URL", "mysql://x").set("DATABSE_URL", "x");
    let both = both.argument("list").argument("--json").run("keys");
    let told: Value = serde_json::from_str(&both.stdout).unwrap();
    assert_eq!((both.code, told["errors"].as_array().map(Vec::len)), (Some(2), Some(2)), "{told}");
    let other = Setup::bare().set("DATABASE_URL", "mysql://x").argument("list").run("keys");
    assert_eq!(other.code, Some(2), "{other:?}");

    let made = keys(
        &setup,
        &["create", "--role", "minter", "--permission", "dpp:create", "--permission", "dpp:read"],
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("The key is shown this once"), "{made:?}");
    let key = made.stdout.lines().find_map(|line| line.strip_prefix("key")).unwrap().trim();
    let listed = keys(&setup, &["list"]);
    let shown = &listed.stdout;
    assert!(shown.contains("dpp:create+read") && !shown.contains(key), "{listed:?}");
    let listed = json_of(&keys(&setup, &["list", "--json"]));
    assert_eq!(listed["keys"][0]["permissions"], json!({"dpp": ["create", "read"]}));
    assert_eq!(keys(&setup, &["list", "--kind", "payment"]).stdout, "there are none\n");
    let id = text(&listed["keys"][0], "id");
    let shown = keys(&setup, &["show", &id]);
    assert!(shown.stdout.contains("created by host"), "{shown:?}");

    for (arguments, told) in [
        (&["create", "--role", "read", "--permission", "dpp"][..], "takes a resource"),
        (&["create", "--role", "read", "--permission", "dpp:write"], "permissions must map"),
        (&["create", "--role", "read", "--label", "a\tb"], "control characters"),
        (&["create", "--role", "read", "--expires-at", "2020-01-01T00:00:00Z"], "in the future"),
        (&["create", "--role", "master", "--permission", "dpp:read"], "no permissions of its own"),
        (&["show", "two words"], "API key not found"),
        (&["rotate", "nobodys"], "API key not found"),
        (&["import", "no-such-file"], "can't be read"),
    ] {
        let ended = keys(&setup, arguments);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(told), "{ended:?}");
    }
    let listed = json_of(&keys(&setup, &["list", "--all", "--json"]));
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1);
}

/// What a command says that fails, of which standard output holds all.
fn json_failure(ended: &Ended, code: i32) -> String {
    assert_eq!((ended.code, &*ended.stderr), (Some(code), ""), "{ended:?}");
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    text(&told, "error")
}

#[test]
fn lists_by_label_and_keys_that_expire_after_a_while() {
    let setup = setup();
    drop(setup.start());
    for label in ["one", "two"] {
        let made = ["create", "--role", "read", "--label", label, "--expires-in", "30d"];
        assert_eq!(keys(&setup, &made).code, Some(0));
    }
    let listed = json_of(&keys(&setup, &["list", "--label", "two", "--json"]));
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1);
    let key = &listed["keys"][0];
    let [from, until] = ["createdAt", "expiresAt"]
        .map(|name| text(key, name).parse::<key0_auth::domain::Timestamp>().unwrap());
    let life = until.since(from);
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    assert!(life <= month && life > month - Duration::from_secs(3_600), "{life:?}");
    assert_eq!(keys(&setup, &["list", "--label", "three"]).stdout, "there are none\n");
    let told = json_failure(&keys(&setup, &["show", "nobodys", "--json"]), 1);
    assert_eq!(told, "API key not found");
    let ended = keys(&setup, &["create", "--role", "read", "--expires-in", "30"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
}

/// Whoever reads a list may have read enough.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let setup = setup();
    drop(setup.start());
    let file = setup.path("many.txt");
    let lines: String = (0..3_000).map(|n| format!("ak_{n:032x}\n")).collect();
    fs::write(&file, lines).unwrap();
    let ended = keys(&setup, &["import", file.to_str().unwrap(), "--role", "read"]);
    assert!(ended.stdout.ends_with("3000 accepted, 0 refused\n"), "{ended:?}");
    let listed = json_of(&keys(&setup, &["list", "--json"]));
    assert_eq!(listed["keys"].as_array().unwrap().len(), 3_000);
    let program = env!("CARGO_BIN_EXE_key0-backend");
    let url = format!("sqlite://{}", setup.database().display());
    for arguments in ["keys list", "keys list --json", "keys list --all"] {
        let mut child = std::process::Command::new(program)
            .args(arguments.split(' '))
            .env_clear()
            .env("DATABASE_URL", &url)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut stdout, &mut [0; 16]).unwrap();
        drop(stdout);
        let ended = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), &*told), (Some(0), ""), "{arguments}");
    }
}

/// Keys of another service open where that is allowed; where not, an import says so.
#[test]
fn keys_of_foreign_shape_open_where_that_is_allowed() {
    const FOREIGN: &str = "sk-live-of-another-service-0123456789";
    let digest: String =
        KeyDigest::of(FOREIGN).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for allowed in [false, true] {
        let setup = setup().set("FOREIGN_API_KEYS", allowed.to_string());
        drop(setup.start());
        let import = |line: &str, dry_run: bool| {
            let file = setup.path("keys.txt");
            fs::write(&file, format!("{line}\n")).unwrap();
            let file = file.to_str().unwrap();
            let url = format!("sqlite://{}", setup.database().display());
            let here = Setup::bare().set("DATABASE_URL", url);
            let here = here.set("FOREIGN_API_KEYS", allowed.to_string());
            let tried: &[&str] = if dry_run { &["--dry-run"] } else { &[] };
            let arguments = [&["import", file, "--role", "read", "--json"], tried].concat();
            arguments.iter().fold(here, |setup, argument| setup.argument(argument)).run("keys")
        };
        if !allowed {
            let plain = import(FOREIGN, false);
            assert_eq!(plain.code, Some(1), "{plain:?}");
        }
        for dry_run in [true, false] {
            let by_digest = import(&digest, dry_run);
            assert_eq!(by_digest.code, Some(0), "{by_digest:?}");
            let warns = by_digest.stdout.contains("keys of foreign shape");
            assert_eq!(warns, !allowed, "{by_digest:?}");
        }
        let backend = setup.start();
        let listed = Request::get("/v1/loyalty/reward-tiers").header("X-Api-Key", FOREIGN);
        let status = listed.send(backend.public).status;
        assert_eq!(status, if allowed { 200 } else { 401 });
    }
}

#[test]
fn an_import_can_be_tried_and_run_again() {
    let setup = setup();
    drop(setup.start());
    let [known, new] =
        ["ak_0123456789abcdef0123456789abcdef", "ak_fedcba9876543210fedcba9876543210"];
    let file = setup.path("keys.txt");
    fs::write(&file, format!("{known}\n")).unwrap();
    let file = file.to_str().unwrap();
    let import = |arguments: &[&str]| {
        keys(&setup, &[&["import", file, "--role", "read", "--json"], arguments].concat())
    };
    assert_eq!(json_of(&import(&[]))["accepted"], 1);
    fs::write(file, format!("{known}\n{new}\n{new}\nnonsense\n{:064x}\n", 1)).unwrap();
    let sums = |ended: &Ended| {
        let told: Value = serde_json::from_str(&ended.stdout).unwrap();
        let sum = |name: &str| told[name].as_u64().unwrap();
        let said = told["lines"].as_array().unwrap().iter().map(|line| line["line"].clone());
        assert_eq!(said.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(told["lines"][4]["error"].is_null(), "{told}");
        (ended.code, sum("accepted"), sum("skipped"), sum("refused"))
    };
    assert_eq!(sums(&import(&["--dry-run"])), (Some(1), 2, 0, 3));
    assert_eq!(sums(&import(&["--dry-run", "--skip-known"])), (Some(1), 2, 2, 1));
    let listed = json_of(&keys(&setup, &["list", "--json"]));
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1, "nothing was written");
    assert_eq!(sums(&import(&["--skip-known"])), (Some(1), 2, 2, 1));
    assert_eq!(sums(&import(&["--skip-known"])), (Some(1), 0, 4, 1));
    let told: Value = serde_json::from_str(&import(&[]).stdout).unwrap();
    assert_eq!(told["refused"], 5);
}

#[test]
fn imported_lines_are_accepted_or_refused_by_number() {
    let setup = setup();
    drop(setup.start());
    let legacy = "ak_0123456789abcdef0123456789abcdef";
    let file = setup.path("keys.txt");
    let lines = format!(
        "\u{feff}# from the old service\n\
         {legacy}\r\n\
         \n\
         ak_nonsense\n\
         {{\"digest\":\"{:064x}\",\"role\":\"minter\",\"label\":\"by digest\"}}\n\
         {{\"key\":\"ak_fedcba9876543210fedcba9876543210\",\"role\":\"master\"}}\n\
         {legacy}\n\
         {{\"key\":\"{legacy}\"}}\n\
         {{\"role\":\"read\",\n\
         {:064X}",
        1, 2
    );
    fs::write(&file, lines).unwrap();
    let file = file.to_str().unwrap();
    let ended = keys(&setup, &["import", file, "--role", "read", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&told["accepted"], &told["refused"]), (&json!(4), &json!(4)), "{told}");
    let of = |number: usize| {
        let lines = told["lines"].as_array().unwrap();
        lines.iter().find(|line| line["line"] == number).unwrap_or_else(|| panic!("{told}"))
    };
    for number in [5, 6, 10] {
        assert!(of(number)["id"].is_string(), "{told}");
    }
    // Of the two that are the same, which are worked on at once, one is taken.
    let taken = [2, 7].into_iter().filter(|number| of(*number)["id"].is_string()).count();
    assert_eq!(taken, 1, "{told}");
    for (number, why) in [(4, "known shapes"), (8, "role must be"), (9, "Invalid JSON")] {
        assert!(of(number)["error"].as_str().unwrap().contains(why), "{told}");
    }
    assert!(!ended.stdout.contains(&legacy[8..]), "{ended:?}");
    let backend = setup.start();
    assert_eq!(status(&backend, legacy), 403);
    assert_eq!(status(&backend, "ak_fedcba9876543210fedcba9876543210"), 200);
    let bare = keys(&setup, &["import", file]);
    assert!(bare.stdout.contains("--role says nothing"), "{bare:?}");
}

#[test]
fn a_secret_is_shown_once_and_nowhere_else() {
    let setup = setup().set("RUST_LOG", "trace");
    let backend = setup.start();
    let (id, first) = create(&backend, &json!({"role": "read", "label": "canary"}));
    let with = |request: Request| request.header("X-Api-Key", MASTER).send(backend.public);
    let rotated = with(Request::new("POST", &format!("/keys/{id}/rotate")));
    let second = rotated.member("key");
    let third = text(&json_of(&keys(&setup, &["create", "--role", "minter", "--json"])), "key");
    let fourth = issue(1).send(backend.public).member("token");
    let secrets = [first, second, third, fourth];
    for key in &secrets {
        status(&backend, key);
        Request::get(PHOTO).bearer(key).send(backend.public);
        // Who takes a key for an id does not write it into the log.
        for path in [
            format!("/keys/{key}"),
            format!("/keys/%20{key}"),
            format!("/keys/Bearer%20{key}/rotate"),
            format!("/keys/{}", key.replace('_', "%5f")),
            format!("/{key}/x"),
        ] {
            assert_eq!(with(Request::new("DELETE", &path)).status / 100, 4);
        }
    }
    let mut shown = vec![
        ("list", with(Request::get("/keys?status=all")).body),
        ("payment keys", with(Request::get("/keys?kind=payment&status=all")).body),
        ("key", with(Request::get(&format!("/keys/{id}"))).body),
        ("list on the host", keys(&setup, &["list", "--all", "--json"]).stdout.into_bytes()),
        ("key on the host", keys(&setup, &["show", &id]).stdout.into_bytes()),
    ];
    let database = setup.database();
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", database.display());
        let bytes = fs::read(file).unwrap();
        // What was in it may be where it is to stay.
        if suffix != "-wal" || !bytes.is_empty() {
            shown.push(("database", bytes));
        }
    }
    // Nor one of any other shape, with a slash in it.
    assert_eq!(with(Request::new("DELETE", &format!("/keys/{MASTER}"))).status, 404);
    assert_eq!(with(Request::get("/keys/hush-one-half/and-the-other")).status, 404);
    let ended = backend.kill();
    assert!(ended.stderr.contains(r#"path="/keys/…""#), "{}", ended.stderr);
    assert!(!ended.stderr.contains("and-the-other"), "{}", ended.stderr);
    let uuid = format!(r#"path="/keys/{id}/rotate""#);
    assert!(ended.stderr.contains(&uuid), "{}", ended.stderr);
    shown.push(("log", [ended.stdout, ended.stderr].concat().into_bytes()));
    for (what, bytes) in shown {
        // The log of a database that is quiet is empty.
        assert!(what == "database" || !bytes.is_empty(), "{what}");
        let text = String::from_utf8_lossy(&bytes);
        for secret in &secrets {
            assert!(!text.contains(&secret[8..]), "a secret stands in the {what}");
        }
    }
}

/// Whoever buys a key chooses what is kept with it.
#[test]
fn what_is_kept_with_a_key_does_not_steer_the_operator_s_terminal() {
    let setup = setup();
    let backend = setup.start();
    let nested = (0..120).fold(json!({}), |inner, _| json!({ "a": inner }));
    for (n, extra) in [(1, json!("\u{9b}31m\u{9d}0;x\u{9c}\u{202e}\u{7f}")), (2, nested)] {
        let mut order = crate::serve::order(n);
        order["extra"] = extra;
        let request = Request::post("/internal/issue-token", &order);
        let answer = request.internal(crate::serve::process::INTERNAL_SECRET).send(backend.public);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let listed = keys(&setup, &["list", "--kind", "payment", "--json"]);
    let steers = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!listed.stdout.contains(steers), "{listed:?}");
    let listed = json_of(&listed);
    let ids: Vec<_> =
        listed["keys"].as_array().unwrap().iter().map(|key| text(key, "id")).collect();
    assert_eq!(ids.len(), 2);
    for id in ids {
        let shown = keys(&setup, &["show", &id]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        assert!(shown.stdout.lines().count() > 5, "{shown:?}");
        assert!(!shown.stdout.contains(steers), "{shown:?}");
        let shown = keys(&setup, &["show", &id, "--json"]);
        assert!(!shown.stdout.contains(steers) && json_of(&shown)["id"] == id, "{shown:?}");
    }
}

#[test]
fn keys_are_managed_on_the_internal_listener_where_there_is_one() {
    let setup = setup().set("INTERNAL_PORT", "0");
    let backend = setup.start();
    let list = Request::get("/keys").header("X-Api-Key", MASTER);
    list.send(backend.internal.unwrap()).assert_ok(r#"{"keys":[]}"#);
    let outside = list.send(backend.public);
    outside.assert_problem(404, "not_found", "Nothing is found at this path");
}

#[test]
fn without_checks_nobody_is_asked_for_a_key() {
    let backend = setup().set("DANGEROUS_DISABLE_KEY_CHECKS", "true").start();
    let made = Request::post("/keys", &json!({"role": "read"})).send(backend.public);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(Request::get("/keys").send(backend.public).status, 200);
    // What was sold stays shut.
    assert_eq!(Request::get(PHOTO).send(backend.public).status, 401);
    assert_eq!(Request::post("/internal/issue-token", &json!({})).send(backend.public).status, 401);
}

#[test]
fn the_last_uses_are_written_at_the_end_and_nothing_is_purged_at_the_start() {
    let setup = setup();
    let mut backend = setup.start();
    let (used, key) = create(&backend, &json!({"role": "read"}));
    let (over, _) = create(&backend, &json!({"role": "read"}));
    assert_eq!(status(&backend, &key), 403);
    let shown = |backend: &Backend, id: &str| {
        Request::get(&format!("/keys/{id}")).header("X-Api-Key", MASTER).send(backend.public)
    };
    assert_eq!(shown(&backend, &used).json().get("lastUsedAt"), None);
    backend.terminate();
    assert_eq!(backend.wait().code(), Some(0));
    backend.end();

    let database = rusqlite::Connection::open(setup.database()).unwrap();
    let days: i64 = 31 * 24 * 60 * 60 * 1_000_000;
    let sql = "UPDATE keys SET revoked_at = created_at - ?2 WHERE id = ?1";
    assert_eq!(database.execute(sql, (&over, days)).unwrap(), 1);
    drop(database);
    let backend = setup.start();
    assert!(shown(&backend, &used).json()["lastUsedAt"].is_string());
    // Its clock may be ahead: nobody knows before it has gone steadily for an hour.
    for _ in 0..20 {
        assert!(shown(&backend, &over).json()["revokedAt"].is_string());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Whoever reads the first lines alone has what they wanted.
#[test]
fn a_listing_that_is_not_read_to_its_end_is_no_error() {
    let setup = setup();
    drop(setup.start());
    for _ in 0..3 {
        keys(&setup, &["create", "--role", "read"]);
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut list = std::process::Command::new(env!("CARGO_BIN_EXE_key0-backend"));
    list.args(["keys", "list"]).current_dir(setup.path("")).env_clear().stdout(writer);
    let ended = list.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && said.is_empty(), "{said}");
}
