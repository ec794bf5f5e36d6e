//! `/audit` on both frameworks: what was done, by whom and why.
#![cfg(all(feature = "axum", feature = "actix", feature = "backend", feature = "testing"))]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use key0_auth::{
    MemoryStore,
    api::Operator,
    backend::{Backend, Secrets},
    domain::Secret,
    testing::{FakeClock, FaultyStore, Mood, TokenSigner},
};
use serde_json::{Value, json};

use crate::backend::{Sent, by_actix, by_axum};

const MASTER: &str = "a-master-key-of-the-tests-32-bytes-";
const SUPPORT: &str = "a-support-key-of-the-tests-32-bytes";
const READER: &str = "a-readers-key-of-the-tests-32-bytes";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "KEY0_ACCESS_TOKEN_SECRET" => "an-access-token-secret-of-the-tests",
        "INTERNAL_AUTH_SECRET" => "an-internal-secret-of-the-tests-32-",
        "MASTER_API_KEYS" => "ada=a-master-key-of-the-tests-32-bytes-",
        "SUPPORT_API_KEYS" => SUPPORT,
        "READ_API_KEYS" => READER,
        _ => return None,
    };
    Some(value.to_owned())
}

struct Audited {
    backend: Backend,
    store: Arc<FaultyStore<MemoryStore>>,
    clock: Arc<FakeClock>,
    is_axum: bool,
}

impl Audited {
    async fn on_each() -> [Self; 2] {
        [Self::on(true).await, Self::on(false).await]
    }

    async fn on(is_axum: bool) -> Self {
        let (store, clock) = (FaultyStore::new(MemoryStore::new()), FakeClock::new());
        let secrets = Secrets::read(variables).unwrap();
        let backend = Backend::builder(store.clone(), secrets).clock(clock.clone()).build();
        let backend = backend.unwrap();
        backend.ready().await.unwrap();
        Self { backend, store, clock, is_axum }
    }

    async fn send(&self, sent: Sent<'_>) -> (u16, String) {
        match self.is_axum {
            true => by_axum(&self.backend, sent).await,
            false => by_actix(&self.backend, sent).await,
        }
    }

    async fn get(&self, key: &str, path: &str) -> (u16, String) {
        self.send(("GET", path, &[("x-api-key", key)], None)).await
    }

    /// The id of a new key.
    async fn create(&self, label: &str) -> String {
        let body = json!({"role": "read", "label": label});
        let sent = ("POST", "/keys", &[("x-api-key", MASTER)][..], Some(body));
        let (status, text) = self.send(sent).await;
        assert_eq!(status, 201, "{text}");
        let made: Value = serde_json::from_str(&text).unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    async fn lines(&self, query: &str) -> Vec<Value> {
        let (status, text) = self.get(MASTER, &format!("/audit?{query}")).await;
        assert_eq!(status, 200, "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn what_was_done_is_told_page_by_page_and_goes_on_where_it_ended() {
    for audited in Audited::on_each().await {
        let acme = audited.create("acme").await;
        audited.clock.advance(DAY);
        let other = audited.create("other").await;
        let path = format!("/keys/{acme}?reason=leaked");
        audited.send(("DELETE", &path, &[("x-api-key", MASTER)], None)).await;
        let body = Some(json!({"reason": "refunded"}));
        let path = "/purchases/challenge-1/revoke";
        audited.send(("POST", path, &[("x-api-key", MASTER)], body)).await;

        let all = audited.lines("").await;
        let told: Vec<_> = all.iter().map(|it| (&it["kind"], &it["id"], &it["action"])).collect();
        let expected = [
            json!(["key", acme, "created"]),
            json!(["key", other, "created"]),
            json!(["key", acme, "revoked"]),
            json!(["purchase", "challenge-1", "revoked"]),
        ];
        assert_eq!(told.len(), expected.len());
        for (told, expected) in told.into_iter().zip(&expected) {
            assert_eq!(json!([told.0, told.1, told.2]), *expected);
        }
        let revoked = &all[2];
        assert_eq!((&revoked["label"], &revoked["reason"]), (&json!("acme"), &json!("leaked")));
        assert_eq!(revoked["actorId"], "bootstrap-master-ada");
        assert!(revoked["display"].as_str().unwrap().starts_with("ak_"), "{revoked}");
        let since = revoked["at"].as_str().unwrap();
        assert_eq!(audited.lines(&format!("since={since}")).await, all[1..]);

        // As a collector reads it: page by page, then what comes later.
        let api = audited.backend.audit_api();
        let (mut query, mut read, mut relations) = ("limit=3".to_owned(), vec![], vec![]);
        for _ in 0..3 {
            let page = api.list(&Operator::host(), Some(&query)).await.unwrap();
            read.extend(audited.lines(&query).await);
            let header = |wanted: &str| {
                let found = page.headers.iter().find(|(name, _)| name == wanted);
                found.map(|(_, value)| value.clone()).unwrap()
            };
            assert_eq!(header("content-type"), "application/x-ndjson");
            assert_eq!(header("cache-control"), "no-store");
            let link = header("link");
            let (next, relation) = link.strip_prefix("<?").unwrap().split_once(">; rel=").unwrap();
            (query, relations) = (next.to_owned(), [relations, vec![relation.to_owned()]].concat());
            if relations.len() == 2 {
                audited.create("late").await;
            }
        }
        assert_eq!(relations, ["\"next\"", "\"monitor\"", "\"monitor\""]);
        assert_eq!(read.len(), 5);
        assert_eq!(read[..4], all);
        assert_eq!(read[4]["label"], "late");
    }
}

#[tokio::test]
async fn only_a_master_key_opens_it() {
    for audited in Audited::on_each().await {
        for (key, status) in [(SUPPORT, 403), (READER, 403), ("ak_unknown", 401), (MASTER, 200)] {
            let (answered, text) = audited.get(key, "/audit").await;
            assert_eq!(answered, status, "{text}");
            if status == 403 {
                assert!(text.contains("Only a master API key can read the audit log"), "{text}");
            }
        }
        let (status, text) = audited.send(("GET", "/audit", &[], None)).await;
        assert_eq!(status, 401, "{text}");
        for bad in ["since=yesterday", "limit=0", "limit=1001", "cursor=x", "since=1&since=2"] {
            let (status, text) = audited.get(MASTER, &format!("/audit?{bad}")).await;
            assert_eq!(status, 400, "{bad}: {text}");
        }
        audited.store.set_for("events", Mood::Fails);
        assert_eq!(audited.get(MASTER, "/audit").await.0, 503);
    }
}

/// A year after the key has gone, which goes 30 days after its end; a clock that was set is not
/// believed.
#[tokio::test]
async fn events_outlive_their_keys_by_a_year() {
    let audited = Audited::on(true).await;
    let id = audited.create("acme").await;
    audited.send(("DELETE", &format!("/keys/{id}"), &[("x-api-key", MASTER)], None)).await;
    let (keys, log) = (audited.backend.keys_api(), audited.backend.audit_api());
    let purge = async || (keys.purge(10).await.unwrap(), log.purge(10).await.unwrap());
    assert_eq!(purge().await, (0, 0));
    audited.clock.advance(30 * DAY + Duration::from_secs(1));
    assert_eq!(purge().await, (1, 0));
    audited.clock.advance(365 * DAY);
    assert_eq!(purge().await, (0, 0));
    assert_eq!(audited.lines("").await.len(), 2);
    assert_eq!(audited.lines("").await[1]["label"], "acme");
    audited.clock.advance(Duration::from_secs(1));
    assert_eq!(purge().await, (0, 2));
    assert_eq!(audited.lines("").await.len(), 0);
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The events of rejected administration, as soon as there are so many.
async fn rejected(audited: &Audited, count: usize) -> Vec<Value> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let mut lines = audited.lines("limit=1000").await;
        lines.retain(|event| event["kind"] == "administration");
        if lines.len() >= count || Instant::now() > end {
            assert_eq!(lines.len(), count, "{lines:?}");
            assert!(lines.iter().all(|event| event["action"] == "rejected"));
            return lines;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn who_is_refused_is_told_and_no_secret_is() {
    for audited in Audited::on_each().await {
        let secret = "ak_a-key-of-somebody-1234567890";
        let key = |key| [("x-api-key", key)];
        let body = Some(json!({"role": "read"}));
        let path = format!("/keys/{secret}");
        let mut seen = Vec::new();
        for (method, path, headers, body, status) in [
            ("POST", "/keys", &key(SUPPORT)[..], body, 403),
            ("GET", "/purchases", &key(READER), None, 403),
            ("POST", "/purchases/c-1/revoke", &key(SUPPORT), Some(json!({})), 403),
            ("DELETE", &path, &key(secret), None, 401),
            ("GET", "/audit?since=x", &[], None, 401),
        ] {
            assert_eq!(audited.send((method, path, headers, body)).await.0, status, "{path}");
            seen = rejected(&audited, seen.len() + 1).await;
        }
        let told: Vec<_> = seen
            .iter()
            .map(|it| ["id", "actor", "reason"].map(|name| it[name].as_str().unwrap()))
            .collect();
        assert!(!format!("{seen:?}").contains(secret), "{seen:?}");
        let names: Vec<_> = told.iter().map(|[route, by, _]| (*route, *by)).collect();
        let (support, reader) = (names[0].1, names[1].1);
        let expected = [
            ("/keys", support),
            ("/purchases", reader),
            ("/purchases/{id}/revoke", support),
            ("/keys/{id}", "anonymous"),
            ("/audit", "anonymous"),
        ];
        assert_eq!(names, expected);
        assert!(support.starts_with("bootstrap-support-"), "{support}");
        assert!(reader.starts_with("bootstrap-read-"), "{reader}");
        let reasons: Vec<_> = told.iter().map(|[.., reason]| *reason).collect();
        let denied = "403 insufficient_permissions";
        assert_eq!(reasons[..2], [format!("{denied}, POST"), format!("{denied}, GET")]);
        let expected = ["401 invalid_api_key, DELETE", "401 missing_credential, GET"];
        assert_eq!(reasons[3..], expected);
        // Other refusals, and those of what is sold, are none of it.
        let wrong = json!({"role": "none"});
        audited.send(("POST", "/keys", &key(MASTER), Some(wrong))).await;
        assert_eq!(audited.get(READER, "/photos/photo-1").await.0, 403);
        audited.create("acme").await;
        rejected(&audited, 5).await;
    }
}

/// Neither fills it, nor hides what is done with a key that is known.
#[tokio::test]
async fn a_flood_of_refusals_is_counted() {
    for audited in Audited::on_each().await {
        let flood = async |count: usize| {
            for _ in 0..count {
                assert_eq!(audited.get("ak_unknown", "/keys").await.0, 401);
            }
        };
        flood(10).await;
        rejected(&audited, 3).await;
        for minute in 1..=30 {
            audited.clock.advance(Duration::from_secs(60));
            flood(4).await;
            rejected(&audited, 3 + (3 * minute).min(57)).await;
        }
        assert_eq!(audited.get(READER, "/keys").await.0, 403);
        let told = rejected(&audited, 61).await;
        assert!(told[60]["actor"].as_str().unwrap().starts_with("bootstrap-read-"));

        let api = audited.backend.audit_api();
        api.note_counted().await.unwrap();
        rejected(&audited, 61).await;
        audited.clock.advance(HOUR);
        // An outage refuses nobody, and forgets none.
        audited.store.set_for("note_rejection", Mood::Fails);
        assert!(api.note_counted().await.is_err());
        audited.store.set_for("note_rejection", Mood::Works);
        api.note_counted().await.unwrap();
        api.note_counted().await.unwrap();
        let told = rejected(&audited, 62).await;
        assert_eq!((&told[61]["id"], &told[61]["actor"]), (&json!("*"), &json!("anonymous")));
        assert_eq!(told[61]["reason"], "70 more were rejected");
        // One that could not be noted is counted, whenever that turns out.
        audited.store.set_for("note_rejection", Mood::Fails);
        flood(1).await;
        let end = Instant::now() + Duration::from_secs(60);
        while audited.lines("limit=1000").await.len() < 63 && Instant::now() < end {
            audited.clock.advance(HOUR);
            tokio::time::sleep(Duration::from_millis(5)).await;
            if api.note_counted().await.is_err() {
                audited.store.set_for("note_rejection", Mood::Works);
            }
        }
        assert_eq!(rejected(&audited, 63).await[62]["reason"], "1 more were rejected");
        // Another hour.
        flood(4).await;
        rejected(&audited, 66).await;
        // Whoever bought something takes none of the room of operators' keys.
        let secret = variables("KEY0_ACCESS_TOKEN_SECRET").unwrap();
        let secret = Secret::new("the tests' own", secret).unwrap();
        let signer = TokenSigner::with(secret).clock(audited.clock.clone());
        for n in 0..61 {
            let token = signer.token().request_id(&format!("request-{n}")).sign();
            let bearer = format!("Bearer {token}");
            let sent = ("GET", "/keys", &[("authorization", &*bearer)][..], None);
            assert_eq!(audited.send(sent).await.0, 403);
        }
        rejected(&audited, 66 + 57).await;
        assert_eq!(audited.get(READER, "/keys").await.0, 403);
        rejected(&audited, 66 + 57 + 1).await;
        // What is only counted does not go with the process.
        api.note_rest().await.unwrap();
        let told = rejected(&audited, 66 + 57 + 2).await;
        assert_eq!(told.last().unwrap()["reason"], "5 more were rejected");
    }
}
