//! A store that fails, hangs, or loses its answers.

use std::time::Duration;

use key0_auth::testing::Mood;
use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use crate::idempotency::stage::{Sent, Stage};

const SECOND: Duration = Duration::from_secs(1);

mod on_both {
    crate::on_both! {
        nothing_runs_while_the_store_can_not_tell,
        a_store_that_hangs_is_an_outage,
        a_claim_whose_answer_was_lost_is_given_up,
        a_claim_that_comes_too_late_is_given_up,
        an_answer_that_can_not_be_kept_still_reaches_its_caller,
        an_answer_that_is_kept_too_slowly_still_reaches_its_caller,
        a_claim_that_is_slow_against_its_lease_is_given_up,
        a_renewal_that_hangs_is_tried_again,
        an_answer_whose_keeping_hangs_is_kept_by_another_try,
        a_key_is_held_while_its_answer_waits_for_the_store,
        an_answer_is_kept_although_its_claim_was_purged,
        a_run_that_lost_its_lease_still_answers_and_keeps_nothing,
        a_release_that_fails_is_tried_again,
        a_key_that_can_not_be_released_is_free_after_the_lease,
    }
}

async fn nothing_runs_while_the_store_can_not_tell(stage: Stage) {
    let app = stage.app().await;
    app.send(Sent::to("/orders").key("known")).await;
    stage.shop.store.set(Mood::Fails);
    for key in ["known", "new"] {
        let answer = app.send(Sent::to("/orders").key(key)).await;
        assert_eq!((answer.status, &*answer.code()), (503, "store_unavailable"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(stage.shop.orders(), 1);
    assert_eq!(app.send(Sent::to("/orders")).await.status, 201, "without a key none is asked");
    stage.shop.store.set(Mood::Works);
    assert!(app.send(Sent::to("/orders").key("known")).await.is_replayed());
    assert_eq!(app.send(Sent::to("/orders").key("new")).await.status, 201);
}

async fn a_store_that_hangs_is_an_outage(stage: Stage) {
    let app = stage.app().await;
    stage.shop.store.set(Mood::Hangs);
    let asked = Instant::now();
    let answer = app.send(Sent::to("/orders").key("k")).await;
    assert_eq!((answer.status, &*answer.code()), (503, "store_unavailable"));
    assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
    assert_eq!(stage.shop.orders(), 0);
}

async fn a_claim_whose_answer_was_lost_is_given_up(stage: Stage) {
    let app = stage.app().await;
    stage.shop.store.set_for("begin_request", Mood::LosesItsAnswer);
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 503);
    stage.shop.store.set(Mood::Works);
    sleep(SECOND).await;
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 201);
}

async fn a_claim_that_comes_too_late_is_given_up(stage: Stage) {
    let app = stage.app().await;
    stage.shop.store.set_for("begin_request", Mood::Slow(5 * SECOND));
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 503);
    stage.shop.store.set_for("begin_request", Mood::Works);
    sleep(5 * SECOND).await;
    assert_eq!(stage.shop.store.calls("release_request"), 1);
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 201);
    assert_eq!(stage.shop.orders(), 1);
}

async fn an_answer_that_can_not_be_kept_still_reaches_its_caller(stage: Stage) {
    let app = stage.app().await;
    for (mood, key) in [(Mood::Fails, "k"), (Mood::LosesItsAnswer, "l")] {
        stage.shop.store.set_for("complete_request", mood);
        let before = stage.shop.orders();
        let asked = Instant::now();
        assert_eq!(app.send(Sent::to("/orders").key(key)).await.status, 201);
        assert!(asked.elapsed() < SECOND, "it does not wait for the store");
        stage.shop.store.set(Mood::Works);
        sleep(SECOND).await;
        let retry = app.send(Sent::to("/orders").key(key)).await;
        assert!(retry.is_replayed(), "it was kept later");
        assert_eq!(stage.shop.orders(), before + 1);
    }
}

async fn an_answer_that_is_kept_too_slowly_still_reaches_its_caller(stage: Stage) {
    let app = stage.app().await;
    stage.shop.store.set_for("complete_request", Mood::Hangs);
    let asked = Instant::now();
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 201);
    assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 409);
    stage.shop.store.set(Mood::Works);
    sleep(SECOND).await;
    assert!(app.send(Sent::to("/orders").key("k")).await.is_replayed());
    assert_eq!(stage.shop.orders(), 1);
}

async fn a_claim_that_is_slow_against_its_lease_is_given_up(stage: Stage) {
    let app = stage.app_with(stage.shop.idempotency().lease(3 * SECOND)).await;
    stage.shop.store.set_for("begin_request", Mood::Slow(SECOND + SECOND / 100));
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 503);
    assert_eq!(stage.shop.orders(), 0);
    stage.shop.store.set_for("begin_request", Mood::Slow(SECOND - SECOND / 100));
    sleep(SECOND).await;
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 201);
}

async fn a_renewal_that_hangs_is_tried_again(stage: Stage) {
    let app = stage.app().await;
    let sent = Sent::to("/waits").key("k");
    let first = spawn_local({
        let (app, sent) = (app.clone(), sent.clone());
        async move { app.send(sent).await }
    });
    sleep(SECOND).await;
    // What has begun in this mood stays in it.
    stage.shop.store.set_for("begin_request", Mood::Slow(3_600 * SECOND));
    sleep(14 * SECOND).await;
    stage.shop.store.set(Mood::Works);
    sleep(20 * SECOND).await;
    assert_eq!(app.send(sent.clone()).await.status, 409);
    stage.shop.let_go_on();
    assert_eq!(first.await.unwrap().status, 201);
    assert!(app.send(sent).await.is_replayed());
    assert_eq!(stage.shop.orders(), 1);
}

async fn an_answer_whose_keeping_hangs_is_kept_by_another_try(stage: Stage) {
    let app = stage.app().await;
    stage.shop.store.set_for("complete_request", Mood::Slow(3_600 * SECOND));
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 201);
    sleep(SECOND).await;
    stage.shop.store.set(Mood::Works);
    sleep(3 * SECOND).await;
    assert!(app.send(Sent::to("/orders").key("k")).await.is_replayed());
    assert_eq!(stage.shop.orders(), 1);
}

async fn a_key_is_held_while_its_answer_waits_for_the_store(stage: Stage) {
    let app = stage.app().await;
    stage.shop.store.set_for("complete_request", Mood::Fails);
    assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 201);
    for _ in 0..59 {
        sleep(10 * SECOND).await;
        assert_eq!(app.send(Sent::to("/orders").key("k")).await.status, 409);
    }
    stage.shop.store.set(Mood::Works);
    sleep(SECOND).await;
    assert!(app.send(Sent::to("/orders").key("k")).await.is_replayed());

    stage.shop.store.set_for("complete_request", Mood::Fails);
    assert_eq!(app.send(Sent::to("/orders").key("l")).await.status, 201);
    sleep(640 * SECOND).await;
    assert_eq!(app.send(Sent::to("/orders").key("l")).await.text(), "{\"order\":3}", "at last");
}

async fn an_answer_is_kept_although_its_claim_was_purged(stage: Stage) {
    let app = stage.app().await;
    let sent = Sent::to("/waits").key("k");
    let first = spawn_local({
        let (app, sent) = (app.clone(), sent.clone());
        async move { app.send(sent).await }
    });
    sleep(SECOND).await;
    for method in ["begin_request", "complete_request"] {
        stage.shop.store.set_for(method, Mood::Fails);
    }
    sleep(60 * SECOND).await;
    stage.shop.let_go_on();
    assert_eq!(first.await.unwrap().status, 201);
    assert_eq!(stage.shop.idempotency().purge(10).await.unwrap(), 1);
    stage.shop.store.set(Mood::Works);
    sleep(SECOND).await;
    assert!(app.send(sent).await.is_replayed());
    assert_eq!(stage.shop.orders(), 1);
}

async fn a_run_that_lost_its_lease_still_answers_and_keeps_nothing(stage: Stage) {
    let app = stage.app().await;
    let sent = Sent::to("/waits").key("k");
    let send = || {
        let (app, sent) = (app.clone(), sent.clone());
        spawn_local(async move { app.send(sent).await })
    };
    let first = send();
    sleep(SECOND).await;
    stage.shop.store.set_for("begin_request", Mood::Fails);
    sleep(60 * SECOND).await;
    stage.shop.store.set(Mood::Works);
    let second = send();
    sleep(SECOND).await;
    assert_eq!(stage.shop.orders(), 2, "the first could not renew its lease");
    stage.shop.let_go_on();
    let first = first.await.unwrap();
    assert_eq!((first.status, first.text()), (201, "{\"order\":1}"));
    assert_eq!(app.send(sent.clone()).await.status, 409, "it has not ended the other's run");
    stage.shop.let_go_on();
    assert_eq!(second.await.unwrap().text(), "{\"order\":2}");
    assert_eq!(app.send(sent.clone()).await.text(), "{\"order\":2}");
}

async fn a_release_that_fails_is_tried_again(stage: Stage) {
    let app = stage.app().await;
    stage.shop.store.set_for("release_request", Mood::Fails);
    let first = spawn_local({
        let app = app.clone();
        async move { app.send(Sent::to("/status/500").key("k")).await }
    });
    sleep(SECOND / 4).await;
    stage.shop.store.set(Mood::Works);
    assert_eq!(first.await.unwrap().status, 500);
    assert_eq!(app.send(Sent::to("/status/500").key("k")).await.status, 500);
    assert_eq!(stage.shop.orders(), 2);
}

async fn a_key_that_can_not_be_released_is_free_after_the_lease(stage: Stage) {
    let app = stage.app().await;
    stage.shop.store.set_for("release_request", Mood::Fails);
    assert_eq!(app.send(Sent::to("/status/500").key("k")).await.status, 500);
    assert_eq!(app.send(Sent::to("/status/500").key("k")).await.status, 409);
    sleep(30 * SECOND).await;
    assert_eq!(app.send(Sent::to("/status/500").key("k")).await.status, 500);
    assert_eq!(stage.shop.orders(), 2);
}
