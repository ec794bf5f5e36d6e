//! The small commands for whoever runs the backend.

use std::sync::Arc;

use key0_auth::{domain::SystemClock, testing::TokenSigner};
use serde_json::Value;

use crate::process::{Ended, Setup, TOKEN_SECRET, token_secret};

fn run(setup: &Setup, command: &str) -> Ended {
    let (command, arguments) = command.split_once(' ').unwrap_or((command, ""));
    let arguments = arguments.split(' ').filter(|argument| !argument.is_empty());
    arguments.fold(setup.clone(), |setup, argument| setup.argument(argument)).run(command)
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn secrets_that_were_made_make_a_configuration() {
    let made = run(&Setup::bare(), "secrets generate").stdout;
    assert_eq!(made.lines().count(), 4);
    assert_ne!(run(&Setup::bare(), "secrets generate").stdout, made);
    let setup = Setup::bare().file(".env", &made);
    assert_eq!(setup.run("check-config").code, Some(0));
    let one = run(&Setup::bare(), "secrets generate --bare INTERNAL_AUTH_SECRET").stdout;
    assert_eq!(one.trim_end().len(), 64);
    assert_eq!(run(&Setup::bare(), "secrets generate DATABASE_URL").code, Some(2));
}

#[test]
fn a_running_backend_is_healthy_and_one_that_is_gone_is_not() {
    let backend = Setup::new().start();
    let check = format!("healthcheck --url http://{}", backend.public);
    assert_eq!(run(&Setup::bare(), &check).code, Some(0));
    // Where the configuration says that it is, also on every address.
    let port = backend.public.port().to_string();
    let configured = Setup::bare().set("PORT", port).set("HOST", "0.0.0.0");
    assert_eq!(run(&configured, "healthcheck").code, Some(0));
    backend.kill();
    let ended = run(&Setup::bare(), &check);
    assert!(ended.code == Some(1) && ended.stderr.contains("can't be reached"), "{ended:?}");
    assert_eq!(run(&Setup::bare().set("PORT", "x"), "healthcheck").code, Some(2));
}

#[test]
fn the_doctor_shows_what_is_understood_and_no_secret() {
    let setup = Setup::new().file(".env", "LOG_FORMAT=json\n").set("INTERNAL_PORT", "0");
    let told = json(&run(&setup, "doctor --json"));
    let setting = |name: &str| {
        let setting = &told["configuration"][name];
        (setting["value"].clone(), setting["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(setting("LOG_FORMAT"), ("json".into(), ".env line 1".to_owned()));
    assert_eq!(setting("HOST"), ("127.0.0.1".into(), "default".to_owned()));
    let masked = format!("set, {} bytes", TOKEN_SECRET.len());
    assert_eq!(setting("KEY0_ACCESS_TOKEN_SECRET"), (masked.into(), "environment".to_owned()));
    let ended = run(&setup, "doctor");
    assert!(ended.code == Some(0) && ended.stdout.contains("not there yet"), "{ended:?}");
    assert_eq!(setup.files(), [".env"], "it makes nothing");
    drop(setup.start());
    assert!(run(&setup, "doctor").stdout.contains("it answers"));
    let foreign = setup.clone().file("key0-backend.db", "hush: some other file\n".repeat(99));
    let ended = run(&foreign, "doctor");
    assert!(ended.code == Some(1) && ended.stdout.contains("FAILS store"), "{ended:?}");
    let ended = run(&setup.set("LOG_FORMAT", "xml"), "doctor");
    assert!(ended.code == Some(2) && ended.stdout.contains("LOG_FORMAT is not valid"), "{ended:?}");
}

#[test]
fn a_token_s_checks_are_told_and_the_token_is_not() {
    let setup = Setup::new();
    let signer = TokenSigner::with(token_secret()).clock(Arc::new(SystemClock));
    let good = signer.token().sign();
    let (start, end) = good.split_at(good.len() - 20);
    let other = if end.starts_with('A') { "B" } else { "A" };
    let tampered = format!("{start}{other}{}", &end[1..]);
    let mut failed = Vec::new();
    for token in [&*good, &tampered, "a.b.c", "nonsense"] {
        for format in ["", " --json"] {
            let ended = run(&setup, &format!("token inspect {token}{format}"));
            assert!(!ended.stdout.contains(token) && ended.stderr.is_empty(), "{ended:?}");
            if format.is_empty() {
                let is_told = ended.stdout.contains("revoked      not looked at: purchases show ");
                assert_eq!(is_told, token.len() > 10, "{ended:?}");
                continue;
            }
            let told = json(&ended);
            assert_eq!(told["good"], ended.code == Some(0));
            let checks = told["checks"].as_array().unwrap().iter();
            let first = checks.filter(|check| check["passed"] != true).map(|check| &check["name"]);
            failed.push(first.map(|name| name.as_str().unwrap().to_owned()).next());
        }
    }
    let failed: Vec<_> = failed.iter().map(Option::as_deref).collect();
    assert_eq!(failed, [None, Some("signature"), Some("form"), Some("form")]);
    let foreign = signer.token().claim("jti", "a;b").sign();
    let ended = run(&setup, &format!("token inspect {foreign}"));
    assert!(ended.stdout.contains("purchases show with the jti above\n"), "{ended:?}");
    assert_eq!(run(&Setup::bare(), "token inspect x").code, Some(2), "no key is given");
}

#[test]
fn shells_and_the_manual_know_every_command() {
    let man = run(&Setup::bare(), "man").stdout;
    for command in ["serve", "keys", "token", "doctor"] {
        assert!(man.contains(&format!(".SH \"{}\"", command.to_uppercase())), "{command}");
    }
    assert!(man.contains("KEY0_ACCESS_TOKEN_SECRET"));
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&Setup::bare(), &format!("completions {shell}")).stdout;
        assert!(script.contains("healthcheck"), "{shell}");
    }
}
