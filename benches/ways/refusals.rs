//! Refusing costs no more than accepting: whoever sends rubbish gains nothing by it.

use std::{hint::black_box, rc::Rc};

use key0_auth::{
    Identity, Rejection, RejectionKind, Validator,
    auth::{Fallback, FallbackError, FallbackGrant},
    domain::Credential,
};
use tokio::runtime::Builder;

use super::{
    Way,
    api_keys::{Shop, accepted_cached, accepted_uncached},
};
use crate::support::{HEADER, access_tokens, at_once, claims, sign};

/// How many times as much as accepting a refusal may cost.
const LIMIT: f64 = 1.2;

pub(super) fn tokens(size: usize) -> Vec<Way> {
    use RejectionKind::{InvalidToken, TokenExpired};

    let validator = Validator::builder().access_tokens(access_tokens(0)).build();
    let validator = validator.expect("there is a key");
    let accepted = |name, token: fn(usize) -> String| {
        let (headers, validator) = (headers(size, token), validator.clone());
        Way::new(name, headers, move |header| validate(&validator, header).is_ok())
    };
    let refused = |name, kind, token: fn(usize) -> String, base| {
        let (headers, validator) = (headers(size, token), validator.clone());
        Way::new(name, headers, move |header| is_refused(&validator, header, kind))
            .at_most(LIMIT, base)
    };
    let usual = |name, kind, token: fn(usize) -> String| refused(name, kind, token, "accepted");
    let long =
        |name, token: fn(usize) -> String| refused(name, InvalidToken, token, "accepted, 8 KiB");
    vec![
        accepted("accepted", |n| sign(HEADER, &claims(n))),
        usual("bad signature", InvalidToken, |n| bend_signature(&sign(HEADER, &claims(n)))),
        usual("not base64url", InvalidToken, |n| sign(HEADER, &claims(n)).replace('.', ".*")),
        usual("not JSON", InvalidToken, |n| sign(HEADER, &claims(n)[1..])),
        usual("JSON that breaks off", InvalidToken, |n| {
            sign(HEADER, claims(n).trim_end_matches('}'))
        }),
        usual("expired", TokenExpired, |n| instead(n, r#""exp":"#, r#""exp":1,"nbf":"#)),
        usual("not valid yet", InvalidToken, |n| {
            instead(n, r#""iat":"#, r#""nbf":9999999999,"iat":"#)
        }),
        usual("wrong algorithm", InvalidToken, |n| sign(r#"{"alg":"RS256"}"#, &claims(n))),
        usual("no algorithm", InvalidToken, |n| sign(r#"{"alg":"none"}"#, &claims(n))),
        usual("refused header member", InvalidToken, |n| {
            sign(r#"{"alg":"HS256","crit":["exp"]}"#, &claims(n))
        }),
        usual("system token", InvalidToken, |n| instead(n, "basic", "system")),
        usual("claim missing", InvalidToken, |n| instead(n, r#""planId":"basic","#, "")),
        usual("claim of a wrong type", InvalidToken, |n| instead(n, r#""basic""#, "1")),
        usual("claim that is no id", InvalidToken, |n| instead(n, "basic", "")),
        usual("member twice", InvalidToken, |n| instead(n, r#""planId""#, r#""jti":"x","planId""#)),
        usual("opaque, known to nobody", InvalidToken, |n| format!("opaque-{n:0390}")),
        usual("over 8 KiB", InvalidToken, |n| sign(HEADER, &long_claims(n).repeat(2))),
        bad_signature_with_fallback(size).beside("accepted"),
        accepted("accepted, 8 KiB", |n| sign(HEADER, &long_claims(n))),
        long("bad signature, 8 KiB", |n| bend_signature(&sign(HEADER, &long_claims(n)))),
        long("member twice, 8 KiB", |n| {
            sign(HEADER, &long_claims(n).replace(r#""iat""#, r#""m1000":1,"iat""#))
        }),
        long("long header with a refused member", |n| {
            let header = long_claims(n).replace(r#""iat""#, r#""alg":"HS256","zip":"DEF","iat""#);
            sign(&header, "{}")
        }),
        long("long header of nested values", |n| {
            let nested = vec!["{\"\":[]}"; 700].join(",");
            bend_signature(&sign(&format!(r#"{{"alg":"HS256","x":[{nested}]}}"#), &claims(n)))
        }),
    ]
}

/// Tries the keys twice, so that no tampered token of ours reaches the fallback, and then asks it.
fn bad_signature_with_fallback(size: usize) -> Way {
    #[derive(Debug)]
    struct KnowsNobody;

    #[async_trait::async_trait]
    impl Fallback for KnowsNobody {
        async fn validate(
            &self,
            _: Credential<'_>,
        ) -> Result<Option<FallbackGrant>, FallbackError> {
            Ok(None)
        }
    }

    let validator =
        Validator::builder().access_tokens(access_tokens(0)).fallback(KnowsNobody).build();
    let validator = validator.expect("there is a key");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let headers = headers(size, |n| bend_signature(&sign(HEADER, &claims(n))));
    Way::new("bad signature, with a fallback", headers, move |header| {
        // For the fallback's deadline.
        let _within = runtime.enter();
        is_refused(&validator, header, RejectionKind::InvalidToken)
    })
}

pub(super) fn keys(size: usize) -> Vec<Way> {
    use RejectionKind::{
        InvalidApiKey, InvalidToken, KeyExpired, KeyRevoked, MalformedCredential, MissingCredential,
    };

    let (shop, forgetful) = (Rc::new(Shop::new(size)), Rc::new(Shop::new(size)));
    let cached = |name, kind, headers: Vec<String>| {
        let shop = Rc::clone(&shop);
        Way::new(name, headers, move |header| is_refused(&shop.validator, header, kind))
            .at_most(LIMIT, "accepted, cached")
    };
    let uncached = |name, kind: RejectionKind, keys: &[String]| {
        let (keys, shop) = (forgetful.with_digests(keys), Rc::clone(&forgetful));
        Way::new(name, keys, move |(bearer, digest)| {
            let refusal = black_box(shop.validate_uncached(bearer, digest)).err();
            refusal.is_some_and(|refusal| refusal.kind() == kind)
        })
        .at_most(LIMIT, "accepted, uncached")
    };
    let mistyped = shop.good.iter().map(|key| {
        let last = if key.ends_with('a') { "b" } else { "a" };
        format!("Bearer {}{last}", &key[..key.len() - 1])
    });
    let validator = shop.validator.clone();
    let two_headers = move |(bearer, key): &(String, String)| {
        let validated = at_once(validator.validate([bearer.as_bytes()], [key.as_bytes()]));
        black_box(validated).is_err_and(|refusal| refusal.kind() == MalformedCredential)
    };
    let two = shop.bearers(&shop.good).into_iter().zip(shop.revoked.clone());
    let validator = shop.validator.clone();
    let no_header = move |_: &()| {
        let validated = at_once(validator.validate([], []));
        black_box(validated).is_err_and(|refusal| refusal.kind() == MissingCredential)
    };
    vec![
        accepted_cached(&shop),
        cached("unknown, cached", InvalidApiKey, shop.bearers(&shop.unknown)),
        cached("revoked, cached", KeyRevoked, shop.bearers(&shop.revoked)),
        cached("expired, cached", KeyExpired, shop.bearers(&shop.expired)),
        cached("mistyped", InvalidApiKey, mistyped.collect()),
        cached("opaque, known to nobody", InvalidToken, opaque(size)),
        Way::new("two credentials", two.collect(), two_headers).at_most(LIMIT, "accepted, cached"),
        Way::new("no credential", vec![()], no_header).at_most(LIMIT, "accepted, cached"),
        accepted_uncached(&forgetful),
        uncached("unknown, uncached", InvalidApiKey, &forgetful.unknown),
        uncached("revoked, uncached", KeyRevoked, &forgetful.revoked),
        uncached("expired, uncached", KeyExpired, &forgetful.expired),
    ]
}

fn opaque(size: usize) -> Vec<String> {
    (0..size).map(|n| format!("Bearer opaque-{n:032}")).collect()
}

fn validate(validator: &Validator, header: &str) -> Result<Identity, Rejection> {
    black_box(at_once(validator.validate([header.as_bytes()], [])))
}

fn is_refused(validator: &Validator, header: &str, kind: RejectionKind) -> bool {
    validate(validator, header).is_err_and(|refusal| refusal.kind() == kind)
}

fn headers(size: usize, token: fn(usize) -> String) -> Vec<String> {
    (0..size).map(|n| format!("Bearer {}", token(n))).collect()
}

fn bend_signature(token: &str) -> String {
    let (input, signature) = token.rsplit_once('.').expect("three parts");
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{input}.{first}{}", &signature[1..])
}

/// A good token, but for these words.
fn instead(n: usize, of: &str, text: &str) -> String {
    let usual = claims(n);
    assert!(usual.contains(of), "{of}");
    sign(HEADER, &usual.replace(of, text))
}

/// Claims with so many members of no meaning that the token is just below the limit.
fn long_claims(n: usize) -> String {
    let members: String = (1_000..1_400).map(|n| format!("\"m{n}\":1{n},")).collect();
    claims(n).replacen('{', &format!("{{{members}"), 1)
}
