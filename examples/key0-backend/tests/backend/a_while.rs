//! Tests that wait for most of their time. Tests are begun in the order of their names: these are
//! the first, and wait beside all others.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    partner_instances::{MINTER_KEY, mint, orders, setup},
    postgres_server::Postgres,
    process::{Backend, Request, Setup, TOKEN_SECRET, connect, read_answer},
    redis_server::Redis,
    serve::{
        ISSUE_TOKEN, PHOTO, PHOTO_1, access_token,
        internal::{identity_provider, token_of_provider, wait_for_keys},
        issue,
        limits::{begun, trickle, until_closed},
        order,
    },
    servers::wait_until,
};

#[test]
fn slow_clients_are_let_go_and_others_are_served_meanwhile() {
    let backend = Setup::new().start();
    let address = backend.public;
    let half_a_body = issue(1).header("Content-Length", "1000").bytes();
    let pipelined = Request::get(PHOTO).header("connection", "keep-alive").bytes().repeat(1_000);
    let (good, done) = (access_token("photo-1", 0), AtomicBool::new(false));

    thread::scope(|scope| {
        // No byte at all, half a head, and nothing after a whole request.
        let kept = Request::get("/health").header("connection", "keep-alive").bytes();
        let idle = [b"".to_vec(), b"GET /health HTTP/1.1\r\nHost: lo".to_vec(), kept];
        let mut waiting: Vec<_> = idle
            .map(|bytes| scope.spawn(move || drop(until_closed(begun(address, &bytes)))))
            .into_iter()
            .collect();
        // A head that comes byte by byte.
        waiting.push(scope.spawn(move || {
            let stream = begun(address, b"GET /health HTTP/1.1\r\nX-Slow: ");
            let reading = stream.try_clone().unwrap();
            thread::spawn(move || trickle(&stream, b"x"));
            until_closed(reading);
        }));
        // Half a body and silence, and one that comes byte by byte: both are told.
        for trickled in [false, true] {
            let half_a_body = half_a_body.clone();
            waiting.push(scope.spawn(move || {
                let stream = begun(address, &half_a_body);
                let reading = stream.try_clone().unwrap();
                if trickled {
                    thread::spawn(move || trickle(&stream, b" "));
                }
                let bytes = until_closed(reading);
                let answer = read_answer(&mut &bytes[..], false).unwrap();
                answer.assert_problem(408, "request_timeout", "The request took too long");
                assert!(answer.header("x-request-id").is_some());
            }));
        }
        // One that asks and asks, and never reads.
        waiting.push(scope.spawn(move || {
            let began = Instant::now();
            let mut stream = connect(address).unwrap();
            while stream.write_all(&pipelined).is_ok() {
                assert!(began.elapsed() < Duration::from_secs(120));
            }
        }));
        // Meanwhile others are served.
        let others = scope.spawn(|| {
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                Request::get(PHOTO).bearer(&good).send(address).assert_ok(PHOTO_1);
                assert_eq!(issue(served).send(address).status, 200);
                served += 1;
                thread::sleep(Duration::from_millis(50));
            }
            served
        });
        let ended: Vec<_> = waiting.into_iter().map(|slow| slow.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(others.join().unwrap() > 0);
        ended.into_iter().for_each(Result::unwrap);
    });
}

/// A provider that is down when the configuration is read again takes no keys away.
#[test]
fn keys_of_a_provider_outlast_a_hang_up() {
    let down = Arc::new(AtomicBool::new(false));
    let issuer = identity_provider(Arc::clone(&down));
    let file = |more: &str| {
        format!(
            "KEY0_ACCESS_TOKEN_SECRET=\"{TOKEN_SECRET}\"\nINTERNAL_AUTH_STRATEGY=oauth\n\
             ISSUANCE_SECRET=\"hush: keys are derived from this secret\"\n\
             INTERNAL_OAUTH_ISSUER={issuer}\nINTERNAL_OAUTH_AUDIENCE=photos\n{more}\n"
        )
    };
    let setup = Setup::bare().file(".env", file(""));
    let backend = setup.start();
    let token = token_of_provider(&issuer, "photos");
    let send = |token: &str| {
        Request::post(ISSUE_TOKEN, &order(1)).bearer(token).send(backend.public).status
    };
    wait_for_keys(|| send(&token));

    down.store(true, Ordering::SeqCst);
    for (times, more) in [(1, "API_KEY_TTL_SECONDS=60"), (2, "API_KEY_TTL_SECONDS=90")] {
        setup.clone().file(".env", file(more));
        backend.signal("HUP");
        backend.wait_for_log("counts from now on", times);
        assert_eq!(send(&token), 200);
    }
    // Of another address nothing is known.
    setup.clone().file(".env", file(&format!("INTERNAL_OAUTH_JWKS_URL={issuer}/keys")));
    backend.signal("HUP");
    backend.wait_for_log("counts from now on", 3);
    assert_eq!(send(&token), 503);
    down.store(false, Ordering::SeqCst);
    wait_for_keys(|| send(&token));
    backend.kill();
}

/// A collector of logs that reads nothing holds up nobody: what finds no room is dropped, and said
/// once there is room again.
#[test]
fn a_log_that_nobody_empties_holds_up_no_request() {
    let setup = Setup::new().set("DATABASE_URL", "memory://").set("LOG_FORMAT", "json");
    let mut backend = setup.start_unread();
    let flood = |backend: &Backend| {
        let request = Request::get(PHOTO).header("connection", "keep-alive");
        let batch = request.header("X-Request-Id", &"x".repeat(128)).bytes().repeat(100);
        let mut stream = connect(backend.public).unwrap();
        for _ in 0..100 {
            stream.write_all(&batch).unwrap();
            for _ in 0..100 {
                assert_eq!(read_answer(&mut stream, false).unwrap().status, 401);
            }
        }
    };
    flood(&backend);
    backend.read_log();
    backend.wait_for_log("log lines were dropped", 1);
    assert_eq!(Request::get(PHOTO).send(backend.public).status, 401);

    let mut backend = setup.start_unread();
    flood(&backend);
    backend.terminate();
    assert_eq!(backend.wait().code(), Some(0));
}

#[test]
fn an_outage_of_postgresql_is_a_503_and_nothing_else() {
    let Some(server) = Postgres::start() else { return };
    outages(
        &server.url(),
        [(&|| server.stop(), &|| server.start_again()), (&|| server.hang(), &|| server.resume())],
    );
}

#[test]
fn an_outage_of_redis_is_a_503_and_nothing_else() {
    let Some(server) = Redis::start(&[]) else { return };
    outages(
        &server.url(""),
        [(&|| server.stop(), &|| server.start_again()), (&|| server.hang(), &|| server.resume())],
    );
}

/// What ends a server's work, and what brings it back.
type Outage<'a> = (&'a dyn Fn(), &'a dyn Fn());

fn outages(url: &str, outages: [Outage<'_>; 2]) {
    let backend = setup(url).start();
    let refused = |request: Request| {
        let answer = request.send_once(backend.public);
        assert_eq!((answer.status, &*answer.member("code")), (503, "store_unavailable"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    };
    assert_eq!(mint(1).send(backend.public).json(), json!({ "newamount": 1 }));
    for (number, (end, again)) in (1..).zip(outages) {
        end();
        for _ in 0..3 {
            refused(mint(1));
            refused(mint(1).header("Idempotency-Key", "k"));
            let orders = Request::get("/v1/loyalty/orders?walletId=wallet");
            refused(orders.header("X-Api-Key", MINTER_KEY));
        }
        backend.wait_for_log("the partner tables don't answer", number);
        again();
        assert!(wait_until(|| mint(1).send_once(backend.public).status == 200), "it is not back");
        backend.wait_for_log("the partner tables answer again", number);
    }
    // What was answered with an outage may have been done; the balance and the orders agree.
    let (count, sum) = orders(backend.public);
    assert_eq!(mint(1).send(backend.public).json(), json!({ "newamount": sum + 1 }));
    assert_eq!(count as u64, sum);
    backend.kill();
}
