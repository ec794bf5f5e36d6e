//! Starting, stopping, and going on without the store or the log.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::serve::{
    PHOTO, PHOTO_1, access_token, issue,
    process::{Answer, INTERNAL_SECRET, Request, Setup, TOKEN_SECRET, connect, read_answer},
};

const READY: &str = r#"{"status":"ready","checks":{"store":"ok","writes":"ok","feed":"ok"}}"#;

/// Asks until the answer is as wanted.
fn until(ask: impl Fn() -> Answer, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_printed_at_the_start() {
    let setup = Setup::new().set("INTERNAL_PORT", "0");
    let backend = setup.start();
    let expected = format!(
        "key0-backend {}\n\
         listening on    http://{}\n\
         internal on     http://{}\n\
         protected       /api/photos/{{id}}  /api/data/{{id}}  /api/{{id}}\n\
         internal paths  /internal/issue-token  /internal/payment-received\n\
         operator paths  /keys  /purchases  /audit  /refusals  /metrics  /console\n\
         partner paths   /v1/dpp  /v1/imports  /v1/loyalty (the chain is simulated)\n\
         store           SQLite, key0-backend.db\n",
        env!("CARGO_PKG_VERSION"),
        backend.public,
        backend.internal.unwrap(),
    );
    assert_eq!(backend.kill().stdout, expected);
    let memory = Setup::new().set("DATABASE_URL", "memory://");
    let backend = memory.start();
    assert!(backend.stdout().contains("store           memory: everything is forgotten at exit"));
    assert_eq!(issue(1).send(backend.public).status, 200);
    assert_eq!(memory.files(), [""; 0]);
}

#[test]
fn sigterm_lets_open_requests_finish_and_takes_no_new_ones() {
    let setup = Setup::new().set("INTERNAL_PORT", "0");
    let mut backend = setup.start();
    let addresses = [backend.public, backend.internal.unwrap()];
    let mut idle = connect(backend.public).unwrap();
    idle.write_all(&Request::get("/health").header("connection", "keep-alive").bytes()).unwrap();
    assert_eq!(read_answer(&mut idle, false).unwrap().status, 200);
    let request = issue(1);
    let (head, whole) = (request.head(), request.bytes());
    let mut slow = connect(addresses[1]).unwrap();
    slow.write_all(&whole[..head.len() + 20]).unwrap();
    // Whoever is answered shows that the slow one before it has been taken.
    assert_eq!(Request::get("/health").send(addresses[1]).status, 200);

    backend.terminate();
    let deadline = Instant::now() + Duration::from_secs(60);
    for address in addresses {
        while connect(address).is_ok() {
            assert!(Instant::now() < deadline, "connections are still taken");
            thread::sleep(Duration::from_millis(10));
        }
    }
    slow.write_all(&whole[head.len() + 20..]).unwrap();
    let answer = read_answer(&mut slow, false).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(backend.wait().code(), Some(0));
    assert!(backend.end().stderr.contains("stopped"));

    // What was answered last is there.
    let backend = setup.start();
    assert_eq!(issue(1).send(backend.internal.unwrap()).member("token"), answer.member("token"));
}

#[test]
fn a_request_that_never_ends_does_not_hold_up_the_end() {
    let mut backend = Setup::new().start();
    let mut endless = connect(backend.public).unwrap();
    endless.write_all(&issue(1).header("Content-Length", "1000").bytes()).unwrap();
    assert_eq!(Request::get("/health").send(backend.public).status, 200);
    backend.terminate();
    assert_eq!(backend.wait().code(), Some(0));
    assert!(backend.end().stderr.contains("cut off"));
}

#[test]
fn the_service_manager_is_told_of_the_start_and_the_end() {
    let setup = Setup::new();
    let path = setup.path("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let told = || {
        let mut state = [0; 100];
        let length = manager.recv(&mut state).unwrap();
        String::from_utf8(state[..length].to_vec()).unwrap()
    };
    let mut backend = setup.set("NOTIFY_SOCKET", path).start();
    assert_eq!(told(), "READY=1");
    backend.terminate();
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(backend.wait().code(), Some(0));
}

/// Half a head is no request, and nobody waits for the rest of it.
#[test]
fn half_a_head_does_not_hold_up_the_end() {
    let mut backend = Setup::new().start();
    let mut half = connect(backend.public).unwrap();
    half.write_all(b"GET /health HTTP/1.1\r\nHost: lo").unwrap();
    assert_eq!(Request::get("/health").send(backend.public).status, 200);
    backend.terminate();
    assert_eq!(backend.wait().code(), Some(0));
    assert!(!backend.end().stderr.contains("cut off"));
}

#[test]
fn a_delayed_end_is_announced_and_a_second_signal_does_not_wait_for_it() {
    let mut backend = Setup::new().set("SHUTDOWN_DELAY_SECONDS", "300").start();
    let ready = || Request::get("/ready").send(backend.public);
    until(ready, |ready| ready.status == 200).assert_ok(READY);
    backend.terminate();
    let draining = until(ready, |ready| ready.status == 503);
    assert_eq!(draining.member("status"), "draining");
    Request::get(PHOTO).bearer(&access_token("photo-1", 0)).send(backend.public).assert_ok(PHOTO_1);
    backend.signal("INT");
    assert_eq!(backend.wait().code(), Some(130));
}

/// Secrets and bootstrap keys that changed take hold at SIGHUP, over connections that are open too.
#[test]
fn a_hang_up_reads_the_configuration_again() {
    const NEW: &str = "hush: another internal secret of these tests";
    const KEY: &str = "hush-a-master-key-of-these-tests-32-bytes";
    let file = |internal: &str, more: &str| {
        format!(
            "KEY0_ACCESS_TOKEN_SECRET=\"{TOKEN_SECRET}\"\nINTERNAL_AUTH_SECRET=\"{internal}\"\n{more}\n"
        )
    };
    let setup = Setup::bare().file(".env", file(INTERNAL_SECRET, ""));
    let backend = setup.start();
    let mut kept = connect(backend.public).unwrap();
    let mut sends = |secret: &str| {
        let request = Request::post("/internal/issue-token", &crate::serve::order(1));
        let request = request.internal(secret).header("connection", "keep-alive");
        kept.write_all(&request.bytes()).unwrap();
        read_answer(&mut kept, false).unwrap()
    };
    let keys = || Request::get("/keys").header("X-Api-Key", KEY).send(backend.public).status;
    let issued = sends(INTERNAL_SECRET);
    assert_eq!((issued.status, keys()), (200, 401));

    let previous = format!("INTERNAL_AUTH_PREVIOUS_SECRETS=\"{INTERNAL_SECRET}\"");
    let more = format!("{previous}\nMASTER_API_KEYS={KEY}\nPORT=1");
    setup.clone().file(".env", file(NEW, &more));
    backend.signal("HUP");
    backend.wait_for_log("counts from now on", 1);
    for secret in [NEW, INTERNAL_SECRET] {
        assert_eq!(sends(secret).member("token"), issued.member("token"));
    }
    assert_eq!(keys(), 200);

    // A faulty one changes nothing.
    setup.clone().file(".env", file("short", ""));
    backend.signal("HUP");
    backend.wait_for_log("the one before goes on", 1);
    assert_eq!((sends(NEW).status, keys()), (200, 200));

    setup.clone().file(".env", file(NEW, ""));
    backend.signal("HUP");
    backend.wait_for_log("counts from now on", 2);
    assert_eq!(keys(), 401);
    let revoked = Request::post("/internal/issue-token", &crate::serve::order(2));
    assert_eq!(revoked.internal(INTERNAL_SECRET).send(backend.public).status, 401);
    backend.kill();
}

#[test]
fn an_outage_of_the_store_looks_like_nothing_else() {
    let setup = Setup::new();
    let backend = setup.start();
    let send = |request: Request| request.send_once(backend.public);
    let key = issue(1).send(backend.public).member("token");
    until(|| send(Request::get("/ready")), |ready| ready.status == 200).assert_ok(READY);
    // Written over in place: a mapped file must not become shorter.
    for name in setup.files() {
        let length = fs::metadata(setup.path(&name)).unwrap().len();
        let mut file = OpenOptions::new().write(true).open(setup.path(&name)).unwrap();
        file.write_all(&vec![0x5a; usize::try_from(length).unwrap()]).unwrap();
    }
    let unavailable = "The credential store can't be reached";
    // An answer is shared for a second.
    let ready = until(|| send(Request::get("/ready")), |ready| ready.status != 200);
    assert_eq!(ready.status, 503);
    assert_eq!(ready.member("status"), "unavailable");
    let checks = ready.json()["checks"].take();
    assert!(checks["store"] == "failed" || checks["writes"] == "failed", "{checks}");
    let refused = send(Request::get(PHOTO).bearer(&key));
    refused.assert_problem(503, "store_unavailable", unavailable);
    send(issue(2)).assert_problem(503, "store_unavailable", unavailable);
    // What needs no store goes on.
    let token = access_token("photo-1", 0);
    send(Request::get(PHOTO).bearer(&token)).assert_ok(PHOTO_1);
    send(Request::get("/health")).assert_ok(r#"{"status":"ok","service":"backend"}"#);
    let mistyped = send(Request::get(PHOTO).bearer("ak_mistyped"));
    mistyped.assert_problem(401, "invalid_api_key", "Invalid API key");
    backend.wait_for_log("request failed", 1);
    backend.wait_for_log("overwritten", 1);
    // Once, however many requests found it so.
    backend.wait_for_log("revocations made elsewhere take up to 5 s to arrive", 1);
    let logged = backend.kill().stderr;
    assert_eq!(logged.matches("revocations made elsewhere").count(), 1, "{logged}");
}

/// Another process writes and does not come to an end.
#[test]
fn a_store_that_is_held_by_another_is_an_outage_for_writes_alone() {
    let setup = Setup::new();
    let backend = setup.start();
    let key = issue(1).send(backend.public).member("token");
    let other = rusqlite::Connection::open(setup.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        let refused = scope.spawn(|| issue(2).send_once(backend.public));
        while !refused.is_finished() {
            Request::get(PHOTO).bearer(&key).send(backend.public).assert_ok(PHOTO_1);
            let ready = Request::get("/ready").send(backend.public).json();
            assert_eq!(ready["checks"]["store"], "ok");
            thread::sleep(Duration::from_millis(50));
        }
        let refused = refused.join().unwrap();
        let detail = "The credential store can't be reached";
        refused.assert_problem(503, "store_unavailable", detail);
    });
    let not_ready =
        until(|| Request::get("/ready").send(backend.public), |ready| ready.status == 503);
    assert_eq!(
        not_ready.json()["checks"],
        json!({"store": "ok", "writes": "failed", "feed": "ok"})
    );
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(issue(2).send(backend.public).status, 200);
    until(|| Request::get("/ready").send(backend.public), |ready| ready.status == 200);
    backend.wait_for_log("the store works again", 1);
}

/// A collector of logs that dies takes nobody along.
#[test]
fn a_log_that_nobody_reads_breaks_no_request() {
    let setup = Setup::new();
    // Some free port: a moment ago it was this listener's.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut child = Command::new(env!("CARGO_BIN_EXE_key0-backend"))
        .args(["serve", "--port", &address.port().to_string()])
        .env_clear()
        .env("KEY0_ACCESS_TOKEN_SECRET", crate::serve::process::TOKEN_SECRET)
        .env("INTERNAL_AUTH_SECRET", crate::serve::process::INTERNAL_SECRET)
        .env("DATABASE_URL", "memory://")
        .current_dir(setup.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let deadline = Instant::now() + Duration::from_secs(30);
    while connect(address).is_err() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let answer = Request::get("/health").try_send(address);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer.unwrap().status, 200);
}

/// Whoever started it may not read what it says.
#[cfg(unix)]
#[test]
fn a_standard_output_that_nobody_reads_stops_nothing() {
    let (mut backend, reader) = Setup::new().start_unheard();
    assert_eq!(Request::get("/health").send(backend.public).status, 200);
    backend.terminate();
    assert_eq!(backend.wait().code(), Some(0));
    drop(reader);
}

/// Nor does a SIGHUP end it that comes before the configuration is read: it is read again, then.
#[cfg(unix)]
#[test]
fn a_hang_up_while_it_starts_ends_nothing() {
    let setup = Setup::new().unset("INTERNAL_AUTH_SECRET").file("secret", INTERNAL_SECRET);
    let pipe = setup.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let setup = setup.set("INTERNAL_AUTH_SECRET_FILE", "pipe");
    let backend = setup.start_meanwhile(|backend| {
        // Both wait until the other is there.
        let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
        backend.signal("HUP");
        fs::rename(setup.path("secret"), &pipe).unwrap();
        writer.write_all(INTERNAL_SECRET.as_bytes()).unwrap();
    });
    assert_eq!(issue(1).send(backend.public).status, 200);
    backend.wait_for_log("the configuration was read again", 1);
}

/// What nobody can have got is no success.
#[cfg(target_os = "linux")]
#[test]
fn what_can_not_be_printed_is_an_error() {
    for command in ["secrets generate", "man", "completions bash", "check-config"] {
        let script = format!("\"$0\" {command} >/dev/full");
        let ended = Setup::new().run_by_shell(&script);
        assert_eq!(ended.code, Some(1), "{command}: {ended:?}");
        assert!(ended.stderr.contains("can't be printed"), "{command}: {ended:?}");
        assert_eq!(Setup::new().run_by_shell(&format!("\"$0\" {command} | true")).code, Some(0));
    }
}
