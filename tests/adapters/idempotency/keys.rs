//! Which requests have a key, and in what order a request is validated.

use crate::idempotency::{
    shop::{ALICE, BOB},
    stage::{Sent, Stage},
};

mod on_both {
    crate::on_both! {
        without_a_key_every_request_runs,
        a_key_that_can_not_be_read_is_refused,
        a_missing_key_is_refused_where_it_is_demanded,
        quoted_and_bare_are_one_key,
        callers_do_not_meet,
        another_request_under_the_key_is_refused,
        the_order_of_checks,
        a_body_up_to_the_limit_passes,
        other_methods_ignore_the_key,
        a_handler_is_told_whose_request_it_is,
        without_a_caller_there_is_no_key,
        without_a_credential_there_is_no_key_either,
        anonymous_callers_share_their_keys,
    }
}

async fn without_a_key_every_request_runs(stage: Stage) {
    let app = stage.app().await;
    for number in 1..=3 {
        let answer = app.send(Sent::to("/orders")).await;
        assert_eq!(answer.text(), format!("{{\"order\":{number}}}"));
        assert_eq!(answer.header("set-cookie"), Some(&*format!("cart={number}")));
        assert_eq!(answer.header("idempotent-replayed"), None);
    }
    assert_eq!(stage.shop.store.calls("begin_request"), 0);
}

async fn a_key_that_can_not_be_read_is_refused(stage: Stage) {
    let app = stage.app().await;
    let long = "k".repeat(256);
    for bad in ["", "\"\"", "\"k", "a b", "\"a\", \"b\"", "\"a b\"", &long, &format!("\"{long}\"")]
    {
        let answer = app.send(Sent::to("/orders").key(bad)).await;
        assert_eq!((answer.status, &*answer.code()), (400, "invalid_request"), "{bad}");
        assert!(answer.text().contains("1 to 255 visible"), "{}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("www-authenticate"), None);
    }
    for twice in [["k", "k"], ["k", "l"]] {
        let answer = app.send(Sent::to("/orders").key(twice[0]).key(twice[1])).await;
        assert_eq!((answer.status, &*answer.code()), (400, "invalid_request"));
        assert!(answer.text().contains("sent twice"), "{}", answer.text());
    }
    assert_eq!(app.send(Sent::to("/orders").key(b"k\xe9")).await.status, 400);
    assert_eq!(stage.shop.orders(), 0);
    assert_eq!(stage.shop.store.calls("begin_request"), 0);
    assert_eq!(app.send(Sent::to("/orders").key("k".repeat(255))).await.status, 201);
}

async fn a_missing_key_is_refused_where_it_is_demanded(stage: Stage) {
    let app = stage.app_with(stage.shop.idempotency().required()).await;
    for method in ["POST", "PATCH"] {
        let answer = app.send(Sent::to("/orders").method(method)).await;
        assert_eq!((answer.status, &*answer.code()), (400, "invalid_request"));
        assert!(answer.text().contains("needs an Idempotency-Key"), "{}", answer.text());
    }
    assert_eq!(stage.shop.orders(), 0);
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 201);
    assert_eq!(app.send(Sent::to("/orders").method("GET")).await.status, 201);
}

async fn quoted_and_bare_are_one_key(stage: Stage) {
    let app = stage.app().await;
    app.send(Sent::to("/orders").key("k-1")).await;
    assert!(app.send(Sent::to("/orders").key("\"k-1\"")).await.is_replayed());
    assert!(!app.send(Sent::to("/orders").key("K-1")).await.is_replayed());
    assert_eq!(stage.shop.orders(), 2);
}

async fn callers_do_not_meet(stage: Stage) {
    let app = stage.app().await;
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.text(), "{\"order\":1}");
    assert_eq!(app.send(Sent::to("/orders").key("k").by(BOB)).await.text(), "{\"order\":2}");
    let again = app.send(Sent::to("/orders").key("k").by(ALICE)).await;
    assert!(again.is_replayed());
    assert_eq!(again.text(), "{\"order\":1}");
}

async fn another_request_under_the_key_is_refused(stage: Stage) {
    let app = stage.app().await;
    let first = || Sent::to("/orders?a=1").key("k");
    app.send(first()).await;
    for other in [
        first().body("{\"photo\":2}"),
        first().body(""),
        first().method("PATCH"),
        Sent::to("/orders?a=2").key("k"),
        Sent::to("/orders").key("k"),
        Sent::to("/orders/?a=1").key("k"),
        first().without("content-type"),
        first().without("content-type").header("content-type", "text/plain"),
    ] {
        let answer = app.send(other).await;
        assert_eq!((answer.status, &*answer.code()), (422, "idempotency_key_reused"));
        assert_eq!(answer.header("retry-after"), None);
    }
    assert!(app.send(first().header("x-other", "header")).await.is_replayed());
    let same = "Application/JSON ; charset=utf-8";
    let same = first().without("content-type").header("content-type", same);
    assert!(app.send(same).await.is_replayed(), "parameters of the media type don't count");
    assert_eq!(stage.shop.orders(), 1);
}

async fn the_order_of_checks(stage: Stage) {
    let app = stage.app_with(stage.shop.idempotency().json().max_body_bytes(10)).await;
    let mut sent = Sent::to("/orders")
        .without("x-api-key")
        .without("content-type")
        .header("content-type", "text/plain")
        .key("not a key");
    assert_eq!(app.send(sent.clone()).await.status, 401);
    sent = sent.by(ALICE);
    assert_eq!(app.send(sent.clone()).await.code(), "unsupported_media_type");
    sent = sent.without("content-type").header("content-type", "application/json; charset=utf-8");
    let encoded = sent.clone().header("content-encoding", "gzip");
    assert_eq!(app.send(encoded).await.code(), "unsupported_media_type");
    assert_eq!(app.send(sent.clone()).await.code(), "body_too_large");
    sent = sent.body("{\"a\":1}");
    assert_eq!(app.send(sent.clone()).await.status, 400);
    sent = sent.without("idempotency-key").key("k");
    assert_eq!(app.send(sent.clone()).await.status, 201);
    assert_eq!(app.send(sent.body("{}")).await.status, 422);
    assert_eq!(stage.shop.orders(), 1);
}

async fn a_body_up_to_the_limit_passes(stage: Stage) {
    let app = stage.app().await;
    let full = Sent::to("/orders").body(vec![b' '; 64 * 1024]);
    assert_eq!(app.send(full.clone().key("k")).await.status, 201);
    assert!(app.send(full.key("k")).await.is_replayed());
    let over = Sent::to("/orders").body(vec![b' '; 64 * 1024 + 1]);
    assert_eq!(app.send(over.clone().key("l")).await.status, 413);
    assert_eq!(app.send(over).await.status, 201, "none of our business without a key");
}

async fn other_methods_ignore_the_key(stage: Stage) {
    let app = stage.app_with(stage.shop.idempotency().required()).await;
    for (method, number) in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"].into_iter().zip(1..) {
        let sent = Sent::to("/orders").method(method);
        let sent = if number % 2 == 0 { sent.key("k") } else { sent.key("not a key") };
        let answer = app.send(sent).await;
        assert_eq!(answer.header("location"), Some(&*format!("/orders/{number}")), "{method}");
    }
    assert_eq!(stage.shop.store.calls("begin_request"), 0);
}

async fn a_handler_is_told_whose_request_it_is(stage: Stage) {
    let app = stage.app().await;
    assert_eq!(app.send(Sent::to("/whose")).await.text(), "None");
    let told = async |key: &str, by: &str| {
        let answer = app.send(Sent::to("/whose").key(key).by(by)).await;
        answer.text().to_owned()
    };
    let (one, two) = (told("\"k\"", ALICE).await, told("l", ALICE).await);
    assert!(one.starts_with("Some((\"bootstrap ") && one.ends_with("\", \"k\"))"), "{one}");
    assert_eq!(one.replace("\"k\"", "\"l\""), two);
    assert!(told("k", BOB).await != one);
}

async fn without_a_caller_there_is_no_key(stage: Stage) {
    let app = stage.open_app(stage.shop.idempotency()).await;
    let answer = app.send(Sent::to("/orders").key("k")).await;
    assert_eq!((answer.status, &*answer.code()), (500, "internal_error"));
    assert_eq!(stage.shop.orders(), 0);
    assert_eq!(app.send(Sent::to("/orders")).await.status, 201);
}

async fn without_a_credential_there_is_no_key_either(stage: Stage) {
    let app = stage.optional_app().await;
    let anonymous = || Sent::to("/orders").without("x-api-key");
    let answer = app.send(anonymous().key("k")).await;
    assert_eq!((answer.status, &*answer.code()), (401, "missing_credential"));
    assert_eq!(app.send(anonymous().key("not a key")).await.status, 400);
    assert_eq!(stage.shop.orders(), 0);
    assert_eq!(app.send(anonymous()).await.status, 201);
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 201);
}

async fn anonymous_callers_share_their_keys(stage: Stage) {
    let idempotency = stage.shop.idempotency().dangerous_allow_anonymous();
    let (open, closed) =
        (stage.open_app(idempotency.clone()).await, stage.app_with(idempotency).await);
    assert!(!open.send(Sent::to("/orders").key("k")).await.is_replayed());
    assert!(open.send(Sent::to("/orders").key("k").by(BOB)).await.is_replayed());
    assert!(!closed.send(Sent::to("/orders").key("k")).await.is_replayed(), "it has a caller");
}
