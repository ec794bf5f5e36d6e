//! The sample backend on Redis. Every secret of these tests, the password of the server too, has a
//! mark in it that no ended backend may have printed.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    process::{Backend, INTERNAL_SECRET, Request, Setup},
    redis_server::{RIGHTS, Redis},
    servers::wait_until,
};

const MASTER: &str = "hush-the-master-key-of-these-tests-on-redis";
const PHOTO: &str = "/api/photos/photo-1";

fn setup(server: &Redis) -> Setup {
    Setup::new().set("DATABASE_URL", server.url("")).set("MASTER_API_KEYS", MASTER)
}

fn issue(n: &str) -> Request {
    issue_for(n, &format!("0x{n}"))
}

fn issue_for(n: &str, tx_hash: &str) -> Request {
    let order = json!({
        "requestId": format!("request-{n}"),
        "challengeId": format!("challenge-{n}"),
        "resourceId": "photo-1",
        "planId": "basic",
        "txHash": tx_hash,
    });
    Request::post("/internal/issue-token", &order).internal(INTERNAL_SECRET)
}

fn issued(backend: &Backend, n: &str) -> String {
    let answer = issue(n).send(backend.public);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

fn status(backend: &Backend, request: Request) -> u16 {
    request.send(backend.public).status
}

/// The answer of this moment.
fn status_now(backend: &Backend, request: Request) -> u16 {
    request.send_once(backend.public).status
}

fn photo(key: &str) -> Request {
    Request::get(PHOTO).bearer(key)
}

#[test]
fn the_same_credential_after_a_restart_of_the_backend_and_of_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    let setup = setup(&server);
    let backend = setup.start();
    let first = issued(&backend, "1");
    assert_eq!(status(&backend, photo(&first)), 200);
    assert_eq!(issued(&backend, "1"), first);
    drop(backend);
    server.kill_9();
    server.start_again();
    let (backend, other) = (setup.start(), setup.clone().elsewhere().start());
    for backend in [&backend, &other] {
        assert_eq!(issued(backend, "1"), first);
        assert_eq!(status(backend, photo(&first)), 200);
    }
    let refused = issue_for("2", "0X1").send(backend.public);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("payment_already_redeemed"))
    );
}

#[test]
fn a_revocation_reaches_other_instances_long_before_a_key_is_forgotten() {
    let Some(server) = Redis::start(&[]) else { return };
    let setup = setup(&server).set("CACHE_TTL_SECONDS", "600");
    let (one, other) = (setup.start(), setup.clone().elsewhere().start());
    for n in 0..10 {
        let key = issued(&one, &n.to_string());
        assert_eq!(status(&other, photo(&key)), 200);
        let listed = Request::get("/keys?kind=payment&limit=1")
            .header("X-Api-Key", MASTER)
            .send(one.public)
            .json();
        let id = listed["keys"][0]["id"].as_str().unwrap().to_owned();
        let gone = Request::new("DELETE", &format!("/keys/{id}"))
            .header("X-Api-Key", MASTER)
            .send(one.public);
        assert_eq!(gone.status, 204);
        assert_eq!(status(&one, photo(&key)), 401);
        let is_over = || status(&other, photo(&key)) == 401;
        assert!(wait_until(is_over), "a revoked key is good elsewhere");
    }
}

#[test]
fn an_outage_is_a_503_for_issued_keys_and_nothing_for_access_tokens() {
    let Some(server) = Redis::start(&[]) else { return };
    let backend = setup(&server).set("CACHE_TTL_SECONDS", "1").start();
    let key = issued(&backend, "1");
    let (token, ended) = (access_token("challenge-1"), access_token("challenge-2"));
    assert_eq!(status(&backend, end(&ended)), 200);
    let ready = || status_now(&backend, Request::get("/ready"));
    assert!(wait_until(|| ready() == 200));
    assert_eq!(status(&backend, photo(&key)), 200);
    for way in ["stop", "hang", "empty"] {
        match way {
            "stop" => server.stop(),
            "hang" => server.hang(),
            _ => server.cli(&["FLUSHALL"]),
        }
        let gone = Instant::now();
        // A warm key may live out its time, and no longer.
        loop {
            let sent = gone.elapsed();
            match status_now(&backend, photo(&key)) {
                200 => assert!(sent < Duration::from_millis(1_500), "{way}: its time is over"),
                503 => break,
                other => panic!("{way}: {other}"),
            }
        }
        // What was asked a moment ago is not asked again.
        assert!(wait_until(|| ready() == 503), "{way}");
        for _ in 0..5 {
            let answer = photo(&key).send_once(backend.public);
            assert_eq!(answer.status, 503, "{way}");
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert_eq!(status(&backend, photo(&token)), 200, "{way}");
            assert_eq!(status(&backend, photo(&ended)), 401, "{way}: what is known holds");
        }
        if way == "empty" {
            assert_eq!(status_now(&backend, issue("9")), 503, "it goes on to sell");
            continue;
        }
        if way == "stop" {
            server.start_again()
        } else {
            server.resume()
        }
        assert_eq!(status(&backend, photo(&key)), 200, "{way}: it does not recover");
        assert!(wait_until(|| ready() == 200), "{way}: it does not recover");
    }
    backend.kill();
}

/// What the holder of a credential sends to end it.
fn end(credential: &str) -> Request {
    Request::new("POST", "/credential/revoke")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!("token={credential}"))
}

#[test]
fn a_backend_that_can_not_tell_which_tokens_are_denied_is_not_ready_and_does_not_start() {
    let Some(server) = Redis::start(&[]) else { return };
    let setup = setup(&server);
    let backend = setup.start();
    let (token, ended) = (access_token("challenge-1"), access_token("challenge-2"));
    assert_eq!(status(&backend, end(&ended)), 200);
    let ready = || Request::get("/ready").send_once(backend.public);
    assert!(wait_until(|| ready().status == 200));
    let () = server.cli(&["RENAME", "key0:denied", "kept"]);
    let () = server.cli(&["SET", "key0:denied", "of another kind"]);
    assert!(wait_until(|| ready().status == 503));
    assert_eq!(ready().json()["checks"]["store"], "failed");
    assert_eq!(status(&backend, photo(&token)), 200);
    assert_eq!(status(&backend, photo(&ended)), 401);
    assert_eq!(setup.run("serve").code, Some(2));
    let () = server.cli(&["RENAME", "kept", "key0:denied"]);
    assert!(wait_until(|| ready().status == 200));
    backend.kill();
    // Another process reads it before it takes a request.
    let backend = setup.start();
    assert_eq!(status(&backend, photo(&ended)), 401);
    assert_eq!(status(&backend, photo(&token)), 200);
    backend.kill();
}

#[test]
fn the_start_says_where_the_store_is_and_what_it_can_lose() {
    let Some(server) = Redis::start(&["--appendonly", "no"]) else { return };
    let backend = setup(&server).start();
    let printed = backend.stdout();
    let store = format!("Redis, redis://127.0.0.1:{}/0\n", server.port());
    assert!(printed.contains(&store), "{printed}");
    assert!(printed.contains("WARNING         Redis runs with appendonly off"), "{printed}");
    assert!(printed.contains("WARNING         Redis held nothing here"), "{printed}");
    backend.kill();
    // INFO is not allowed.
    server.set_user(&[&["~key0:*", "&key0:*"], RIGHTS].concat());
    let backend = Setup::new().set("DATABASE_URL", server.user_url()).start();
    let printed = backend.stdout();
    assert!(printed.contains("WARNING         Redis does not tell whether"), "{printed}");
    assert!(printed.contains("WARNING         Redis does not tell its"), "{printed}");
    assert!(!printed.contains("Redis held nothing"), "{printed}");
    backend.kill();

    let durable = Redis::start(&[]).unwrap();
    drop(setup(&durable).start());
    let backend = setup(&durable).start();
    assert!(!backend.stdout().contains("WARNING         Redis"), "{}", backend.stdout());

    let wrong = format!("redis://:hush-wrong@127.0.0.1:{}", durable.port());
    let ended = Setup::new().set("DATABASE_URL", wrong).run("serve");
    assert_eq!(ended.code, Some(2));
}

#[test]
fn commands_that_make_no_key_make_no_database() {
    let Some(server) = Redis::start(&[]) else { return };
    for arguments in [&["list"][..], &["show", "x"], &["revoke", "x"], &["rotate", "x"]] {
        let bare = Setup::bare().set("DATABASE_URL", server.url(""));
        let keys = arguments.iter().fold(bare, |setup, argument| setup.argument(argument));
        let ended = keys.run("keys");
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("holds no database"), "{ended:?}");
        let left: Vec<String> = server.cli(&["KEYS", "*"]);
        assert!(left.is_empty(), "{arguments:?} has made {left:?}");
    }
}

fn access_token(challenge: &str) -> String {
    use key0_auth::{
        domain::{Claims, Clock, SystemClock},
        token::TokenIssuer,
    };
    let claims = Claims::new(
        "request-1".parse().unwrap(),
        challenge.parse().unwrap(),
        "photo-1".parse().unwrap(),
        "basic".parse().unwrap(),
        "0xabc".parse().unwrap(),
        SystemClock.now().plus(Duration::from_secs(3_600)),
    );
    TokenIssuer::hs256(&crate::process::token_secret()).access_token(&claims).unwrap()
}
