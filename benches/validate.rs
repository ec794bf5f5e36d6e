//! How long a judgement takes, beside the least that it can take.
//!
//! Every token is another one, as it is for a server; each way is seen to succeed before its time
//! is taken.
#![allow(missing_docs, clippy::expect_used)]

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use key0_auth::{apikey::KeyDigest, domain::Credential};
use support::{BareHmac, Jsonwebtoken, access_tokens, at_once, now, parts, tokens, validator};

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
        group.bench_function(format!("ours, keys: {}", others + 1), |bencher| {
            bencher.iter(|| validate(black_box(next.next().expect("endless"))));
        });
    }
    group.finish();
}

fn api_key(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (validator, keys) = runtime.block_on(validator(1_000));
    let _within = runtime.enter();
    let mut group = criterion.benchmark_group("API key");

    let mut next = keys.iter().cycle();
    group.bench_function("SHA-256", |bencher| {
        bencher.iter(|| KeyDigest::of(black_box(next.next().expect("endless"))));
    });

    let headers: Vec<_> = keys.iter().map(|key| format!("Bearer {key}")).collect();
    let validate = |header: &str| at_once(validator.validate([header.as_bytes()], []));
    assert!(headers.iter().all(|header| validate(header).is_ok()));
    let mut next = headers.iter().cycle();
    group.bench_function("cached", |bencher| {
        bencher.iter(|| validate(black_box(next.next().expect("endless"))));
    });
    group.finish();
}

criterion_group!(benches, hs256, api_key);
criterion_main!(benches);
