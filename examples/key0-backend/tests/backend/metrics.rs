//! `GET /metrics`: who may read it, its form, and that each metric moves when the thing it counts
//! is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use key0_auth::{
    domain::Secret,
    metrics::{METRICS, MetricKind},
    token::TokenIssuer,
};
use serde_json::json;

use crate::{
    process::{INTERNAL_SECRET, MARK, Request, Setup},
    serve::{PAYMENT_RECEIVED, PHOTO, access_token, access_token_by, issue, order},
};

const MASTER: &str = "hush-the-master-key-of-these-tests";
const MINTER: &str = "hush-the-minter-key-of-these-tests";
/// The metrics of the backend itself, with their types.
const OWN: [(&str, &str); 10] = [
    ("key0_build_info", "gauge"),
    ("key0_http_requests_total", "counter"),
    ("key0_http_request_seconds", "histogram"),
    ("key0_connections", "gauge"),
    ("key0_connections_limit", "gauge"),
    ("key0_connections_closed_total", "counter"),
    ("key0_config_reloads_total", "counter"),
    ("key0_config_faulty", "gauge"),
    ("key0_secret_configured_timestamp_seconds", "gauge"),
    ("key0_secret_used_timestamp_seconds", "gauge"),
];

/// Every metric's name and type.
pub(crate) fn all() -> BTreeMap<&'static str, &'static str> {
    let of_library = METRICS.iter().map(|metric| {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            _ => panic!("a new kind of metric"),
        };
        (metric.name, kind)
    });
    of_library.chain(OWN).collect()
}

/// What was scraped: each line's name, labels and value.
struct Scrape(Vec<(String, BTreeMap<String, String>, f64)>);

impl Scrape {
    fn of(address: SocketAddr) -> Self {
        let answer = Request::get("/metrics").header("x-api-key", MASTER).send(address);
        assert_eq!(answer.status, 200, "{answer:?}");
        let form = Some("text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(answer.header("content-type"), form);
        assert!(!answer.text().contains(MARK), "a secret is shown");
        Self::parse(answer.text())
    }

    /// Reads Prometheus' text format, version 0.0.4, and nothing that is not of it.
    fn parse(text: &str) -> Self {
        let mut types = BTreeMap::new();
        let mut samples = Vec::new();
        assert!(text.ends_with('\n'));
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                let (word, rest) = comment.split_once(' ').unwrap();
                let (name, rest) = rest.split_once(' ').unwrap();
                match word {
                    "HELP" => assert!(!rest.is_empty()),
                    "TYPE" => assert_eq!(types.insert(name, rest), None, "{name}: two types"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (name, labels, value) = sample(line).unwrap_or_else(|| panic!("{line}"));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
                name.strip_suffix(end).filter(|base| types.get(base) == Some(&"histogram"))
            });
            let kind = types.get(base.unwrap_or(&name)).copied();
            assert_eq!(kind, all().get(base.unwrap_or(&name)).copied(), "{line}");
            assert!(value >= 0.0, "{line}");
            samples.push((name, labels, value));
        }
        let series: BTreeSet<_> = samples.iter().map(|(name, labels, _)| (name, labels)).collect();
        assert_eq!(series.len(), samples.len(), "a series stands twice");
        Self(samples)
    }

    /// The sum of a metric's series that have these labels.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| of.get(*name).is_some_and(|is| is == value))
        };
        let matching = self.0.iter().filter(|(of, with, _)| of == name && has(with));
        matching.map(|(_, _, value)| value).sum()
    }
}

/// `name{label="value",…} value`.
fn sample(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0".contains(&byte))
    };
    let (series, value) = line.rsplit_once(' ')?;
    let (name, mut rest) = series.split_once('{').unwrap_or((series, "}"));
    let mut labels = BTreeMap::new();
    while rest != "}" {
        let (label, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        // Nothing that stands in a label needs an escape.
        assert!(is_name(label) && !value.contains('\\'), "{line}");
        assert_eq!(labels.insert(label.to_owned(), value.to_owned()), None, "{line}");
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    is_name(name).then(|| (name.to_owned(), labels, value.parse().unwrap()))
}

/// Scrapes until a metric has at least this value.
#[track_caller]
fn wait_for(address: SocketAddr, name: &str, labels: &[(&str, &str)], least: f64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let value = Scrape::of(address).value(name, labels);
        if value >= least {
            return;
        }
        assert!(Instant::now() < deadline, "{name} {labels:?} is {value}, not {least}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn setup() -> Setup {
    Setup::new()
        .set("MASTER_API_KEYS", format!("ada={MASTER}"))
        .set("MINTER_API_KEYS", MINTER)
        .set("INTERNAL_AUTH_PREVIOUS_SECRETS", "hush: the internal secret before that one")
        .set("KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS", "hush: the access token secret before that one")
}

#[test]
fn a_master_key_or_the_operator_s_listener_opens_it() {
    let backend = setup().start();
    let ask = |request: Request| request.send(backend.public).status;
    assert_eq!(ask(Request::get("/metrics")), 401);
    assert_eq!(ask(Request::get("/metrics").header("x-api-key", MINTER)), 403);
    assert_eq!(ask(Request::get("/metrics").bearer(&access_token("default", 0))), 403);
    assert_eq!(ask(Request::get("/metrics").header("x-api-key", MASTER)), 200);
    drop(backend);
    let backend = setup().set("INTERNAL_PORT", "0").start();
    let metrics = Request::get("/metrics");
    assert_eq!(metrics.send(backend.internal.unwrap()).status, 200);
    let on_public = metrics.header("x-api-key", MASTER).send(backend.public);
    on_public.assert_problem(404, "not_found", "Nothing is found at this path");
}

#[test]
fn to_end_a_credential_counts_as_no_validation() {
    let backend = setup().start();
    let at = backend.public;
    let (key, token) = (issue(1).send(at).member("token"), access_token("photo-1", 0));
    let counted = || {
        let scrape = Scrape::of(at);
        ["access_token", "payment_key", "api_key", "other", "none"]
            .map(|kind| scrape.value("key0_validations_total", &[("kind", kind)]))
    };
    let before = counted();
    for credential in [&key, &token, "a.b.c", "ak_0123456789abcdef0123456789abcdef"] {
        let end = Request::new("POST", "/credential/revoke")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("token={credential}"));
        assert_eq!(end.send(at).status, 200);
    }
    assert_eq!(counted(), before);
    let ended = Request::get(PHOTO);
    assert_eq!(ended.clone().bearer(&key).send(at).status, 401);
    assert_eq!(ended.bearer(&token).send(at).status, 401);
    wait_for(at, "key0_validations_total", &[("code", "token_revoked")], 1.0);
}

/// Each metric that counts events, with what makes it grow.
#[test]
fn each_metric_moves_when_what_it_counts_is_done() {
    let setup = setup();
    let backend = setup.start();
    let at = backend.public;
    let begun = Scrape::of(at);
    let mut named = BTreeSet::new();
    let mut grows = |name: &'static str, labels: &[(&str, &str)]| {
        named.insert(name.strip_suffix("_count").unwrap_or(name));
        let before = begun.value(name, labels);
        wait_for(at, name, labels, before + 1.0);
    };

    // Agents, whose tokens current and previous secrets have signed.
    let photo = Request::get(PHOTO);
    assert_eq!(photo.clone().bearer(&access_token("photo-1", 0)).send(at).status, 200);
    grows("key0_validations_total", &[("kind", "access_token"), ("code", "ok")]);
    grows("key0_secret_uses_total", &[("secret", "KEY0_ACCESS_TOKEN_SECRET")]);
    grows("key0_secret_used_timestamp_seconds", &[("secret", "KEY0_ACCESS_TOKEN_SECRET")]);
    let previous = Secret::new("before", "hush: the access token secret before that one").unwrap();
    let token = access_token_by(&TokenIssuer::hs256(&previous), "photo-1", 0);
    assert_eq!(photo.clone().bearer(&token).send(at).status, 200);
    let number_1 = "KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS (number 1)";
    grows("key0_secret_uses_total", &[("secret", number_1)]);
    assert_eq!(photo.clone().bearer("a.b.c").send(at).status, 401);
    grows("key0_validations_total", &[("kind", "access_token"), ("code", "invalid_token")]);
    assert_eq!(photo.clone().send(at).status, 401);
    grows("key0_validations_total", &[("kind", "none"), ("code", "missing_credential")]);
    assert_eq!(photo.clone().bearer(&access_token("photo-2", 0)).send(at).status, 403);
    let refused = [("route", "/api/photos/{id}"), ("status", "403")];
    grows("key0_http_requests_total", &refused);
    let refused = [("method", "GET"), ("code", "insufficient_permissions"), ("listener", "public")];
    grows("key0_http_requests_total", &refused);
    grows("key0_http_request_seconds_count", &[("route", "/api/photos/{id}")]);

    // Key0's own calls.
    let key = issue(1).send(at).member("token");
    grows("key0_issuances_total", &[("outcome", "new")]);
    grows("key0_internal_validations_total", &[("strategy", "shared-secret"), ("code", "ok")]);
    grows("key0_secret_uses_total", &[("secret", "INTERNAL_AUTH_SECRET")]);
    grows("key0_secret_uses_total", &[("secret", "INTERNAL_AUTH_SECRET, for issuance")]);
    grows("key0_store_seconds_count", &[("engine", "sqlite"), ("work", "write")]);
    assert_eq!(issue(1).send(at).member("token"), key);
    grows("key0_issuances_total", &[("outcome", "replayed")]);
    let mut other = order(1);
    other["resourceId"] = "photo-2".into();
    let by_previous = "hush: the internal secret before that one";
    let conflict = Request::post("/internal/issue-token", &other).internal(by_previous);
    assert_eq!(conflict.send(at).status, 409);
    grows("key0_issuances_total", &[("outcome", "request_conflict")]);
    let number_1 = "INTERNAL_AUTH_PREVIOUS_SECRETS (number 1)";
    grows("key0_secret_uses_total", &[("secret", number_1)]);
    assert_eq!(Request::post("/internal/issue-token", &other).send(at).status, 401);
    let refused = [("strategy", "none"), ("code", "invalid_internal_auth")];
    grows("key0_internal_validations_total", &refused);
    assert_eq!(
        Request::post("/internal/issue-token", &json!({}))
            .internal(INTERNAL_SECRET)
            .send(at)
            .status,
        400
    );
    grows("key0_issuances_total", &[("outcome", "invalid_request")]);
    let payment = Request::post(PAYMENT_RECEIVED, &order(2)).internal(INTERNAL_SECRET);
    assert_eq!([payment.send(at).status, payment.send(at).status], [200; 2]);
    grows("key0_payments_total", &[("outcome", "recorded")]);
    grows("key0_payments_total", &[("outcome", "repeated")]);
    grows("key0_payment_handler_runs_total", &[("outcome", "done")]);
    let mut other = order(3);
    other["txHash"] = "0x2".into();
    let conflict = Request::post(PAYMENT_RECEIVED, &other).internal(INTERNAL_SECRET);
    assert_eq!(conflict.send(at).status, 409);
    grows("key0_payments_total", &[("outcome", "conflict")]);

    // The cache, and a revocation that another process makes.
    let by_key = photo.bearer(&key);
    assert_eq!([by_key.send(at).status, by_key.send(at).status], [200; 2]);
    grows("key0_validations_total", &[("kind", "payment_key"), ("code", "ok")]);
    grows("key0_cache_lookups_total", &[("outcome", "miss")]);
    grows("key0_cache_lookups_total", &[("outcome", "hit")]);
    grows("key0_cache_entries", &[("kind", "found")]);
    let listed = setup.clone().argument("list").argument("--kind").argument("payment");
    let listed = listed.argument("--json").run("keys").stdout;
    let id = listed.split('"').skip_while(|word| *word != "id").nth(2).unwrap();
    assert_eq!(setup.clone().argument("revoke").argument(id).run("keys").code, Some(0));
    let deadline = Instant::now() + Duration::from_secs(60);
    while by_key.send(at).status != 401 {
        assert!(Instant::now() < deadline, "the key is still good");
        thread::sleep(Duration::from_millis(20));
    }
    grows("key0_validations_total", &[("kind", "api_key"), ("code", "key_revoked")]);
    grows("key0_revocation_lag_seconds_count", &[]);
    assert!(Scrape::of(at).value("key0_revocation_lag_seconds_sum", &[]) < 120.0);
    let unknown = "ak_0123456789abcdef0123456789abcdef";
    let unknown = Request::get(PHOTO).bearer(unknown);
    assert_eq!([unknown.send(at).status, unknown.send(at).status], [401; 2]);
    grows("key0_cache_lookups_total", &[("outcome", "unknown")]);

    // Partners.
    let tier = Request::post("/v1/loyalty/reward-tiers", &json!({"name":"gold","threshold":1}));
    let tier = tier.header("x-api-key", MASTER).header("idempotency-key", "one");
    assert_eq!([tier.send(at).status, tier.send(at).status], [201; 2]);
    grows("key0_idempotent_requests_total", &[("outcome", "started")]);
    grows("key0_idempotent_requests_total", &[("outcome", "replayed")]);
    grows("key0_secret_uses_total", &[("secret", "MASTER_API_KEYS (number 1)")]);

    // The configuration.
    let good = setup.clone().file(".env", "");
    backend.signal("HUP");
    grows("key0_config_reloads_total", &[("outcome", "ok")]);
    drop(good.file(".env", "hush\n"));
    backend.signal("HUP");
    grows("key0_config_reloads_total", &[("outcome", "faulty")]);
    grows("key0_config_faulty", &[]);

    // What shows a level.
    wait_for(at, "key0_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    wait_for(at, "key0_connections", &[("listener", "public")], 1.0);
    wait_for(at, "key0_connections_limit", &[("listener", "public")], 1.0);
    wait_for(at, "key0_feed_connected", &[("engine", "sqlite")], 1.0);
    wait_for(at, "key0_feed_heard_timestamp_seconds", &[("engine", "sqlite")], 1.7e9);
    let configured = "key0_secret_configured_timestamp_seconds";
    wait_for(at, configured, &[("secret", "INTERNAL_AUTH_SECRET")], 1.7e9);
    named.insert(configured);
    named.extend(["key0_build_info", "key0_connections", "key0_connections_limit"]);
    named.extend(["key0_feed_connected", "key0_feed_heard_timestamp_seconds"]);
    named.extend(["key0_payments_waiting", "key0_payments_oldest_seconds"]);
    for name in ["key0_payments_waiting", "key0_payments_oldest_seconds"] {
        assert!(Scrape::of(at).0.iter().any(|(of, _, value)| of == name && *value == 0.0));
    }

    // An outage: the file is gone.
    fs::remove_file(setup.database()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while issue(9).try_send(at).is_ok_and(|answer| answer.status == 200) {
        assert!(Instant::now() < deadline, "the store still works");
    }
    named.insert("key0_store_failures_total");
    wait_for(at, "key0_store_failures_total", &[("engine", "sqlite"), ("work", "write")], 1.0);

    // What takes too many connections, tests/backend/serve/limits.rs does.
    named.insert("key0_connections_closed_total");
    assert_eq!(named, all().into_keys().collect(), "a metric that nothing here moves");
}

/// The manual has a row for each metric.
#[test]
fn the_manual_names_each_metric() {
    let manual = include_str!("../../README.md");
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `key0_")?.split_once('`'));
    let named: Vec<_> = rows.map(|(name, _)| format!("key0_{name}")).collect();
    let mut sorted = named.clone();
    sorted.sort();
    assert_eq!(sorted, all().into_keys().collect::<Vec<_>>());
}

/// The dashboard and the alerts ask for metrics and labels that exist.
#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_exist() {
    let dashboard = include_str!("../../deploy/grafana/key0-backend.json");
    let dashboard_json: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard_json["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let shown: BTreeSet<_> =
        targets.flat_map(|target| names(target["expr"].as_str().unwrap())).collect();
    let alerts = include_str!("../../deploy/alerts.yml");
    let rules = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let watched: BTreeSet<_> = rules.flat_map(names).collect();
    assert!(watched.len() > 5);
    let known: BTreeSet<_> = all().into_keys().map(str::to_owned).collect();
    assert_eq!(watched.difference(&known).next(), None);
    assert_eq!(shown, known, "the dashboard shows each metric");
}

/// The metrics that an expression asks for.
fn names(expression: &str) -> Vec<String> {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
    let words = expression.split(|c| !is_of_name(c)).filter(|word| word.starts_with("key0_"));
    let base = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        ends.unwrap_or(word).to_owned()
    };
    words.map(base).collect()
}
