//! What is left after a restart, on SQLite.

use std::{path::Path, sync::Arc};

use key0_auth::{SqliteStore, idempotency::Idempotency};
use tokio::{runtime::Builder, task::LocalSet};

use crate::idempotency::{
    shop::BOB,
    stage::{Framework, Sent, Stage},
};

/// One life of a process, which ends when it returns.
fn life<F: Future<Output = ()>>(
    file: &Path,
    framework: Framework,
    work: impl FnOnce(Stage, Idempotency) -> F,
) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work(Stage::new(framework), opened(file)));
}

fn opened(file: &Path) -> Idempotency {
    Idempotency::new(Arc::new(SqliteStore::open(file).unwrap()))
}

#[test]
fn an_answer_outlives_a_restart_and_a_change_of_framework() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key0.db");
    let sent = || Sent::to("/orders?a=%C3%A9").key("k");
    life(&file, Framework::Tower, async |stage, idempotency| {
        let answer = stage.app_with(idempotency).await.send(sent()).await;
        assert_eq!((answer.status, answer.is_replayed()), (201, false));
    });
    for framework in [Framework::Tower, Framework::Actix] {
        life(&file, framework, async |stage, idempotency| {
            let app = stage.app_with(idempotency).await;
            let retry = app.send(sent()).await;
            assert!(retry.is_replayed());
            assert_eq!((retry.status, retry.text()), (201, "{\"order\":1}"));
            assert_eq!(app.send(sent().body("another")).await.status, 422);
            assert_eq!(stage.shop.orders(), 0);
            // Alice's key, but Bob's request.
            let of_bob = app.send(sent().by(BOB)).await;
            let is_first = framework == Framework::Tower;
            assert_eq!((of_bob.status, of_bob.is_replayed()), (201, !is_first));
            assert_eq!(stage.shop.orders(), usize::from(is_first));
        });
    }
}

#[test]
fn a_hundred_requests_on_a_file_run_once() {
    for framework in [Framework::Tower, Framework::Actix] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key0.db");
        life(&file, framework, async |stage, idempotency| {
            // As two processes have it: each with a connection of its own.
            let apps = [stage.app_with(idempotency).await, stage.app_with(opened(&file)).await];
            let racing: Vec<_> = (0..100)
                .map(|number| {
                    let app = apps[number % 2].clone();
                    tokio::task::spawn_local(
                        async move { app.send(Sent::to("/orders").key("k")).await },
                    )
                })
                .collect();
            let mut ran = 0;
            for racer in racing {
                let answer = racer.await.unwrap();
                match (answer.status, answer.is_replayed()) {
                    (201, false) => ran += 1,
                    (201, true) | (409, false) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((ran, stage.shop.orders()), (1, 1));
        });
    }
}
