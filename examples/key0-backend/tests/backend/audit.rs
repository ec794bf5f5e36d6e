//! `key0-backend audit`, beside a server that runs.

use std::{
    io::Read,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::process::{Ended, Request, Setup};

fn run(setup: &Setup, command: &str, arguments: &[&str]) -> Ended {
    let setup = arguments.iter().fold(setup.clone(), |setup, argument| setup.argument(argument));
    setup.run(command)
}

fn told(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_host_is_told_what_was_done_and_by_whom() {
    let setup = Setup::new();
    let _backend = setup.start();
    let made = run(&setup, "keys", &["create", "--role", "read", "--label", "acme", "--json"]);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let id = made["id"].as_str().unwrap();
    run(&setup, "keys", &["revoke", id, "--reason", "leaked"]);

    let events = told(&run(&setup, "audit", &["--since", "1h", "--json"]));
    let actions: Vec<_> = events.iter().map(|event| &event["action"]).collect();
    assert_eq!(actions, ["created", "revoked"]);
    assert!(events.iter().all(|event| event["id"] == id && event["actorId"] == "host"));
    let since = events[1]["at"].as_str().unwrap();
    assert_eq!(told(&run(&setup, "audit", &["--since", since, "--json"])), events[1..]);
    assert!(told(&run(&setup, "audit", &["--since", "2999-01-01T00:00:00Z", "--json"])).is_empty());

    let shown = run(&setup, "audit", &[]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let lines: Vec<_> = shown.stdout.lines().collect();
    assert!(lines[0].starts_with("AT ") && lines.len() == 3, "{shown:?}");
    assert!(lines[2].contains("revoked") && lines[2].ends_with("leaked"), "{shown:?}");
    let refused = run(&setup, "audit", &["--since", "yesterday"]);
    assert_eq!((refused.code, &*refused.stdout), (Some(1), ""), "{refused:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let setup = Setup::new();
    drop(setup.start());
    let file = setup.path("many.txt");
    let lines: String = (0..3_000).map(|n| format!("ak_{n:032x}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let ended = run(&setup, "keys", &["import", file.to_str().unwrap(), "--role", "read"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(told(&run(&setup, "audit", &["--json"])).len(), 3_000);
    let url = format!("sqlite://{}", setup.database().display());
    for arguments in ["audit", "audit --json"] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_key0-backend"))
            .args(arguments.split(' '))
            .env_clear()
            .env("DATABASE_URL", &url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 16]).unwrap();
        drop(stdout);
        let ended = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), &*told), (Some(0), ""), "{arguments}");
    }
}

/// Wherever it comes from, and that is told as the access log tells it.
#[test]
fn rejected_administration_is_told() {
    let setup = Setup::new().set("TRUSTED_PROXIES", "127.0.0.0/8");
    let backend = setup.start();
    let paths = ["/audit", "/keys", "/metrics", "/purchases", "/refusals"];
    for (n, path) in paths.iter().enumerate() {
        let request = Request::get(path).header("X-Forwarded-For", &format!("198.51.100.{n}"));
        assert_eq!(request.send(backend.public).status, 401, "{path}");
    }
    let end = Instant::now() + Duration::from_secs(60);
    let mut events = told(&run(&setup, "audit", &["--json"]));
    while events.len() < paths.len() && Instant::now() < end {
        events = told(&run(&setup, "audit", &["--json"]));
    }
    events.sort_by_key(|event| event["id"].to_string());
    assert_eq!(events.iter().map(|event| &event["id"]).collect::<Vec<_>>(), paths);
    for (n, event) in events.iter().enumerate() {
        assert_eq!([&event["action"], &event["actor"]], ["rejected", "anonymous"]);
        let reason = format!("401 missing_credential, GET, from 198.51.100.{n}");
        assert_eq!(event["reason"], reason);
    }
}
