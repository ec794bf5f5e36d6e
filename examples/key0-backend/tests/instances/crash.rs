//! What survives when the sample backend is killed, and what is written anywhere at all.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use key0_auth::{
    domain::{Claims, Clock, SystemClock},
    token::TokenIssuer,
};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::process::{Answer, INTERNAL_SECRET, Request, Setup, TOKEN_SECRET, token_secret};

/// How many clients send at a time.
const CLIENTS: usize = 8;

fn order(n: u64) -> Value {
    json!({
        "requestId": format!("request-{n}"),
        "challengeId": format!("challenge-{n}"),
        "resourceId": format!("photo-{n}"),
        "planId": "basic",
        "txHash": format!("0x{n:064x}"),
    })
}

fn issue(n: u64) -> Request {
    Request::post("/internal/issue-token", &order(n)).internal(INTERNAL_SECRET)
}

fn report(n: u64) -> Request {
    let mut grant = order(n);
    grant["accessToken"] = format!("canary-{n}").into();
    Request::post("/internal/payment-received", &grant).internal(INTERNAL_SECRET)
}

fn count(setup: &Setup, query: &str) -> i64 {
    let conn = Connection::open(setup.database()).unwrap();
    conn.query_row(query, (), |row| row.get(0)).unwrap()
}

/// Calls `each` for all of `items`, a few at a time.
fn in_parallel<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for part in items.chunks(items.len().div_ceil(CLIENTS).max(1)) {
            scope.spawn(|| part.iter().for_each(&each));
        }
    });
}

#[test]
fn a_hundred_at_once_get_one_credential_also_after_a_crash() {
    const AT_ONCE: usize = 100;
    let setup = Setup::new();
    let all_at_once = |address: SocketAddr| -> Vec<Answer> {
        let barrier = Barrier::new(AT_ONCE);
        let ask = || {
            barrier.wait();
            issue(1).send(address)
        };
        thread::scope(|scope| {
            let asked: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(ask)).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        })
    };
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let backend = setup.start();
        for answer in all_at_once(backend.public) {
            assert_eq!(answer.status, 200, "{answer:?}");
            bodies.push(answer.body);
        }
        backend.kill();
    }
    assert_eq!(bodies.len(), 3 * AT_ONCE);
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    for table in ["keys", "issuances"] {
        assert_eq!(count(&setup, &format!("SELECT count(*) FROM {table}")), 1);
    }
}

/// What the clients of a storm have sent, and which of it was answered.
#[derive(Default)]
struct Sent {
    /// By number: the credential, where the answer came.
    issued: BTreeMap<u64, Option<String>>,
    /// By number: whether the answer came.
    paid: BTreeMap<u64, bool>,
}

impl Sent {
    fn merge(&mut self, other: Self) {
        self.issued.extend(other.issued);
        self.paid.extend(other.paid);
    }
}

/// The answer, unless the server is gone. One whose store is too slow is asked again.
fn answered(request: &Request, address: SocketAddr) -> Option<Answer> {
    loop {
        let answer = request.try_send(address).ok()?;
        if !answer.is_passing() {
            return Some(answer);
        }
    }
}

/// Issues keys and reports payments, each with a number of its own, until the server is gone.
fn storm(address: SocketAddr, numbers: &AtomicU64, acknowledged: &AtomicU64) -> Sent {
    let mut sent = Sent::default();
    loop {
        let n = numbers.fetch_add(1, Ordering::Relaxed);
        let key = answered(&issue(n), address).map(|answer| {
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.member("token")
        });
        sent.issued.insert(n, key.clone());
        sent.paid.insert(n, false);
        if key.is_none() {
            return sent;
        }
        match answered(&report(n), address) {
            Some(answer) => answer.assert_ok(r#"{"received":true}"#),
            None => return sent,
        }
        sent.paid.insert(n, true);
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

fn assert_opens(address: SocketAddr, n: u64, key: &str) {
    let own = Request::get(&format!("/api/photos/photo-{n}")).bearer(key).send(address);
    assert_eq!(own.status, 200, "the key of {n} is lost: {own:?}");
}

#[test]
fn nothing_that_was_acknowledged_is_lost() {
    crashes(3);
}

#[test]
#[ignore = "long: crashes"]
fn long_crashes_lose_nothing_that_was_acknowledged() {
    crashes(100);
}

/// Kills the server again and again while clients write.
fn crashes(rounds: u64) {
    let setup = Setup::new().set("RUST_LOG", "warn");
    let (numbers, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut all = BTreeMap::new();
    let (mut keys, mut payments, mut retried) = (0, 0, 0);

    for round in 0..rounds {
        let backend = setup.start();
        let address = backend.public;
        let mut sent = Sent::default();
        thread::scope(|scope| {
            // At another point of the work each time.
            let enough = acknowledged.load(Ordering::Relaxed) + 1 + round * 37 % 100;
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(|| storm(address, &numbers, &acknowledged)))
                .collect();
            while acknowledged.load(Ordering::Relaxed) < enough {
                assert!(clients.iter().any(|client| !client.is_finished()), "nothing is written");
                thread::sleep(Duration::from_millis(1));
            }
            backend.kill();
            for client in clients {
                sent.merge(client.join().unwrap());
            }
        });

        let backend = setup.start();
        let issued: Vec<_> = sent.issued.into_iter().collect();
        keys += issued.iter().filter(|(_, key)| key.is_some()).count();
        retried += issued.iter().filter(|(_, key)| key.is_none()).count();
        in_parallel(&issued, |(n, key)| {
            if let Some(key) = key {
                assert_opens(backend.public, *n, key);
            }
        });
        // Every payment that was acknowledged is there before any is told again.
        let stored = |n: u64| -> i64 {
            let conn = Connection::open(setup.database()).unwrap();
            let query = "SELECT count(*) FROM payments WHERE challenge_id = ?1 AND tx_hash = ?2";
            let ids = (format!("challenge-{n}"), format!("0x{n:064x}"));
            conn.query_row(query, ids, |row| row.get(0)).unwrap()
        };
        for (n, acknowledged) in &sent.paid {
            let stored = stored(*n);
            assert!(stored == 1 || (stored == 0 && !acknowledged), "payment {n}: {stored}");
            payments += usize::from(*acknowledged);
        }
        // A retry of whatever was sent gets the same credential, or the first one.
        let again = std::sync::Mutex::new(BTreeMap::new());
        in_parallel(&issued, |(n, key)| {
            let answer = issue(*n).send(backend.public);
            assert_eq!(answer.status, 200, "{answer:?}");
            let token = answer.member("token");
            assert_eq!(issue(*n).send(backend.public).body, answer.body);
            assert!(key.as_ref().is_none_or(|key| *key == token), "another key for {n}");
            assert_opens(backend.public, *n, &token);
            again.lock().unwrap().insert(*n, token);
        });
        let paid: Vec<_> = sent.paid.into_keys().collect();
        in_parallel(&paid, |n| {
            report(*n).send(backend.public).assert_ok(r#"{"received":true}"#);
        });
        all.extend(again.into_inner().unwrap());
        // Killed once more, so that also this is only on the disk.
        backend.kill();
    }

    let backend = setup.start();
    let all: Vec<_> = all.into_iter().collect();
    in_parallel(&all, |(n, key)| assert_opens(backend.public, *n, key));
    drop(backend);
    let sent = i64::try_from(numbers.into_inner()).unwrap();
    assert_eq!(all.len() as i64, sent);
    for query in [
        "SELECT count(*) FROM keys",
        "SELECT count(DISTINCT resource_id) FROM keys",
        "SELECT count(*) FROM issuances",
        "SELECT count(*) FROM issuances WHERE lease_token IS NULL AND digest IS NOT NULL",
        "SELECT count(*) FROM payments",
        "SELECT count(DISTINCT tx_hash) FROM payments",
    ] {
        assert_eq!(count(&setup, query), sent, "{query}");
    }
    assert!(keys > 0 && payments > 0);
    println!(
        "{rounds} crashes, {keys} acknowledged keys and {payments} acknowledged payments all \
         there; {retried} issuances without an answer retried"
    );
}

fn access_token(n: u64) -> String {
    let claims = Claims::new(
        format!("request-{n}").parse().unwrap(),
        format!("challenge-{n}").parse().unwrap(),
        format!("photo-{n}").parse().unwrap(),
        "basic".parse().unwrap(),
        "0xabc".parse().unwrap(),
        SystemClock.now().plus(Duration::from_secs(600)),
    );
    TokenIssuer::hs256(&token_secret()).access_token(&claims).unwrap()
}

/// Neither the database nor the log holds a credential, however much is logged.
#[test]
fn no_credential_is_written_anywhere() {
    let master = "hush-a-master-key-of-these-tests-32";
    let issuance = "hush: keys are derived from this secret";
    for format in ["pretty", "json"] {
        let setup = Setup::new()
            .set("RUST_LOG", "trace")
            .set("LOG_FORMAT", format)
            .set("ISSUANCE_SECRET", issuance)
            .set("MASTER_API_KEYS", master)
            .set("INTERNAL_AUTH_STRATEGY", "shared-secret,signed-jwt");
        let backend = setup.start();
        let mut secrets: Vec<String> =
            [TOKEN_SECRET, INTERNAL_SECRET, issuance, master].map(str::to_owned).into();
        let system = TokenIssuer::hs256(&token_secret());
        let system =
            system.system_token("backend-service", SystemClock.now(), Duration::from_secs(60));
        let system = system.unwrap();
        for n in 0..10 {
            let key = issue(n).send(backend.public).member("token");
            let body = order(n);
            let again = Request::post("/internal/issue-token", &body).bearer(&system);
            assert_eq!(again.send(backend.public).member("token"), key);
            assert_eq!(report(n).send(backend.public).status, 200);
            let token = access_token(n);
            let photo = format!("/api/photos/photo-{n}");
            for (credential, status) in [
                (&key, 200),
                (&token, 200),
                (&format!("{key}x"), 401),
                (&format!("{token}x"), 401),
                (&system, 401),
                (&master.to_owned(), 403),
                (&INTERNAL_SECRET.replace(' ', "-"), 401),
            ] {
                let get = Request::get(&photo);
                assert_eq!(get.clone().bearer(credential).send(backend.public).status, status);
                let by_header = get.clone().header("X-Api-Key", credential).send(backend.public);
                assert!(matches!(by_header.status, 200 | 401 | 403), "{by_header:?}");
                let query = Request::get(&format!("{photo}?access_token={credential}"));
                assert_eq!(query.send(backend.public).status, 401);
            }
            // A conflict, a body that is none, and a wrong secret.
            let mut other = order(n);
            other["accessToken"] = format!("canary-{n}").into();
            other["resourceId"] = "default".into();
            let conflict = Request::post("/internal/issue-token", &other).internal(INTERNAL_SECRET);
            assert_eq!(conflict.send(backend.public).status, 409);
            let broken = report(n).body(format!("{{\"accessToken\":\"canary-{n}\""));
            assert_eq!(broken.send(backend.public).status, 400);
            let wrong = report(n).internal(&format!("{INTERNAL_SECRET}{n}"));
            assert_eq!(wrong.send(backend.public).status, 401);
            // The random part alone, and the signature alone, would be as bad as the whole.
            secrets.push(key[3..33].to_owned());
            secrets.push(token.rsplit('.').next().unwrap().to_owned());
        }
        secrets.push(system.rsplit('.').next().unwrap().to_owned());
        secrets.push("canary".to_owned());
        secrets.push("access_token=".to_owned());
        backend.wait_for_log("payment received", 10);

        let ended = backend.kill();
        let mut written = vec![
            ("stdout".to_owned(), ended.stdout.into_bytes()),
            ("stderr".to_owned(), ended.stderr.clone().into_bytes()),
        ];
        for name in setup.files() {
            written.push((name.clone(), fs::read(setup.path(&name)).unwrap()));
        }
        assert_eq!(written.len(), 5);
        for (place, bytes) in &written {
            // A log that was carried over is empty.
            assert!(!bytes.is_empty() || place == "stdout" || place.ends_with("-wal"), "{place}");
            for secret in &secrets {
                let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!found, "{secret} is in {place} ({format})");
            }
        }
        // What may be there is there, so the search is able to find something.
        let holds = |bytes: &[u8], text: &str| {
            bytes.windows(text.len()).any(|part| part == text.as_bytes())
        };
        assert!(written[2..].iter().any(|(_, bytes)| holds(bytes, "challenge-7")));
        assert!(holds(&written[1].1, "/internal/issue-token"));
        if format == "json" {
            assert_json_log(&ended.stderr);
        }
    }
}

fn assert_json_log(log: &str) {
    let mut requests = 0;
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(entry["timestamp"].is_string() && entry["level"].is_string(), "{line}");
        let message = entry["message"].as_str().unwrap_or_default();
        if !message.starts_with("request") {
            continue;
        }
        requests += 1;
        assert!(matches!(entry["method"].as_str(), Some("GET" | "POST")), "{line}");
        let path = entry["path"].as_str().unwrap();
        assert!(path.starts_with('/') && !path.contains('?'), "{line}");
        assert!((200..600).contains(&entry["status"].as_u64().unwrap()), "{line}");
        assert_eq!(entry["request_id"].as_str().unwrap().len(), 36, "{line}");
    }
    // How many is not promised here: at this level more may be logged than the queue holds, and a
    // process that is killed takes its last lines along.
    assert!(requests > 0, "{log}");
}
