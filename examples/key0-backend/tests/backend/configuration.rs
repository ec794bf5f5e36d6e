//! The configuration of the sample backend: what it takes, and that every fault is told by name,
//! all at once, before anything listens.

use std::{
    ffi::OsString,
    fs,
    net::TcpListener,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::Path,
    thread,
    time::Duration,
};

use rusqlite::Connection;

use crate::process;
use crate::process::{INTERNAL_SECRET, Request, Setup, TOKEN_SECRET, connect};

const TOKEN: &str = "KEY0_ACCESS_TOKEN_SECRET";
const PREVIOUS_TOKENS: &str = "KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS";
const INTERNAL: &str = "INTERNAL_AUTH_SECRET";
const PREVIOUS_INTERNAL: &str = "INTERNAL_AUTH_PREVIOUS_SECRETS";
const ISSUANCE: &str = "ISSUANCE_SECRET";
const OTHER: &str = "hush:another-secret-of-these-tests-that-has-no-spaces";

/// Both `serve` and `check-config` say exactly these faults, and nothing was touched.
#[track_caller]
fn assert_refused(setup: &Setup, faults: &[&str]) {
    let before = setup.files();
    for subcommand in ["serve", "check-config"] {
        let ended = setup.run(subcommand);
        assert_eq!(ended.code, Some(2), "{subcommand}: {ended:?}");
        let mut told: Vec<&str> = ended.stderr.lines().collect();
        let mut expected: Vec<String> =
            faults.iter().map(|fault| format!("error: {fault}")).collect();
        told.sort_unstable();
        expected.sort_unstable();
        assert_eq!(told, expected, "{subcommand}");
        assert_eq!(ended.stdout, "", "{subcommand}");
    }
    assert_eq!(setup.files(), before);
}

/// `check-config` finds nothing wrong and touches nothing; `serve` starts.
#[track_caller]
fn assert_accepted(setup: &Setup) -> process::Backend {
    let before = setup.files();
    let checked = setup.run("check-config");
    assert_eq!((checked.code, &*checked.stdout), (Some(0), "the configuration is fine\n"));
    assert_eq!(setup.files(), before);
    setup.start()
}

fn key_file(name: &str) -> String {
    let path = format!("{}/../../tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap()
}

const TOKEN_MISSING: &str = "KEY0_ACCESS_TOKEN_SECRET is required: it verifies access tokens, \
    unless KEY0_PUBLIC_KEY or KEY0_JWKS_URL is given";
const INTERNAL_MISSING: &str =
    "INTERNAL_AUTH_SECRET is required: the strategy shared-secret compares with it";
const ISSUANCE_MISSING: &str =
    "ISSUANCE_SECRET is required: issued keys are derived from it, or from INTERNAL_AUTH_SECRET";

#[test]
fn secrets_that_are_missing() {
    assert_refused(&Setup::bare(), &[TOKEN_MISSING, INTERNAL_MISSING]);
    for nothing in ["", " ", "\t"] {
        let empty = Setup::bare().set(TOKEN, nothing).set(INTERNAL, nothing);
        assert_refused(&empty, &[TOKEN_MISSING, INTERNAL_MISSING]);
    }
    assert_refused(&Setup::new().unset(TOKEN), &[TOKEN_MISSING]);
    assert_refused(&Setup::new().unset(INTERNAL), &[INTERNAL_MISSING]);
    let signed = Setup::new().set("INTERNAL_AUTH_STRATEGY", "signed-jwt");
    assert_refused(&signed.clone().unset(INTERNAL), &[ISSUANCE_MISSING]);
    let unguarded = Setup::new().set("INTERNAL_AUTH_STRATEGY", "none").unset(INTERNAL);
    assert_refused(&unguarded, &[ISSUANCE_MISSING]);
    // A previous secret is none to start with.
    let previous = |name: &str, previous: &str| Setup::new().unset(name).set(previous, OTHER);
    assert_refused(&previous(TOKEN, PREVIOUS_TOKENS), &[TOKEN_MISSING]);
    assert_refused(
        &previous(INTERNAL, PREVIOUS_INTERNAL),
        &[
            "INTERNAL_AUTH_SECRET is required: INTERNAL_AUTH_PREVIOUS_SECRETS needs a current one",
            INTERNAL_MISSING,
        ],
    );
    assert_refused(
        &Setup::new().set("ISSUANCE_PREVIOUS_SECRETS", OTHER),
        &["ISSUANCE_SECRET is required: ISSUANCE_PREVIOUS_SECRETS needs a current one"],
    );

    assert_accepted(&signed);
    assert_accepted(&signed.unset(INTERNAL).set(ISSUANCE, OTHER));
    assert_accepted(
        &previous(TOKEN, PREVIOUS_TOKENS).set("KEY0_PUBLIC_KEY", key_file("p256-public")),
    );
}

#[test]
fn secrets_that_are_short() {
    let short = &OTHER[..31];
    for name in [TOKEN, INTERNAL, ISSUANCE] {
        let fault = format!("{name} is too short: 31 bytes, at least 32 are needed");
        assert_refused(&Setup::new().set(name, short), &[&fault]);
        let file = Setup::new().unset(name).file("secret", format!("{short}\n"));
        assert_refused(&file.set(&format!("{name}_FILE"), "secret"), &[&fault]);
    }
    for name in [
        PREVIOUS_TOKENS,
        PREVIOUS_INTERNAL,
        "ISSUANCE_PREVIOUS_SECRETS",
        "MASTER_API_KEYS",
        "SUPPORT_API_KEYS",
        "MINTER_API_KEYS",
        "READ_API_KEYS",
    ] {
        let setup = Setup::new().set(ISSUANCE, "hush: keys are derived from this secret");
        let fault = |place| {
            format!("{name} (number {place}) is too short: 31 bytes, at least 32 are needed")
        };
        assert_refused(
            &setup.set(name, format!("{short}, {OTHER} ,{short}")),
            &[&fault(1), &fault(3)],
        );
    }
    // Public keys are no secrets, however long.
    let fault = "KEY0_ACCESS_TOKEN_SECRET is not a usable key: it is a public key or a \
        certificate, which is no secret";
    assert_refused(&Setup::new().set(TOKEN, key_file("rsa2048-public")), &[fault]);
    assert_accepted(&Setup::new().set(TOKEN, &OTHER[..32]));
}

/// Knowing one secret must never open another door.
#[test]
fn secrets_that_are_equal() {
    let all: [(&str, &str); 14] = [
        (TOKEN, "KEY0_ACCESS_TOKEN_SECRET"),
        (PREVIOUS_TOKENS, "KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS (number 1)"),
        (INTERNAL, "INTERNAL_AUTH_SECRET"),
        (PREVIOUS_INTERNAL, "INTERNAL_AUTH_PREVIOUS_SECRETS (number 1)"),
        ("GATEWAY_SECRET", "GATEWAY_SECRET"),
        ("GATEWAY_PREVIOUS_SECRETS", "GATEWAY_PREVIOUS_SECRETS (number 1)"),
        ("VERIFY_SECRET", "VERIFY_SECRET"),
        ("VERIFY_PREVIOUS_SECRETS", "VERIFY_PREVIOUS_SECRETS (number 1)"),
        (ISSUANCE, ISSUANCE),
        ("ISSUANCE_PREVIOUS_SECRETS", "ISSUANCE_PREVIOUS_SECRETS (number 1)"),
        ("MASTER_API_KEYS", "MASTER_API_KEYS (number 1)"),
        ("SUPPORT_API_KEYS", "SUPPORT_API_KEYS (number 1)"),
        ("MINTER_API_KEYS", "MINTER_API_KEYS (number 1)"),
        ("READ_API_KEYS", "READ_API_KEYS (number 1)"),
    ];
    let rest = Setup::new()
        .set(ISSUANCE, "hush: keys are derived from this secret")
        .set("GATEWAY_SECRET", "hush: what Key0's gateway sends of these tests")
        .set("GATEWAY_ROUTES", "photos=GET /api/photos/{id}")
        .set("VERIFY_SECRET", "hush: what the proxies of these tests send")
        .set("VERIFY_ROUTES", "GET /photos/{id} resource={id}");
    for (place, (first, first_name)) in all.iter().enumerate() {
        for (second, second_name) in &all[place + 1..] {
            let fault = format!(
                "{first_name} and {second_name} hold the same secret; each must be of its own"
            );
            let setup = rest.clone().set(first, OTHER).set(second, OTHER);
            assert_refused(&setup, &[&fault]);
        }
    }
    let twice = Setup::new().set("MASTER_API_KEYS", format!("{OTHER},{OTHER}"));
    assert_refused(
        &twice,
        &["MASTER_API_KEYS (number 1) and MASTER_API_KEYS (number 2) hold the same secret; each \
           must be of its own"],
    );
    let all_differ = all
        .iter()
        .enumerate()
        .fold(rest, |setup, (place, (name, _))| setup.set(name, format!("{OTHER}-{place}")));
    assert_accepted(&all_differ);
}

#[test]
fn secrets_from_files() {
    let files = |ending: &str| {
        Setup::bare()
            .file("token", format!("{TOKEN_SECRET}{ending}"))
            .file("internal", format!("{INTERNAL_SECRET}{ending}"))
            .set("KEY0_ACCESS_TOKEN_SECRET_FILE", "token")
            .set("INTERNAL_AUTH_SECRET_FILE", "internal")
    };
    let opens = |setup: &Setup, secret: &str| {
        let backend = setup.start();
        let request = Request::post("/internal/issue-token", &serde_json::json!([]));
        let answer = request.internal(secret).send(backend.public);
        answer.status == 400
    };
    for ending in ["", "\n", "\r\n"] {
        assert_accepted(&files(ending));
        assert!(opens(&files(ending), INTERNAL_SECRET), "{ending:?}");
    }
    // One line end is dropped and no more; a header could never carry the rest.
    for ending in ["\n\n", "\r", "\n\r\n", " \n"] {
        let fault = |name| format!("{name} is not valid: it begins or ends with white space");
        assert_refused(&files(ending), &[&fault(INTERNAL), &fault(TOKEN)]);
    }
    // Lists, by comma and by line; both sorts of line end.
    for list in [
        format!("{OTHER} 1,{OTHER} 2"),
        format!("{OTHER} 1\n{OTHER} 2\n"),
        format!("{OTHER} 1\r\n{OTHER} 2\r\n"),
        format!(",{OTHER} 1,\n\n{OTHER} 2\n,"),
    ] {
        let setup = Setup::new()
            .file("previous", list)
            .set("INTERNAL_AUTH_PREVIOUS_SECRETS_FILE", "previous");
        for number in 1..=2 {
            assert!(opens(&setup, &format!("{OTHER} {number}")));
        }
        assert!(opens(&setup, INTERNAL_SECRET) && !opens(&setup, OTHER));
    }
    let pem = Setup::new().unset(TOKEN).file("key.pem", key_file("rsa2048-public"));
    assert_accepted(&pem.set("KEY0_PUBLIC_KEY_FILE", "key.pem"));
    let database = Setup::new().file("url", "memory://\n").set("DATABASE_URL_FILE", "url");
    assert!(assert_accepted(&database).stdout().contains("store           memory"));

    assert_refused(
        &files("").set(TOKEN, OTHER),
        &[
            "KEY0_ACCESS_TOKEN_SECRET is not valid: KEY0_ACCESS_TOKEN_SECRET_FILE is given as well; \
           one is enough",
        ],
    );
    assert_refused(
        &files("").set("INTERNAL_AUTH_SECRET_FILE", "nowhere"),
        &["INTERNAL_AUTH_SECRET_FILE is not valid: the file can't be read: No such file or \
           directory (os error 2)"],
    );
    assert_refused(
        &files("").set("INTERNAL_AUTH_SECRET_FILE", "."),
        &["INTERNAL_AUTH_SECRET_FILE is not valid: the file can't be read: Is a directory (os \
           error 21)"],
    );
    for nothing in ["", "\n"] {
        assert_refused(
            &files("").file("token", nothing),
            &["KEY0_ACCESS_TOKEN_SECRET_FILE is not valid: the file is empty"],
        );
    }
    assert_refused(
        &files("").file("token", b"hush: \xff\xfe and more of such bytes, 32 in all"),
        &["KEY0_ACCESS_TOKEN_SECRET_FILE is not valid: the file can't be read: stream did not \
           contain valid UTF-8"],
    );
}

#[test]
fn the_env_file() {
    let text = format!(
        "# a comment\n\nexport {TOKEN}='{TOKEN_SECRET}'\n{INTERNAL}=\"{INTERNAL_SECRET}\"\n\
         LOG_FORMAT=json\nAPI_KEY_TTL_SECONDS=60\n"
    );
    let setup = Setup::bare().file(".env", &text);
    let backend = assert_accepted(&setup);
    assert_eq!(Request::get("/health").send(backend.public).status, 200);
    backend.wait_for_log("started", 1);
    assert!(backend.kill().stderr.starts_with('{'));
    // The environment wins over the file, a flag over both.
    let pretty = setup.clone().set("LOG_FORMAT", "pretty").start();
    assert_eq!(Request::get("/health").send(pretty.public).status, 200);
    pretty.wait_for_log("started", 1);
    assert!(!pretty.kill().stderr.starts_with('{'));
    assert_refused(
        &setup.clone().set("LOG_FORMAT", "pretty").argument("--log-format").argument("xml"),
        &["LOG_FORMAT is not valid: it is pretty or json"],
    );
    // Also by being empty.
    assert_refused(&setup.set(INTERNAL, ""), &[INTERNAL_MISSING]);

    let elsewhere = Setup::bare().file("my.env", &text).argument("--env-file=my.env");
    assert_accepted(&elsewhere);
    assert_refused(
        &Setup::new().argument("--env-file=nowhere.env"),
        &[
            "nowhere.env is not valid: the file can't be read: No such file or directory (os error 2)",
        ],
    );
    let quote = "the quote before its value has no partner";
    for (line, fault) in [
        (format!("{TOKEN}='{TOKEN_SECRET}"), &*format!(": {TOKEN} is not valid: {quote}")),
        (format!("{TOKEN} {TOKEN_SECRET}"), " is not valid: it is not NAME=value"),
        (format!("={TOKEN_SECRET}"), " is not valid: it is not NAME=value"),
        (TOKEN_SECRET.to_owned(), " is not valid: it is not NAME=value"),
    ] {
        assert_refused(
            &Setup::new().file(".env", format!("HOST=127.0.0.1\n{line}\n")),
            &[&format!(".env line 2{fault}")],
        );
    }
    assert_refused(
        &Setup::new().file(".env", b"INTERNAL_HOST=hush\xff\n"),
        &[".env line 1: INTERNAL_HOST is not valid: it is not UTF-8"],
    );
}

/// A value is what stands in the file, byte for byte, or it is refused by its line and its name.
#[test]
fn the_env_file_is_taken_as_it_stands() {
    let opens = |line: &str, secret: &str| {
        let setup = Setup::new().unset(INTERNAL).file(".env", line);
        let request = Request::post("/internal/issue-token", &serde_json::json!([]));
        request.internal(secret).send(setup.start().public).status == 400
    };
    for secret in [
        r"hush:a\nb\\c\$d-is-more-than-32-bytes-long",
        r#"hush:a"b'c`d-is-more-than-32-bytes-long"#,
        "hush: one # in it, without a space before#",
    ] {
        let line = format!("\u{feff}{INTERNAL}={secret}\r\n");
        if secret.contains(" #") {
            let why = "its # after a space begins a comment in some tools; put the value in single \
                       quotes, or the comment on a line of its own";
            assert_refused(
                &Setup::new().file(".env", line),
                &[&format!(".env line 1: {INTERNAL} is not valid: {why}")],
            );
        } else {
            assert!(opens(&line, secret), "{secret}");
        }
        if !secret.contains('\'') {
            assert!(opens(&format!("{INTERNAL}='{secret}' # a comment\n"), secret), "{secret}");
        }
    }
    let fault = |line: &str, number: usize, why: &str| {
        let told = format!(".env line {number}: {INTERNAL} is not valid: {why}");
        assert_refused(&Setup::new().unset(INTERNAL).file(".env", line), &[&told]);
    };
    let backslash = "it holds a backslash in double quotes, which some tools would take out; put \
                     it in single quotes";
    fault(&format!("# one\n\n{INTERNAL}=\"{OTHER}\\n\"\n"), 3, backslash);
    let quote = "it begins or ends with a quote, which would be a part of it";
    fault(&format!("{INTERNAL}=`{OTHER}`\n"), 1, quote);
    fault(&format!("{INTERNAL}={OTHER} \n"), 1, "it begins or ends with white space");
    let invisible = "it begins or ends with an invisible character";
    fault(&format!("{INTERNAL}={OTHER}\u{200b}\n"), 1, invisible);
    let twice = "it is given in line 1 as well; one is enough";
    fault(&format!("{INTERNAL}={OTHER}\n{INTERNAL}={OTHER}\n"), 2, twice);
    // Of lists, too; and every fault of a value names the line.
    let list = Setup::new().file(".env", format!("A=1\nREAD_API_KEYS='{OTHER}-1,hush'\nPORT=x\n"));
    assert_refused(
        &list.unset("PORT"),
        &[
            ".env line 2: READ_API_KEYS (number 1) is not valid: it can't be sent as a key: it \
             holds other than visible ASCII",
            ".env line 2: READ_API_KEYS (number 2) is too short: 4 bytes, at least 32 are needed",
            ".env line 3: PORT is not valid: it is a port from 0 to 65535",
        ][1..],
    );
    // What other tools read is their business.
    let theirs = "THEIRS=a # b\nTHEIRS=\"a\\n\"b\n";
    assert_accepted(&Setup::new().file(".env", theirs));
}

/// As container tools hand on the quotes around a value, and editors what can't be seen.
#[test]
fn secrets_that_are_not_what_was_meant() {
    let quote = "it begins or ends with a quote, which would be a part of it";
    let invisible = "it begins or ends with an invisible character";
    for (secret, why) in [
        (format!("\"{OTHER}\""), quote),
        (format!("'{OTHER}'"), quote),
        (format!("{OTHER}\""), quote),
        (format!("\u{201c}{OTHER}\u{201d}"), quote),
        (format!("{OTHER}\u{200b}"), invisible),
        (format!("\u{feff}{OTHER}"), invisible),
        (format!("{OTHER}\u{115f}"), invisible),
        (format!("{OTHER}\u{7f}"), invisible),
        (format!("\u{a0}{OTHER}"), "it begins or ends with white space"),
    ] {
        for name in [TOKEN, INTERNAL, ISSUANCE] {
            let fault = format!("{name} is not valid: {why}");
            assert_refused(&Setup::new().set(name, &secret), &[&fault]);
            let file = Setup::new().unset(name).file("secret", format!("{secret}\n"));
            assert_refused(&file.set(&format!("{name}_FILE"), "secret"), &[&fault]);
        }
        if why == quote {
            for (list, number) in [(secret.replace(' ', ""), 1), (format!("{OTHER}-x,{secret}"), 2)]
            {
                let fault = format!("{PREVIOUS_TOKENS} (number {number}) is not valid: {why}");
                assert_refused(&Setup::new().set(PREVIOUS_TOKENS, list), &[&fault]);
            }
            let named = format!("alice={}", secret.replace(' ', ""));
            let fault = format!("MASTER_API_KEYS (number 1) is not valid: {why}");
            assert_refused(&Setup::new().set("MASTER_API_KEYS", named), &[&fault]);
        }
    }
    let url = format!("DATABASE_URL is not valid: {quote}");
    assert_refused(&Setup::new().set("DATABASE_URL", "\"sqlite://x.db\""), &[&url]);
}

/// What is no secret is taken just as exactly: an issuer in quotes would refuse every token.
#[test]
fn settings_that_are_not_what_was_meant() {
    let quote = "it begins or ends with a quote, which would be a part of it";
    let invisible = "it begins or ends with an invisible character";
    for name in [
        "KEY0_ACCESS_TOKEN_ISSUER",
        "KEY0_ACCESS_TOKEN_AUDIENCE",
        "INTERNAL_AUTH_AUDIENCE",
        "INTERNAL_OAUTH_ISSUER",
        "KEY0_URL",
    ] {
        let faults = |value: &str| {
            let refused = Setup::new().set(name, value).run("check-config");
            assert_eq!(refused.code, Some(2), "{name} {value}");
            refused.stderr
        };
        for (value, why) in [
            ("\"https://a.example\"", quote),
            ("'https://a.example'", quote),
            ("https://a.example\u{200b}", invisible),
            ("\u{feff}https://a.example", invisible),
        ] {
            let told = faults(value);
            assert!(told.contains(&format!("{name} is not valid: {why}\n")), "{value}: {told}");
        }
        let file = Setup::new().file(".env", format!("\n{name}=\"https://a\\tb\"\n"));
        let refused = file.run("check-config");
        let backslash = format!(".env line 2: {name} is not valid: it holds a backslash in double");
        assert!(refused.stderr.contains(&backslash), "{refused:?}");
    }
    let issuer = Setup::new().set("KEY0_ACCESS_TOKEN_ISSUER", "  https://a.example \"b\" c ");
    assert_accepted(&issuer);
}

#[test]
fn names_that_are_misspelt() {
    for (name, meant) in [
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("CACHE_TTL", "CACHE_TTL_SECONDS"),
        ("MASTER_KEYS", "MASTER_API_KEYS"),
        ("KEY0_ACCESS_TOKEN_AUD", "KEY0_ACCESS_TOKEN_AUDIENCE"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("MASTER_API_KEY", "MASTER_API_KEYS"),
        ("INTERNAL_AUTH_SECERT_FILE", "INTERNAL_AUTH_SECRET_FILE"),
        ("internal_auth_secret", "INTERNAL_AUTH_SECRET"),
    ] {
        let fault = format!(
            "{name} is not valid: there is no such variable; {meant} was meant, most likely"
        );
        assert_refused(&Setup::new().set(name, OTHER), &[&fault]);
        let file = Setup::new().file(".env", format!("# one\n{name}={OTHER}\n"));
        assert_refused(&file, &[&format!(".env line 2: {fault}")]);
        assert_eq!(Setup::new().set(name, OTHER).argument("list").run("keys").code, Some(2));
    }
    assert_refused(
        &Setup::new().set("PORT_FILE", "port"),
        &["PORT_FILE is not valid: only secrets come from files; set PORT"],
    );
    let theirs =
        [("DATABASE_HOST", "db"), ("LOG_LEVEL", "debug"), ("KEY0_BACKEND_PORT", "tcp://x")];
    let theirs = theirs.iter().fold(Setup::new(), |setup, (name, value)| setup.set(name, *value));
    assert_accepted(&theirs);
}

/// What logs and histories call a key of the configuration does not depend on its place.
#[test]
fn keys_of_the_configuration_have_names() {
    let key = |n: usize| format!("hush-a-master-key-of-32-bytes-or-more-{n}");
    let padded = "aHVzaCBhIGtleSBpbiBiYXNlNjQgdGhhdCBpcyBwYWRkZWQ=";
    let by = |list: String, key: &str| {
        let backend = Setup::new().set("MASTER_API_KEYS", list).start();
        let made = Request::post("/keys", &serde_json::json!({"role": "read"}));
        let made = made.header("X-Api-Key", key).send(backend.public);
        assert_eq!(made.status, 201, "{made:?}");
        let path = format!("/keys/{}", made.member("id"));
        let shown = Request::get(&path).header("X-Api-Key", key).send(backend.public).json();
        shown["history"][0]["by"].as_str().unwrap().to_owned()
    };
    let (alone, second) = (by(key(1), &key(1)), by(format!("{},{}", key(2), key(1)), &key(1)));
    assert_eq!(alone, second);
    assert!(alone.starts_with("bootstrap-master-") && alone.len() == 17 + 8, "{alone}");
    assert_ne!(by(key(2), &key(2)), alone);
    let named = format!("alice={},{padded},bob={}", key(1), key(2));
    assert_eq!(by(named.clone(), &key(1)), "bootstrap-master-alice");
    assert_eq!(by(named.clone(), &key(2)), "bootstrap-master-bob");
    by(named, padded);
    let twice = format!("alice={},alice={}", key(1), key(2));
    assert_refused(
        &Setup::new().set("MASTER_API_KEYS", twice),
        &["MASTER_API_KEYS (number 2) is not valid: another key has the same name"],
    );
    assert_refused(
        &Setup::new().set("READ_API_KEYS", "alice=hush-and-not-more-than-31-byte"),
        &["READ_API_KEYS (number 1) is too short: 30 bytes, at least 32 are needed"],
    );
}

/// A secret with a `$` must not silently become another one.
#[test]
fn the_env_file_expands_nothing() {
    let literal = "hush:$HOME-${HOME}$-is-more-than-32-bytes-long";
    let opens = |line: String| {
        let backend = Setup::new().unset(INTERNAL).file(".env", line).start();
        let request = Request::post("/internal/issue-token", &serde_json::json!([]));
        request.internal(literal).send(backend.public).status == 400
    };
    assert!(opens(format!("{INTERNAL}={literal}\n")));
    assert!(opens(format!("export {INTERNAL}=\"{literal}\" # $HOME\n")));
    assert!(opens(format!("OTHER=\\$1\n{INTERNAL}='{literal}'\n")));
    // Also on a further line of a list.
    let list =
        |quote: char| format!("INTERNAL_AUTH_PREVIOUS_SECRETS={quote}{OTHER}\n{literal}{quote}\n");
    for quote in ['"', '\''] {
        assert!(opens(format!("{INTERNAL}={OTHER}-1\n{}", list(quote))));
    }
    let escaped = format!("{INTERNAL}=\"hush:\\$HOME-is-more-than-32-bytes-long\"\n");
    assert_refused(
        &Setup::new().unset(INTERNAL).file(".env", escaped),
        &[
            ".env line 1: INTERNAL_AUTH_SECRET is not valid: it holds a backslash in double quotes, \
             which some tools would take out; put it in single quotes",
        ],
    );
}

#[test]
fn what_would_silently_come_to_nothing() {
    assert_refused(
        &Setup::new().set("INTERNAL_HOST", "127.0.0.1"),
        &["INTERNAL_PORT is required: INTERNAL_HOST is given, and without a port there is no \
           listener for it"],
    );
    assert_accepted(&Setup::new().set("INTERNAL_HOST", "127.0.0.1").set("INTERNAL_PORT", "0"));
    for name in ["MASTER_API_KEYS", PREVIOUS_TOKENS] {
        let fault = format!("{name} is not valid: it is given and holds none");
        assert_refused(&Setup::new().set(name, ",,"), &[&fault]);
        let file = Setup::new().file("keys", "\n \n\n").set(&format!("{name}_FILE"), "keys");
        assert_refused(&file, &[&fault]);
    }
    assert_refused(
        &Setup::new().file("url", "ftp://id.example.com").set("KEY0_JWKS_URL_FILE", "url"),
        &["KEY0_JWKS_URL is not valid: it begins with https://"],
    );
    assert_refused(
        &Setup::new().set("READ_API_KEYS", "hush: a key with spaces in it and of 32 bytes"),
        &["READ_API_KEYS (number 1) is not valid: it can't be sent as a key: it holds other than \
           visible ASCII"],
    );
    assert_refused(
        &Setup::new().set(INTERNAL, "hush: a sécret that no header can carry as it is"),
        &["INTERNAL_AUTH_SECRET is not valid: it can't be sent in a header: it holds other than \
           printable ASCII"],
    );
}

#[test]
fn values_that_are_none() {
    let port = "a port from 0 to 65535";
    let host = "an IP address or localhost";
    let switch = "true or false";
    let year = "a number from 1 to 315360000";
    let id = "1 to 256 visible ASCII characters";
    for (name, values, what) in [
        ("PORT", &["-1", "65536", "http", "3000 1"][..], port),
        ("INTERNAL_PORT", &["65536", "0x50"], port),
        ("HOST", &["example.com", "127.0.0", "1.2.3.4:80", "[::1"], host),
        ("INTERNAL_HOST", &["*", "256.0.0.1"], host),
        ("DANGEROUS_ALLOW_PUBLIC", &["yes", "TRUE", "2"], switch),
        ("DANGEROUS_DISABLE_KEY_CHECKS", &["yes", "off"], switch),
        ("API_KEY_TTL_SECONDS", &["0", "-5", "1h", "315360001", "1.5"], year),
        ("CACHE_TTL_SECONDS", &["0", "3601", "five"], "a number from 1 to 3600"),
        ("INTERNAL_AUTH_MAX_LIFETIME_SECONDS", &["0", "86401"], "a number from 1 to 86400"),
        ("INTERNAL_AUTH_AUDIENCE", &["two words", "é"], id),
        ("ISSUE_TOKEN_AUTH", &["none", "Body", "internal,body"], "internal or body"),
        ("LOG_FORMAT", &["xml", "JSON"], "pretty or json"),
        ("RUST_LOG", &["info,=,=", "key0=loud"], "a list of filters, as info,key0_auth=debug"),
    ] {
        for value in values {
            let mut setup = Setup::new().set(name, *value);
            if name == "INTERNAL_HOST" {
                setup = setup.set("INTERNAL_PORT", "0");
            }
            assert_refused(&setup, &[&format!("{name} is not valid: it is {what}")]);
        }
    }
    for (name, value) in [
        ("HOST", "localhost"),
        ("HOST", "127.0.0.2"),
        ("HOST", "[::1]"),
        ("DANGEROUS_ALLOW_PUBLIC", "0"),
        ("DANGEROUS_ALLOW_PUBLIC", "false"),
        ("DANGEROUS_DISABLE_KEY_CHECKS", "false"),
        ("API_KEY_TTL_SECONDS", " 60 "),
        ("CACHE_TTL_SECONDS", "3600"),
        ("INTERNAL_AUTH_MAX_LIFETIME_SECONDS", "60"),
        ("ISSUE_TOKEN_AUTH", "internal"),
        ("RUST_LOG", "warn,key0_auth=trace"),
    ] {
        if value == "[::1]" && TcpListener::bind("[::1]:0").is_err() {
            continue;
        }
        assert_accepted(&Setup::new().set(name, value));
    }
}

#[test]
fn values_that_are_no_text() {
    let bytes =
        || OsString::from_vec(b"hush \xff: a value that is no text, of over 32 bytes".to_vec());
    for name in [
        TOKEN,
        PREVIOUS_TOKENS,
        "KEY0_PUBLIC_KEY",
        "INTERNAL_AUTH_STRATEGY",
        INTERNAL,
        PREVIOUS_INTERNAL,
        "INTERNAL_AUTH_AUDIENCE",
        "ISSUE_TOKEN_AUTH",
        ISSUANCE,
        "MASTER_API_KEYS",
        "READ_API_KEYS_FILE",
        "DATABASE_URL",
        "CACHE_TTL_SECONDS",
        "HOST",
        "INTERNAL_PORT",
        "DANGEROUS_DISABLE_KEY_CHECKS",
        "LOG_FORMAT",
        "RUST_LOG",
    ] {
        let fault = format!("{name} is not valid: it is not UTF-8");
        // Nor is the file's value taken instead.
        let setup = Setup::new().file(".env", "RUST_LOG=info\n").set(name, bytes());
        assert_refused(&setup, &[&fault]);
    }
    assert_accepted(&Setup::new().set("SOMEBODY_ELSES", bytes()));
}

#[test]
fn identity_providers() {
    assert_accepted(&Setup::new().set("KEY0_JWKS_URL", "https://id.example.com/jwks.json"));
    let only = Setup::new().unset(TOKEN).set("KEY0_JWKS_URL", "https://id.example.com/jwks.json");
    assert_accepted(
        &only.set("KEY0_ACCESS_TOKEN_ISSUER", "me").set("KEY0_ACCESS_TOKEN_AUDIENCE", "you"),
    );
    let oauth = || Setup::new().set("INTERNAL_AUTH_STRATEGY", "shared-secret,signed-jwt,oauth");
    assert_refused(
        &oauth(),
        &["INTERNAL_OAUTH_ISSUER is required: the strategy oauth takes its tokens alone"],
    );
    let issuer = || oauth().set("INTERNAL_OAUTH_ISSUER", "https://id.example.com/");
    assert_refused(
        &issuer().set("INTERNAL_OAUTH_SCOPE", "issue"),
        &["INTERNAL_OAUTH_AUDIENCE is required: without it or INTERNAL_OAUTH_CLIENT_IDS every \
           client of the issuer could call"],
    );
    assert_accepted(&issuer().set("INTERNAL_OAUTH_AUDIENCE", "photos"));
    assert_accepted(&issuer().set("INTERNAL_OAUTH_CLIENT_IDS", "key0, key0-next"));
    let plain = oauth().set("INTERNAL_OAUTH_ISSUER", "http://id.example.com");
    let reason = "it begins with https:// (http:// is for loopback alone)";
    assert_refused(
        &plain.set("INTERNAL_OAUTH_AUDIENCE", "photos"),
        &[&format!("INTERNAL_OAUTH_ISSUER is not valid: {reason}")],
    );
    // With a URL of its keys, an issuer can be any text.
    let any = oauth()
        .set("INTERNAL_OAUTH_ISSUER", "accounts")
        .set("INTERNAL_OAUTH_JWKS_URL", "https://id.example.com/keys");
    assert_accepted(&any.set("INTERNAL_OAUTH_AUDIENCE", "photos"));
}

#[test]
fn what_this_version_lacks() {
    for (name, value, why) in [
        (
            "KEY0_JWKS_URL",
            "http://issuer.example/jwks",
            "it begins with https:// (http:// is for loopback alone)",
        ),
        ("INTERNAL_AUTH_STRATEGY", "mtls", "it takes shared-secret, signed-jwt, oauth and none"),
        (
            "INTERNAL_AUTH_STRATEGY",
            "shared-secret,",
            "it takes shared-secret, signed-jwt, oauth and none",
        ),
        (
            "INTERNAL_AUTH_STRATEGY",
            "none,shared-secret",
            "none lets everybody in and goes with no other strategy",
        ),
        (
            "INTERNAL_AUTH_STRATEGY",
            "signed-jwt,none",
            "none lets everybody in and goes with no other strategy",
        ),
        (
            "DATABASE_URL",
            "postgres://u:hush@db:port/key0",
            "it has not the form postgres://user:password@host/database?sslmode=require",
        ),
        (
            "DATABASE_URL",
            "postgresql://u:hush@db/key0?sslmod=require",
            "it has a parameter that is not known, as sslmode is",
        ),
        (
            "DATABASE_URL",
            "redis://:hush@cache/x",
            "what follows the host is a number; a prefix stands in its parameter: \
             redis://user:password@host:6379/0?prefix=key0:",
        ),
        (
            "DATABASE_URL",
            "rediss://:hush@cache/0?protocol=resp2",
            "it has a parameter that is not known, as prefix is",
        ),
        ("DATABASE_URL", "rediss://:hush@cache/#insecure", "it has a fragment, and none is known"),
        (
            "DATABASE_URL",
            "mysql://u:hush@db",
            "it begins with sqlite://, postgres:// or redis://, or is memory://",
        ),
        ("DATABASE_URL", "key0-backend.db", "a file is sqlite://key0-backend.db"),
        ("DATABASE_URL", "sqlite:key0.db", "the file key0.db is sqlite://key0.db"),
        (
            "DATABASE_URL",
            "sqlite:///key0.db",
            "sqlite:///key0.db is a file in the root of the host; the one in the working folder is \
             sqlite://key0.db",
        ),
        (
            "DATABASE_URL",
            "memory://x",
            "it begins with sqlite://, postgres:// or redis://, or is memory://",
        ),
        ("DATABASE_URL", "sqlite://", "sqlite:// needs a path, as sqlite://backend.db"),
        ("DATABASE_URL", "sqlite://a.db?mode=ro", "sqlite:// takes a path and no options"),
    ] {
        let setup = Setup::new().set(name, value);
        assert_refused(&setup, &[&format!("{name} is not valid: {why}")]);
    }
}

#[test]
fn keys_of_the_wrong_kind() {
    let one_line = |pem: &str| pem.replace('\n', "\\n");
    for good in ["rsa2048-public", "p256-public", "ed25519-public"] {
        let setup = Setup::new().unset(TOKEN);
        assert_accepted(&setup.clone().set("KEY0_PUBLIC_KEY", key_file(good)));
        assert_accepted(&setup.set("KEY0_PUBLIC_KEY", one_line(&key_file(good))));
    }
    // Several blocks in the file, in whatever spelling.
    let pem = format!("{}\n{}", key_file("rsa2048-public"), key_file("p256-public"));
    for value in [
        one_line(&pem),
        format!("\"{}\"", one_line(&pem)),
        format!("'{}'", pem.replace('\n', "\\r\\n")),
        format!("\"{pem}\""),
        format!("'{}'", pem.replace('\n', "\r\n")),
    ] {
        let file = Setup::new().unset(TOKEN).file(".env", format!("KEY0_PUBLIC_KEY={value}\n"));
        let checked = file.run("check-config");
        assert_eq!(checked.code, Some(0), "{value}: {checked:?}");
    }
    for bad in [
        "rsa2048-private",
        "rsa2048-pkcs1-private",
        "rsa2048-pkcs1-public",
        "rsa2048-certificate",
        "rsa-pss2048-public",
        "rsa1024-public",
        "rsa2047-public",
        "p256-private",
        "p384-public",
        "secp256k1-public",
        "ed25519-private",
        "ed448-public",
        "x25519-public",
    ] {
        let pem = key_file(bad);
        let ended = Setup::new().set("KEY0_PUBLIC_KEY", &pem).run("check-config");
        assert_eq!(ended.code, Some(2), "{bad}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{bad}: {ended:?}");
        assert!(ended.stderr.starts_with("error: KEY0_PUBLIC_KEY is not a usable key: "), "{bad}");
        for line in pem.lines().filter(|line| !line.starts_with('-')) {
            assert!(!ended.stderr.contains(&line[..line.len().min(16)]), "{bad}: {ended:?}");
        }
        assert_eq!(Setup::new().set("KEY0_PUBLIC_KEY", pem).run("serve").stderr, ended.stderr);
    }
    for bad in ["-----BEGIN PUBLIC KEY-----", "hush", "-----BEGIN PUBLIC KEY-----\\nhush\\n"] {
        let ended = Setup::new().set("KEY0_PUBLIC_KEY", bad).run("check-config");
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{ended:?}");
    }
}

#[test]
fn open_doors_on_public_addresses() {
    let none = Setup::new().set("INTERNAL_AUTH_STRATEGY", "none");
    let body = Setup::new().set("ISSUE_TOKEN_AUTH", "body");
    let fault = |name: &str, what: &str, address: &str| {
        format!(
            "{name} is not valid: {what}, and {address} is not a loopback address \
             (DANGEROUS_ALLOW_PUBLIC=true allows it)"
        )
    };
    let doors = [
        (&none, "INTERNAL_AUTH_STRATEGY", "none lets everybody call the internal endpoints"),
        (&body, "ISSUE_TOKEN_AUTH", "body lets everybody have a key issued"),
    ];
    for (setup, name, what) in doors {
        for address in ["0.0.0.0", "::", "192.0.2.1", "::ffff:127.0.0.1"] {
            let public = setup.clone().set("HOST", address);
            assert_refused(&public, &[&fault(name, what, address)]);
            let internal = setup.clone().set("INTERNAL_HOST", address).set("INTERNAL_PORT", "0");
            assert_refused(&internal, &[&fault(name, what, address)]);
        }
        let warning = format!("WARNING         {name}: {what}\n");
        // A listener of its own on loopback shuts the door, whatever the public one is.
        for fine in [
            setup.clone(),
            setup.clone().set("HOST", "0.0.0.0").set("INTERNAL_PORT", "0"),
            setup.clone().set("HOST", "0.0.0.0").set("DANGEROUS_ALLOW_PUBLIC", "true"),
        ] {
            let backend = assert_accepted(&fine);
            assert!(backend.stdout().contains(&warning), "{}", backend.stdout());
            let logged = format!("{name}: {what}");
            backend.wait_for_log(&logged, 1);
            let checked = fine.run("check-config");
            assert!(checked.stderr.contains(&format!("warning: {logged}\n")), "{checked:?}");
        }
    }
    // Where no key is asked for, that goes for both listeners.
    let unchecked = Setup::new().set("DANGEROUS_DISABLE_KEY_CHECKS", "true");
    let (name, what) =
        ("DANGEROUS_DISABLE_KEY_CHECKS", "everybody can make and revoke keys, and use /v1");
    let told = fault(name, what, "0.0.0.0");
    for setup in [
        unchecked.clone().set("HOST", "0.0.0.0"),
        unchecked.clone().set("HOST", "0.0.0.0").set("INTERNAL_PORT", "0"),
        unchecked.clone().set("INTERNAL_HOST", "0.0.0.0").set("INTERNAL_PORT", "0"),
    ] {
        assert_refused(&setup, &[&told]);
        assert_accepted(&setup.set("DANGEROUS_ALLOW_PUBLIC", "true"));
    }
    let backend = assert_accepted(&unchecked);
    assert!(backend.stdout().contains(&format!("WARNING         {name}: {what}\n")));
    let allowed = assert_accepted(&Setup::new().set("DANGEROUS_ALLOW_PUBLIC", "true"));
    let warning = "WARNING         DANGEROUS_ALLOW_PUBLIC: open doors are allowed";
    assert!(allowed.stdout().contains(warning));
    let guarded = assert_accepted(&Setup::new().set("HOST", "0.0.0.0"));
    assert!(!guarded.stdout().contains("WARNING"));
}

#[test]
fn every_fault_at_once() {
    let setup = Setup::bare()
        .file(".env", "no line\n")
        .set("PORT", "x")
        .set("HOST", "y")
        .set("INTERNAL_PORT", "z")
        .set("INTERNAL_AUTH_STRATEGY", "shared-secret,magic")
        .set("MASTER_API_KEYS", "hush")
        .set("ISSUE_TOKEN_AUTH", "nobody")
        .set("CACHE_TTL_SECONDS", "0")
        .set("API_KEY_TTL_SECONDS", "0")
        .set("INTERNAL_AUTH_MAX_LIFETIME_SECONDS", "0")
        .set("DANGEROUS_ALLOW_PUBLIC", "maybe")
        .set("DATABASE_URL", "postgres://u:hush@db?sslmode=hush")
        .set("LOG_FORMAT", "xml")
        .set("RUST_LOG", "key0=loud");
    assert_refused(
        &setup,
        &[
            ".env line 1 is not valid: it is not NAME=value",
            "PORT is not valid: it is a port from 0 to 65535",
            "HOST is not valid: it is an IP address or localhost",
            "INTERNAL_PORT is not valid: it is a port from 0 to 65535",
            "INTERNAL_AUTH_STRATEGY is not valid: it takes shared-secret, signed-jwt, oauth and none",
            "MASTER_API_KEYS (number 1) is too short: 4 bytes, at least 32 are needed",
            "ISSUE_TOKEN_AUTH is not valid: it is internal or body",
            "CACHE_TTL_SECONDS is not valid: it is a number from 1 to 3600",
            "API_KEY_TTL_SECONDS is not valid: it is a number from 1 to 315360000",
            "INTERNAL_AUTH_MAX_LIFETIME_SECONDS is not valid: it is a number from 1 to 86400",
            "DANGEROUS_ALLOW_PUBLIC is not valid: it is true or false",
            "DATABASE_URL is not valid: it has not the form \
             postgres://user:password@host/database?sslmode=require",
            "LOG_FORMAT is not valid: it is pretty or json",
            "RUST_LOG is not valid: it is a list of filters, as info,key0_auth=debug",
            TOKEN_MISSING,
            INTERNAL_MISSING,
        ],
    );
}

#[test]
fn secrets_that_everybody_knows() {
    let published = "shared-secret-with-key0-service-min-32-chars";
    let quoted = Setup::new().unset(TOKEN).file(".env", format!("{TOKEN}='{published}'\n"));
    assert!(quoted.run("check-config").stderr.contains("printed in public examples"));
    let setup = Setup::new().set(TOKEN, published);
    let told = "KEY0_ACCESS_TOKEN_SECRET is printed in public examples: everybody knows it";
    let backend = assert_accepted(&setup);
    backend.wait_for_log(told, 1);
    let ended = backend.kill();
    assert!(ended.stdout.contains(&format!("WARNING         {told}\n")), "{ended:?}");
    assert!(
        ended.stderr.contains(&format!(" WARN key0_backend::serve::server: {told}\n")),
        "{ended:?}"
    );
    for output in [ended.stdout, ended.stderr, setup.run("check-config").stderr] {
        assert!(output.contains(told) && !output.contains(published), "{output}");
    }
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    let told = format!("error: can't listen on {address}: Address already in use (os error 98)\n");
    for setup in [
        Setup::new().set("PORT", &port),
        Setup::new().argument("--port").argument(&port),
        Setup::new().set("INTERNAL_PORT", &port),
    ] {
        let ended = setup.run("serve");
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{ended:?}");
        if cfg!(target_os = "linux") {
            assert_eq!(ended.stderr, told);
        }
        assert_eq!(setup.files(), [""; 0]);
    }
    let twice = Setup::new().set("PORT", "4000").set("INTERNAL_PORT", "4000");
    // Every address of the machine is that one, too.
    for setup in [twice.clone(), twice.set("HOST", "0.0.0.0")] {
        assert_refused(
            &setup,
            &["INTERNAL_PORT is not valid: it is the same address as HOST and PORT"],
        );
    }
}

#[test]
fn a_new_database_is_for_its_owner_alone() {
    let setup = Setup::new();
    let backend = setup.start();
    let order = serde_json::json!({
        "requestId": "r", "resourceId": "photo-1", "planId": "basic", "txHash": "0x1",
    });
    let answer = Request::post("/internal/issue-token", &order).internal(INTERNAL_SECRET);
    assert_eq!(answer.send(backend.public).status, 200);
    let names = ["key0-backend.db", "key0-backend.db-shm", "key0-backend.db-wal"];
    assert_eq!(setup.files(), names);
    for name in names {
        let mode = fs::metadata(setup.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// `serve` ends with this line, and the file is what it was.
#[track_caller]
fn assert_unusable(setup: &Setup, path: &Path, told: &str) {
    let before = fs::read(path).ok();
    let ended = setup.run("serve");
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{ended:?}");
    let line = format!("error: {}", told.replace("PATH", &format!("{path:?}")));
    assert!(ended.stderr.starts_with(&line), "{:?} is not {line:?}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert_eq!(fs::read(path).ok(), before);
}

#[test]
fn databases_that_can_not_be_used() {
    // One of ours, to be made unusable in several ways.
    let ours = Setup::new();
    drop(ours.start());
    let path = ours.database();
    let sql = |path: &Path, sql: &str| Connection::open(path).unwrap().execute_batch(sql).unwrap();

    sql(&path, "PRAGMA user_version = 99");
    assert_unusable(
        &ours,
        &path,
        "the database PATH has schema version 99, newer than 7 of this program\n",
    );
    sql(&path, "PRAGMA user_version = 7");
    drop(ours.start());

    let not_ours = "PATH is not a database of key0-auth\n";
    let foreign = Setup::new();
    sql(&foreign.database(), "CREATE TABLE theirs (id INTEGER PRIMARY KEY)");
    assert_unusable(&foreign, &foreign.database(), not_ours);
    let text = Setup::new().file("key0-backend.db", "hush: this is some other file\n".repeat(99));
    assert_unusable(&text, &text.database(), not_ours);

    let folder = Setup::new();
    fs::create_dir(folder.database()).unwrap();
    assert_unusable(&folder, &folder.database(), "can't use the database PATH: ");
    let nowhere = Setup::new().set("DATABASE_URL", "sqlite://no/such/folder.db");
    let missing = nowhere.path("no/such/folder.db");
    assert_unusable(&nowhere, &missing, "can't use the database PATH: No such file or directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Whoever may read everything, as root may, sees no fault here.
    if fs::read(&path).is_err() {
        assert_unusable(&ours, &path, "can't use the database PATH: ");
    }
}

#[test]
fn a_locked_database_is_waited_for_without_listening() {
    let setup = Setup::new();
    drop(setup.start());
    let other = Connection::open(setup.database()).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let setup = setup.set("PORT", address.port().to_string());
    // Not even read here: closing the file would free this process's lock on it.
    thread::scope(|scope| {
        let refused = scope.spawn(|| setup.run("serve"));
        while !refused.is_finished() {
            assert!(connect(address).is_err(), "it listens without a store");
            thread::sleep(Duration::from_millis(20));
        }
        let refused = refused.join().unwrap();
        let path = setup.database();
        let told = format!("error: the database {path:?} is locked by another process\n");
        assert_eq!((refused.code, refused.stderr), (Some(2), told));
    });
    drop(other);
    drop(setup.start());
}

#[test]
fn secrets_are_no_flags() {
    for arguments in [
        &["--key0-access-token-secret", "hush"][..],
        &["--internal-auth-secret=hush"],
        &["--database-url", "sqlite://x.db"],
    ] {
        let setup = arguments.iter().fold(Setup::new(), |setup, one| setup.argument(one));
        let ended = setup.run("serve");
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.contains("unexpected argument"), "{ended:?}");
    }
}

#[test]
fn flags_win_over_the_environment() {
    let setup = Setup::new().set("PORT", "1").set("CACHE_TTL_SECONDS", "0");
    let flags =
        ["--port=0", "--cache-ttl-seconds", "1", "--internal-port", "0", "--host=127.0.0.1"];
    let setup = flags.iter().fold(setup, |setup, flag| setup.argument(flag));
    let backend = assert_accepted(&setup);
    assert!(backend.internal.is_some());
    assert_refused(
        &Setup::new().argument("--host=example.com").argument("--internal-auth-strategy=magic"),
        &[
            "HOST is not valid: it is an IP address or localhost",
            "INTERNAL_AUTH_STRATEGY is not valid: it takes shared-secret, signed-jwt, oauth and none",
        ],
    );
}
