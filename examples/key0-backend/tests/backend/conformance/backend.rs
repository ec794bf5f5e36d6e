//! Against the sample backend, as a process.

use serde_json::Value;

use crate::conformance::{
    INTERNAL_SECRET, MASTER_KEY, PREVIOUS_INTERNAL_SECRET, PREVIOUS_TOKEN_SECRET, Report,
    TOKEN_SECRET, conformance,
    process::{Backend, Request, Setup},
    stranger,
};

/// The sample backend, with all that the run knows of it.
fn backend() -> Setup {
    configured(Setup::bare())
}

fn configured(setup: Setup) -> Setup {
    setup
        .set("KEY0_ACCESS_TOKEN_SECRET", TOKEN_SECRET)
        .set("KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS", PREVIOUS_TOKEN_SECRET)
        .set("INTERNAL_AUTH_SECRET", INTERNAL_SECRET)
        .set("INTERNAL_AUTH_PREVIOUS_SECRETS", PREVIOUS_INTERNAL_SECRET)
        .set("MASTER_API_KEYS", MASTER_KEY)
}

fn url(backend: &Backend) -> String {
    format!("http://{}", backend.public)
}

/// The keys of partners that are in force.
fn keys(backend: &Backend) -> Value {
    let address = backend.internal.unwrap_or(backend.public);
    Request::get("/keys").header("X-Api-Key", MASTER_KEY).send(address).json()
}

/// Nothing of what a case needs is made up: it either ran and held, or is told to be skipped.
#[test]
fn the_sample_backend_passes() {
    let backend = backend().start();
    let report = Report::of(conformance(&url(&backend)));
    report.assert_all_pass();
    let skipped = report.names("skip");
    assert_eq!(skipped.len(), 4, "{skipped:?}");
    for case in skipped {
        assert_eq!(report.case(case)["group"], "outage");
        assert_eq!(report.case(case)["why"], "no --unreachable-key is given");
    }
    assert_eq!(keys(&backend), serde_json::json!({ "keys": [] }));
    // A second run finds the traces of the first, and minds nothing.
    Report::of(conformance(&url(&backend))).assert_all_pass();
}

/// What a backend need not have is checked where the command is told of it.
#[test]
fn what_is_optional_is_checked_by_option() {
    const GATEWAY: &str = "hush-the-secret-of-the-gateway-of-these-tests";
    const PROXY: &str = "hush-the-secret-of-the-proxies-of-these-tests";
    let known = |url: &str| {
        let setup = conformance(url).set("GATEWAY_SECRET", GATEWAY).set("VERIFY_SECRET", PROXY);
        setup.argument("--introspect").argument("--verify")
    };
    let running = backend()
        .set("GATEWAY_SECRET", GATEWAY)
        .set("GATEWAY_ROUTES", "photo=GET /api/photos/{id}")
        .set("VERIFY_SECRET", PROXY)
        .start();
    let whole = Report::of(known(&url(&running)));
    whole.assert_all_pass();
    let usual = Report::of(conformance(&url(&running)));
    usual.assert_all_pass();
    assert!(whole.count("passed") > usual.count("passed") + 40);
    // One without any of it fails.
    let running = backend().start();
    let report = Report::of(known(&url(&running)));
    let failed = report.names("fail");
    for case in ["a call that the gateway proxies", "in the words of nginx", "by another resource"]
    {
        assert!(failed.contains(&case), "{case}: {failed:?}");
    }
}

#[test]
fn an_outage_of_the_sample_backend_passes() {
    let setup = backend();
    let running = setup.start();
    let order = serde_json::json!({
        "requestId": "r", "resourceId": "photo-1", "planId": "basic", "txHash": "0x1",
    });
    let key = Request::post("/internal/issue-token", &order).internal(INTERNAL_SECRET);
    let key = key.send(running.public).member("token");
    // Nobody can tell what this key is: an outage, as far as it is concerned.
    let database = rusqlite::Connection::open(setup.database()).unwrap();
    assert_eq!(database.execute("UPDATE keys SET kind = 'visitor'", []).unwrap(), 1);
    let setup = conformance(&url(&running)).argument("--unreachable-key").argument(&key);
    let report = Report::of(setup);
    report.assert_all_pass();
    assert_eq!(report.names("skip"), Vec::<&str>::new());
}

#[test]
fn a_backend_with_two_listeners_and_system_tokens_passes() {
    let backend = backend()
        .set("INTERNAL_PORT", "0")
        .set("INTERNAL_AUTH_STRATEGY", "shared-secret,signed-jwt")
        .set("INTERNAL_AUTH_AUDIENCE", "the-photo-shop")
        .start();
    let internal = format!("http://{}", backend.internal.unwrap());
    let told = |audience: &str| {
        let setup = conformance(&url(&backend)).argument("--internal-url").argument(&internal);
        Report::of(setup.argument("--signed-jwt").set("INTERNAL_AUTH_AUDIENCE", audience))
    };
    let report = told("the-photo-shop");
    report.assert_all_pass();
    let passed = report.names("pass");
    for name in [
        "a system token lets Key0 in: issue-token",
        "the listener of agents has no internal endpoints: /keys",
    ] {
        assert!(passed.contains(&name), "{name}");
    }
    assert_eq!(keys(&backend), serde_json::json!({ "keys": [] }));
    // Told of another audience, it says that its tokens open nothing.
    let report = told("another-shop");
    assert_eq!(report.code, 1);
    assert_eq!(
        report.names("fail"),
        [
            "a system token lets Key0 in: issue-token",
            "a system token lets Key0 in: payment-received"
        ]
    );
}

/// Of a backend whose secrets are not known, the cases run that need none.
#[test]
fn what_is_not_known_is_skipped_and_not_passed() {
    let backend = backend().start();
    let report = Report::of(stranger(&url(&backend)));
    report.assert_all_pass();
    for (name, why) in [
        ("a token opens its photo", "no access token secret is given"),
        ("an expired token", "no access token secret is given"),
        ("a payment buys a key", "no internal secret is given"),
        ("a minter manages no keys: GET /keys", "no master key is given"),
        ("an issued key opens its photo as bearer", "no internal secret is given"),
    ] {
        assert_eq!(report.case(name)["outcome"], "skip", "{name}");
        let told = report.case(name)["why"].as_str().unwrap();
        assert!(told == why || told.contains("was not made"), "{name}: {told}");
    }
    for name in [
        "a token of another algorithm: algNone",
        "a token that nobody here signed",
        "nobody sent: issue-token",
        "keys without a key: GET /keys",
        "an unknown path: /nowhere",
    ] {
        assert_eq!(report.case(name)["outcome"], "pass", "{name}");
    }
    let all = report.json["cases"].as_array().unwrap().len();
    assert_eq!(report.count("passed") + report.count("skipped"), all);
}

/// Secrets that are not the backend's can't pass for its own.
#[test]
fn with_other_secrets_everything_that_should_open_fails() {
    let backend = backend().start();
    let other = |name: &str| format!("hush-{name}-that-is-not-the-backend's-own");
    let setup = stranger(&url(&backend))
        .set("KEY0_ACCESS_TOKEN_SECRET", other("access-token"))
        .set("INTERNAL_AUTH_SECRET", other("internal"))
        .set("MASTER_API_KEYS", other("master"));
    let report = Report::of(setup);
    assert_eq!(report.code, 1);
    let failed = report.names("fail");
    for name in [
        "a token opens its photo",
        "a payment buys a key",
        "the secret in its header lets Key0 in: payment-received",
        "a master makes a minter's key",
    ] {
        assert!(failed.contains(&name), "{name}");
    }
    let why = report.case("an issued key opens its photo as bearer")["why"].as_str().unwrap();
    assert_eq!(why, "paymentKey was not made by the case that makes it");
}

#[test]
fn its_twin_on_actix_passes() {
    a_twin_passes("actix_backend");
}

/// By the library's builder alone.
#[test]
fn its_twin_on_axum_passes() {
    a_twin_passes("axum_backend");
}

fn a_twin_passes(example: &str) {
    let Some(setup) = Setup::example(example) else { return };
    let backend = configured(setup).set("DATABASE_URL", "memory://").start_example("listening on");
    let report = Report::of(conformance(&url(&backend)));
    report.assert_all_pass();
    let outage = |case: &&str| report.case(case)["group"] == "outage";
    assert_eq!(report.names("skip").into_iter().filter(|case| !outage(case)).count(), 0);
    assert_eq!(keys(&backend), serde_json::json!({ "keys": [] }));
}
