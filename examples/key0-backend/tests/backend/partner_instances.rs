//! The partner API of several instances that share a server: what one does all see, and it counts
//! once, whatever ends an instance.

use std::{
    any::Any,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    postgres_server,
    process::{Answer, Request, Setup},
    redis_server::Redis,
    servers::wait_until,
};

pub(crate) const MINTER_KEY: &str = "hush-a-minter-key-of-these-tests-32";

/// A database of its own.
struct Engine {
    url: String,
    /// Goes with the server.
    _server: Box<dyn Any>,
}

/// Runs a test on every engine whose server is installed.
fn on_each(test: impl Fn(&Setup)) {
    let postgres = || {
        let url = postgres_server::shared()?.new_database();
        Some(Engine { url, _server: Box::new(()) })
    };
    let redis = || {
        let server = Redis::start(&[])?;
        Some(Engine { url: server.url(""), _server: Box::new(server) })
    };
    for engine in [postgres(), redis()].into_iter().flatten() {
        println!("on {}", engine.url.split(':').next().unwrap());
        test(&setup(&engine.url));
    }
}

pub(crate) fn setup(url: &str) -> Setup {
    Setup::new().set("DATABASE_URL", url).set("MINTER_API_KEYS", MINTER_KEY)
}

fn post(path: &str, body: &Value) -> Request {
    Request::post(path, body).header("X-Api-Key", MINTER_KEY)
}

pub(crate) fn mint(amount: u64) -> Request {
    post("/v1/loyalty/account/wallet/mint", &json!({ "amount": amount }))
}

fn get(path: &str, address: SocketAddr) -> Answer {
    Request::get(path).header("X-Api-Key", MINTER_KEY).send(address)
}

/// How many orders there are, and what they come to.
pub(crate) fn orders(address: SocketAddr) -> (usize, u64) {
    let orders = get("/v1/loyalty/orders?walletId=wallet", address).json();
    let orders = orders["orders"].as_array().unwrap();
    (orders.len(), orders.iter().map(|order| order["amount"].as_u64().unwrap()).sum())
}

/// Sends until it is carried out: an instance may be gone, and its twin about the same key.
fn insist(request: &Request, addresses: impl Fn() -> SocketAddr) -> Value {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        match request.try_send(addresses()) {
            Ok(answer) if answer.status == 200 => return answer.json(),
            Ok(answer) => assert!(matches!(answer.status, 409 | 503), "{answer:?}"),
            Err(_) => {}
        }
        assert!(Instant::now() < deadline, "it is not carried out");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn mints_through_two_instances_add_up() {
    on_each(|setup| {
        let (one, other) = (setup.start(), setup.clone().elsewhere().start());
        let balances = [&one, &other, &one, &other].map(|backend| {
            let answer = mint(100).send(backend.public);
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.json()["newamount"].as_u64().unwrap()
        });
        assert_eq!(balances, [100, 200, 300, 400]);
        for backend in [&one, &other] {
            assert_eq!(orders(backend.public), (4, 400));
        }
        // What is kept does not go with the instances, and no file is left of them.
        assert_eq!(setup.files(), [""; 0]);
        one.kill();
        other.kill();
        assert_eq!(orders(setup.start().public), (4, 400));
    });
}

#[test]
fn one_key_through_both_instances_at_once_mints_once() {
    on_each(|setup| {
        let backends = [setup.start(), setup.clone().elsewhere().start()];
        let addresses = backends.each_ref().map(|backend| backend.public);
        for round in 1..=20 {
            let request = mint(5).header("Idempotency-Key", &format!("round-{round}"));
            let answers = thread::scope(|scope| {
                let sent = [0, 1, 0, 1].map(|n| {
                    let request = &request;
                    scope.spawn(move || insist(request, || addresses[n]))
                });
                sent.map(|sent| sent.join().unwrap())
            });
            for answer in answers {
                assert_eq!(answer, json!({ "newamount": 5 * round }));
            }
        }
        assert_eq!(orders(addresses[1]), (20, 100));
    });
}

#[test]
fn an_import_is_done_once_and_seen_at_both() {
    on_each(|setup| {
        let backends = [setup.start(), setup.clone().elsewhere().start()];
        let passport = |n: usize| {
            json!({
                "granularity": "model",
                "application": "lamps",
                "modelNumber": format!("model-{n}"),
                "name": "A lamp",
            })
        };
        let rows: Vec<Value> = (0..300).map(passport).collect();
        let imports = backends.each_ref().map(|backend| {
            let queued = post("/v1/imports", &json!({ "rows": rows })).send(backend.public);
            assert_eq!(queued.status, 202, "{queued:?}");
            format!("/v1/imports/{}", queued.member("id"))
        });
        for backend in &backends {
            for import in &imports {
                let is_done = || get(import, backend.public).json()["status"] == "done";
                assert!(wait_until(is_done), "it is not done");
            }
        }
        let count = |import: &String, what: &str| {
            let [one, other] =
                backends.each_ref().map(|backend| get(import, backend.public).json()[what].clone());
            assert_eq!(one, other);
            one.as_u64().unwrap()
        };
        // Whichever came first has made the passports, and the other has found them.
        let both = |what| imports.iter().map(|import| count(import, what)).sum::<u64>();
        assert_eq!((both("created"), both("updated")), (300, 300));
        let all = post("/v1/dpp/passports/publish", &json!({ "filter": {} }));
        assert_eq!(all.send(backends[1].public).json(), json!({ "accepted": 300 }));
    });
}

#[test]
fn a_kill_in_the_midst_of_mints_loses_and_doubles_nothing() {
    const MINTS: u64 = 120;
    on_each(|setup| {
        let steady = setup.start();
        let elsewhere = setup.clone().elsewhere();
        let killed = Mutex::new(Some(elsewhere.start()));
        let doomed = || killed.lock().unwrap().as_ref().map(|backend| backend.public);
        let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for client in 0..4_u64 {
                let (next, done, doomed, steady) = (&next, &done, &doomed, steady.public);
                scope.spawn(move || {
                    loop {
                        let n = next.fetch_add(1, SeqCst);
                        if n >= MINTS {
                            return;
                        }
                        let request = mint(1).header("Idempotency-Key", &format!("mint-{n}"));
                        // Now here, now there.
                        let tries = AtomicU64::new(client);
                        insist(&request, || match tries.fetch_add(1, SeqCst) % 3 {
                            0 => steady,
                            _ => doomed().unwrap_or(steady),
                        });
                        done.fetch_add(1, SeqCst);
                    }
                });
            }
            for part in 1..=3 {
                assert!(wait_until(|| done.load(SeqCst) >= part * MINTS / 4), "it stands still");
                killed.lock().unwrap().take().unwrap().kill();
                *killed.lock().unwrap() = Some(elsewhere.start());
            }
        });
        assert_eq!(orders(steady.public), (MINTS as usize, MINTS));
        assert_eq!(mint(1).send(steady.public).json(), json!({ "newamount": MINTS + 1 }));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn it_starts_where_nothing_can_be_written() {
    on_each(|setup| {
        // Nobody makes a file there, root neither.
        let backend = setup.clone().working_in("/proc").start();
        assert_eq!(mint(5).send(backend.public).json(), json!({ "newamount": 5 }));
    });
}
