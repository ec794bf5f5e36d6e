use std::{hint::black_box, sync::Arc, time::Duration};

use key0_auth::{AccessTokens, MemoryStore, Validator, domain::Credential, store::DeniedTokens};
use tokio::runtime::Builder;

use super::{
    Way,
    peer::{Jsonwebtoken, assert_equal_checks},
};
use crate::support::{
    BareHmac, HEADER, access_tokens, access_tokens_with_names, at_once, claims, now, parts,
    remembering, sign,
};

pub(super) fn ways(size: usize) -> Vec<Way> {
    assert_equal_checks(&access_tokens(0));
    let tokens: Vec<_> = (0..size).map(|n| sign(HEADER, &claims(n))).collect();
    assert_eq!(tokens[0].len(), 408);
    // The name of the last of ten keys, or of the only one.
    let with_name = |header: &str| (0..size).map(|n| sign(header, &claims(n))).collect::<Vec<_>>();
    let of_the_only = with_name(r#"{"alg":"HS256","kid":"key-0"}"#);
    let of_the_tenth = with_name(r#"{"alg":"HS256","kid":"key-9"}"#);
    let headers: Vec<_> = tokens.iter().map(|token| format!("Bearer {token}")).collect();
    let taken_apart = tokens.iter().map(|token| parts(token)).collect();

    let bare = BareHmac::new();
    let (alone, equal) = (Jsonwebtoken::new(), Jsonwebtoken::new());
    let validator = Validator::builder().access_tokens(access_tokens(0)).build();
    let validator = validator.expect("there is a key");
    let asking = Validator::builder().access_tokens(access_tokens(0)).denied_tokens(none_denied());
    let asking = asking.build().expect("there is a key");
    vec![
        Way::new("bare HMAC", taken_apart, move |(input, signature): &(String, Vec<u8>)| {
            bare.verify(input, signature)
        }),
        ours("ours, 1 key", access_tokens(0), tokens.clone()).at_most(3.0, "bare HMAC"),
        // Every way has validated each of its tokens once before it is measured.
        ours("ours, remembered", remembering(tokens.len() * 2), tokens.clone())
            .at_most(0.9, "bare HMAC")
            .without_memory(),
        ours("ours, 3 keys", access_tokens(2), tokens.clone()).beside("bare HMAC"),
        ours("ours, 10 keys", access_tokens(9), tokens.clone()).beside("bare HMAC"),
        ours("ours, 1 key with kid", access_tokens_with_names(0), of_the_only)
            .beside("ours, 1 key"),
        ours("ours, 10 keys with kid", access_tokens_with_names(9), of_the_tenth)
            .at_most(1.1, "ours, 1 key with kid"),
        Way::new("ours, from the request's header", headers.clone(), move |header| {
            black_box(at_once(validator.validate([header.as_bytes()], []))).is_ok()
        })
        .beside("bare HMAC"),
        Way::new("ours, where no token is denied", headers, move |header| {
            black_box(at_once(asking.validate([header.as_bytes()], []))).is_ok()
        })
        .at_most(1.1, "ours, from the request's header"),
        Way::new("jsonwebtoken::decode alone", tokens.clone(), move |token| {
            black_box(alone.decode(token)).is_some()
        })
        .beside("ours, 1 key"),
        Way::new("jsonwebtoken::decode with equal checks", tokens, move |token| {
            black_box(equal.validate(token)).is_some()
        })
        .at_least(4.0, "ours, 1 key"),
    ]
}

/// The denied tokens of a store that has none, once they were read.
fn none_denied() -> DeniedTokens {
    let runtime = Builder::new_current_thread().enable_time().build().expect("it starts");
    runtime.block_on(async {
        let denied = DeniedTokens::new(Arc::new(MemoryStore::new()));
        denied.first_reading(Duration::from_secs(5)).await.expect("it can be read");
        denied
    })
}

pub(super) fn ours(name: &'static str, ours: AccessTokens, tokens: Vec<String>) -> Way {
    Way::new(name, tokens, move |token| {
        let token = Credential::try_from(token.as_str()).expect("visible characters");
        black_box(ours.validate(token, now())).is_ok()
    })
}
