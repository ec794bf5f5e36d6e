use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body::Frame;
use key0_auth::{
    Identity,
    api::{MAX_BODY_BYTES, Operator},
    apikey::{Grant, KeyDigest, KeyRecord},
    domain::{Action, Actor, KeyId, Role},
};
use serde_json::json;

use crate::keys_api::{DAY, MASTER, Office, START};

#[tokio::test]
async fn a_key_is_shown_once_and_works_at_once() {
    for office in Office::on_each() {
        let answer = office.post(r#"{"role":"minter","label":"Zoë's back office"}"#).await;
        let (id, key) = (answer.member("id"), answer.member("key"));
        assert_eq!(answer.status, 201);
        assert_eq!(answer.headers["cache-control"], "no-store");
        let created = START.to_string();
        let expected = json!({
            "id": id, "key": key, "role": "minter", "label": "Zoë's back office",
            "createdAt": created,
        });
        assert_eq!(answer.json(), expected);
        assert!(key.starts_with("ak_"));
        assert_eq!(office.uses(&key).await.status, 200);
        for shown in
            [office.call("GET", "/keys").await, office.call("GET", &format!("/keys/{id}")).await]
        {
            assert_eq!(shown.status, 200);
            assert!(shown.text.contains(&id) && !shown.text.contains(&key[8..]), "{}", shown.text);
        }
    }
}

#[tokio::test]
async fn all_that_can_be_asked_for_is_kept() {
    for office in Office::on_each() {
        let permissions = json!({"dpp": ["create", "read"], "loyalty": []});
        let terms = json!({
            "role": "read",
            "label": "l",
            "permissions": permissions,
            "expiresAt": "2026-12-31T01:00:00.1239+01:00",
            "metadata": {"team": {"id": 7}},
        });
        let answer = office.post(terms.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let shown = office.call("GET", &format!("/keys/{}", answer.member("id"))).await.json();
        for told in [answer.json(), shown] {
            assert_eq!(told["role"], "read");
            assert_eq!(told["label"], "l");
            assert_eq!(told["permissions"], permissions);
            assert_eq!(told["expiresAt"], "2026-12-31T00:00:00.123Z");
            assert_eq!(told["metadata"], terms["metadata"]);
        }
        let identity = identity(&office, &answer.member("key")).await;
        assert!(identity.allows("dpp", Action::Create));
        // Permissions replace what the role implies.
        assert!(!identity.allows("loyalty", Action::Read));
        office.clock.advance(60 * DAY);
        office.uses(&answer.member("key")).await.assert_refused(
            401,
            "key_expired",
            "Invalid API key",
        );
    }
}

#[tokio::test]
async fn an_optional_member_that_is_null_is_as_absent() {
    for office in Office::on_each() {
        let terms = json!({
            "role": "read", "label": null, "permissions": null, "expiresAt": null, "metadata": null,
        });
        let answer = office.post(terms.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let told = answer.json();
        for name in ["label", "permissions", "expiresAt", "metadata"] {
            assert!(told.get(name).is_none(), "{told}");
        }
        // So its role counts.
        let identity = identity(&office, &answer.member("key")).await;
        assert!(identity.allows("dpp", Action::Read));
    }
}

async fn identity(office: &Office, key: &str) -> Identity {
    office.validator.validate([], [key.as_bytes()]).await.unwrap()
}

#[tokio::test]
async fn terms_at_their_limits() {
    let office = Office::on_memory();
    let long = "ü".repeat(200);
    let fits = async |terms: serde_json::Value| {
        let answer = office.post(terms.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    };
    fits(json!({"role": "read", "label": ""})).await;
    fits(json!({"role": "read", "label": long})).await;
    fits(json!({"role": "read", "permissions": {}})).await;
    fits(json!({"role": "read", "permissions": {"r".repeat(64): ["read"], "a-b/c.d_E9": []}}))
        .await;
    fits(json!({"role": "read", "metadata": {"m": "x".repeat(4 * 1024 - 8)}})).await;
    fits(json!({"role": "read", "metadata": nested(15)})).await;
    fits(json!({"role": "read", "expiresAt": "2026-11-22T00:06:05.001Z"})).await;

    let label = "label must have at most 200 characters";
    let control = "label must not hold control characters";
    let permissions = "permissions must map resources to some of create, read, update and delete";
    let resource = "a resource in permissions is 1 to 64 of a-z, A-Z, 0-9, '.', '_', '-' and '/', \
                    and all of them are at most 4 KiB";
    let fits = "metadata must have at most 4 KiB and 16 levels";
    let in_label = "label must not hold a credential";
    let in_metadata = "metadata must not hold a credential";
    let future = "expiresAt must be in the future";
    let instant = "expiresAt must be an ISO 8601 instant such as 2026-01-31T12:00:00.000Z";
    let many: serde_json::Map<_, _> =
        (0..100).map(|i| (format!("{i:060}"), json!(["read"]))).collect();
    for (name, value, message) in [
        ("label", json!("x".repeat(201)), label),
        ("label", json!("x".repeat(10_000)), label),
        ("label", json!("a\nb"), control),
        ("label", json!("a\u{0}"), control),
        ("label", json!("\u{7f}"), control),
        ("label", json!("\u{85}"), control),
        ("label", json!("a\u{202e}b"), control),
        ("label", json!("it was ak_0123456789abcdef0123456789abcdef"), in_label),
        ("metadata", json!({"a": [{"accessToken": "a-live-one"}]}), in_metadata),
        (
            "metadata",
            json!({"url": "https://b/?t%3Dak_0123456789abcdef0123456789abcdef"}),
            in_metadata,
        ),
        ("label", json!(7), "label must be a string"),
        ("permissions", json!(["dpp:read"]), permissions),
        ("permissions", json!({"dpp": "read"}), permissions),
        ("permissions", json!({"dpp": ["Read"]}), permissions),
        ("permissions", json!({"dpp": ["read", "admin"]}), permissions),
        ("permissions", json!({"": ["read"]}), resource),
        ("permissions", json!({"d\"pp": ["read"]}), resource),
        ("permissions", json!({"d pp": []}), resource),
        ("permissions", json!({"r".repeat(65): ["read"]}), resource),
        ("permissions", json!(many), resource),
        ("expiresAt", json!("2026-11-22T00:06:05.000Z"), future),
        ("expiresAt", json!("2026-11-22T00:06:05.0009Z"), future),
        ("expiresAt", json!("1969-01-01T00:00:00Z"), future),
        ("expiresAt", json!("2027-02-30T00:00:00Z"), instant),
        ("expiresAt", json!("2027-01-01"), instant),
        ("expiresAt", json!(1_900_000_000), instant),
        ("metadata", json!([]), "metadata must be an object"),
        ("metadata", json!({"m": "x".repeat(4 * 1024 - 7)}), fits),
        ("metadata", nested(16), fits),
    ] {
        let terms = json!({"role": "read", name: value});
        office.post(terms.to_string()).await.assert_refused(400, "invalid_request", message);
    }
    let page = office.call("GET", "/keys").await.json();
    assert_eq!(page["keys"].as_array().unwrap().len(), 7, "a refused key was made");
}

/// An object with so many objects in it, one in the other.
fn nested(levels: usize) -> serde_json::Value {
    (0..levels).fold(json!({}), |inner, _| json!({ "a": inner }))
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_comes() {
    let office = Office::on_memory();
    let body = json!({"role": "read", "metadata": {"m": "x".repeat(MAX_BODY_BYTES)}}).to_string();
    let announced = office.post(body.clone()).await;
    announced.assert_refused(413, "body_too_large", "The request body is too large");
    let pieces = body.into_bytes().chunks(1_000).map(Bytes::copy_from_slice).collect();
    let request = Request::post("/keys")
        .header("x-api-key", MASTER)
        .header("content-type", "application/json");
    let streamed = office.send(request.body(Body::new(Pieces(pieces))).unwrap()).await;
    streamed.assert_refused(413, "body_too_large", "The request body is too large");
}

/// A body in pieces, which does not say how long it is.
#[derive(Default)]
pub(crate) struct Pieces(VecDeque<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

#[tokio::test]
async fn nobody_makes_a_master_but_the_host() {
    let office = Office::on_memory();
    let message = "role must be \"minter\" or \"read\"";
    office.post(r#"{"role":"master"}"#).await.assert_refused(400, "invalid_request", message);
    let unchecked = Operator::dangerous_unchecked();
    office.api.create(&unchecked, br#"{"role":"master"}"#).await.unwrap_err();
    let made = office.api.create(&Operator::host(), br#"{"role":"master"}"#).await.unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made.body).unwrap();
    let master = made["key"].as_str().unwrap();
    let request = Request::get("/keys").header("x-api-key", master);
    let listed = office.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(listed.status, 200);
    assert_eq!(listed.json()["keys"][0]["role"], "master");
    let with = br#"{"role":"master","permissions":{"dpp":["read"]}}"#;
    office.api.create(&Operator::host(), with).await.unwrap_err();
    // It manages, and opens nothing that was sold.
    let identity = identity(&office, master).await;
    assert!(identity.role() == Some(Role::Master) && !identity.opens("photo-1"));
    Operator::of(&identity).unwrap();
}

#[tokio::test]
async fn only_masters_are_operators() {
    let office = Office::on_memory();
    for role in ["minter", "read"] {
        let key = office.post(json!({ "role": role }).to_string()).await.member("key");
        let refused = Operator::of(&identity(&office, &key).await).unwrap_err();
        assert_eq!(refused.message(), "Only a master API key can access key management");
    }
    Operator::of(&identity(&office, MASTER).await).unwrap();
}

#[tokio::test]
async fn without_checks_everybody_is_let_in_and_it_is_written_down() {
    let office = Office::on_memory().unchecked();
    let send = |method: &str, path: &str, body: &'static str| {
        let request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        office.send(request.body(Body::from(body)).unwrap())
    };
    let made = send("POST", "/keys", r#"{"role":"minter"}"#).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = format!("/keys/{}", made.member("id"));
    assert_eq!(send("GET", "/keys", "").await.status, 200);
    assert_eq!(send("POST", "/keys", r#"{"role":"master"}"#).await.status, 400);
    assert_eq!(send("DELETE", &path, "").await.status, 204);
    let history = send("GET", &path, "").await.json()["history"].clone();
    let by: Vec<_> = history.as_array().unwrap().iter().map(|event| &event["by"]).collect();
    assert_eq!(by, ["unchecked", "unchecked"]);
}

#[tokio::test]
async fn imported_keys_work_and_are_taken_once() {
    for office in Office::on_each() {
        let host = Operator::host();
        let import = async |body: serde_json::Value| {
            office.api.import(&host, body.to_string().as_bytes()).await
        };
        let legacy = "ak_0123456789abcdef0123456789abcdef";
        let reply = import(json!({"key": legacy, "role": "read", "label": "old"})).await.unwrap();
        let text = String::from_utf8(reply.body).unwrap();
        assert!(!text.contains("456789abcdef"), "{text}");
        assert_eq!(office.uses(legacy).await.status, 200);

        let known = key0_auth::apikey::KeyFormat::default().generate().unwrap();
        let hex = |digest: KeyDigest| -> String {
            digest.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect()
        };
        import(json!({"digest": hex(known.digest()), "role": "read"})).await.unwrap();
        assert_eq!(office.uses(known.expose()).await.status, 200);

        let shape = "key has none of the known shapes, or is mistyped";
        let digits = "digest must be 64 hexadecimal digits";
        let either = "either key or digest is required";
        for (body, message) in [
            (json!({"key": legacy, "role": "read"}), "This key is known already"),
            (
                json!({"digest": hex(KeyDigest::of(legacy)), "role": "read"}),
                "This key is known already",
            ),
            (json!({"key": "ak_short", "role": "read"}), shape),
            (json!({"key": 7, "role": "read"}), shape),
            (json!({"digest": "ab", "role": "read"}), digits),
            (json!({"digest": "g".repeat(64), "role": "read"}), digits),
            (json!({"digest": "+".repeat(64), "role": "read"}), digits),
            (json!({"role": "read"}), either),
            (json!({"key": legacy, "digest": "ab", "role": "read"}), either),
            (json!({"key": legacy}), "role must be \"minter\" or \"read\""),
        ] {
            let refused = import(body).await.unwrap_err();
            assert_eq!(refused.message(), message);
        }
    }
}

/// A bootstrap key is compared before any store is asked: what the store says of it is nothing.
#[tokio::test]
async fn a_key_of_the_configuration_is_never_said_to_be_dead() {
    let office = Office::on_memory();
    let message = "This key comes from the configuration, and must be removed there";
    let digest: String =
        KeyDigest::of(MASTER).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({"digest": digest, "role": "read"}).to_string();
    let refused = office.api.import(&Operator::host(), body.as_bytes()).await.unwrap_err();
    assert_eq!(refused.message(), message);
    // It may have got there without us.
    let id = KeyId::new("imported-before").unwrap();
    let grant = Grant::Integrator { role: Role::Read, permissions: None };
    let record = KeyRecord::of_digest(id, KeyDigest::of(MASTER), grant, START);
    office.registry.insert(&record, &Actor::host()).await.unwrap();
    for (method, path) in
        [("POST", "/keys/imported-before/rotate"), ("DELETE", "/keys/imported-before")]
    {
        office.call(method, path).await.assert_refused(409, "request_conflict", message);
    }
    assert_eq!(office.call("GET", "/keys").await.status, 200);
}
