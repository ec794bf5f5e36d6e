//! What a retry is told.

use std::time::Duration;

use tokio::{
    task::spawn_local,
    time::{Instant, sleep, timeout},
};

use crate::idempotency::stage::{Answer, Sent, Stage};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

mod on_both {
    crate::on_both! {
        a_retry_is_told_what_the_first_was_told,
        an_answer_is_kept_for_a_day,
        a_refusal_is_replayed_in_the_same_form,
        rights_are_checked_anew,
        what_asks_for_another_try_is_not_kept,
        while_the_first_runs_others_are_sent_away,
        of_a_hundred_requests_one_runs,
        a_client_that_hangs_up_finds_its_answer,
        a_panic_frees_the_key,
        a_long_run_keeps_its_key,
        a_secret_is_not_kept,
        a_handler_s_own_refusal_of_the_key_is_not_kept,
        an_answer_that_is_too_large_is_told_once,
        an_answer_in_parts_is_kept_as_one,
        an_answer_that_breaks_off_is_told_once,
        a_refusal_that_travels_as_an_error_is_kept_alike,
        a_run_that_takes_too_long_is_given_up,
    }
}

async fn a_retry_is_told_what_the_first_was_told(stage: Stage) {
    let app = stage.app().await;
    let first = app.send(Sent::to("/orders").key("k")).await;
    assert_eq!((first.status, first.text()), (201, "{\"order\":1}"));
    assert_eq!(first.header("x-request-id"), Some("request-1"));
    assert_eq!(first.header("set-cookie"), Some("cart=1"));
    assert_eq!(first.header("idempotent-replayed"), None);
    for _ in 0..3 {
        let retry = app.send(Sent::to("/orders").key("k")).await;
        assert!(retry.is_replayed());
        assert_eq!((retry.status, &retry.body), (first.status, &first.body));
        for name in ["content-type", "location"] {
            assert_eq!(retry.header(name), first.header(name), "{name}");
        }
        for name in ["x-request-id", "set-cookie", "date"] {
            assert!(first.header(name).is_some());
            assert_eq!(retry.header(name), None, "{name}");
        }
    }
    assert_eq!(stage.shop.orders(), 1);
}

async fn an_answer_is_kept_for_a_day(stage: Stage) {
    let app = stage.app().await;
    app.send(Sent::to("/orders").key("k")).await;
    sleep(24 * HOUR - SECOND).await;
    assert!(app.send(Sent::to("/orders").key("k")).await.is_replayed());
    sleep(SECOND).await;
    let other = app.send(Sent::to("/orders").key("k").body("another")).await;
    assert_eq!((other.status, other.is_replayed()), (201, false));
    let purge = || stage.shop.idempotency();
    assert_eq!(purge().purge(10).await.unwrap(), 0);
    sleep(24 * HOUR).await;
    assert_eq!(purge().purge(10).await.unwrap(), 1);
}

async fn a_refusal_is_replayed_in_the_same_form(stage: Stage) {
    let app = stage.app().await;
    let first = app.send(Sent::to("/conflicts").key("k")).await;
    assert!(first.text().contains("\"instance\":\"/conflicts\""), "{}", first.text());
    let retry = app.send(Sent::to("/conflicts").key("k")).await;
    assert!(retry.is_replayed());
    assert_eq!((retry.status, &retry.body), (409, &first.body));
    for name in ["content-type", "cache-control"] {
        assert_eq!(retry.header(name), first.header(name));
    }
    assert_eq!(stage.shop.orders(), 1);
}

async fn rights_are_checked_anew(stage: Stage) {
    let app = stage.app().await;
    for (path, status) in [("/forbidden", 403), ("/status/403", 403), ("/status/401", 401)] {
        let before = stage.shop.orders();
        for number in 1..=2 {
            let answer = app.send(Sent::to(path).key(path)).await;
            assert_eq!((answer.status, answer.is_replayed()), (status, false));
            assert_eq!(stage.shop.orders(), before + number);
        }
    }
}

async fn what_asks_for_another_try_is_not_kept(stage: Stage) {
    let app = stage.app().await;
    let mut number = 0;
    const UNDONE: [u16; 7] = [400, 408, 413, 415, 422, 425, 429];
    for status in [200, 204, 404, 409, 500, 502, 503, 599].into_iter().chain(UNDONE) {
        let path = format!("/status/{status}");
        let sent = Sent::to(&path).key(format!("k{status}"));
        let answers = [app.send(sent.clone()).await, app.send(sent).await];
        let kept = status < 500 && !UNDONE.contains(&status);
        assert_eq!(answers.clone().map(|answer| answer.status), [status, status]);
        assert_eq!(answers.map(|answer| answer.is_replayed()), [false, kept], "{status}");
        number += if kept { 1 } else { 2 };
        assert_eq!(stage.shop.orders(), number, "{status}");
    }
}

async fn while_the_first_runs_others_are_sent_away(stage: Stage) {
    let app = stage.app().await;
    let sent = Sent::to("/waits").key("k");
    let first = spawn_local({
        let (app, sent) = (app.clone(), sent.clone());
        async move { app.send(sent).await }
    });
    sleep(SECOND).await;
    let retry = app.send(sent.clone()).await;
    assert_eq!((retry.status, &*retry.code()), (409, "idempotency_in_progress"));
    assert_eq!(retry.header("retry-after"), Some("1"));
    assert_eq!(retry.header("idempotent-replayed"), None);
    assert_eq!(app.send(sent.clone().body("another")).await.status, 422);
    stage.shop.let_go_on();
    assert_eq!(first.await.unwrap().status, 201);
    assert!(app.send(sent).await.is_replayed());
    assert_eq!(stage.shop.orders(), 1);
}

async fn of_a_hundred_requests_one_runs(stage: Stage) {
    let app = stage.app().await;
    let sent = Sent::to("/sleeps/1").key("k");
    let racing: Vec<_> = (0..100)
        .map(|_| {
            let (app, sent) = (app.clone(), sent.clone());
            spawn_local(async move { app.send(sent).await })
        })
        .collect();
    let mut statuses = Vec::new();
    for racer in racing {
        statuses.push(racer.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (201, &[409; 99][..]));
    assert!(app.send(sent).await.is_replayed());
    assert_eq!(stage.shop.orders(), 1);
}

async fn a_client_that_hangs_up_finds_its_answer(stage: Stage) {
    let app = stage.app().await;
    let sent = Sent::to("/waits").key("k");
    let first = spawn_local({
        let (app, sent) = (app.clone(), sent.clone());
        async move { app.send(sent).await }
    });
    sleep(SECOND).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let meanwhile = timeout(SECOND, app.send(sent.clone())).await.expect("no second run");
    assert_eq!(meanwhile.status, 409, "the first still runs");
    stage.shop.let_go_on();
    sleep(SECOND).await;
    let retry = app.send(sent).await;
    assert!(retry.is_replayed());
    assert_eq!((retry.text(), stage.shop.orders()), ("{\"order\":1}", 1));
}

async fn a_panic_frees_the_key(stage: Stage) {
    let app = stage.app().await;
    let sent = Sent::to("/panics").key("k");
    let first = spawn_local({
        let (app, sent) = (app.clone(), sent.clone());
        async move { app.send(sent).await }
    });
    assert!(first.await.unwrap_err().is_panic(), "whoever is outside hears of it");
    sleep(SECOND).await;
    let retry = app.send(sent).await;
    assert_eq!((retry.status, retry.is_replayed()), (201, false));
}

async fn a_long_run_keeps_its_key(stage: Stage) {
    let idempotency = stage.shop.idempotency().lease(30 * SECOND).max_run(301 * SECOND);
    let app = stage.app_with(idempotency).await;
    let sent = Sent::to("/sleeps/300").key("k");
    let first = spawn_local({
        let (app, sent) = (app.clone(), sent.clone());
        async move { app.send(sent).await }
    });
    for _ in 0..29 {
        sleep(10 * SECOND).await;
        assert_eq!(app.send(sent.clone()).await.status, 409);
    }
    sleep(15 * SECOND).await;
    assert_eq!(first.await.unwrap().status, 201);
    assert!(app.send(sent).await.is_replayed());
    assert_eq!(stage.shop.orders(), 1);
}

async fn a_secret_is_not_kept(stage: Stage) {
    let by_the_route = stage.app_with(stage.shop.idempotency().secret_responses()).await;
    let by_the_answer = stage.app().await;
    for (app, path, key) in [(by_the_route, "/orders", "k"), (by_the_answer, "/secret", "l")] {
        let before = stage.shop.orders();
        for number in 1..=2 {
            let answer = app.send(Sent::to(path).key(key)).await;
            assert_eq!(answer.status, 201);
            assert!(!answer.is_replayed());
            assert_eq!(stage.shop.orders(), before + number);
        }
    }
    assert_eq!(stage.shop.store.calls("complete_request"), 0);
}

async fn a_handler_s_own_refusal_of_the_key_is_not_kept(stage: Stage) {
    let app = stage.app().await;
    let refused = app.send(Sent::to("/reused").key("k")).await;
    assert_eq!((refused.status, &*refused.code()), (422, "idempotency_key_reused"));
    let right = app.send(Sent::to("/reused").key("k").body("the first body")).await;
    assert_eq!((right.status, right.is_replayed()), (201, false));
}

async fn an_answer_that_is_too_large_is_told_once(stage: Stage) {
    let app = stage.app().await;
    // The headers count, too.
    for (path, length) in [
        ("/large/65537", 65_537),
        ("/large/65536", 65_536),
        ("/large/1000000", 1_000_000),
        ("/streams/100", 100_000),
    ] {
        let before = stage.shop.orders();
        let sent = Sent::to(path).key(path);
        let first = app.send(sent.clone()).await;
        assert_eq!((first.status, first.body.len()), (201, length), "{path}");
        assert!(first.body.iter().all(|byte| *byte == b'x'));
        let retry = app.send(sent.clone()).await;
        assert_eq!((retry.status, &*retry.code()), (409, "idempotency_response_not_kept"));
        assert!(retry.is_replayed());
        assert_eq!(retry.header("content-type"), Some("application/problem+json"));
        assert_eq!(app.send(sent.body("another")).await.status, 422);
        assert_eq!(stage.shop.orders(), before + 1);
    }
}

async fn an_answer_in_parts_is_kept_as_one(stage: Stage) {
    let app = stage.app().await;
    for path in ["/streams/0", "/streams/2", "/streams/60", "/large/0", "/large/60000"] {
        let answers: [Answer; 2] =
            [app.send(Sent::to(path).key(path)).await, app.send(Sent::to(path).key(path)).await];
        assert!(answers[1].is_replayed(), "{path}");
        assert_eq!(answers[0].body, answers[1].body);
    }
}

async fn an_answer_that_breaks_off_is_told_once(stage: Stage) {
    let app = stage.app().await;
    let sent = Sent::to("/breaks").key("k");
    let first = app.send(sent.clone()).await;
    assert_eq!((first.text(), first.is_whole), ("part one, part two", false));
    let retry = app.send(sent.clone()).await;
    assert_eq!((retry.status, &*retry.code()), (409, "idempotency_response_not_kept"));
    assert!(retry.is_replayed());
    assert_eq!(stage.shop.orders(), 1, "it took effect");
}

async fn a_refusal_that_travels_as_an_error_is_kept_alike(stage: Stage) {
    let app = stage.app().await;
    let first = app.send(Sent::to("/fails").key("k")).await;
    assert_eq!((first.status, &*first.code()), (409, "request_conflict"));
    let retry = app.send(Sent::to("/fails").key("k")).await;
    assert!(retry.is_replayed());
    assert_eq!((retry.status, &retry.body), (409, &first.body));
    assert_eq!(retry.header("content-type"), first.header("content-type"));
    assert_eq!(stage.shop.orders(), 1);
    for number in 2..=3 {
        let failed = app.send(Sent::to("/fails/500").key("l")).await;
        assert_eq!((failed.status, stage.shop.orders()), (500, number), "the key is free");
    }
}

async fn a_run_that_takes_too_long_is_given_up(stage: Stage) {
    let app = stage.app_with(stage.shop.idempotency().max_run(60 * SECOND)).await;
    let sent = Sent::to("/waits").key("k");
    let asked = Instant::now();
    let first = app.send(sent.clone()).await;
    assert_eq!((first.status, &*first.code()), (500, "internal_error"));
    assert_eq!(asked.elapsed().as_secs(), 60);
    stage.shop.let_go_on();
    let retry = app.send(sent).await;
    assert_eq!((retry.status, retry.is_replayed()), (201, false));
    assert_eq!(retry.text(), "{\"order\":2}", "nobody waits for the first any more");
}
