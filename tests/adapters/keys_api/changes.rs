use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::Request;
use key0_auth::{
    KeyStore,
    api::Operator,
    apikey::{Grant, KeyFormat, KeyRecord},
    domain::{Actor, KeyId, PlanId, ResourceId},
    store::KeyRegistry,
};
use serde_json::json;

use crate::keys_api::{DAY, MASTER, Office, START};

const NOT_ROTATABLE: &str = "Only a partner's key that is in force or suspended can be rotated";

#[tokio::test]
async fn a_revoked_key_is_dead_and_gone_from_the_list() {
    for office in Office::on_each() {
        let (id, key) = office.reader().await;
        let (_, other) = office.reader().await;
        assert_eq!(office.uses(&key).await.status, 200);
        let path = format!("/keys/{id}");
        let deleted = office.call("DELETE", &path).await;
        assert_eq!((deleted.status.as_u16(), &*deleted.text), (204, ""));
        assert!(!deleted.headers.contains_key("content-type"));
        office.uses(&key).await.assert_refused(401, "key_revoked", "Invalid API key");
        assert_eq!(office.uses(&other).await.status, 200);
        office.call("DELETE", &path).await.assert_refused(404, "not_found", "API key not found");
        assert!(!office.call("GET", "/keys").await.text.contains(&id));
        assert!(office.call("GET", "/keys?status=all").await.text.contains(&id));
        let shown = office.call("GET", &path).await.json();
        assert_eq!(shown["revokedAt"], START.to_string());
        let told: Vec<_> =
            shown["history"].as_array().unwrap().iter().map(|event| &event["action"]).collect();
        assert_eq!(told, ["created", "revoked"]);
        assert_eq!(shown["history"][1]["by"], "bootstrap-master-24ed55c6");
    }
}

#[tokio::test]
async fn a_rotated_key_lives_on_under_its_id() {
    for office in Office::on_each() {
        let made = office
            .post(
                r#"{"role":"read","label":"l","permissions":{"dpp":["read"]},"metadata":{"a":1}}"#,
            )
            .await;
        let (id, old) = (made.member("id"), made.member("key"));
        assert_eq!(office.uses(&old).await.status, 200);
        let path = format!("/keys/{id}/rotate");
        let rotated = office.call("POST", &path).await;
        assert_eq!(rotated.status, 200, "{}", rotated.text);
        let new = rotated.member("key");
        let mut expected = made.json();
        expected["key"] = new.clone().into();
        assert_eq!(rotated.json(), expected);
        office.uses(&old).await.assert_refused(401, "key_rotated", "Invalid API key");
        assert_eq!(office.uses(&new).await.status, 200);
        let shown = office.call("GET", &format!("/keys/{id}")).await;
        assert_eq!(shown.json()["history"][1]["action"], "rotated");
        assert_eq!(shown.member("display"), format!("{}…", &new[..7]));
        // Revoking kills what it was rotated to.
        assert_eq!(office.call("DELETE", &format!("/keys/{id}")).await.status, 204);
        office.uses(&new).await.assert_refused(401, "key_revoked", "Invalid API key");
        office.uses(&old).await.assert_refused(401, "key_revoked", "Invalid API key");
    }
}

#[tokio::test]
async fn a_rotation_takes_an_empty_body_or_an_empty_object() {
    let office = Office::on_memory();
    let (id, key) = office.reader().await;
    let send = |content_type: &'static str, body: &'static str| {
        let request = Request::post(format!("/keys/{id}/rotate"))
            .header("x-api-key", MASTER)
            .header("content-type", content_type);
        office.send(request.body(Body::from(body)).unwrap())
    };
    let json = "application/json";
    let members = "A rotation takes gracePeriodSeconds, and nothing else";
    send(json, r#"{"expiresAt":"2030-01-01T00:00:00Z"}"#).await.assert_refused(
        400,
        "invalid_request",
        members,
    );
    send(json, "[]").await.assert_refused(400, "invalid_request", "Expected JSON object");
    send("text/plain", "{}").await.assert_refused(
        415,
        "unsupported_media_type",
        "The request body must be application/json",
    );
    assert_eq!(office.uses(&key).await.status, 200);
    assert_eq!(send(json, "{}").await.status, 200);
    let chunked = Request::post(format!("/keys/{id}/rotate")).header("x-api-key", MASTER);
    let empty = axum::body::Body::new(crate::keys_api::create::Pieces::default());
    assert_eq!(office.send(chunked.body(empty).unwrap()).await.status, 200);
    assert_eq!(send("text/plain", "").await.status, 200);
    assert_eq!(office.uses(&key).await.status, 401);
}

fn payment_key() -> (KeyRecord, String) {
    let plain = KeyFormat::default().generate().unwrap();
    let grant = Grant::Payment {
        resource_id: ResourceId::new("photo-1").unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        permissions: None,
    };
    (KeyRecord::new(KeyId::generate(), &plain, grant, START), plain.expose().to_owned())
}

#[tokio::test]
async fn what_can_not_be_rotated_stays_as_it_is() {
    for office in Office::on_each() {
        let (payment, _) = payment_key();
        office.registry.insert(&payment, &Actor::key0()).await.unwrap();
        let master = office.api.create(&Operator::host(), br#"{"role":"master"}"#).await.unwrap();
        let master: serde_json::Value = serde_json::from_slice(&master.body).unwrap();
        let master_id = master["id"].as_str().unwrap().to_owned();
        let (revoked, _) = office.reader().await;
        office.call("DELETE", &format!("/keys/{revoked}")).await;
        let expiry = START.plus(DAY);
        let expired = office.post(json!({"role": "read", "expiresAt": expiry}).to_string()).await;
        office.clock.advance(DAY);
        for id in [payment.id.as_str(), &master_id, &revoked, &expired.member("id")] {
            let answer = office.call("POST", &format!("/keys/{id}/rotate")).await;
            answer.assert_refused(409, "key_not_rotatable", NOT_ROTATABLE);
            let history = office.registry.history(&KeyId::new(id).unwrap(), 9).await.unwrap();
            assert!(history.iter().all(|event| event.action.as_str() != "rotated"));
        }
        // The host may rotate a master's, and nobody's payment key.
        office.api.rotate(&Operator::host(), &master_id, b"").await.unwrap();
        office.uses(master["key"].as_str().unwrap()).await.assert_refused(
            401,
            "key_rotated",
            "Invalid API key",
        );
        office.api.rotate(&Operator::host(), payment.id.as_str(), b"").await.unwrap_err();
    }
}

#[tokio::test]
async fn a_master_s_key_is_revoked_like_any_other() {
    let office = Office::on_sqlite();
    let made = office.api.create(&Operator::host(), br#"{"role":"master"}"#).await.unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let list = || {
        let request = Request::get("/keys").header("x-api-key", key);
        office.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(list().await.status, 200);
    assert_eq!(office.call("DELETE", &format!("/keys/{id}")).await.status, 204);
    list().await.assert_refused(401, "key_revoked", "Invalid API key");
}

#[tokio::test]
async fn a_payment_key_is_listed_apart_and_revoked_alike() {
    for office in Office::on_each() {
        let (payment, key) = payment_key();
        office.registry.insert(&payment, &Actor::key0()).await.unwrap();
        assert_eq!(office.call("GET", "/keys").await.json(), json!({"keys": []}));
        let listed = office.call("GET", "/keys?kind=payment").await.json();
        assert_eq!(
            listed["keys"][0],
            json!({
                "id": payment.id, "display": payment.display, "kind": "payment",
                "resourceId": "photo-1", "planId": "basic", "createdAt": START.to_string(),
            })
        );
        // Good, and without any right here.
        assert_eq!(office.uses(&key).await.status, 403);
        let path = format!("/keys/{}", payment.id);
        assert_eq!(office.call("DELETE", &path).await.status, 204);
        office.uses(&key).await.assert_refused(401, "key_revoked", "Invalid API key");
    }
}

#[tokio::test]
async fn uses_are_told_after_they_were_written() {
    for office in Office::on_each() {
        let (id, key) = office.reader().await;
        let last_used = async || {
            let shown = office.call("GET", &format!("/keys/{id}")).await.json();
            shown.get("lastUsedAt").cloned()
        };
        assert_eq!(office.uses(&key).await.status, 200);
        assert_eq!(last_used().await, None);
        office.usage.flush().await.unwrap();
        assert_eq!(last_used().await, Some(START.to_string().into()));
        office.clock.advance(Duration::from_secs(60));
        assert_eq!(office.uses(&key).await.status, 200);
        office.usage.flush().await.unwrap();
        let later = START.plus(Duration::from_secs(60));
        assert_eq!(last_used().await, Some(later.to_string().into()));
        // One that was refused is no use.
        office.clock.advance(Duration::from_secs(60));
        assert_eq!(office.call("DELETE", &format!("/keys/{id}")).await.status, 204);
        assert_eq!(office.uses(&key).await.status, 401);
        office.usage.flush().await.unwrap();
        assert_eq!(last_used().await, Some(later.to_string().into()));
    }
}

#[tokio::test]
async fn what_is_over_is_told_why_for_thirty_days_and_then_forgotten() {
    for office in Office::on_each() {
        let (id, key) = office.reader().await;
        let (_, valid) = office.reader().await;
        office.call("DELETE", &format!("/keys/{id}")).await;
        office.clock.advance(30 * DAY);
        assert_eq!(office.api.purge(1_000).await.unwrap(), 0);
        office.uses(&key).await.assert_refused(401, "key_revoked", "Invalid API key");
        office.clock.advance(Duration::from_micros(1));
        assert_eq!(office.api.purge(1_000).await.unwrap(), 1);
        office.uses(&key).await.assert_refused(401, "invalid_api_key", "Invalid API key");
        let shown = office.call("GET", &format!("/keys/{id}")).await;
        shown.assert_refused(404, "not_found", "API key not found");
        assert_eq!(office.uses(&valid).await.status, 200);
    }
}

/// A store in which everything is an outage, or never ends.
mod outage {
    use std::sync::Weak;

    use async_trait::async_trait;
    use key0_auth::{
        KeyStore, MemoryStore,
        apikey::{KeyDigest, KeyEvent, KeyRecord},
        domain::{Actor, KeyId, Timestamp},
        error::StoreError,
        store::{
            KeyRegistry,
            spi::{ChangeListener, KeyEdit, KeyPage, KeyQuery, Rotation},
        },
    };

    #[derive(Debug)]
    pub(super) struct Broken {
        pub(super) inner: MemoryStore,
        pub(super) hangs: bool,
    }

    impl Broken {
        async fn fail<T>(&self) -> Result<T, StoreError> {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            Err(StoreError::unavailable("the cable is cut"))
        }
    }

    #[async_trait]
    impl KeyStore for Broken {
        async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
            self.inner.find(digest).await
        }
        async fn get(&self, _: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
            self.fail().await
        }
        async fn insert(&self, _: &KeyRecord, _: &Actor) -> Result<(), StoreError> {
            self.fail().await
        }
        async fn revoke(
            &self,
            _: &KeyId,
            _: &Actor,
            _: Timestamp,
        ) -> Result<Option<KeyDigest>, StoreError> {
            self.fail().await
        }
        async fn ping(&self) -> Result<(), StoreError> {
            self.fail().await
        }
        fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
            self.inner.subscribe(listener);
        }
    }

    #[async_trait]
    impl KeyRegistry for Broken {
        async fn list(&self, _: &KeyQuery) -> Result<KeyPage, StoreError> {
            self.fail().await
        }
        async fn history(&self, _: &KeyId, _: u32) -> Result<Vec<KeyEvent>, StoreError> {
            self.fail().await
        }
        async fn rotate(
            &self,
            _: &KeyId,
            _: &Rotation,
            _: &Actor,
            _: Timestamp,
        ) -> Result<bool, StoreError> {
            self.fail().await
        }
        async fn edit(
            &self,
            _: &KeyId,
            _: &KeyEdit,
            _: &Actor,
            _: Timestamp,
        ) -> Result<Option<KeyRecord>, StoreError> {
            self.fail().await
        }
        async fn revoke_because(
            &self,
            _: &KeyId,
            _: Option<&str>,
            _: &Actor,
            _: Timestamp,
        ) -> Result<Option<KeyDigest>, StoreError> {
            self.fail().await
        }
        async fn touch(&self, _: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
            self.fail().await
        }
        async fn purge_keys(&self, _: Timestamp, _: u32) -> Result<u32, StoreError> {
            self.fail().await
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_a_503_whatever_is_asked_and_says_nothing_of_the_inside() {
    let message = "The credential store can't be reached";
    for hangs in [false, true] {
        let store = outage::Broken { inner: Default::default(), hangs };
        let office = Office::on(Arc::new(store), ());
        for (method, path) in [
            ("GET", "/keys"),
            ("GET", "/keys/some-id"),
            ("DELETE", "/keys/some-id"),
            ("POST", "/keys/some-id/rotate"),
        ] {
            let began = tokio::time::Instant::now();
            let answer = office.call(method, path).await;
            answer.assert_refused(503, "store_unavailable", message);
            assert_eq!(answer.headers["retry-after"], "1");
            if method == "GET" {
                assert!(began.elapsed() <= Duration::from_millis(600));
            }
        }
        let answer = office.post(r#"{"role":"read"}"#).await;
        answer.assert_refused(503, "store_unavailable", message);
        assert!(!answer.text.contains("cable"));
    }
}

/// The store fails while uses are written: they are written by the next try.
#[tokio::test]
async fn uses_outlive_an_outage() {
    let inner = key0_auth::MemoryStore::new();
    let (record, key) = payment_key();
    inner.insert(&record, &Actor::key0()).await.unwrap();
    let store: Arc<dyn KeyRegistry> =
        Arc::new(outage::Broken { inner: inner.clone(), hangs: false });
    let office = Office::on(store, ());
    office.validator.validate([], [key.as_bytes()]).await.unwrap();
    office.usage.flush().await.unwrap_err();
    assert!(format!("{:?}", office.usage).contains("pending: 1"));
    office.usage.flush().await.unwrap_err();
    assert!(format!("{:?}", office.usage).contains("pending: 1"));
}
