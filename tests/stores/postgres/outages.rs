use key0_auth::{
    apikey::KeyKind,
    error::StoreErrorKind,
    store::{
        KeyRegistry, PaymentStore,
        spi::{Change, KeyQuery},
    },
};

use super::*;
use crate::{
    servers::proxy::Proxy,
    store_kit::{Ear, challenge, claim, new_digest},
};

/// Within it every read has failed.
const TOLD: Duration = Duration::from_millis(600);
/// Within it everything works again.
const BACK: Duration = Duration::from_secs(2);

async fn fails_in_time(store: &PostgresStore) -> Duration {
    let digest = new_digest();
    let reads: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                store.find(&digest).await.expect_err("there is no server");
                began.elapsed()
            })
        })
        .collect();
    let mut longest = Duration::ZERO;
    for read in reads {
        longest = longest.max(read.await.unwrap());
    }
    assert!(longest < TOLD, "{longest:?}");
    store.ping().await.expect_err("it is not ready");
    longest
}

async fn comes_back(store: &PostgresStore, ear: &Ear, since: Instant) {
    while store.ping().await.is_err() {
        assert!(since.elapsed() < BACK, "it does not come back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reads = since.elapsed();
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    let writes = since.elapsed();
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(record));
    eventually("anything may have changed", || ear.heard(Change::All)).await;
    let news = since.elapsed();
    println!("back after: reads {reads:?}, writes {writes:?}, news {news:?}");
    assert!(writes < BACK && news < Duration::from_secs(3), "{writes:?}, {news:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_dies_or_hangs_and_comes_back() {
    let Some(server) = Postgres::start() else { return };
    let options = PostgresOptions::new().write_timeout(Duration::from_millis(1_500));
    let store = options.open(&server.url()).await.unwrap();
    let ear = Ear::on(&store);
    let kept = payment_key();
    store.insert(&kept, &Actor::host()).await.unwrap();
    store.revoke(&kept.id, &Actor::host(), at(1)).await.unwrap().unwrap();

    for (what, end) in [("stopped", Postgres::stop as fn(&Postgres)), ("killed", Postgres::kill_9)]
    {
        ear.forget();
        end(&server);
        let longest = fails_in_time(&store).await;
        println!("{what}: reads fail within {longest:?}");
        let began = Instant::now();
        let written = store.begin_issuance(&claim(challenge("c"), "0x1"), at(0)).await;
        written.expect_err("there is no server");
        assert!(began.elapsed() < Duration::from_secs(2));
        server.start_again();
        comes_back(&store, &ear, Instant::now()).await;
        let found = store.find(&kept.digest).await.unwrap().unwrap();
        assert_eq!(found.revoked_at, Some(at(1)), "what was acknowledged is there");
    }

    ear.forget();
    server.hang();
    let longest = fails_in_time(&store).await;
    println!("hung: reads fail within {longest:?}");
    // Long enough for the feed to find out.
    tokio::time::sleep(Duration::from_secs(3)).await;
    fails_in_time(&store).await;
    server.resume();
    comes_back(&store, &ear, Instant::now()).await;
    let mut raw = PgConnection::connect(&server.url()).await.unwrap();
    // What was given up must be gone, and with it its connections.
    let began = Instant::now();
    loop {
        let connections: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut raw)
        .await
        .unwrap();
        if connections <= 8 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{connections} connections");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // Set to be read only, as a primary that is demoted.
    run(&mut raw, "ALTER SYSTEM SET default_transaction_read_only = on").await;
    run(&mut raw, "SELECT pg_reload_conf()").await;
    let began = Instant::now();
    while store.ping().await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "it still says that it is ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(store.find(&kept.digest).await.unwrap().is_some(), "reads go on");
    store.insert(&payment_key(), &Actor::host()).await.expect_err("it can't be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_lost_comes_back() {
    let Some(server) = Postgres::start() else { return };
    let proxy = Proxy::to(server.address());
    let url = server.url_through(proxy.port());
    let options = PostgresOptions::new().write_timeout(Duration::from_millis(1_500));
    let store = options.open(&url).await.unwrap();
    let ear = Ear::on(&store);
    let before = proxy.taken();
    for restore in [Proxy::restore as fn(&Proxy), |proxy| {
        // What was cut off is never heard of again.
        proxy.cut();
        proxy.restore();
    }] {
        ear.forget();
        proxy.stall();
        let longest = fails_in_time(&store).await;
        println!("cut off: reads fail within {longest:?}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        restore(&proxy);
        comes_back(&store, &ear, Instant::now()).await;
    }
    proxy.refuse();
    ear.forget();
    fails_in_time(&store).await;
    proxy.restore();
    comes_back(&store, &ear, Instant::now()).await;
    let taken = proxy.taken() - before;
    println!("{taken} connections were made in the meantime");
    assert!(taken < 200, "{taken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_is_slow_and_no_outage() {
    let Some(server) = Postgres::start() else { return };
    let proxy = Proxy::to(server.address());
    proxy.delay(Duration::from_millis(50));
    let store = PostgresOptions::new().open(&server.url_through(proxy.port())).await.unwrap();
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    // The first ones fail, until their connections are made.
    let (began, mut in_a_row) = (Instant::now(), 0);
    while in_a_row < 10 {
        assert!(began.elapsed() < PATIENCE, "no connection for reads ever comes to be");
        in_a_row = if store.find(&record.digest).await.is_ok() { in_a_row + 1 } else { 0 };
    }
    println!("ten reads in a row succeed after {:?}", began.elapsed());
}

/// As when another machine takes over: nobody ever says that the old connections are gone.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_lost_hold_no_place() {
    let Some(server) = Postgres::start() else { return };
    let proxy = Proxy::to(server.address());
    let options =
        PostgresOptions::new().max_connections(3).write_timeout(Duration::from_millis(1_500));
    let store = options.open(&server.url_through(proxy.port())).await.unwrap();
    let ear = Ear::on(&store);
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    // So that the only connection for reads is lost on its way back to the pool.
    proxy.delay(Duration::from_millis(20));
    while store.find(&record.digest).await.is_err() {}
    store.find(&record.digest).await.unwrap();
    proxy.stall();
    fails_in_time(&store).await;
    ear.forget();
    proxy.abandon();
    let since = Instant::now();
    while store.find(&record.digest).await.is_err() {
        assert!(since.elapsed() < Duration::from_secs(5), "reads do not come back");
    }
    println!("reads are back after {:?}", since.elapsed());
    eventually("anything may have changed", || ear.heard(Change::All)).await;
    store.insert(&payment_key(), &Actor::host()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_comes_back_as_a_standby_answers_nothing() {
    let Some(server) = Postgres::start() else { return };
    let options = PostgresOptions::new().write_timeout(Duration::from_millis(1_500));
    let pool = sqlx::PgPool::connect_lazy(&server.url()).unwrap();
    let stores =
        [options.open(&server.url()).await.unwrap(), options.with_pool(pool).await.unwrap()];
    let record = payment_key();
    stores[0].insert(&record, &Actor::host()).await.unwrap();
    let query = KeyQuery {
        kind: KeyKind::Payment,
        in_force_at: None,
        filter: Default::default(),
        after: None,
        limit: 10,
    };
    server.stop();
    server.stand_by(true);
    server.start_again();
    let mut raw = PgConnection::connect(&server.url()).await.unwrap();
    let standby: bool =
        sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut raw).await.unwrap();
    assert!(standby);
    for store in &stores {
        for _ in 0..3 {
            store.find(&record.digest).await.expect_err("it may be behind");
        }
        store.get(&record.id).await.expect_err("it may be behind");
        store.list(&query).await.expect_err("it may be behind");
        store.history(&record.id, 10).await.expect_err("it may be behind");
        store.ping().await.expect_err("it can't be written");
    }
    drop(raw);
    server.stop();
    server.stand_by(false);
    server.start_again();
    let since = Instant::now();
    for store in &stores {
        while store.ping().await.is_err() {
            assert!(since.elapsed() < PATIENCE, "it does not come back");
        }
        assert_eq!(store.find(&record.digest).await.unwrap().as_ref(), Some(&record));
        assert_eq!(store.history(&record.id, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_not_waited_for_and_tells_why() {
    let Some(server) = Postgres::start() else { return };
    let long = 2 * PATIENCE;
    let options = PostgresOptions::new().read_timeout(long).write_timeout(long);
    let store = options.open(&server.url()).await.unwrap();
    server.stop();
    let mut calls = tokio::task::JoinSet::new();
    for i in 0..50 {
        let store = store.clone();
        calls.spawn(async move {
            if i % 2 == 0 {
                store.find(&new_digest()).await.unwrap_err()
            } else {
                let claim = claim(challenge(&i.to_string()), "0x1");
                store.begin_issuance(&claim, at(0)).await.unwrap_err()
            }
        });
    }
    for error in calls.join_all().await {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    }
    let why = std::error::Error::source(&store.ping().await.unwrap_err()).unwrap().to_string();
    assert!(why.contains("refused") || why.contains("No such file"), "{why}");
}
