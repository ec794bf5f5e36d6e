//! `key0-backend store copy`, and that no other command makes a store.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use sqlx::Connection;

use crate::{
    postgres_server::{Postgres, run_sql, shared},
    process::{Answer, Backend, Ended, MARK, Request, Setup},
    redis_server::{self, Redis},
    serve::{PHOTO, issue, order},
    servers::{proxy::Proxy, wait_until},
};

const MASTER: &str = "hush-a-master-key-of-these-tests-32";
const MINTER: &str = "hush-a-minter-key-of-these-tests-32";

fn setup(url: &str) -> Setup {
    Setup::new()
        .set("MASTER_API_KEYS", MASTER)
        .set("MINTER_API_KEYS", MINTER)
        .set("DATABASE_URL", url)
}

fn run(setup: &Setup, command: &str, arguments: &[&str]) -> Ended {
    let setup = arguments.iter().fold(setup.clone(), |setup, argument| setup.argument(argument));
    let ended = setup.run(command);
    assert!(!ended.stdout.contains(MARK) && !ended.stderr.contains(MARK), "{ended:?}");
    ended
}

/// Three stores of three engines, and one more file.
struct Places {
    folder: Setup,
    urls: [String; 4],
    _redis: Redis,
}

impl Places {
    fn new() -> Option<Self> {
        let redis = Redis::start(&["--appendonly", "no"])?;
        let folder = Setup::new();
        let file = |name: &str| format!("sqlite://{}", folder.path(name).display());
        let (one, other) = (file("one.db"), file("other.db"));
        let urls = [one, shared()?.new_database(), redis.url("?prefix=shop:"), other];
        Some(Self { folder, urls, _redis: redis })
    }

    fn copy(&self, from: &str, to: &str) -> Ended {
        run(&self.folder, "store", &["copy", "--from", from, "--to", to])
    }
}

/// What the commands tell of a store.
fn told(url: &str) -> Vec<Value> {
    let tell = |command: &str, arguments: &[&str]| {
        // A store may be slow, and then the command says so.
        let mut ended = run(&setup(url), command, arguments);
        let is_slow = |ended: &Ended| {
            ended.code == Some(1) && format!("{ended:?}").contains("can't be reached")
        };
        for _ in 0..50 {
            if is_slow(&ended) {
                ended = run(&setup(url), command, arguments);
            }
        }
        assert_eq!(ended.code, Some(0), "{command}: {ended:?}");
        let lines = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    [
        tell("keys", &["--json", "list", "--all"]),
        tell("keys", &["--json", "list", "--all", "--kind", "payment"]),
        tell("purchases", &["--json", "list"]),
        tell("audit", &["--json"]),
    ]
    .concat()
}

fn ask(backend: &Backend, request: Request) -> Answer {
    request.header("X-Api-Key", MASTER).send(backend.public)
}

fn mint() -> Request {
    let mint = Request::post("/v1/loyalty/account/ada/mint", &json!({ "amount": 7 }));
    mint.header("Idempotency-Key", "once")
}

fn partner(backend: &Backend, path: &str) -> Value {
    Request::get(path).header("X-Api-Key", MINTER).send(backend.public).json()
}

/// What a shop has after a day.
struct Day {
    tokens: Vec<String>,
    revoked: String,
    passport: Value,
    orders: Value,
    /// What became of an import, and where that is told.
    import: (String, Value),
    /// Requests with an idempotency key, and what they were answered.
    once: Vec<(Request, Value)>,
}

fn fill(backend: &Backend) -> Day {
    let mut tokens = Vec::new();
    for n in 1..=4 {
        tokens.push(issue(n).send(backend.public).member("token"));
    }
    let paid = Request::post("/internal/payment-received", &order(2));
    let paid = paid.internal(crate::process::INTERNAL_SECRET).send(backend.public);
    assert_eq!(paid.status, 200, "{paid:?}");
    let keys: Vec<Answer> = (0..3)
        .map(|n| {
            let terms = json!({ "role": "read", "label": format!("shop {n}") });
            ask(backend, Request::post("/keys", &terms))
        })
        .collect();
    let gone = format!("/keys/{}", keys[0].member("id"));
    let gone = ask(backend, Request::new("DELETE", &gone));
    assert!(gone.status < 300, "{gone:?}");
    let refund = Request::post("/purchases/challenge-4/revoke", &json!({ "reason": "refunded" }));
    assert_eq!(ask(backend, refund).status, 200);
    let passport = json!({
        "granularity": "model", "application": "lamps", "network": "base",
        "modelNumber": "m-1", "name": "A lamp", "description": "It shines.\u{0}",
    });
    let made = Request::post("/v1/dpp/passports", &passport).header("X-Api-Key", MINTER);
    let made = made.send(backend.public).json();
    let tier = json!({ "name": "gold", "threshold": 3 });
    let tier = Request::post("/v1/loyalty/reward-tiers", &tier).header("X-Api-Key", MINTER);
    assert!(tier.send(backend.public).status < 300);
    let rows = json!({ "rows": [{
        "granularity": "item", "application": "lamps", "modelNumber": "m-2", "name": "Another",
    }] });
    let published = json!({ "ids": [made["id"]] });
    let once = [
        Request::post("/v1/imports", &rows).header("Idempotency-Key", "import"),
        Request::post("/v1/dpp/passports/publish", &published).header("Idempotency-Key", "publish"),
        mint(),
    ];
    let once = once.map(|request| request.header("X-Api-Key", MINTER));
    let once = once.map(|request| (request.clone(), request.send(backend.public).json())).to_vec();
    let import = format!("/v1/imports/{}", once[0].1["id"].as_str().unwrap());
    let path = format!("/v1/dpp/passports/{}", made["id"].as_str().unwrap());
    assert!(wait_until(|| partner(backend, &path)["status"] == "published"));
    let made = partner(backend, &path);
    assert!(wait_until(|| partner(backend, &import)["status"] == "done"));
    let done = partner(backend, &import);
    let settled = || {
        let orders = partner(backend, "/v1/loyalty/orders?walletId=ada");
        orders["orders"][0]["status"] == "settled"
    };
    assert!(wait_until(settled));
    Day {
        tokens,
        revoked: keys[0].member("key"),
        passport: made,
        orders: partner(backend, "/v1/loyalty/orders?walletId=ada"),
        import: (import, done),
        once,
    }
}

/// The next day, on whatever store.
fn holds(url: &str, day: &Day) {
    let backend = setup(url).start();
    let status = |key: &str| Request::get(PHOTO).bearer(key).send(backend.public).status;
    for (n, token) in (1..=3).zip(&day.tokens) {
        assert_eq!(issue(n).send(backend.public).member("token"), *token, "{url}: {n}");
        assert_eq!(status(token), 200);
    }
    // What was revoked is.
    assert_eq!(status(&day.tokens[3]), 401);
    assert_eq!(issue(4).send(backend.public).member("code"), "purchase_revoked");
    let access_token = crate::serve::access_token_of("challenge-4");
    let denied = Request::get(PHOTO).bearer(&access_token).send(backend.public);
    assert_eq!((denied.status, denied.member("code")), (401, "token_revoked".to_owned()));
    let revoked = Request::get("/keys").header("X-Api-Key", &day.revoked).send(backend.public);
    assert_eq!((revoked.status, revoked.member("code")), (401, "key_revoked".to_owned()));
    // What was paid is spent, and what was minted is there once.
    let mut thief = order(9);
    thief["txHash"] = "0x1".into();
    let thief = Request::post("/internal/issue-token", &thief);
    let thief = thief.internal(crate::process::INTERNAL_SECRET).send(backend.public);
    assert_eq!(thief.status, 409, "{thief:?}");
    assert_eq!(day.once[2].1, json!({ "newamount": 7 }));
    for (request, told) in &day.once {
        assert_eq!(request.send(backend.public).json(), *told, "{url}");
    }
    assert_eq!(partner(&backend, "/v1/loyalty/orders?walletId=ada"), day.orders, "{url}");
    let path = format!("/v1/dpp/passports/{}", day.passport["id"].as_str().unwrap());
    assert_eq!(partner(&backend, &path), day.passport, "{url}");
    assert_eq!(partner(&backend, &day.import.0), day.import.1, "{url}");
    let tiers = partner(&backend, "/v1/loyalty/reward-tiers");
    assert!(tiers.to_string().contains("gold"), "{tiers}");
}

fn stop(mut backend: Backend) {
    backend.terminate();
    backend.wait();
}

#[test]
fn a_store_goes_from_engine_to_engine_and_back() {
    let Some(places) = Places::new() else { return };
    let [one, postgres, redis, other] = &places.urls;
    let backend = setup(one).start();
    let day = fill(&backend);
    stop(backend);
    let before = told(one);
    let bytes = fs::read(places.folder.path("one.db")).unwrap();
    for (from, to) in [(one, postgres), (postgres, redis), (redis, other)] {
        let ended = places.copy(from, to);
        assert_eq!(ended.code, Some(0), "{to}: {ended:?}");
        assert!(ended.stdout.contains(" holds all of "), "{ended:?}");
        // PostgreSQL holds events back while other transactions go on.
        assert!(wait_until(|| told(to) == before), "{to}");
        // It is not copied again over what is there.
        let again = places.copy(from, to);
        assert!(again.code == Some(2) && again.stderr.contains("holds data already"), "{again:?}");
        assert!(wait_until(|| told(to) == before), "{to}");
    }
    assert!(fs::read(places.folder.path("one.db")).unwrap() == bytes, "the source has changed");
    assert_eq!(told(one), before);
    for url in &places.urls {
        holds(url, &day);
    }
}

fn start_copy(from: &str, to: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_key0-backend"))
        .args(["store", "copy", "--from", from, "--to", to])
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Whether some records are there, and a server is kept from starting on them.
fn is_begun(url: &str) -> bool {
    let ended = run(&setup(url), "store", &["check"]);
    ended.code != Some(0) && ended.stderr.contains("holds a part of a copy of SQLite, ")
}

/// The process is killed while records are on their way to a server that is slow to take them.
#[test]
fn a_copy_that_was_killed_is_gone_on_with() {
    let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start(&["--appendonly", "no"]))
    else {
        return;
    };
    let source = setup("sqlite://source.db");
    stop(source.start());
    let lines: String =
        (0..6_000).map(|n| format!("{{\"key\":\"ak_{n:032x}\",\"role\":\"read\"}}\n")).collect();
    let source = source.file("keys", lines);
    let imported = run(&source, "keys", &["import", "keys"]);
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    let from = format!("sqlite://{}", source.path("source.db").display());
    let before = told(&from);
    assert!(before.len() >= 6_001, "{}", before.len());

    let postgres_proxy = Proxy::to(postgres.address());
    let redis_proxy = Proxy::to(redis.address());
    let targets = [
        (postgres.url(), postgres.url_through(postgres_proxy.port()), &postgres_proxy),
        (redis.url(""), redis.url_through(redis_proxy.port(), ""), &redis_proxy),
    ];
    for (to, slowly, proxy) in targets {
        proxy.delay(std::time::Duration::from_millis(15));
        let mut copy = start_copy(&from, &slowly);
        assert!(
            wait_until(|| is_begun(&to)),
            "it does not begin: {:?}",
            run(&setup(&to), "store", &["check"])
        );
        assert_eq!(copy.try_wait().unwrap(), None, "it is over");
        copy.kill().unwrap();
        copy.wait().unwrap();
        for command in ["serve", "keys"] {
            let arguments: &[&str] = if command == "keys" { &["list"] } else { &[] };
            let refused = run(&setup(&to), command, arguments);
            assert_eq!(refused.code, Some(2), "{refused:?}");
            assert!(refused.stderr.contains("holds a part of a copy of"), "{refused:?}");
        }
        // Another source is not mixed with it.
        let other = setup("sqlite://other.db");
        stop(other.start());
        let other = format!("sqlite://{}", other.path("other.db").display());
        let mixed = run(&setup(&to), "store", &["copy", "--from", &other, "--to", &to]);
        assert!(mixed.code == Some(2) && mixed.stderr.contains("a part of a copy"), "{mixed:?}");
        let ended = run(&setup(&to), "store", &["copy", "--from", &from, "--to", &to]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(wait_until(|| told(&to) == before), "{to}");
    }
}

/// How many copies into a target were begun and have not ended, that of the keys and that of what
/// partners have.
fn begun(url: &str) -> usize {
    if url.starts_with("redis") {
        let names = ["key0:unfinished_copy", "key0:partner:unfinished_copy"];
        return redis_server::cli(url, &[&["EXISTS"][..], &names].concat());
    }
    let names = "SELECT count(*) FROM pg_tables WHERE tablename ~ '^(partner_)?unfinished_copy$'";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let count: i64 = runtime.block_on(async {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(names).fetch_one(&mut connection).await.unwrap()
    });
    usize::try_from(count).unwrap()
}

/// The process is killed between the ends of the two copies that it makes.
#[test]
fn a_copy_that_was_killed_at_its_end_is_ended() {
    let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start(&["--appendonly", "no"]))
    else {
        return;
    };
    let source = setup("sqlite://source.db");
    let backend = source.start();
    let day = fill(&backend);
    stop(backend);
    let from = format!("sqlite://{}", source.path("source.db").display());
    let before = told(&from);
    let postgres_proxy = Proxy::to(postgres.address());
    let redis_proxy = Proxy::to(redis.address());
    let (postgres_port, redis_port) = (postgres_proxy.port(), redis_proxy.port());
    let in_postgres = || {
        let url = postgres.new_database();
        let through = url.replace(&format!(":{}/", postgres.port()), &format!(":{postgres_port}/"));
        (url, through)
    };
    let in_redis = || {
        let () = redis.cli(&["FLUSHALL"]);
        (redis.url(""), redis.url_through(redis_port, ""))
    };
    for new_target in [&in_postgres as &dyn Fn() -> (String, String), &in_redis] {
        // A machine that is busy may be too late to see it, so there is more and more time to.
        let cut_off = (1..=20).find_map(|attempt| {
            for proxy in [&postgres_proxy, &redis_proxy] {
                proxy.delay(std::time::Duration::from_millis(15 * attempt));
            }
            let (to, slowly) = new_target();
            let mut copy = start_copy(&from, &slowly);
            let both = wait_until(|| begun(&to) == 2);
            while both && begun(&to) == 2 && copy.try_wait().unwrap().is_none() {}
            copy.kill().unwrap();
            copy.wait().unwrap();
            (begun(&to) == 1).then_some(to)
        });
        let to = cut_off.expect("no copy was killed at its end");
        for command in ["serve", "keys"] {
            let arguments: &[&str] = if command == "keys" { &["list"] } else { &[] };
            let refused = run(&setup(&to), command, arguments);
            assert_eq!(refused.code, Some(2), "{to}: {refused:?}");
            assert!(refused.stderr.contains("holds a part of a copy of"), "{refused:?}");
        }
        let ended = run(&setup(&to), "store", &["copy", "--from", &from, "--to", &to]);
        assert_eq!(ended.code, Some(0), "{to}: {ended:?}");
        assert!(wait_until(|| told(&to) == before), "{to}");
        holds(&to, &day);
    }
}

#[test]
fn what_can_not_be_copied_is_said_before_anything_is_made() {
    let source = setup("sqlite://source.db");
    stop(source.start());
    let newer = Setup::new().file("newer.db", fs::read(source.path("source.db")).unwrap());
    let conn = rusqlite::Connection::open(newer.path("newer.db")).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let newer = format!("sqlite://{}", newer.path("newer.db").display());
    for (from, to, reason) in [
        ("sqlite://source.db", "mysql://hush@db", "--to"),
        ("hush", "sqlite://target.db", "--from"),
        ("sqlite://source.db", "sqlite://source.db", "is the store of --from"),
        ("sqlite://nothing.db", "sqlite://target.db", "there is no database"),
        (&newer, "sqlite://target.db", "newer than"),
        ("sqlite://source.db", &newer, "newer than"),
        ("memory://", "sqlite://target.db", "memory"),
        ("sqlite://source.db", "memory://", "memory"),
    ] {
        let ended = run(&source, "store", &["copy", "--from", from, "--to", to]);
        assert!(ended.code == Some(2) && ended.stderr.contains(reason), "{from} {to}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(!source.files().contains(&"target.db".to_owned()));
    }
    // By files, as a URL with a password is given.
    let source = source.file("from", "sqlite://source.db\n").file("to", "sqlite://target.db\n");
    let ended =
        run(&source, "store", &["copy", "--from-file", "from", "--to-file", "to", "--json"]);
    assert!(ended.code == Some(0) && ended.stdout.contains("\"done\""), "{ended:?}");
}

/// A typing error in `DATABASE_URL` must not look like a shop without customers.
#[test]
fn no_command_makes_a_store_but_serve() {
    let folder = Setup::new();
    let file = format!("sqlite://{}", folder.path("empty.db").display());
    let mut urls = vec![file];
    if let Some(server) = shared() {
        urls.push(server.new_database());
    }
    let redis = Redis::start(&["--appendonly", "no"]);
    urls.extend(redis.as_ref().map(|redis| redis.url("")));
    for url in &urls {
        let id = "0197a000-0000-7000-8000-000000000000";
        let folder = folder.clone().file("import", "");
        for (command, arguments) in [
            ("keys", &["list"][..]),
            ("keys", &["create", "--role", "read"]),
            ("keys", &["show", id]),
            ("keys", &["find", "ak_nothing"]),
            ("keys", &["suspend", id]),
            ("keys", &["resume", id]),
            ("keys", &["edit", id, "--label", "new"]),
            ("keys", &["revoke", id]),
            ("keys", &["rotate", id]),
            ("keys", &["import", "import", "--role", "read"]),
            ("purchases", &["list"]),
            ("purchases", &["show", "challenge-1"]),
            ("purchases", &["revoke", "challenge-1"]),
            ("purchases", &["retry", "challenge-1"]),
            ("purchases", &["settle", "challenge-1", "--reason", "none"]),
            ("audit", &[]),
            ("store", &["check"]),
            ("store", &["copy", "--to", "sqlite://target.db"]),
        ] {
            let wrong = folder.clone().set("DATABASE_URL", url.as_str());
            let ended = run(&wrong, command, arguments);
            assert_eq!(ended.code, Some(2), "{url} {command} {arguments:?}: {ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{command} {arguments:?}: {ended:?}");
            assert!(
                ended.stderr.contains("there is no") || ended.stderr.contains("holds no database")
            );
            is_empty(url, &folder, redis.as_ref());
        }
        // The rest is not refused by what these have left.
        let backend = folder.clone().set("DATABASE_URL", url.as_str()).start();
        assert_eq!(issue(1).send(backend.public).status, 200);
    }
}

fn is_empty(url: &str, folder: &Setup, redis: Option<&Redis>) {
    if url.starts_with("sqlite") {
        assert_eq!(folder.files(), ["import"]);
    } else if url.starts_with("postgres") {
        run_sql(
            url,
            "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'key0')
                 AND NOT EXISTS (SELECT FROM pg_class WHERE relname ~ '^(keys|partner_)'); END $$",
        );
    } else if let Some(redis) = redis {
        assert_eq!(redis.cli::<i64>(&["DBSIZE"]), 0);
    }
}
