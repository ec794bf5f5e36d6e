//! What can be opened, by whom, and what is refused.

use std::{error::Error, fs, process::Command};

use key0_auth::{
    domain::{ChallengeId, PlanId, RequestId, ResourceId},
    error::StoreErrorKind,
    store::{
        DenialStore, Payment, RedisOpenError, RedisOptions,
        spi::{Denial, IssuanceState, PaymentOutcome, TokenDigest},
    },
};

use super::*;
use crate::{
    redis_server::{PASSWORD, RIGHTS, Redis},
    samples::at,
    servers::proxy::Proxy,
};

/// All that an operator could read of an error.
fn everything(error: &dyn Error) -> String {
    let mut text = format!("{error:?}");
    let mut next = Some(error);
    while let Some(error) = next {
        text += &format!(" | {error} {error:?}");
        next = error.source();
    }
    text
}

async fn refusal(url: &str) -> RedisOpenError {
    let error = unhurried().open(url).await.unwrap_err();
    let text = everything(&error);
    assert!(!text.contains("hush"), "{text}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_who_open_at_once_share_one_database() {
    let Some(server) = Redis::start(&[]) else { return };
    let opening: Vec<_> = (0..10)
        .map(|_| {
            let url = server.url("");
            tokio::spawn(async move { open(&url).await })
        })
        .collect();
    let mut stores = Vec::new();
    for opened in opening {
        stores.push(opened.await.unwrap());
    }
    let record = add(&stores[0]).await;
    for store in &stores {
        assert_eq!(store.find(&record.digest).await.unwrap().as_ref(), Some(&record));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_just_starting_is_waited_for() {
    let Some(server) = Redis::start(&[]) else { return };
    let url = server.url("");
    server.stop();
    let opening = tokio::spawn(async move { open(&url).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.start_again();
    add(&opening.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_or_newer_is_refused_and_left_alone() {
    let Some(server) = Redis::start(&[]) else { return };
    drop(open(&server.url("")).await);
    let version: String = server.cli(&["GET", "key0:version"]);
    let id = version.rsplit(' ').next().unwrap();
    let newer = format!("key0-auth 7 {id}");
    for (i, foreign) in [
        "",
        "1",
        "key0-auth",
        "key0-auth 1",
        &format!("key0-auth 0 {id}"),
        &format!("key0-auth 01 {id}"),
        &format!("key0-auth -1 {id}"),
        &format!("key0-auth 1 {id} x"),
        &format!("key0-auth  1 {id}"),
        &format!("Key0-auth 1 {id}"),
        "key0-auth 1 x",
        &format!("{version}\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("foreign-{i}:");
        let () = server.cli(&["SET", &format!("{name}version"), foreign]);
        let error = refusal(&server.url(&format!("/0?prefix={name}"))).await;
        assert!(matches!(error, RedisOpenError::Foreign { .. }), "{foreign:?}: {error:?}");
        let kept: String = server.cli(&["GET", &format!("{name}version")]);
        assert_eq!(kept, foreign);
    }
    let _: i64 = server.cli(&["HSET", "hash:version", "a", "b"]);
    let error = refusal(&server.url("/0?prefix=hash:")).await;
    assert!(matches!(error, RedisOpenError::Foreign { .. }), "{error:?}");
    // Ours, but it has lost its version: nobody knows what else is gone.
    let _: i64 = server.cli(&["INCR", "lost:revision"]);
    let error = refusal(&server.url("/0?prefix=lost:")).await;
    assert!(matches!(error, RedisOpenError::Foreign { .. }), "{error:?}");

    let () = server.cli(&["SET", "newer:version", &newer]);
    let error = refusal(&server.url("/0?prefix=newer:")).await;
    assert!(matches!(error, RedisOpenError::Newer { found: 7, .. }), "{error:?}");
    drop(open(&server.url("")).await);
}

/// What the version adds is absent in older records. An instance of the older version that has the
/// database open knows it no more: it must not decide on keys that it understands in part.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_older_version_is_taken_over_with_its_data() {
    let Some(server) = Redis::start(&[]) else { return };
    for number in [1, 2, 3, 4, 5] {
        take_over(&server, &format!("key0-auth {number} ")).await;
    }
}

async fn take_over(server: &Redis, older_version: &str) {
    let url = server.url("/0?prefix=v:");
    let older = open(&url).await;
    let (live, dead) = (add(&older).await, add(&older).await);
    older.revoke(&dead.id, &Actor::host(), at(1)).await.unwrap().unwrap();
    let version: String = server.cli(&["GET", "v:version"]);
    let () = server.cli(&["SET", "v:version", &version.replace("key0-auth 6 ", older_version)]);
    let opening: Vec<_> = (0..5)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { open(&url).await })
        })
        .collect();
    for opened in opening {
        let store = opened.await.unwrap();
        assert!(!store.was_made());
        assert_eq!(store.find(&live.digest).await.unwrap().as_ref(), Some(&live));
        assert_eq!(store.get(&dead.id).await.unwrap().unwrap().revoked_at, Some(at(1)));
    }
    let now: String = server.cli(&["GET", "v:version"]);
    assert_eq!(now, version);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_can_not_be_used_are_refused() {
    let port = servers::free_port();
    let url = format!("redis://:hush@127.0.0.1:{port}/");
    let options = RedisOptions::new().open_timeout(Duration::from_millis(200));
    let error = options.open(&url).await.unwrap_err();
    assert!(matches!(error, RedisOpenError::Unusable { .. }), "{error:?}");
    assert!(!everything(&error).contains("hush"), "{error:?}");

    let Some(cluster) = Redis::start(&["--cluster-enabled", "yes"]) else { return };
    let error = refusal(&cluster.url("")).await;
    assert!(matches!(error, RedisOpenError::Unfit { .. }), "{error:?}");
    assert!(error.to_string().contains("cluster"), "{error}");

    let replica = Redis::start(&["--replicaof", "127.0.0.1 1"]).unwrap();
    let error = refusal(&replica.url("")).await;
    assert!(matches!(error, RedisOpenError::Unfit { .. }), "{error:?}");
    assert!(error.to_string().contains("replica"), "{error}");

    // One that takes the connection and says nothing.
    let server = Redis::start(&[]).unwrap();
    let proxy = Proxy::to(server.address());
    proxy.stall();
    let options = RedisOptions::new().open_timeout(Duration::from_millis(300));
    let error = options.open(&server.url_through(proxy.port(), "")).await.unwrap_err();
    assert!(matches!(error, RedisOpenError::Unusable { .. }), "{error:?}");
    let wrong = format!("redis://:hush-wrong@127.0.0.1:{}/", server.port());
    assert!(matches!(refusal(&wrong).await, RedisOpenError::Unusable { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_never_shown() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let record = add(&store).await;
    let shown = format!("{store:?} {:#?} {store}", RedisOptions::new());
    assert!(shown.contains(&server.port().to_string()), "{shown}");
    server.stop();
    let read = store.find(&record.digest).await.unwrap_err();
    let wrote = store.insert(&record, &Actor::host()).await.unwrap_err();
    let shown = shown + &everything(&read) + &everything(&wrote);
    assert!(!shown.contains("hush") && !shown.contains(PASSWORD), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_of_a_login_is_not_shown() {
    // It repeats the password, as an argument of a command that it does not know.
    let Some(server) = Redis::start(&["--rename-command", "HELLO", ""]) else { return };
    let error = refusal(&server.url("")).await;
    assert!(matches!(error, RedisOpenError::Unusable { .. }), "{error:?}");
}

// That such a user can do everything else is what the kit shows: every store of its is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_the_rights_that_are_documented_and_no_more() {
    let Some(server) = Redis::start(&[]) else { return };
    let (here, url) = (&["~key0:*", "&key0:*"][..], server.user_url());
    server.set_user(&[here, RIGHTS].concat());
    let store = open(&url).await;
    let durability = store.durability();
    assert_eq!((durability.append_only, durability.evicts), (None, None), "it may not ask");
    let record = add(&store).await;
    store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap().unwrap();
    // Each of them is needed; what may be asked for is named.
    for missing in &RIGHTS[2..] {
        let rights: Vec<_> = RIGHTS.iter().copied().filter(|right| right != missing).collect();
        server.set_user(&[here, &rights].concat());
        let error = refusal(&url).await;
        let RedisOpenError::Rights { missing: named, .. } = &error else {
            panic!("{missing}: {error:?}")
        };
        assert_eq!(format!("+{named}"), *missing);
    }
    // Somebody else's keys and channels don't count.
    for elsewhere in [["~other:*", "&key0:*"], ["~key0:*", "&other:*"]] {
        server.set_user(&[&elsewhere, RIGHTS].concat());
        refusal(&url).await;
    }
    // Who may do nothing is not named either, nor is one who may no more.
    server.set_user(here);
    refusal(&url).await;
    let error = store.find(&record.digest).await.unwrap_err();
    assert!(!everything(&error).contains("hush"), "{}", everything(&error));
    server.set_user(&[here, &["+info"], RIGHTS].concat());
    assert_eq!(open(&url).await.durability().append_only, Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_server_is_told_from_a_database_and_refused_where_that_must_exist() {
    let Some(server) = Redis::start(&[]) else { return };
    let existing = unhurried().must_exist(true);
    let error = existing.open(&server.url("")).await.unwrap_err();
    assert!(matches!(error, RedisOpenError::Missing { .. }), "{error:?}");
    let left: Vec<String> = server.cli(&["KEYS", "*"]);
    assert!(left.is_empty(), "something was made: {left:?}");
    assert!(open(&server.url("")).await.was_made());
    assert!(!open(&server.url("")).await.was_made());
    assert!(!existing.open(&server.url("")).await.unwrap().was_made());

    // Who asks for a database that is there changes nothing of it either.
    let version = || server.cli::<String>(&["GET", "key0:version"]);
    let newest = version();
    let older = newest.replacen(" 6 ", " 1 ", 1);
    assert_ne!(newest, older);
    server.cli::<()>(&["SET", "key0:version", &older]);
    let error = existing.open(&server.url("")).await.unwrap_err();
    assert!(matches!(error, RedisOpenError::Older { found: 1, .. }), "{error:?}");
    assert_eq!(version(), older);
    open(&server.url("")).await;
    assert_eq!(version(), newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_tells_how_durable_its_server_is() {
    for (settings, append_only) in [
        (&["--appendonly", "yes"][..], true),
        (&["--appendonly", "no"], false),
        (&["--maxmemory-policy", "volatile-lru"], true),
    ] {
        let Some(server) = Redis::start(settings) else { return };
        let durability = open(&server.url("")).await.durability();
        assert_eq!(durability.append_only, Some(append_only), "{settings:?}");
        assert_eq!(durability.evicts, Some(false), "{settings:?}");
    }
    // One that would forget which payments were spent.
    let server = Redis::start(&["--maxmemory-policy", "allkeys-lru"]).unwrap();
    let error = refusal(&server.url("")).await;
    assert!(matches!(error, RedisOpenError::Unfit { .. }), "{error:?}");
    let left: Vec<String> = server.cli(&["KEYS", "*"]);
    assert!(left.is_empty(), "something was made: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls_with_a_certificate_that_is_trusted() {
    let Some(openssl) = servers::program("openssl", &[]) else {
        return servers::skip("openssl is not installed");
    };
    let certify = |folder: &std::path::Path| {
        let run = |arguments: &[&str]| {
            let output =
                Command::new(&openssl).args(arguments).current_dir(folder).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        run(&[
            &["req", "-x509", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"][..],
            &["-days", "2", "-addext", "keyUsage=critical,keyCertSign"],
            &key,
        ]
        .concat());
        run(&[
            &["req", "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr"][..],
            &key,
        ]
        .concat());
        fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        run(&[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "server.pem",
        ]);
    };
    let tls_port = servers::free_port().to_string();
    let settings = [
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        "server.pem",
        "--tls-key-file",
        "server.key",
        "--tls-ca-cert-file",
        "ca.pem",
        "--tls-auth-clients",
        "no",
    ];
    let Some(server) = Redis::prepare(&settings, certify) else { return };
    let url = format!("rediss://:{PASSWORD}@127.0.0.1:{tls_port}/0");
    assert!(matches!(refusal(&url).await, RedisOpenError::Unusable { .. }), "nobody trusts it");
    let authority = fs::read(server.folder().join("ca.pem")).unwrap();
    let options = unhurried().root_certificate(authority);
    let store = options.open(&url).await.unwrap();
    let record = add(&store).await;
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(record.clone()));
    assert_eq!(
        store.insert(&record, &Actor::host()).await.unwrap_err().kind(),
        StoreErrorKind::Conflict
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_that_an_older_version_kept_without_0x_are_spent() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let digits = "ab".repeat(32);
    let issuance =
        ["HSET", "key0:issuance:challenge:first", "fingerprint", "f", "tx_hash", &digits];
    let _: i64 = server.cli(&[&issuance[..], &["issued_at", "0"]].concat());
    let () = server.cli(&["SET", &format!("key0:spent:{digits}"), "challenge:first"]);
    let () = server.cli(&["SET", &format!("key0:paid:{digits}"), "first"]);
    for hash in [digits.clone(), format!("0x{digits}")] {
        let claim = samples::claim(samples::challenge("second"), &hash);
        let state = store.begin_issuance(&claim, samples::at(0)).await.unwrap();
        assert_eq!(state, IssuanceState::Redeemed, "{hash}");
        let payment = Payment::new(
            ChallengeId::new("second").unwrap(),
            RequestId::new("r").unwrap(),
            ResourceId::new("photo-1").unwrap(),
            PlanId::new("basic").unwrap(),
            samples::hash(&hash),
            samples::at(0),
        );
        let outcome = store.record_payment(&payment).await.unwrap();
        assert_eq!(outcome, PaymentOutcome::Conflict, "{hash}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_tell_which_tokens_are_denied_is_refused() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    for name in ["key0:denied", "key0:denial_ends"] {
        store.ping().await.unwrap();
        let () = server.cli(&["SET", name, "of another kind"]);
        store.ping().await.expect_err("it would know none");
        let error = refusal(&server.url("")).await;
        assert!(matches!(error, RedisOpenError::Unusable { .. }), "{error:?}");
        let _: i64 = server.cli(&["DEL", name]);
    }
    drop(open(&server.url("")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_that_can_not_be_understood_denies_what_it_can() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let mut tokens = ["a", "b", "c"].map(|jti| TokenDigest::of(&ChallengeId::new(jti).unwrap()));
    tokens.sort();
    for token in tokens {
        store.deny(&Denial { token, until: at(7) }).await.unwrap();
    }
    // One end is lost, the other is no number, and two members are no digests.
    let lua = "local ends = redis.call('HKEYS', 'key0:denial_ends')
        redis.call('HDEL', 'key0:denial_ends', ends[1])
        redis.call('HSET', 'key0:denial_ends', ends[2], 'soon')
        redis.call('ZADD', 'key0:denied', 0, '', 0, '\\255')";
    let _: redis::Value = server.cli(&["EVAL", lua, "0"]);
    let mut found = Vec::new();
    for _ in 0..3 {
        let page = store.denials(found.last(), 1).await.unwrap();
        assert!(page.iter().all(|denial| denial.until >= at(7)), "{page:?}");
        found.extend(page.iter().map(|denial| denial.token));
    }
    assert_eq!(found, tokens);
    assert_eq!(store.denials(found.last(), 1).await.unwrap(), []);
    // Denied anew it is whole again, and goes when it is over.
    for token in tokens {
        store.deny(&Denial { token, until: at(8) }).await.unwrap();
    }
    assert_eq!(store.purge_denials(at(9), 9).await.unwrap(), 3);
    assert_eq!(store.denials(None, 9).await.unwrap(), []);
}
