use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    postgres_server::{Postgres, shared},
    process::{Backend, INTERNAL_SECRET, Request, Setup},
    servers::{free_port, wait_until},
};

const PHOTO: &str = "/api/photos/photo-1";
const MASTER: &str = "hush-a-master-key-of-32-bytes-or-more";

fn setup(url: &str) -> Setup {
    Setup::new().set("MASTER_API_KEYS", MASTER).set("DATABASE_URL", url)
}

fn order(n: u32) -> Value {
    json!({
        "requestId": format!("request-{n}"),
        "challengeId": format!("challenge-{n}"),
        "resourceId": "photo-1",
        "planId": "basic",
        "txHash": format!("0x{n}"),
    })
}

fn issue(backend: &Backend, n: u32) -> String {
    let request = Request::post("/internal/issue-token", &order(n)).internal(INTERNAL_SECRET);
    let answer = request.send(backend.public);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.member("token")
}

fn status(backend: &Backend, key: &str) -> u16 {
    Request::get(PHOTO).bearer(key).send(backend.public).status
}

/// The answer of this moment.
fn status_now(backend: &Backend, key: &str) -> u16 {
    Request::get(PHOTO).bearer(key).send_once(backend.public).status
}

fn ready(backend: &Backend) -> u16 {
    Request::get("/ready").send_once(backend.public).status
}

#[test]
fn the_backend_on_postgresql() {
    let Some(server) = shared() else { return };
    let url = server.new_database();
    let setup = setup(&url);
    let backend = setup.start();
    let shown = url.rsplit_once('@').unwrap().1;
    assert!(backend.stdout().contains(&format!("store           PostgreSQL, {shown}\n")));
    assert!(wait_until(|| ready(&backend) == 200));
    let key = issue(&backend, 1);
    assert_eq!(status(&backend, &key), 200);

    // Another instance, and one after the end of the first: the same key for the same payment.
    let other = setup.clone().elsewhere().start();
    assert_eq!(issue(&other, 1), key);
    backend.kill();
    let backend = setup.start();
    assert_eq!(issue(&backend, 1), key);

    // What one instance revokes is dead on the other.
    let terms = json!({"role": "read"});
    let made = Request::post("/keys", &terms).header("X-Api-Key", MASTER).send(backend.public);
    let (id, key) = (made.member("id"), made.member("key"));
    let use_key = || Request::get("/keys").header("X-Api-Key", &key).send(other.public).status;
    assert_eq!(use_key(), 403);
    // By the command on the host.
    let bare = ["--json", "revoke", &id]
        .iter()
        .fold(Setup::bare().set("DATABASE_URL", &url), |setup, argument| setup.argument(argument));
    let ended = bare.run("keys");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(wait_until(|| use_key() == 401), "it is still good");
    other.kill();
    backend.kill();
}

#[test]
fn an_outage_of_the_server_looks_like_nothing_else() {
    let Some(server) = Postgres::start() else { return };
    let setup = setup(&server.url()).set("CACHE_TTL_SECONDS", "2");
    let backend = setup.start();
    let (warm, cold) = (issue(&backend, 1), issue(&backend, 2));
    for end in [Postgres::stop as fn(&Postgres), Postgres::hang] {
        assert_eq!(status(&backend, &warm), 200);
        end(&server);
        let gone = Instant::now();
        // A warm key may live out its time, and no longer.
        loop {
            let sent = gone.elapsed();
            match status_now(&backend, &warm) {
                200 => assert!(sent < Duration::from_millis(2_500), "its time is over"),
                503 => break,
                other => panic!("{other}"),
            }
        }
        let refused = Request::get(PHOTO).bearer(&cold).send_once(backend.public);
        let detail = "The credential store can't be reached";
        refused.assert_problem(503, "store_unavailable", detail);
        assert!(wait_until(|| ready(&backend) == 503), "it says that it is ready");
        assert_eq!(status(&backend, "ak_mistyped"), 401, "no store is needed to see that");
        if server.is_running() {
            server.resume();
        } else {
            server.start_again();
        }
        for key in [&warm, &cold] {
            assert_eq!(status(&backend, key), 200, "it does not come back");
        }
        assert!(wait_until(|| ready(&backend) == 200), "it does not come back");
        // No key is warm any more.
        std::thread::sleep(Duration::from_millis(2_500));
    }
    backend.kill();
}

#[test]
fn a_server_that_is_not_there_is_told_at_the_start() {
    let url = format!("postgres://key0:hush@127.0.0.1:{}/key0", free_port());
    let ended = setup(&url).run("serve");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("can't use the PostgreSQL database 127.0.0.1:"), "{ended:?}");
}
