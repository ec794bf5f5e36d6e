//! How long a judgement takes, beside the least that it can take.

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use key0_auth::domain::{Credential, SystemClock};
use support::{BareHmac, Jsonwebtoken, access_tokens, now, parts, tokens};

fn hs256(criterion: &mut Criterion) {
    let tokens = tokens();
    assert_eq!(tokens[0].len(), 408);
    let mut group = criterion.benchmark_group("HS256");

    let bare = BareHmac::new();
    let taken_apart: Vec<_> = tokens.iter().map(|token| parts(token)).collect();
    assert!(taken_apart.iter().all(|(input, signature)| bare.verify(input, signature)));
    let mut next = taken_apart.iter().cycle();
    group.bench_function("bare HMAC", |bencher| {
        bencher.iter(|| {
            let (input, signature) = next.next().expect("endless");
            bare.verify(black_box(input), black_box(signature))
        });
    });

    let peer = Jsonwebtoken::new();
    assert!(tokens.iter().all(|token| peer.validate(token).is_some()));
    let mut next = tokens.iter().cycle();
    group.bench_function("jsonwebtoken", |bencher| {
        bencher.iter(|| peer.validate(black_box(next.next().expect("endless"))));
    });

    for others in [0, 2, 9] {
        let ours = access_tokens(others);
        let validate =
            |token: &str| ours.validate(Credential::try_from(token).expect("a credential"), now());
        assert!(tokens.iter().all(|token| validate(token).is_ok()));
        let mut next = tokens.iter().cycle();
        group.bench_function(format!("ours, {} keys", others + 1), |bencher| {
            bencher.iter(|| validate(black_box(next.next().expect("endless"))));
        });
    }
    group.finish();
}

fn api_key(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("API key");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = std::sync::Arc::new(key0_auth::MemoryStore::new());
    let keys: Vec<_> = (0..1000)
        .map(|n| {
            let key = key0_auth::apikey::KeyFormat::default().generate().unwrap();
            let grant = key0_auth::apikey::Grant::Payment {
                resource_id: "photo-1".parse().unwrap(),
                plan_id: "basic".parse().unwrap(),
                permissions: None,
            };
            let record = key0_auth::apikey::KeyRecord::new(
                key0_auth::domain::KeyId::generate(),
                &key,
                grant,
                now(),
            );
            runtime
                .block_on(key0_auth::KeyStore::insert(
                    &*store,
                    &record,
                    &key0_auth::domain::Actor::host(),
                ))
                .unwrap();
            let _ = n;
            format!("Bearer {}", key.expose())
        })
        .collect();
    let validator = key0_auth::Validator::builder()
        .access_tokens(access_tokens(0))
        .api_keys(key0_auth::ApiKeys::cached(std::sync::Arc::new(
            key0_auth::Cached::builder(store, std::sync::Arc::new(SystemClock))
                .time_to_live(std::time::Duration::from_secs(3600))
                .build()
                .unwrap(),
        )))
        .build()
        .unwrap();
    let _guard = runtime.enter();
    for key in &keys {
        runtime.block_on(validator.validate([key.as_bytes()], [])).unwrap();
    }
    let mut next = keys.iter().cycle();
    group.bench_function("SHA-256", |b| {
        b.iter(|| key0_auth::apikey::KeyDigest::of(black_box(&next.next().unwrap()[7..])))
    });
    let mut next = keys.iter().cycle();
    group.bench_function("cached", |b| {
        b.iter(|| {
            support::at_once(validator.validate([black_box(next.next().unwrap()).as_bytes()], []))
                .unwrap()
        })
    });
    let tokens: Vec<_> = tokens().iter().map(|t| format!("Bearer {t}")).collect();
    let mut next = tokens.iter().cycle();
    group.bench_function("token by the validator", |b| {
        b.iter(|| {
            support::at_once(validator.validate([black_box(next.next().unwrap()).as_bytes()], []))
                .unwrap()
        })
    });
}

criterion_group!(benches, hs256, api_key);
criterion_main!(benches);
