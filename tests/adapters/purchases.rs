//! `/purchases` on both frameworks: what was bought, and its end.
#![cfg(all(feature = "axum", feature = "actix", feature = "backend", feature = "testing"))]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use key0_auth::{
    ApiKeys, MemoryStore, RejectionKind,
    api::{
        Decision, HandlerError, HookError, IssuanceHook, IssuanceRequest, IssueToken,
        OwnCredential, PaymentHandler,
    },
    apikey::IssuanceSecrets,
    backend::{Backend, BackendBuilder, Secrets},
    domain::{Actor, Clock, Secret, SecretSet, Timestamp},
    store::{DenialStore, Payment, PurchaseStore, spi::PurchaseRevocation},
    testing::{FakeClock, FaultyStore, Mood, TokenSigner},
};
use serde_json::{Value, json};

use crate::backend::{Sent, by_actix, by_axum};

const TOKENS: &str = "an-access-token-secret-of-the-tests";
const INTERNAL: &str = "an-internal-secret-of-the-tests-32-";
const MASTER: &str = "a-master-key-of-the-tests-32-bytes-";
const SUPPORT: &str = "a-support-key-of-the-tests-32-bytes";
const READER: &str = "a-readers-key-of-the-tests-32-bytes";
const HASH: &str = "0xAbC";

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "KEY0_ACCESS_TOKEN_SECRET" => TOKENS,
        "INTERNAL_AUTH_SECRET" => INTERNAL,
        "MASTER_API_KEYS" => MASTER,
        "SUPPORT_API_KEYS" => SUPPORT,
        "READ_API_KEYS" => READER,
        _ => return None,
    };
    Some(value.to_owned())
}

/// A backend, by one of the two frameworks.
struct Shop {
    backend: Backend,
    store: Arc<FaultyStore<MemoryStore>>,
    clock: Arc<FakeClock>,
    signer: TokenSigner,
    is_axum: bool,
}

impl Shop {
    async fn on_each() -> [Self; 2] {
        [Self::on(true).await, Self::on(false).await]
    }

    async fn on(is_axum: bool) -> Self {
        Self::with(is_axum, |builder| builder).await
    }

    async fn with(is_axum: bool, change: impl FnOnce(BackendBuilder) -> BackendBuilder) -> Self {
        let (store, clock) = (FaultyStore::new(MemoryStore::new()), FakeClock::new());
        let secrets = Secrets::read(variables).unwrap();
        let builder = Backend::builder(store.clone(), secrets).clock(clock.clone());
        let backend = change(builder).build().unwrap();
        backend.ready().await.unwrap();
        let secret = Secret::new("a test's secret", TOKENS).unwrap();
        let signer = TokenSigner::with(secret).clock(clock.clone());
        Self { backend, store, clock, signer, is_axum }
    }

    async fn send(&self, sent: Sent<'_>) -> (u16, Value) {
        let (status, text) = match self.is_axum {
            true => by_axum(&self.backend, sent).await,
            false => by_actix(&self.backend, sent).await,
        };
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(("GET", path, &[("x-api-key", MASTER)], None)).await
    }

    async fn post(&self, path: &str, body: Option<Value>) -> (u16, Value) {
        self.send(("POST", path, &[("x-api-key", MASTER)], body)).await
    }

    async fn internal(&self, path: &str, challenge: &str) -> (u16, Value) {
        let body = json!({"requestId": format!("r-{challenge}"), "challengeId": challenge,
            "resourceId": "photo-1", "planId": "basic", "txHash": format!("{HASH}-{challenge}")});
        self.send(("POST", path, &[("x-internal-auth", INTERNAL)], Some(body))).await
    }

    async fn issue(&self, challenge: &str) -> (u16, Value) {
        self.internal("/internal/issue-token", challenge).await
    }

    /// The status and the code of a photo, with a credential.
    async fn photo(&self, credential: &str) -> (u16, Value) {
        let bearer = format!("Bearer {credential}");
        let sent = ("GET", "/photos/photo-1", &[("authorization", &*bearer)][..], None);
        let (status, body) = self.send(sent).await;
        (status, body["code"].clone())
    }

    fn token(&self, challenge: &str) -> String {
        self.signer.token().resource("photo-1").plan("basic").challenge_id(challenge).sign()
    }

    fn now(&self) -> String {
        self.clock.now().to_string()
    }
}

/// One setting is both how long a token may live and how long it is denied.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_lives_longer_than_is_set_opens_nothing() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    for is_axum in [true, false] {
        for (set, longest) in
            [(None, MONTH), (Some(2 * HOUR), 2 * HOUR), (Some(2 * MONTH), 2 * MONTH)]
        {
            let shop = Shop::with(is_axum, |builder| match set {
                Some(life) => builder.longest_token_life(life),
                None => builder,
            });
            let shop = shop.await;
            let token = |life: Duration| {
                let token = shop.signer.token().resource("photo-1").plan("basic");
                token.challenge_id("c").expires_in(life).sign()
            };
            let second = Duration::from_secs(1);
            assert_eq!(shop.photo(&token(longest)).await.0, 200);
            let longer = shop.photo(&token(longest + second)).await;
            let refused = (401, json!("invalid_token"));
            assert_eq!(longer, if set.is_some() { refused } else { (200, Value::Null) });
            assert_eq!(shop.post("/purchases/c/revoke", None).await.0, 200);
            let refused = shop.photo(&token(longest)).await;
            assert_eq!(refused, (401, json!("token_revoked")), "{longest:?}");
            let denials = shop.store.denials(None, 10).await.unwrap();
            assert_eq!(denials[0].until, shop.clock.now().plus(longest));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_shown_with_all_that_is_known_of_it() {
    for shop in Shop::on_each().await {
        assert_eq!(shop.get("/purchases/c").await.0, 404);
        let start = shop.now();
        let key = shop.issue("c").await.1["token"].as_str().unwrap().to_owned();
        let (status, issued) = shop.get("/purchases/c").await;
        assert_eq!(status, 200, "{issued}");
        let expires_at = shop.clock.now().plus(Duration::from_secs(3600)).to_string();
        let shown = &issued["key"];
        assert!(key.starts_with(shown["display"].as_str().unwrap().trim_end_matches('…')));
        let expected = json!({"challengeId": "c", "requestId": "r-c", "resourceId": "photo-1", "planId": "basic",
            "txHash": "0xabc-c", "state": "issued", "issuedAt": start, "expiresAt": expires_at,
            "key": shown});
        assert_eq!(issued, expected);
        assert!(!issued.to_string().contains(&key), "{issued}");

        shop.clock.advance(Duration::from_secs(600));
        assert_eq!(shop.get("/purchases/c").await.1["state"], "issued_unconfirmed");
        assert_eq!(shop.internal("/internal/payment-received", "c").await.0, 200);
        let (_, confirmed) = shop.get("/purchases/c").await;
        // Nobody handles it here.
        assert_eq!(confirmed["state"], "waiting");
        assert_eq!(confirmed["confirmedAt"], shop.now());
        assert_eq!(
            (&confirmed["requestId"], &confirmed["txHash"]),
            (&json!("r-c"), &json!("0xAbC-c"))
        );
        assert_eq!(confirmed["attempts"], 0);

        shop.photo(&key).await;
        shop.backend.close().await;
        let (_, used) = shop.get("/purchases/c").await;
        let now = json!(shop.now());
        assert_eq!((&used["firstUsedAt"], &used["lastUsedAt"]), (&now, &now));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_ends_keys_and_tokens_alike_before_and_after() {
    for shop in Shop::on_each().await {
        let (_, issued) = shop.issue("c").await;
        let (key, token) = (issued["token"].as_str().unwrap(), shop.token("c"));
        assert_eq!(shop.photo(key).await.0, 200);
        assert_eq!(shop.photo(&token).await.0, 200);
        let body = json!({"reason": "refunded"});
        let (status, revoked) = shop.post("/purchases/c/revoke", Some(body)).await;
        assert_eq!(status, 200, "{revoked}");
        assert_eq!(revoked["state"], "revoked");
        assert_eq!(
            (&revoked["revokedReason"], &revoked["revokedAt"]),
            (&json!("refunded"), &json!(shop.now()))
        );
        assert_eq!(shop.photo(key).await, (401, json!("key_revoked")));
        assert_eq!(shop.photo(&token).await, (401, json!("token_revoked")));
        let (status, again) = shop.issue("c").await;
        assert_eq!(
            (status, &again["code"], &again["retry"]),
            (409, &json!("purchase_revoked"), &json!("never"))
        );

        // Before anything is known of it. The body can be left out.
        let (status, revoked) = shop.post("/purchases/d/revoke", None).await;
        assert_eq!((status, &revoked["state"]), (200, &json!("revoked")));
        assert_eq!(
            revoked,
            json!({"challengeId": "d", "state": "revoked", "revokedAt": shop.now()})
        );
        assert_eq!(shop.issue("d").await.1["code"], "purchase_revoked");
        assert_eq!(shop.photo(&shop.token("d")).await, (401, json!("token_revoked")));
        // Others live on.
        assert_eq!(shop.issue("e").await.0, 200);
        assert_eq!(shop.photo(&shop.token("e")).await.0, 200);
        // The first reason stays.
        let body = json!({"reason": "again"});
        let (_, again) = shop.post("/purchases/c/revoke", Some(body)).await;
        assert_eq!(again["revokedReason"], "refunded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_may_not_revoke() {
    for shop in Shop::on_each().await {
        shop.issue("c").await;
        let token = shop.token("c");
        let bearer = format!("Bearer {token}");
        let revoke = "/purchases/c/revoke";
        for (credential, reads, revokes) in [
            (("x-api-key", SUPPORT), 200, 403),
            (("x-api-key", READER), 403, 403),
            (("authorization", &*bearer), 403, 403),
            (("x-internal-auth", INTERNAL), 401, 401),
            (("x-key0-internal-token", INTERNAL), 401, 401),
        ] {
            let sent = ("GET", "/purchases/c", &[credential][..], None);
            assert_eq!(shop.send(sent).await.0, reads, "{credential:?}");
            // Whatever the body is.
            for body in [None, Some(json!([]))] {
                let sent = ("POST", revoke, &[credential][..], body);
                assert_eq!(shop.send(sent).await.0, revokes, "{credential:?}");
            }
        }
        assert_eq!(shop.photo(&token).await.0, 200);
        assert_eq!(shop.get("/purchases/c").await.1["state"], "issued");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_revoked_says_why() {
    for shop in Shop::on_each().await {
        let long = "x".repeat(201);
        for body in
            [json!([]), json!({"reason": 1}), json!({"reason": long}), json!({"reason": "\u{7}"})]
        {
            let (status, answer) = shop.post("/purchases/c/revoke", Some(body)).await;
            assert_eq!((status, &answer["code"]), (400, &json!("invalid_request")));
        }
        let pasted =
            Some(json!({"reason": "customer says ak_0123456789abcdef0123456789abcdef fails"}));
        for path in ["/purchases/c/revoke", "/purchases/c/settle"] {
            let (status, answer) = shop.post(path, pasted.clone()).await;
            assert_eq!(
                (status, &answer["message"]),
                (400, &json!("reason must not hold a credential"))
            );
        }
        let form = [("x-api-key", MASTER), ("content-type", "text/plain")];
        let sent = ("POST", "/purchases/c/revoke", &form[..1], Some(json!({"reason": null})));
        assert_eq!(shop.send(sent).await.0, 200);
        for path in ["/purchases/%20/revoke", "/purchases/%ff/revoke"] {
            assert_eq!(shop.post(path, None).await.0, 404, "{path}");
        }
        assert_eq!(shop.get("/purchases/c/revoke").await.0, 405);
        shop.store.set_for("revoke_purchase", Mood::Fails);
        let (status, answer) = shop.post("/purchases/z/revoke", None).await;
        assert_eq!((status, &answer["code"]), (503, &json!("store_unavailable")));
        shop.store.set_for("purchase", Mood::Fails);
        assert_eq!(shop.get("/purchases/z").await.0, 503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purchases_are_listed_in_pages_and_found() {
    for shop in Shop::on_each().await {
        assert_eq!(shop.get("/purchases").await, (200, json!({"purchases": []})));
        for challenge in ["a", "b", "c"] {
            shop.issue(challenge).await;
            shop.clock.advance(Duration::from_secs(1));
        }
        let ids = |page: &Value| -> Vec<String> {
            let listed = page["purchases"].as_array().unwrap().iter();
            listed.map(|one| one["challengeId"].as_str().unwrap().to_owned()).collect()
        };
        let (_, first) = shop.get("/purchases?limit=2").await;
        assert_eq!(ids(&first), ["c", "b"]);
        assert_eq!(first["purchases"][1], shop.get("/purchases/b").await.1);
        let next = first["nextCursor"].as_str().unwrap();
        let (_, second) = shop.get(&format!("/purchases?limit=2&cursor={next}")).await;
        assert_eq!((ids(&second), second.get("nextCursor")), (vec!["a".to_owned()], None));
        let key = first["purchases"][0]["key"]["id"].as_str().unwrap();
        for (query, expected) in [
            ("challengeId=a".to_owned(), vec!["a"]),
            ("requestId=r-b".to_owned(), vec!["b"]),
            ("txHash=0XABC-C".to_owned(), vec!["c"]),
            (format!("keyId={key}"), vec!["c"]),
            ("planId=basic&resourceId=photo-1&state=issued".to_owned(), vec!["c", "b", "a"]),
            ("planId=gold".to_owned(), vec![]),
            ("challengeId=&state=&limit=&page=7".to_owned(), vec!["c", "b", "a"]),
        ] {
            let (status, page) = shop.get(&format!("/purchases?{query}")).await;
            assert_eq!(status, 200, "{query}");
            assert_eq!(ids(&page), expected, "{query}");
        }
        let other = format!("/purchases?state=issued&cursor={next}");
        for bad in ["/purchases?limit=0", "/purchases?state=paid", "/purchases?cursor=x", &other] {
            let (status, answer) = shop.get(bad).await;
            assert_eq!((status, &answer["code"]), (400, &json!("invalid_request")), "{bad}");
        }
        for (key, expected) in [(SUPPORT, 200), (READER, 403)] {
            let sent = ("GET", "/purchases", &[("x-api-key", key)][..], None);
            assert_eq!(shop.send(sent).await.0, expected);
        }
        shop.store.set_for("purchases", Mood::Fails);
        assert_eq!(shop.get("/purchases").await.0, 503);
    }
}

/// Fails with what it is told.
#[derive(Debug)]
struct Fails(Arc<Mutex<String>>);

#[async_trait]
impl PaymentHandler for Fails {
    async fn handle(&self, _: &Payment) -> Result<(), HandlerError> {
        let error = self.0.lock().unwrap().clone();
        if error.is_empty() { Ok(()) } else { Err(error.into()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_fails_with_is_shown_without_credentials_and_it_is_retried_now() {
    let error = Arc::new(Mutex::new("no credits left".to_owned()));
    let handler = Fails(error.clone());
    let shop = Shop::with(true, |builder| builder.on_payment(handler)).await;
    let until = async |holds: fn(&Value) -> bool| loop {
        let (_, purchase) = shop.get("/purchases/c").await;
        if holds(&purchase) {
            return purchase;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    shop.internal("/internal/payment-received", "c").await;
    let failed = until(|it| it["lastError"].is_string()).await;
    assert_eq!((&failed["state"], &failed["attempts"]), (&json!("waiting"), &json!(1)));
    assert_eq!(failed["lastError"], "no credits left");

    // By the clock, which stands still, it is not due.
    let token = shop.token("c");
    *error.lock().unwrap() = format!("https://api.example.com/?key={token} said no");
    assert_eq!(shop.post("/purchases/c/retry", None).await.0, 200);
    let failed = until(|it| it["lastError"] != "no credits left").await;
    let told = failed["lastError"].as_str().unwrap();
    assert!(told.contains("credential") && !failed.to_string().contains(&token), "{failed}");

    error.lock().unwrap().clear();
    assert_eq!(shop.post("/purchases/c/retry", None).await.0, 200);
    let handled = until(|it| it["handledAt"].is_string()).await;
    assert_eq!(handled["state"], "confirmed_unissued");
    assert_eq!((&handled["attempts"], handled.get("lastError")), (&json!(3), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_waits_can_be_given_up_with_a_reason() {
    for shop in Shop::on_each().await {
        shop.issue("c").await;
        for path in ["/purchases/c/retry", "/purchases/c/settle"] {
            let body = Some(json!({"reason": "x"}));
            let (status, answer) = shop.post(path, body.clone()).await;
            assert_eq!((status, &answer["code"]), (409, &json!("request_conflict")), "{path}");
            assert_eq!(shop.post(&path.replace("/c/", "/z/"), body.clone()).await.0, 404, "{path}");
            let sent = ("POST", path, &[("x-api-key", SUPPORT)][..], body);
            assert_eq!(shop.send(sent).await.0, 403, "{path}");
        }
        shop.internal("/internal/payment-received", "c").await;
        let (status, retried) = shop.post("/purchases/c/retry", None).await;
        assert_eq!((status, &retried["state"]), (200, &json!("waiting")));
        for body in [json!({}), json!({"reason": ""}), json!({"reason": 7})] {
            assert_eq!(shop.post("/purchases/c/settle", Some(body)).await.0, 400);
        }
        let body = json!({"reason": "paid by hand"});
        let (status, settled) = shop.post("/purchases/c/settle", Some(body)).await;
        assert_eq!((status, &settled["state"]), (200, &json!("confirmed")));
        assert_eq!(settled["lastError"], "given up: paid by hand");
        assert_eq!(settled.get("handledAt"), None);
    }
}

/// Hands the same credential out, and the second time lets a revocation through before.
#[derive(Debug)]
struct Refunded {
    store: MemoryStore,
    asked: AtomicBool,
}

#[async_trait]
impl IssuanceHook for Refunded {
    async fn decide(&self, request: &IssuanceRequest) -> Result<Decision, HookError> {
        if self.asked.swap(true, Ordering::Relaxed) {
            let at = Timestamp::from_seconds(0);
            let revocation = PurchaseRevocation {
                id: request.challenge_id.clone().expect("it names one"),
                reason: None,
                by: Actor::host(),
                at,
                tokens_until: at,
                unknown_a_day: 0,
            };
            self.store.revoke_purchase(&revocation).await?;
        }
        Ok(Decision::Own(OwnCredential::new("a credential of the application", None)))
    }
}

#[tokio::test]
async fn a_credential_of_the_application_is_not_handed_out_after_its_revocation() {
    let store = MemoryStore::new();
    let hook = Refunded { store: store.clone(), asked: AtomicBool::new(false) };
    let secret = Secret::new("ISSUANCE_SECRET", "a secret from which keys are derived").unwrap();
    let secrets = IssuanceSecrets::new(&SecretSet::new(secret));
    let store = Arc::new(store);
    let issue = IssueToken::new(store.clone(), ApiKeys::new(store), secrets).hook(hook);
    let body =
        br#"{"requestId":"r","challengeId":"c","resourceId":"p","planId":"b","txHash":"0x1"}"#;
    assert_eq!(issue.handle(body).await.unwrap().status, 200);
    let refused = issue.handle(body).await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::PurchaseRevoked);
}
