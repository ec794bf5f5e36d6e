//! The partner API of the sample backend, from outside: a process, real sockets, and what survives
//! a kill.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::SocketAddr,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use key0_auth::{
    SqliteStore,
    apikey::KeyFormat,
    domain::{Clock, SystemClock},
    idempotency::Idempotency,
    store::{
        IdempotencyStore,
        spi::{IdempotencyState, Lease, Slot},
    },
};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::process::{Answer, Backend, Request, Setup, connect};

const MASTER_KEY: &str = "hush-a-master-key-of-these-tests-32";
const MINTER_KEY: &str = "hush-a-minter-key-of-these-tests-32";
const OTHER_KEY: &str = "hush-another-minter-key-of-these-tests";
/// How long the background may take on any machine.
const PATIENCE: Duration = Duration::from_secs(60);
const OUTAGE: &str = "store_unavailable";
const IN_PROGRESS: (u16, &str) = (409, "idempotency_in_progress");

fn setup() -> Setup {
    Setup::new().set("MASTER_API_KEYS", MASTER_KEY).set("MINTER_API_KEYS", MINTER_KEY)
}

fn post(path: &str, body: &Value) -> Request {
    Request::post(path, body).header("X-Api-Key", MINTER_KEY)
}

fn get(path: &str, address: SocketAddr) -> Answer {
    Request::get(path).header("X-Api-Key", MINTER_KEY).send(address)
}

fn passport(model: impl std::fmt::Display) -> Value {
    json!({
        "granularity": "model",
        "application": "lamps",
        "network": "base",
        "modelNumber": format!("model-{model}"),
        "name": "A lamp",
        "description": "It shines.",
    })
}

fn mint(account: &str, amount: u64, key: &str) -> Request {
    let path = format!("/v1/loyalty/account/{account}/mint");
    post(&path, &json!({ "amount": amount })).header("Idempotency-Key", key)
}

fn orders(account: &str, address: SocketAddr) -> Vec<Value> {
    let answer = get(&format!("/v1/loyalty/orders?walletId={account}"), address);
    answer.json()["orders"].as_array().unwrap().clone()
}

/// Asks until the answer is as wanted.
#[track_caller]
fn wait(what: &str, path: &str, address: SocketAddr, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(path, address).json();
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "not {what} within {PATIENCE:?}: {answer}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_certified(passport: &Value) -> bool {
    let told = (passport["certificationStatus"].as_str(), passport["status"].as_str());
    assert!(
        matches!(told, (Some("pending"), Some("draft")) | (Some("certified"), Some("published"))),
        "{passport}"
    );
    told.0 == Some("certified")
}

#[test]
fn a_passport_is_certified_although_the_server_was_killed() {
    let setup = setup();
    let backend = setup.start();
    let made = post("/v1/dpp/passports", &passport(1)).send(backend.public);
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    for (member, value) in passport(1).as_object().unwrap() {
        assert_eq!(&made[member], value);
    }
    assert_eq!((&made["status"], &made["certificationStatus"]), (&json!("draft"), &json!("none")));
    let path = format!("/v1/dpp/passports/{}", made["id"].as_str().unwrap());
    assert_eq!(get(&path, backend.public).json(), made);
    let publish = post("/v1/dpp/passports/publish", &json!({ "ids": [made["id"]] }));
    let publish = publish.header("Idempotency-Key", "publish");
    let accepted = publish.send(backend.public);
    assert_eq!((accepted.status, accepted.json()), (202, json!({ "accepted": 1 })));
    is_certified(&get(&path, backend.public).json());
    backend.kill();
    let backend = setup.start();
    wait("certified", &path, backend.public, is_certified);
    // The retry is told the same, although nothing is left to be published.
    let again = publish.send(backend.public);
    assert_eq!((again.status, again.json()), (202, json!({ "accepted": 1 })));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

#[test]
fn an_import_is_done_once_although_the_server_was_killed() {
    let setup = setup();
    let backend = setup.start();
    post("/v1/dpp/passports", &passport(0)).send(backend.public);
    let mut rows: Vec<Value> = (0..1_000).map(passport).collect();
    rows[7] = json!("no passport");
    rows[8]["granularity"] = json!("planet");
    rows[9].as_object_mut().unwrap().remove("name");
    rows[10]["name"] = json!("x".repeat(257));
    rows[999]["modelNumber"] = rows[998]["modelNumber"].clone();
    let import = post("/v1/imports", &json!({ "rows": rows })).header("Idempotency-Key", "import");
    let queued = import.send(backend.public);
    assert_eq!(queued.status, 202, "{queued:?}");
    assert_eq!(queued.json()["status"], "queued");
    backend.kill();
    let backend = setup.start();
    let path = format!("/v1/imports/{}", queued.member("id"));
    let done = wait("done", &path, backend.public, |import| import["status"] == "done");
    assert_eq!((&done["created"], &done["updated"]), (&json!(994), &json!(2)));
    let failed = done["failed"].as_array().unwrap();
    let failed: Vec<_> = failed.iter().map(|row| row["row"].as_u64().unwrap()).collect();
    assert_eq!(failed, [7, 8, 9, 10]);
    assert_eq!(import.send(backend.public).body, queued.body);
    let count = "SELECT (SELECT count(*) FROM partner_passports), count(*) FROM partner_imports";
    let conn = Connection::open(setup.database()).unwrap();
    let counts: (i64, i64) =
        conn.query_row(count, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(counts, (995, 1));
}

#[test]
fn orders_are_settled_also_after_a_kill() {
    let setup = setup();
    let backend = setup.start();
    assert_eq!(orders("wallet", backend.public), Vec::<Value>::new());
    for (key, amount) in [("a", 600), ("b", 1)] {
        assert_eq!(mint("wallet", amount, key).send(backend.public).status, 200);
    }
    let told = orders("wallet", backend.public);
    assert_eq!(told.len(), 2);
    for order in &told {
        assert!(order["status"] == "pending" || order["status"] == "settled", "{told:?}");
    }
    assert_eq!((&told[0]["amount"], &told[1]["amount"]), (&json!(1), &json!(600)));
    backend.kill();
    let backend = setup.start();
    let path = "/v1/loyalty/orders?walletId=wallet";
    wait("settled", path, backend.public, |told| {
        told["orders"].as_array().unwrap().iter().all(|order| order["status"] == "settled")
    });
    let page = get(&format!("{path}&limit=1"), backend.public).json();
    assert_eq!(page["orders"].as_array().unwrap().len(), 1);
    let cursor = page["nextCursor"].as_str().unwrap();
    let page = get(&format!("{path}&limit=1&cursor={cursor}"), backend.public).json();
    assert_eq!(page["orders"][0]["amount"], 600);
}

/// Each route with the permissions that it takes.
fn routes() -> Vec<(Request, &'static [&'static str])> {
    let post = |path: &str| Request::post(path, &json!({}));
    vec![
        (post("/v1/dpp/passports"), &["dpp:create"]),
        (post("/v1/dpp/passports/publish"), &["dpp:update"]),
        (Request::get("/v1/dpp/passports/nobodys"), &["dpp:read"]),
        (post("/v1/imports"), &["dpp:create", "dpp:update"]),
        (Request::get("/v1/imports/nobodys"), &["dpp:read"]),
        (post("/v1/loyalty/reward-tiers"), &["loyalty:create"]),
        (Request::get("/v1/loyalty/reward-tiers"), &["loyalty:read"]),
        (post("/v1/loyalty/account/wallet/mint"), &["loyalty:update"]),
        (Request::get("/v1/loyalty/orders"), &["loyalty:read"]),
    ]
}

/// A key that may do exactly this.
fn key_with(backend: &Backend, permissions: &Value) -> String {
    let body = json!({ "role": "minter", "permissions": permissions });
    let request = Request::post("/keys", &body).header("X-Api-Key", MASTER_KEY);
    request.send(backend.public).member("key")
}

#[test]
fn every_route_opens_with_its_own_permission_alone() {
    let backend = setup().start();
    for resource in ["dpp", "loyalty"] {
        for action in ["create", "read", "update", "delete"] {
            let granted = format!("{resource}:{action}");
            let key = key_with(&backend, &json!({ resource: [action] }));
            for (request, needed) in routes() {
                let answer = request.header("X-Api-Key", &key).send(backend.public);
                let missing = needed.iter().find(|needed| **needed != granted);
                match missing {
                    None => assert!(matches!(answer.status, 200 | 400 | 404 | 422), "{answer:?}"),
                    Some(missing) => {
                        assert_eq!(answer.status, 403, "{answer:?}");
                        let challenge = answer.header("www-authenticate").unwrap();
                        assert!(challenge.contains(&format!("scope=\"{missing}\"")), "{challenge}");
                    }
                }
            }
        }
    }
    // All that there is, on resources that only look like these; and nothing at all.
    let all = ["create", "read", "update", "delete"];
    for permissions in [
        json!({ "DPP": all, "Loyalty": all, "dp": all, "dpp.create": all, "dpp/": all }),
        json!({ "passports": all, "v1": all }),
        json!({ "dpp": [], "loyalty": [] }),
        json!({}),
    ] {
        let key = key_with(&backend, &permissions);
        for (request, _) in routes() {
            let answer = request.header("X-Api-Key", &key).send(backend.public);
            assert_eq!(answer.status, 403, "{permissions}: {answer:?}");
        }
    }
    let key = key_with(&backend, &json!({ "dpp": ["create", "update"] }));
    let import = Request::post("/v1/imports", &json!({ "rows": [passport(1)] }));
    assert_eq!(import.header("X-Api-Key", &key).send(backend.public).status, 202);
    // A master manages, and may do all this, too.
    for (request, _) in routes() {
        let answer = request.header("X-Api-Key", MASTER_KEY).send(backend.public);
        assert!(matches!(answer.status, 200 | 400 | 404 | 422), "{answer:?}");
    }
}

#[test]
fn two_processes_on_one_file_count_once() {
    const MINTS: u64 = 100;
    let setup = setup();
    let backends = [setup.start(), setup.start()];
    let addresses = backends.each_ref().map(|backend| backend.public);
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for client in 0..8 {
            let (barrier, address) = (&barrier, addresses[client % 2]);
            scope.spawn(move || {
                barrier.wait();
                for n in 1..=MINTS {
                    // All clients send the same mints under the same keys.
                    let request = mint("wallet", n, &format!("mint-{n}"));
                    loop {
                        let answer = request.send_once(address);
                        if answer.status == 200 {
                            break;
                        }
                        let code = answer.member("code");
                        assert!(
                            ["idempotency_in_progress", "store_unavailable"].contains(&&*code),
                            "{answer:?}"
                        );
                        assert!(answer.header("retry-after").is_some(), "{answer:?}");
                        thread::sleep(Duration::from_millis(10));
                    }
                }
            });
        }
    });
    let orders = orders("wallet", addresses[0]);
    let amounts: BTreeSet<_> = orders.iter().map(|order| order["amount"].as_u64()).collect();
    assert_eq!((orders.len() as u64, amounts.len() as u64), (MINTS, MINTS));
    let last = mint("wallet", 1, "last").send(addresses[1]).json();
    assert_eq!(last, json!({ "newamount": MINTS * (MINTS + 1) / 2 + 1 }));
    // What one has taken in, either carries out, and both know of it.
    let rows: Vec<Value> = (0..100).map(passport).collect();
    let queued = post("/v1/imports", &json!({ "rows": rows })).send(addresses[0]);
    let path = format!("/v1/imports/{}", queued.member("id"));
    for address in addresses {
        let done = wait("done", &path, address, |import| import["status"] == "done");
        assert_eq!(done["created"], 100);
    }
    let all = post("/v1/dpp/passports/publish", &json!({ "filter": {} }));
    assert_eq!(all.send(addresses[1]).json(), json!({ "accepted": 100 }));
}

/// While somebody else holds the file, writes are an outage that asks for patience, reads go on,
/// and the log does not fill.
#[test]
fn a_locked_file_is_an_outage_for_writes_alone() {
    let setup = setup();
    let backend = setup.start();
    assert_eq!(mint("wallet", 1, "a").send(backend.public).status, 200);
    let conn = Connection::open(setup.database()).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        let plain = Request::post("/v1/loyalty/account/wallet/mint", &json!({ "amount": 2 }));
        let plain = plain.header("X-Api-Key", MINTER_KEY);
        let writes = [plain, mint("wallet", 4, "b"), post("/v1/dpp/passports", &passport(1))];
        let address = backend.public;
        let writes = writes.map(|request| scope.spawn(move || request.send_once(address)));
        for _ in 0..20 {
            assert_eq!(orders("wallet", address).len(), 1);
            thread::sleep(Duration::from_millis(50));
        }
        for write in writes {
            let answer = write.join().unwrap();
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_eq!(answer.member("code"), "store_unavailable");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
    });
    backend.wait_for_log("the partner tables don't answer", 1);
    conn.execute_batch("ROLLBACK").unwrap();
    backend.wait_for_log("the partner tables answer again", 1);
    assert_eq!(backend.stderr().matches("the partner tables don't answer").count(), 1);
    let deadline = Instant::now() + PATIENCE;
    let answer = loop {
        let answer = mint("wallet", 4, "b").send(backend.public);
        if answer.status != 409 {
            break answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        thread::sleep(Duration::from_millis(50));
    };
    // What was answered with an outage may have been done later; this mint was done once.
    let (amounts, sum) = {
        let orders = orders("wallet", backend.public);
        let amounts: Vec<_> =
            orders.iter().map(|order| order["amount"].as_u64().unwrap()).collect();
        let sum: u64 = amounts.iter().sum();
        (amounts, sum)
    };
    assert_eq!(answer.json(), json!({ "newamount": sum }));
    assert_eq!(amounts.iter().filter(|amount| **amount == 4).count(), 1);
}

/// Somebody holds the key, be it another process: the request waits for nobody and does nothing.
#[test]
fn a_retry_while_the_first_runs_is_told_to_come_again() {
    let setup = setup().set("DANGEROUS_DISABLE_KEY_CHECKS", "true");
    let backend = setup.start();
    let (path, body) = ("/v1/loyalty/account/wallet/mint", json!({ "amount": 5 }));
    let request = Request::post(path, &body).header("Idempotency-Key", "k");
    let media_type = Some(&b"application/json"[..]);
    let bytes = body.to_string().into_bytes();
    let fingerprint = Idempotency::fingerprint("POST", path, media_type, &bytes);
    let slot = Slot { scope: "anybody".to_owned(), key: "k".to_owned() };
    let now = SystemClock.now();
    let lease = Lease::new(now.plus(Duration::from_secs(60)));
    let store = SqliteStore::open(setup.database()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = runtime.block_on(store.begin_request(&slot, &fingerprint, &lease, now));
    assert_eq!(begun.unwrap(), IdempotencyState::Started);
    for _ in 0..2 {
        let answer = request.send(backend.public);
        assert_eq!((answer.status, answer.member("code").as_str()), IN_PROGRESS, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(orders("wallet", backend.public), Vec::<Value>::new());
    runtime.block_on(store.release_request(&slot, &lease)).unwrap();
    assert_eq!(request.send(backend.public).json(), json!({ "newamount": 5 }));
}

/// A key belongs to the caller, wherever its own key stands in the configuration.
#[test]
fn a_caller_keeps_its_keys_when_the_configuration_is_sorted_anew() {
    let setup = setup();
    let first = setup.clone().set("MINTER_API_KEYS", format!("{MINTER_KEY},{OTHER_KEY}"));
    let backend = first.start();
    assert_eq!(mint("wallet", 5, "k").send(backend.public).json(), json!({ "newamount": 5 }));
    backend.kill();
    let second = setup.set("MINTER_API_KEYS", format!("{OTHER_KEY},{MINTER_KEY}"));
    let backend = second.start();
    let again = mint("wallet", 5, "k").send(backend.public);
    assert_eq!(again.json(), json!({ "newamount": 5 }));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let other = Request::post("/v1/loyalty/account/wallet/mint", &json!({ "amount": 5 }))
        .header("X-Api-Key", OTHER_KEY)
        .header("Idempotency-Key", "k");
    assert_eq!(other.send(backend.public).json(), json!({ "newamount": 10 }));
}

#[test]
fn in_memory_all_of_it_works_and_is_forgotten() {
    let setup = setup().set("DATABASE_URL", "memory://");
    let backend = setup.start();
    for _ in 0..2 {
        assert_eq!(mint("wallet", 5, "k").send(backend.public).json(), json!({ "newamount": 5 }));
    }
    let made = post("/v1/dpp/passports", &passport(1)).send(backend.public);
    let all = post("/v1/dpp/passports/publish", &json!({ "filter": {} }));
    assert_eq!(all.send(backend.public).json(), json!({ "accepted": 1 }));
    let path = format!("/v1/dpp/passports/{}", made.member("id"));
    wait("certified", &path, backend.public, is_certified);
    assert_eq!(setup.files(), [""; 0]);
    backend.kill();
    let backend = setup.start();
    assert_eq!(orders("wallet", backend.public), Vec::<Value>::new());
    assert_eq!(get(&path, backend.public).status, 404);
}

#[test]
fn without_key_checks_everybody_may_and_the_internal_listener_has_none_of_it() {
    let setup = setup().set("DANGEROUS_DISABLE_KEY_CHECKS", "true").set("INTERNAL_PORT", "0");
    let backend = setup.start();
    let bare = Request::post("/v1/loyalty/account/wallet/mint", &json!({ "amount": 5 }));
    assert_eq!(bare.send(backend.public).json(), json!({ "newamount": 5 }));
    for _ in 0..2 {
        let keyed = bare.clone().header("Idempotency-Key", "k").send(backend.public);
        assert_eq!(keyed.json(), json!({ "newamount": 10 }));
    }
    for (request, _) in routes() {
        let answer = request.send(backend.public);
        assert!(matches!(answer.status, 200 | 400 | 404 | 422), "{answer:?}");
        let detail = request.send(backend.internal.unwrap()).member("detail");
        assert_eq!(detail, "Nothing is found at this path");
    }
}

/// What one partner has on its way is bounded, and no other pays for it.
#[test]
fn one_partner_takes_a_bounded_part_of_the_memory() {
    let keys = format!("{MINTER_KEY},{OTHER_KEY}");
    let backend = setup().set("MINTER_API_KEYS", keys).start();
    let path = "/v1/loyalty/reward-tiers";
    let other = || Request::get(path).header("X-Api-Key", OTHER_KEY).send(backend.public).status;
    let begun = |path, length| post(path, &json!({})).header("Content-Length", length).body("{");
    let begin = |begun: &Request| {
        let mut stream = connect(backend.public).unwrap();
        stream.write_all(&begun.bytes()).unwrap();
        stream
    };
    let mut half: Vec<_> = (0..40).map(|_| begin(&begun("/v1/imports", "1000000"))).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    // The small ones take what the large ones leave. One more for each look, as a look itself may
    // have had the room that a large one asked for.
    let refused = loop {
        half.push(begin(&begun(path, "2")));
        let answer = get(path, backend.public);
        if answer.status == 429 {
            break answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
    };
    assert_eq!(refused.member("code"), "too_many_requests");
    assert_eq!((refused.header("retry-after"), other()), (Some("1"), 200));
    drop(half);
    while get(path, backend.public).status != 200 {
        assert!(Instant::now() < deadline, "the room is not given back");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What SQLite writes to a file that was deleted or replaced nobody finds again.
#[test]
fn a_file_that_is_gone_or_is_another_is_an_outage_for_keys_and_partners() {
    for replaced in [true, false] {
        let setup = setup();
        let mut backend = setup.start();
        assert_eq!(crate::serve::issue(1).send(backend.public).status, 200);
        assert_eq!(mint("wallet", 5, "1").send(backend.public).status, 200);
        let database = setup.database();
        if replaced {
            fs::copy(&database, setup.path("copy")).unwrap();
            fs::rename(setup.path("copy"), &database).unwrap();
        } else {
            fs::remove_file(&database).unwrap();
        }
        let key = KeyFormat::default().generate().unwrap();
        for request in [
            mint("wallet", 5, "2"),
            mint("wallet", 5, "1"),
            post("/v1/dpp/passports", &passport(1)),
            Request::get("/v1/loyalty/orders?walletId=wallet").header("X-Api-Key", MINTER_KEY),
            crate::serve::issue(2),
            Request::get(crate::serve::PHOTO).bearer(key.expose()),
        ] {
            let refused = request.send_once(backend.public);
            assert_eq!((refused.status, refused.member("code")), (503, OUTAGE.to_owned()));
        }
        let deadline = Instant::now() + PATIENCE;
        while Request::get("/ready").send(backend.public).status != 503 {
            assert!(Instant::now() < deadline, "it still says that it is ready");
        }
        backend.wait_for_log("was deleted or replaced while it was open", 1);
        let before = replaced.then(|| fs::read(&database).unwrap());
        backend.terminate();
        assert!(backend.wait().success());
        assert_eq!(fs::read(&database).ok(), before, "something was written to the other file");
    }
}

/// Whatever was acknowledged, and whoever has written it.
#[test]
fn after_the_end_a_copy_of_the_file_alone_holds_everything() {
    let setup = setup();
    let mut backend = setup.start();
    let counted = |name: &str| {
        fs::copy(setup.database(), setup.path(name)).unwrap();
        let copy = Connection::open(setup.path(name)).unwrap();
        ["keys", "partner_orders", "partner_passports"].map(|table| {
            let count = format!("SELECT count(*) FROM {table}");
            copy.query_row(&count, (), |row| row.get::<_, i64>(0)).unwrap_or(0)
        })
    };
    assert_eq!(crate::serve::issue(1).send(backend.public).status, 200);
    assert_eq!(mint("wallet", 5, "1").send(backend.public).status, 200);
    assert_eq!(post("/v1/dpp/passports", &passport(1)).send(backend.public).status, 201);
    backend.terminate();
    assert!(backend.wait().success());
    assert_eq!(counted("copy.db"), [1, 1, 1]);
}
