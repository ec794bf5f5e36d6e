//! Keys that are changed, suspended, resumed, replaced with a grace, and found again.

use axum::body::Body;
use http::Request;
use key0_auth::{
    apikey::{Grant, KeyFormat, KeyRecord},
    domain::{Actor, KeyId, PlanId, ResourceId, Role},
};
use serde_json::{Value, json};

use crate::keys_api::{Answer, DAY, MASTER, Office, SUPPORT};

impl Office {
    async fn with(&self, key: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-api-key", key)
            .header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn patch(&self, id: &str, body: Value) -> Answer {
        self.with(MASTER, "PATCH", &format!("/keys/{id}"), body).await
    }

    async fn find(&self, body: Value) -> Answer {
        self.with(MASTER, "POST", "/keys/find", body).await
    }

    async fn rotate(&self, id: &str, body: Value) -> Answer {
        self.with(MASTER, "POST", &format!("/keys/{id}/rotate"), body).await
    }

    async fn sold(&self) -> (KeyRecord, String) {
        let plain = KeyFormat::default().generate().unwrap();
        let grant = Grant::Payment {
            resource_id: ResourceId::new("photo-1").unwrap(),
            plan_id: PlanId::new("basic").unwrap(),
            permissions: None,
        };
        let record = KeyRecord::new(KeyId::generate(), &plain, grant, crate::keys_api::START);
        self.registry.insert(&record, &Actor::key0()).await.unwrap();
        (record, plain.expose().to_owned())
    }
}

#[tokio::test]
async fn both_secrets_work_until_the_very_end_of_the_grace() {
    for office in Office::on_each() {
        let (id, old) = office.reader().await;
        assert_eq!(office.uses(&old).await.status, 200);
        let rotated = office.rotate(&id, json!({ "gracePeriodSeconds": 3600 })).await;
        assert_eq!(rotated.status, 200, "{}", rotated.text);
        let new = rotated.member("key");
        let until = crate::keys_api::START.plus(std::time::Duration::from_secs(3600));
        assert_eq!(rotated.member("oldKeyUntil"), until.to_string());
        let shown = office.call("GET", &format!("/keys/{id}")).await.json();
        assert_eq!(shown["predecessor"]["until"], until.to_string());
        assert_eq!(shown["predecessor"]["display"], format!("{}…", &old[..7]));

        office.clock.set(until.minus(std::time::Duration::from_millis(1)));
        for key in [&old, &new] {
            assert_eq!(office.uses(key).await.status, 200);
        }
        // What is remembered expires, too.
        office.clock.set(until);
        office.uses(&old).await.assert_refused(401, "key_rotated", "Invalid API key");
        assert_eq!(office.uses(&new).await.status, 200);
        // At most one predecessor: the one before is unknown from the next rotation on.
        let newest = office.rotate(&id, json!({ "gracePeriodSeconds": 60 })).await.member("key");
        office.uses(&old).await.assert_refused(401, "invalid_api_key", "Invalid API key");
        for key in [&new, &newest] {
            assert_eq!(office.uses(key).await.status, 200);
        }
        // Revoking kills both.
        assert_eq!(office.call("DELETE", &format!("/keys/{id}")).await.status, 204);
        for key in [&new, &newest] {
            office.uses(key).await.assert_refused(401, "key_revoked", "Invalid API key");
        }
    }
}

/// The clocks of instances differ, and the one that comes after must not let the old one in.
#[tokio::test]
async fn without_a_grace_the_old_secret_is_dead_by_every_clock() {
    for office in Office::on_each() {
        let (id, old) = office.reader().await;
        let rotated = office.rotate(&id, json!({})).await;
        assert!(rotated.json().get("oldKeyUntil").is_none(), "{}", rotated.text);
        let shown = office.call("GET", &format!("/keys/{id}")).await.json();
        assert!(shown.get("predecessor").is_none(), "{shown}");
        office.clock.set(crate::keys_api::START.minus(DAY));
        office.uses(&old).await.assert_refused(401, "key_rotated", "Invalid API key");
    }
}

#[tokio::test]
async fn what_no_key_can_be_called_is_refused() {
    for office in Office::on_each() {
        for path in ["/keys?label=a%00b", "/keys?prefix=ak_%0a"] {
            let answer = office.call("GET", path).await;
            assert_eq!((answer.status.as_u16(), &*answer.member("code")), (400, "invalid_request"));
        }
        let answer = office.find(json!({ "display": "ak_\u{0}" })).await;
        answer.assert_refused(400, "invalid_request", "display must be a text such as ak_1a2B…");
    }
}

#[tokio::test]
async fn a_grace_is_a_number_of_seconds_up_to_thirty_days() {
    let office = Office::on_memory();
    let (id, key) = office.reader().await;
    let number = "gracePeriodSeconds must be a whole number from 0 to 2592000";
    for bad in [json!(-1), json!(2_592_001), json!(1.5), json!("60"), json!([]), json!(true)] {
        let answer = office.rotate(&id, json!({ "gracePeriodSeconds": bad })).await;
        answer.assert_refused(400, "invalid_request", number);
    }
    let only = "A rotation takes gracePeriodSeconds, and nothing else";
    let answer = office.rotate(&id, json!({ "gracePeriodSeconds": 1, "x": 1 })).await;
    answer.assert_refused(400, "invalid_request", only);
    assert_eq!(office.uses(&key).await.status, 200);
    for good in [json!(2_592_000), json!(0), Value::Null] {
        assert_eq!(office.rotate(&id, json!({ "gracePeriodSeconds": good })).await.status, 200);
    }
    assert_eq!(office.call("DELETE", &format!("/keys/{id}")).await.status, 204);
    let answer = office.rotate(&id, json!({ "gracePeriodSeconds": 60 })).await;
    assert_eq!((answer.status.as_u16(), &*answer.member("code")), (409, "key_not_rotatable"));
}

#[tokio::test]
async fn a_suspended_key_opens_nothing_until_it_is_resumed() {
    for office in Office::on_each() {
        let (id, old) = office.reader().await;
        let new = office.rotate(&id, json!({ "gracePeriodSeconds": 60 })).await.member("key");
        for key in [&old, &new] {
            assert_eq!(office.uses(key).await.status, 200);
        }
        let suspended = office.patch(&id, json!({ "suspended": true })).await;
        assert_eq!(suspended.member("suspendedAt"), crate::keys_api::START.to_string());
        for key in [&old, &new] {
            office.uses(key).await.assert_refused(401, "key_suspended", "Invalid API key");
        }
        assert!(!office.call("GET", "/keys").await.text.contains(&id));
        assert!(office.call("GET", "/keys?status=all").await.text.contains(&id));
        let resumed = office.patch(&id, json!({ "suspended": false })).await;
        assert!(resumed.json().get("suspendedAt").is_none());
        for key in [&old, &new] {
            assert_eq!(office.uses(key).await.status, 200);
        }
        assert_eq!(office.patch(&id, json!({ "suspended": true })).await.status, 200);
        assert!(
            office
                .patch(&id, json!({ "suspended": null }))
                .await
                .json()
                .get("suspendedAt")
                .is_none()
        );
        let told = office.call("GET", &format!("/keys/{id}")).await.json();
        let told: Vec<_> =
            told["history"].as_array().unwrap().iter().map(|event| &event["action"]).collect();
        assert_eq!(told, ["created", "rotated", "suspended", "resumed", "suspended", "resumed"]);
    }
}

#[tokio::test]
async fn an_edit_counts_at_once_and_null_clears() {
    for office in Office::on_each() {
        let (id, key) = office.reader().await;
        assert_eq!(office.uses(&key).await.status, 200);
        let end = crate::keys_api::START.plus(DAY);
        let edited = office
            .patch(
                &id,
                json!({
                    "label": "partner", "role": "minter", "permissions": { "loyalty": ["read"] },
                    "expiresAt": end, "metadata": { "a": 1 },
                }),
            )
            .await;
        assert_eq!(edited.status, 200, "{}", edited.text);
        let shown = edited.json();
        assert_eq!((&shown["label"], &shown["role"]), (&json!("partner"), &json!("minter")));
        assert_eq!(shown["expiresAt"], json!(end));
        assert_eq!(office.uses(&key).await.status, 403);
        let cleared = office
            .patch(
                &id,
                json!({ "label": null, "permissions": null, "expiresAt": null, "metadata": null }),
            )
            .await
            .json();
        for gone in ["label", "permissions", "expiresAt", "metadata"] {
            assert!(cleared.get(gone).is_none(), "{gone}");
        }
        assert_eq!(office.uses(&key).await.status, 200);
        office.clock.set(end);
        assert_eq!(office.uses(&key).await.status, 200);
        assert_eq!(office.patch(&id, json!({})).await.status, 200);
    }
}

#[tokio::test]
async fn an_edit_that_can_not_be_meant_changes_nothing() {
    let office = Office::on_memory();
    let (id, _) = office.reader().await;
    let before = office.call("GET", &format!("/keys/{id}")).await.text;
    for bad in [
        json!({ "label": 1 }),
        json!({ "label": "x".repeat(201) }),
        json!({ "label": "a\u{202e}b" }),
        json!({ "role": "master" }),
        json!({ "role": "support" }),
        json!({ "role": null }),
        json!({ "permissions": [] }),
        json!({ "permissions": { "dpp": ["write"] } }),
        json!({ "expiresAt": 1 }),
        json!({ "expiresAt": "soon" }),
        json!({ "expiresAt": crate::keys_api::START }),
        json!({ "metadata": [] }),
        json!({ "metadata": { "a": "x".repeat(5000) } }),
        json!({ "suspended": "yes" }),
        json!({ "revokedAt": null }),
        json!({ "id": "other" }),
        json!([]),
    ] {
        let answer = office.patch(&id, bad.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.member("code")),
            (400, "invalid_request"),
            "{bad}"
        );
    }
    assert_eq!(office.call("GET", &format!("/keys/{id}")).await.text, before);
    assert_eq!(office.patch("unknown", json!({})).await.status, 404);
    let (sold, _) = office.sold().await;
    for bad in [json!({ "role": "read" }), json!({ "permissions": null })] {
        assert_eq!(office.patch(sold.id.as_str(), bad).await.status, 400);
    }
    assert_eq!(office.patch(sold.id.as_str(), json!({ "label": "ok" })).await.status, 200);
    assert_eq!(office.call("DELETE", &format!("/keys/{id}")).await.status, 204);
    let answer = office.patch(&id, json!({ "suspended": false })).await;
    answer.assert_refused(409, "request_conflict", "A revoked key can't be changed");
    // What comes from the configuration is let in whatever its record says.
    let record = {
        let grant = Grant::Integrator { role: Role::Read, permissions: None };
        let digest = key0_auth::apikey::KeyDigest::of(MASTER);
        KeyRecord::of_digest(KeyId::generate(), digest, grant, crate::keys_api::START)
    };
    office.registry.insert(&record, &Actor::host()).await.unwrap();
    assert_eq!(office.patch(record.id.as_str(), json!({ "suspended": true })).await.status, 409);
    let grant = Grant::Integrator { role: Role::Master, permissions: None };
    let plain = KeyFormat::default().generate().unwrap();
    let master = KeyRecord::new(KeyId::generate(), &plain, grant, crate::keys_api::START);
    office.registry.insert(&master, &Actor::host()).await.unwrap();
    assert_eq!(office.patch(master.id.as_str(), json!({ "label": "x" })).await.status, 409);
}

#[tokio::test]
async fn a_key_is_found_by_what_somebody_has_of_it() {
    for office in Office::on_each() {
        let (id, old) = office.reader().await;
        let new = office.rotate(&id, json!({})).await.member("key");
        office.sold().await;
        let digest: String = key0_auth::apikey::KeyDigest::of(&new)
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        for sought in [
            json!({ "key": old }),
            json!({ "key": new, "digest": null }),
            json!({ "digest": digest }),
            json!({ "display": format!("{}…", &new[..7]) }),
            json!({ "display": &new[..7] }),
        ] {
            let found = office.find(sought.clone()).await;
            assert_eq!(found.status, 200, "{sought} {}", found.text);
            assert_eq!(found.member("id"), id);
            assert!(!found.text.contains(&new) && !found.text.contains(&digest));
        }
        let path = format!("/keys/{id}?reason=left%20the+company");
        assert_eq!(office.call("DELETE", &path).await.status, 204);
        let found = office.find(json!({ "key": new })).await;
        assert_eq!(found.member("revokedReason"), "left the company");
    }
}

#[tokio::test]
async fn what_is_no_key_is_told_what_it_is_and_never_repeated() {
    let office = Office::on_memory();
    let (_, key) = office.reader().await;
    let mut mistyped = key.clone();
    mistyped.replace_range(5..6, if &key[5..6] == "A" { "B" } else { "A" });
    for (sought, told) in [
        (json!({ "key": "aaaa.bbbb.cccc" }), "key is an access token, and no API key"),
        (json!({ "key": MASTER }), "key comes from the configuration, and has no record"),
        (json!({ "key": mistyped }), "key has none of the known shapes, or is mistyped"),
        (json!({ "digest": "abc" }), "digest must be 64 hexadecimal digits"),
        (json!({ "display": "" }), "display must be a text such as ak_1a2B…"),
        (json!({}), "exactly one of key, digest and display is required"),
        (
            json!({ "key": key, "display": "ak_" }),
            "exactly one of key, digest and display is required",
        ),
        (json!({ "key": 1 }), "exactly one of key, digest and display is required"),
        (json!({ "kye": key }), "exactly one of key, digest and display is required"),
    ] {
        let answer = office.find(sought.clone()).await;
        answer.assert_refused(400, "invalid_request", told);
        for secret in ["aaaa", MASTER, &*mistyped] {
            assert!(!answer.text.contains(secret), "{}", answer.text);
        }
    }
    for (count, named) in [(2, 2), (7, 5)] {
        let shown = format!("ak_same{count}…");
        let mut ids = Vec::new();
        for number in 0..count {
            let digest = key0_auth::apikey::KeyDigest::of(&format!("{shown} {number}"));
            let grant = Grant::Integrator { role: Role::Read, permissions: None };
            let start = crate::keys_api::START;
            let mut record = KeyRecord::of_digest(KeyId::generate(), digest, grant, start);
            record.display = shown.clone();
            office.registry.insert(&record, &Actor::host()).await.unwrap();
            ids.push(record.id.to_string());
        }
        let answer = office.find(json!({ "display": shown })).await;
        assert_eq!((answer.status.as_u16(), &*answer.member("code")), (409, "request_conflict"));
        let told = ids.iter().filter(|id| answer.text.contains(*id)).count();
        assert_eq!(told, named, "{}", answer.text);
    }
    let unknown = KeyFormat::default().generate().unwrap();
    for sought in [json!({ "key": unknown.expose() }), json!({ "display": "ak_0000000" })] {
        office.find(sought).await.assert_refused(404, "not_found", "API key not found");
    }
}

#[tokio::test]
async fn a_support_key_reads_and_changes_nothing() {
    for office in Office::on_each() {
        let (id, key) = office.reader().await;
        for path in
            ["/keys".to_owned(), "/keys?status=all&label=x".to_owned(), format!("/keys/{id}")]
        {
            assert_eq!(office.with(SUPPORT, "GET", &path, json!({})).await.status, 200, "{path}");
        }
        let masters = "Only a master API key can access key management";
        for (method, path) in [
            ("POST", "/keys".to_owned()),
            ("POST", "/keys/find".to_owned()),
            ("PATCH", format!("/keys/{id}")),
            ("DELETE", format!("/keys/{id}")),
            ("POST", format!("/keys/{id}/rotate")),
        ] {
            // Before the body is looked at.
            let request = Request::builder().method(method).uri(&path).header("x-api-key", SUPPORT);
            let answer = office.send(request.body(Body::from("no json")).unwrap()).await;
            answer.assert_refused(403, "insufficient_permissions", masters);
        }
        assert_eq!(office.uses(SUPPORT).await.status, 403);
        assert_eq!(office.uses(&key).await.status, 200);
    }
}

#[tokio::test]
async fn a_reason_is_a_text_that_can_be_shown() {
    let office = Office::on_memory();
    let (id, key) = office.reader().await;
    for bad in ["%ff", "%0a", &"x".repeat(201), "a&reason=b"] {
        let answer = office.call("DELETE", &format!("/keys/{id}?reason={bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    assert_eq!(office.uses(&key).await.status, 200);
    assert_eq!(office.call("DELETE", &format!("/keys/{id}?reason=")).await.status, 204);
}
