use key0_auth::{
    apikey::KeyKind,
    error::StoreErrorKind,
    store::{
        PaymentStore,
        spi::{Change, KeyQuery},
    },
};

use super::*;
use crate::{
    samples::{ChangeRecorder, challenge, claim, new_digest},
    servers::proxy::Proxy,
};

/// The usual deadline of reads, and one for writes that does not hold up a test.
fn impatient() -> PostgresOptions {
    PostgresOptions::new().open_timeout(PATIENCE).write_timeout(Duration::from_millis(1_500))
}

/// Every call is answered, and refused.
async fn fails(store: &PostgresStore) {
    let digest = new_digest();
    let reads: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                store.find(&digest).await.expect_err("there is no server");
            })
        })
        .collect();
    let all = async {
        for read in reads {
            read.await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("reads have a deadline");
    store.ping().await.expect_err("it is not ready");
}

async fn comes_back(store: &PostgresStore, recorder: &ChangeRecorder) {
    comes_about("it is never ready", async || store.ping().await.is_ok()).await;
    let record = inserted(store).await;
    assert_eq!(found(store, &record.digest).await, Some(record));
    eventually("anything may have changed", || recorder.heard(Change::All)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_dies_or_hangs_and_comes_back() {
    let Some(server) = Postgres::start() else { return };
    let store = impatient().open(&server.url()).await.unwrap();
    let recorder = ChangeRecorder::on(&store);
    let kept = inserted(&store).await;
    patiently!(store.revoke(&kept.id, &Actor::host(), at(1))).unwrap();

    for end in [Postgres::stop as fn(&Postgres), Postgres::kill_9] {
        recorder.forget();
        end(&server);
        fails(&store).await;
        let written = store.begin_issuance(&claim(challenge("c"), "0x1"), at(0)).await;
        written.expect_err("there is no server");
        server.start_again();
        comes_back(&store, &recorder).await;
        let found = found(&store, &kept.digest).await.unwrap();
        assert_eq!(found.revoked_at, Some(at(1)), "what was acknowledged is there");
    }

    recorder.forget();
    server.hang();
    fails(&store).await;
    // Long enough for the feed to find out.
    tokio::time::sleep(Duration::from_secs(3)).await;
    fails(&store).await;
    server.resume();
    comes_back(&store, &recorder).await;
    let mut raw = PgConnection::connect(&server.url()).await.unwrap();
    // What was given up must be gone, and with it its connections.
    comes_about("connections have piled up", async || {
        let connections: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut raw)
        .await
        .unwrap();
        connections <= 16
    })
    .await;

    // Set to be read only, as a primary that is demoted.
    run(&mut raw, "ALTER SYSTEM SET default_transaction_read_only = on").await;
    run(&mut raw, "SELECT pg_reload_conf()").await;
    let says_so = async || store.ping().await.is_err();
    comes_about("it still says that it is ready", says_so).await;
    assert!(found(&store, &kept.digest).await.is_some(), "reads go on");
    store.insert(&payment_key(), &Actor::host()).await.expect_err("it can't be written");
}

/// However long lookups take, and however many wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_ping_waits_for_no_lookup() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut other = ours.raw().await;
    run(&mut other, "BEGIN; LOCK TABLE keys").await;
    let digest = new_digest();
    let lookups: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.find(&digest).await })
        })
        .collect();
    ours.waits_for_a_lock().await;
    tokio::time::timeout(PATIENCE / 2, store.ping()).await.expect("it waits").unwrap();
    assert!(lookups.iter().all(|lookup| !lookup.is_finished()), "the test shows nothing");
    run(&mut other, "COMMIT").await;
    for lookup in lookups {
        assert_eq!(lookup.await.unwrap().unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_lost_comes_back() {
    let Some(server) = Postgres::start() else { return };
    let proxy = Proxy::to(server.address());
    let store = impatient().open(&server.url_through(proxy.port())).await.unwrap();
    let recorder = ChangeRecorder::on(&store);
    let before = proxy.taken();
    for restore in [Proxy::restore as fn(&Proxy), |proxy| {
        // What was cut off is never heard of again.
        proxy.cut();
        proxy.restore();
    }] {
        recorder.forget();
        proxy.stall();
        fails(&store).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        restore(&proxy);
        comes_back(&store, &recorder).await;
    }
    proxy.refuse();
    recorder.forget();
    fails(&store).await;
    proxy.restore();
    comes_back(&store, &recorder).await;
    let taken = proxy.taken() - before;
    assert!(taken < 1_000, "{taken} connections were made meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_is_slow_and_no_outage() {
    let Some(server) = Postgres::start() else { return };
    let proxy = Proxy::to(server.address());
    // A connection and its first read take longer than a read may.
    proxy.delay(Duration::from_millis(60));
    let options = unhurried().read_timeout(Duration::from_millis(900));
    let store = options.open(&server.url_through(proxy.port())).await.unwrap();
    let record = inserted(&store).await;
    // The first ones fail, until their connections are made. One that comes late to a read is closed
    // with it; whoever asks a little later finds one.
    let (began, mut pause) = (Instant::now(), Duration::ZERO);
    let found = loop {
        match store.find(&record.digest).await {
            Ok(found) => break found,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error:?}"),
        }
        pause += Duration::from_millis(300);
        tokio::time::sleep(pause).await;
    };
    assert_eq!(found, Some(record));
}

/// As when another machine takes over: nobody ever says that the old connections are gone.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_lost_hold_no_place() {
    let Some(server) = Postgres::start() else { return };
    let proxy = Proxy::to(server.address());
    let options = impatient().max_connections(3);
    let store = options.open(&server.url_through(proxy.port())).await.unwrap();
    let recorder = ChangeRecorder::on(&store);
    let record = inserted(&store).await;
    // So that the only connection for reads is lost on its way back to the pool.
    proxy.delay(Duration::from_millis(20));
    found(&store, &record.digest).await.unwrap();
    proxy.stall();
    fails(&store).await;
    recorder.forget();
    proxy.abandon();
    found(&store, &record.digest).await.unwrap();
    eventually("anything may have changed", || recorder.heard(Change::All)).await;
    inserted(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_comes_back_as_a_standby_answers_nothing() {
    let Some(server) = Postgres::start() else { return };
    let options = impatient();
    let pool = sqlx::PgPool::connect_lazy(&server.url()).unwrap();
    let stores =
        [options.open(&server.url()).await.unwrap(), options.with_pool(pool).await.unwrap()];
    let record = inserted(&stores[0]).await;
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
    for store in &stores {
        comes_about("it does not come back", async || store.ping().await.is_ok()).await;
        assert_eq!(found(store, &record.digest).await.as_ref(), Some(&record));
        let history = patiently!(store.history(&record.id, 10));
        assert_eq!(history.len(), 1);
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

/// A server that lets nobody in, with this answer.
async fn closed(code: &'static str, message: &'static str) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
    let length = u32::try_from(fields.len()).unwrap() + 4;
    let answer = [&b"E"[..], &length.to_be_bytes(), fields.as_bytes()].concat();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut sent = [0; 1_000];
                // TLS is asked for first.
                if matches!(socket.read(&mut sent).await, Ok(8)) {
                    socket.write_all(b"N").await?;
                    let _ = socket.read(&mut sent).await?;
                }
                socket.write_all(&answer).await?;
                socket.shutdown().await
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_lets_nobody_in_for_is_told_at_once() {
    let Some(server) = Postgres::start() else { return };
    for (code, message) in [
        ("53300", "sorry, too many clients already"),
        ("57P03", "the database system is starting up"),
        ("28000", "no way in"),
    ] {
        let proxy = Proxy::to(server.address());
        let long = 2 * PATIENCE;
        let options = PostgresOptions::new().read_timeout(long).write_timeout(long);
        let store = options.open(&server.url_through(proxy.port())).await.unwrap();
        proxy.lead_to(closed(code, message).await);
        proxy.cut();
        let claim = claim(challenge(code), "0x1");
        let mut answers = [false; 3];
        comes_about("the reason is never told", async || {
            let errors = [
                store.find(&new_digest()).await.err(),
                store.begin_issuance(&claim, at(0)).await.err(),
                store.ping().await.err(),
            ];
            for (answer, error) in answers.iter_mut().zip(errors) {
                let error = error.expect("there is no server");
                // Connections that are lost say something else first.
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                *answer |= format!("{error:?}").contains(message);
            }
            answers == [true; 3]
        })
        .await;
        // Whoever does not wait is told at once, and whoever waits comes in when he can.
        let url = server.url_through(proxy.port());
        let options = PostgresOptions::new().open_timeout(2 * PATIENCE);
        let refused = options.clone().wait_for_server(false).open(&url).await.unwrap_err();
        assert!(format!("{refused:?}").contains(message), "{refused:?}");
        let brief = options.clone().open_timeout(Duration::from_millis(300));
        let refused = brief.open(&url).await.unwrap_err();
        assert!(format!("{refused:?}").contains(message), "{refused:?}");
        if code == "28000" {
            continue;
        }
        let waits = tokio::spawn(async move { options.open(&url).await.map(drop) });
        let before = proxy.taken();
        comes_about("nobody tries again", async || proxy.taken() > before + 1).await;
        proxy.lead_to(server.address());
        waits.await.unwrap().unwrap();
        comes_about("it does not come back", async || store.ping().await.is_ok()).await;
    }
}
