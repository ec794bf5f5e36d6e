//! Who may call the internal endpoints: shared secrets and system tokens, one rule at a time.

#![cfg(feature = "testing")]

use std::{error::Error, sync::Arc, time::Duration};

use crate::flow::{START, Secrets, TestClock, secret, whole_chain};
use crate::tokens::{HS256, PREVIOUS_SECRET, SECRET, good_claims, hs256};
use key0_auth::{
    AccessTokens, InternalAuth, Rejection,
    RejectionKind::{self, InvalidInternalAuth},
    auth::{InternalAuthBuilder, InternalStrategy, Problem, ProblemBody},
    domain::SecretSet,
    error::ConfigFault,
    token::{TokenIssuer, VerifyingKey},
};
use serde_json::{Value, json};

const INTERNAL: &str = "the internal secret of these tests, 32+";
const OLD_INTERNAL: &str = "the previous internal secret, also 32+";
const AUDIENCE: &str = "backend-service";
const MINUTE: Duration = Duration::from_secs(60);

fn secrets() -> SecretSet {
    SecretSet::new(secret(INTERNAL)).previous(secret(OLD_INTERNAL))
}

fn tokens() -> AccessTokens {
    AccessTokens::hs256(SECRET).unwrap()
}

fn by_secret() -> InternalAuth {
    InternalAuth::builder().shared_secret(secrets()).build().unwrap()
}

fn by_token(clock: Arc<TestClock>) -> InternalAuthBuilder {
    InternalAuth::builder().signed_jwt(tokens(), AUDIENCE).clock(clock)
}

/// What a request of these header values is let in by.
fn validate_all(
    auth: &InternalAuth,
    authorization: &[&[u8]],
    secret: &[&[u8]],
) -> Result<InternalStrategy, Rejection> {
    let caller = auth.validate(authorization.iter().copied(), secret.iter().copied());
    caller.map(|caller| caller.strategy())
}

fn validate(auth: &InternalAuth, authorization: &str) -> Result<InternalStrategy, Rejection> {
    validate_all(auth, &[authorization.as_bytes()], &[])
}

fn validate_token(auth: &InternalAuth, token: &str) -> Result<InternalStrategy, Rejection> {
    validate(auth, &format!("Bearer {token}"))
}

/// Asserts the one answer to every refusal, and hands out the reason that only the log sees.
#[track_caller]
fn assert_refused(
    auth: &InternalAuth,
    result: Result<InternalStrategy, Rejection>,
    row: &str,
) -> String {
    let refusal = result.expect_err(row);
    assert_eq!(refusal.kind(), InvalidInternalAuth, "{row}");
    let answer = auth.responder().respond(&refusal);
    assert_eq!(answer.status, 401, "{row}");
    assert_eq!(
        String::from_utf8(answer.body).unwrap(),
        r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Internal authentication failed","code":"invalid_internal_auth","retry":"new_credential","error":"Unauthorized","message":"Internal authentication failed"}"#,
        "{row}"
    );
    assert_eq!(
        answer.headers,
        [
            ("content-type", "application/problem+json".to_owned()),
            ("cache-control", "no-store".to_owned()),
            ("www-authenticate", "Bearer realm=\"internal\"".to_owned()),
        ],
        "{row}"
    );
    refusal.source().expect("a reason for the log").to_string()
}

fn at(seconds: f64) -> Value {
    json!(START.as_seconds() as f64 + seconds)
}

/// A system token that is good for a minute, with these claims changed; `null` removes one.
fn system_with(changes: &[(&str, Value)]) -> String {
    let mut claims = good_claims(START.as_seconds());
    let markers = [
        ("sub", json!("key0-service")),
        ("planId", json!("system")),
        ("txHash", json!("system-auth")),
        ("resourceId", json!(AUDIENCE)),
        ("exp", at(60.0)),
    ];
    for (name, value) in markers.iter().chain(changes) {
        match value {
            Value::Null => claims.remove(*name),
            value => claims.insert((*name).to_owned(), value.clone()),
        };
    }
    hs256(HS256, Value::Object(claims).to_string())
}

// Shared secrets

#[test]
fn a_shared_secret_opens_from_the_header_and_as_a_bearer_token() {
    let auth = by_secret();
    assert_eq!(auth.header(), "x-internal-auth");
    for good in [INTERNAL, OLD_INTERNAL] {
        let padded = format!(" \t{good} ");
        for value in [good, &padded] {
            let result = validate_all(&auth, &[], &[value.as_bytes()]);
            assert_eq!(result.unwrap(), InternalStrategy::SharedSecret);
        }
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let result = validate(&auth, &format!("{scheme} {good}"));
            assert_eq!(result.unwrap(), InternalStrategy::SharedSecret);
        }
        // Another scheme in the other header is no business of ours.
        validate_all(&auth, &[b"Basic dTpw"], &[good.as_bytes()]).unwrap();
    }
}

#[test]
fn whatever_is_not_the_secret_is_refused_with_one_answer() {
    let auth = by_secret();
    let long = "x".repeat(1 << 20);
    let good = INTERNAL.as_bytes();
    let previous_too = [INTERNAL, OLD_INTERNAL].concat();
    let nearly = [&INTERNAL[1..], &INTERNAL[..INTERNAL.len() - 1], &INTERNAL.to_uppercase()]
        .map(str::to_owned);
    /// What it is, and the values of the two headers.
    type Row<'a> = (&'a str, Vec<&'a [u8]>, Vec<&'a [u8]>);
    let mut rows: Vec<Row<'_>> = vec![
        ("nothing", vec![], vec![]),
        ("an empty header", vec![], vec![b""]),
        ("blanks", vec![], vec![b" \t "]),
        ("an empty bearer", vec![b"Bearer "], vec![]),
        ("a bare scheme", vec![b"Bearer"], vec![]),
        ("nothing in either", vec![b""], vec![b""]),
        ("another scheme", vec![b"Basic dTpw"], vec![]),
        ("no scheme", vec![good], vec![]),
        ("the header twice", vec![], vec![good, good]),
        ("the header twice, one empty", vec![], vec![good, b""]),
        ("the header twice, empty first", vec![], vec![b"", good]),
        ("two values in one", vec![], vec![b"a, b"]),
        ("authorization twice", vec![b"Bearer x", b"Bearer x"], vec![good]),
        ("another scheme besides", vec![b"Basic dTpw", b"Bearer x"], vec![good]),
        ("too long", vec![], vec![long.as_bytes()]),
        ("both secrets in one", vec![], vec![previous_too.as_bytes()]),
        ("unicode", vec![], vec!["ein Schlüssel mit mehr als 32 Bytes ❤".as_bytes()]),
        ("not even unicode", vec![], vec![&[0xff; 40]]),
        ("zeros", vec![], vec![&[0; 40]]),
        ("wrong in both", vec![b"Bearer x"], vec![b"y"]),
    ];
    rows.extend(nearly.iter().map(|near| ("nearly", vec![], vec![near.as_bytes()])));
    for (row, authorization, secret) in rows {
        let reason = assert_refused(&auth, validate_all(&auth, &authorization, &secret), row);
        assert!(!reason.is_empty());
    }
    let reason = |authorization: &[&[u8]], secret: &[&[u8]]| {
        assert_refused(&auth, validate_all(&auth, authorization, secret), "a reason")
    };
    assert_eq!(reason(&[], &[]), "no internal credential was sent");
    assert_eq!(reason(&[], &[b"x"]), "the internal credential is wrong");
    let twice = "a header that carries the internal credential was sent twice";
    assert_eq!(reason(&[], &[good, good]), twice);
    assert_eq!(reason(&[b"Bearer x", b"Bearer x"], &[]), twice);
}

#[test]
fn of_two_places_any_one_that_holds_opens() {
    let auth = by_secret();
    let bearer = format!("Bearer {INTERNAL}");
    validate_all(&auth, &[b"Bearer wrong"], &[INTERNAL.as_bytes()]).unwrap();
    validate_all(&auth, &[bearer.as_bytes()], &[b"wrong"]).unwrap();
    validate_all(&auth, &[bearer.as_bytes()], &[b""]).unwrap();
}

#[test]
fn a_secret_can_be_any_bytes() {
    let bytes = "ein Geheimnis mit ❤ und mehr als 32 Bytes";
    let auth =
        InternalAuth::builder().shared_secret(SecretSet::new(secret(bytes))).build().unwrap();
    validate_all(&auth, &[], &[bytes.as_bytes()]).unwrap();
    validate(&auth, &format!("Bearer {bytes}")).unwrap();
    assert_refused(&auth, validate_all(&auth, &[], &["ein Geheimnis".as_bytes()]), "a part of it");
}

#[test]
fn the_header_can_have_another_name() {
    let auth =
        InternalAuth::builder().shared_secret(secrets()).header("X-Shop-Internal").build().unwrap();
    assert_eq!(auth.header(), "x-shop-internal");
    validate_all(&auth, &[], &[INTERNAL.as_bytes()]).unwrap();
}

// System tokens

#[test]
fn a_short_lived_system_token_opens() {
    let clock = TestClock::new();
    let auth = by_token(clock.clone()).build().unwrap();
    let issuer = TokenIssuer::hs256(&secret(SECRET));
    let token = issuer.system_token(AUDIENCE, START, MINUTE).unwrap();
    for _ in 0..2 {
        // A client may resend one token.
        assert_eq!(validate_token(&auth, &token).unwrap(), InternalStrategy::SignedJwt);
    }
    validate_token(&auth, &system_with(&[])).unwrap();
    clock.set(START.plus(MINUTE).minus(Duration::from_micros(1)));
    validate_token(&auth, &token).unwrap();
    clock.set(START.plus(MINUTE));
    assert_refused(&auth, validate_token(&auth, &token), "expired");
    // The header for the secret is none for tokens.
    clock.set(START);
    let result = validate_all(&auth, &[], &[token.as_bytes()]);
    assert_refused(&auth, result, "a token in the secret's header");
}

#[test]
fn each_rule_for_system_tokens_is_needed() {
    let auth = by_token(TestClock::new()).build().unwrap();
    let limit = 300.0;
    let rows: Vec<(&str, Vec<(&str, Value)>)> = vec![
        ("no subject of Key0", vec![("sub", json!("550e8400"))]),
        ("no system plan", vec![("planId", json!("basic"))]),
        ("no system hash", vec![("txHash", json!("0xab"))]),
        ("two marks missing", vec![("planId", json!("basic")), ("txHash", json!("0xab"))]),
        ("a mark in other case", vec![("sub", json!("Key0-Service"))]),
        ("another audience", vec![("resourceId", json!("another-service"))]),
        ("every audience", vec![("resourceId", json!("default"))]),
        ("audience in other case", vec![("resourceId", json!("Backend-Service"))]),
        ("aud in its place", vec![("resourceId", Value::Null), ("aud", json!(AUDIENCE))]),
        ("no iat", vec![("iat", Value::Null)]),
        ("iat is a text", vec![("iat", json!("1795305965"))]),
        ("no exp", vec![("exp", Value::Null)]),
        ("no jti", vec![("jti", Value::Null)]),
        ("lives too long", vec![("exp", at(limit + 0.001))]),
        ("lived too long", vec![("iat", at(-290.0)), ("exp", at(10.001))]),
        ("ends too late", vec![("iat", at(10.0)), ("exp", at(limit + 0.001))]),
        ("made after its end", vec![("iat", at(1e9)), ("exp", at(limit + 0.001))]),
        ("made in a year", vec![("iat", at(3e7)), ("exp", at(60.0))]),
        ("made in a minute", vec![("iat", at(60.001)), ("exp", at(120.0))]),
        ("expired", vec![("exp", at(0.0))]),
        ("not yet", vec![("nbf", at(1.0))]),
        ("bound to a key", vec![("cnf", json!({}))]),
    ];
    for (row, changes) in rows {
        let reason = assert_refused(&auth, validate_token(&auth, &system_with(&changes)), row);
        assert!(reason.starts_with("request refused: "), "{reason}");
    }
    // Right at the limits.
    for changes in [
        vec![("exp", at(limit))],
        vec![("iat", at(-290.0)), ("exp", at(10.0))],
        vec![("iat", at(10.0)), ("exp", at(limit))],
        vec![("iat", at(60.0)), ("exp", at(120.0))],
    ] {
        validate_token(&auth, &system_with(&changes)).unwrap();
    }
    let short = by_token(TestClock::new()).max_lifetime(MINUTE).build().unwrap();
    validate_token(&short, &system_with(&[])).unwrap();
    let result = validate_token(&short, &system_with(&[("exp", at(60.001))]));
    assert_refused(&short, result, "over another limit");
}

#[test]
fn nobody_else_s_token_opens() {
    let auth = by_token(TestClock::new()).build().unwrap();
    let agent = Value::Object(good_claims(START.as_seconds())).to_string();
    let other_key = TokenIssuer::hs256(&secret(PREVIOUS_SECRET));
    let mut for_audience = good_claims(START.as_seconds());
    for_audience.insert("resourceId".into(), json!(AUDIENCE));
    for_audience.insert("exp".into(), at(60.0));
    for (row, token) in [
        ("an agent's", hs256(HS256, agent)),
        (
            "an agent's for a resource of that name",
            hs256(HS256, Value::Object(for_audience).to_string()),
        ),
        ("another key's", other_key.system_token(AUDIENCE, START, MINUTE).unwrap()),
        ("unsigned", format!("{}.", system_with(&[]).rsplit_once('.').unwrap().0)),
        ("with a part too many", format!("{}.x", system_with(&[]))),
        ("padded", format!("{}=", system_with(&[]))),
        ("too long", format!("{}.b.c", "a".repeat(8 * 1024))),
        ("no token", "opaque".into()),
        ("two", format!("{} {}", system_with(&[]), system_with(&[]))),
        ("the access tokens' secret", SECRET.into()),
    ] {
        assert_refused(&auth, validate_token(&auth, &token), row);
    }
    let rotated = AccessTokens::builder()
        .key(VerifyingKey::hs256(&secret(SECRET)))
        .key(VerifyingKey::hs256(&secret(PREVIOUS_SECRET)))
        .build()
        .unwrap();
    let rotated = InternalAuth::builder()
        .signed_jwt(rotated, AUDIENCE)
        .clock(TestClock::new())
        .build()
        .unwrap();
    let previous = other_key.system_token(AUDIENCE, START, MINUTE).unwrap();
    validate_token(&rotated, &previous).unwrap();
}

#[test]
fn the_recorded_system_token_is_refused_for_its_lifetime_alone() {
    let wire: Value = serde_json::from_str(include_str!("../fixtures/key0-wire.json")).unwrap();
    let header = wire["requests"][1]["headers"]["authorization"].as_str().unwrap();
    let signer = wire["accessTokenSecret"].as_str().unwrap();
    let clock = TestClock::new();
    let builder = || {
        InternalAuth::builder()
            .signed_jwt(AccessTokens::hs256(signer).unwrap(), AUDIENCE)
            .clock(clock.clone())
    };
    let auth = builder().build().unwrap();
    let reason = assert_refused(&auth, validate(&auth, header), "70 years");
    assert_eq!(reason, "request refused: The token lives longer than is allowed");
    let century = builder().max_lifetime(Duration::from_secs(100 * 366 * 86_400)).build().unwrap();
    assert_eq!(validate(&century, header).unwrap(), InternalStrategy::SignedJwt);

    // The other recorded way in.
    let value = wire["requests"][0]["headers"]["x-internal-auth"].as_str().unwrap();
    assert_eq!(value, wire["internalAuthSecret"].as_str().unwrap());
    let auth =
        InternalAuth::builder().shared_secret(SecretSet::new(secret(value))).build().unwrap();
    validate_all(&auth, &[], &[value.as_bytes()]).unwrap();
}

#[test]
fn replay_protection_lets_each_token_in_once() {
    let clock = TestClock::new();
    let auth = by_token(clock.clone()).replay_protection().build().unwrap();
    let token = system_with(&[("jti", json!("one"))]);
    let other = system_with(&[("jti", json!("two"))]);
    validate_token(&auth, &token).unwrap();
    let reason = assert_refused(&auth, validate_token(&auth, &token), "a replay");
    assert_eq!(reason, "the system token was used before");
    validate_token(&auth, &other).unwrap();
    // The id counts, not the text.
    let same_id = system_with(&[("jti", json!("one")), ("exp", at(120.0))]);
    assert_refused(&auth, validate_token(&auth, &same_id), "another token of the same id");
    // One that was refused for another reason is not used up.
    let early = system_with(&[("jti", json!("three")), ("nbf", at(1.0))]);
    assert_refused(&auth, validate_token(&auth, &early), "not yet");
    clock.set(START.plus(Duration::from_secs(1)));
    validate_token(&auth, &early).unwrap();
    assert_refused(&auth, validate_token(&auth, &token), "a replay, later");
}

#[test]
fn a_leeway_opens_no_gap_for_replays() {
    let clock = TestClock::new();
    let tokens = AccessTokens::builder()
        .key(VerifyingKey::hs256(&secret(SECRET)))
        .leeway(MINUTE)
        .build()
        .unwrap();
    let auth = InternalAuth::builder()
        .signed_jwt(tokens, AUDIENCE)
        .replay_protection()
        .clock(clock.clone())
        .build()
        .unwrap();
    validate_token(&auth, &system_with(&[])).unwrap();
    let late = system_with(&[("jti", json!("late"))]);
    for seconds in [60, 90, 119] {
        clock.set(START.plus(Duration::from_secs(seconds)));
        let result = validate_token(&auth, &system_with(&[]));
        let reason = assert_refused(&auth, result, "within the leeway");
        assert_eq!(reason, "the system token was used before");
    }
    validate_token(&auth, &late).unwrap();
    assert_refused(&auth, validate_token(&auth, &late), "again within the leeway");
}

// Several strategies, and none

#[test]
fn of_several_strategies_any_one_opens() {
    let both = by_token(TestClock::new()).shared_secret(secrets()).build().unwrap();
    let token = system_with(&[]);
    let bearer = format!("Bearer {token}");
    assert_eq!(validate(&both, &bearer).unwrap(), InternalStrategy::SignedJwt);
    assert_eq!(
        validate_all(&both, &[], &[INTERNAL.as_bytes()]).unwrap(),
        InternalStrategy::SharedSecret
    );
    assert_eq!(validate_token(&both, INTERNAL).unwrap(), InternalStrategy::SharedSecret);
    let by_token = validate_all(&both, &[bearer.as_bytes()], &[b"wrong"]).unwrap();
    assert_eq!(by_token, InternalStrategy::SignedJwt);
    validate_all(&both, &[b"Bearer a.b.c"], &[OLD_INTERNAL.as_bytes()]).unwrap();
    for (row, authorization, secret) in [
        ("wrong in both", vec![&b"Bearer a.b.c"[..]], vec![&b"wrong"[..]]),
        ("the header twice beside a good token", vec![bearer.as_bytes()], vec![b"x", b"x"]),
        (
            "a good token twice beside a good secret",
            vec![bearer.as_bytes(), bearer.as_bytes()],
            vec![INTERNAL.as_bytes()],
        ),
        ("nothing", vec![], vec![]),
    ] {
        assert_refused(&both, validate_all(&both, &authorization, &secret), row);
    }
    // A strategy that is off opens nothing.
    let secret_alone = by_secret();
    assert_refused(&secret_alone, validate(&secret_alone, &bearer), "tokens are off");
    let token_alone = self::by_token(TestClock::new()).build().unwrap();
    let result = validate_all(&token_alone, &[], &[INTERNAL.as_bytes()]);
    assert_refused(&token_alone, result, "secrets are off");
    assert_refused(&token_alone, validate_token(&token_alone, INTERNAL), "secrets are off");
}

#[test]
fn none_lets_everybody_in_and_stands_alone() {
    let open = InternalAuth::builder().dangerous_allow_anyone().build().unwrap();
    for (authorization, secret) in
        [(vec![], vec![]), (vec![&b"Bearer a"[..], b"Bearer b"], vec![&b"x"[..], b"y"])]
    {
        let result = validate_all(&open, &authorization, &secret);
        assert_eq!(result.unwrap(), InternalStrategy::None);
    }
    let faults = |builder: InternalAuthBuilder| builder.build().unwrap_err().into_faults();
    let with_secret = InternalAuth::builder().dangerous_allow_anyone().shared_secret(secrets());
    assert!(matches!(&faults(with_secret)[..], [ConfigFault::Invalid { .. }]));
    let with_token = by_token(TestClock::new()).dangerous_allow_anyone();
    assert!(matches!(&faults(with_token)[..], [ConfigFault::Invalid { .. }]));
}

#[test]
fn whatever_can_not_work_is_told_at_start_up() {
    let names = |builder: InternalAuthBuilder| -> Vec<String> {
        let faults = builder.build().expect_err("a fault").into_faults();
        let name = |fault: ConfigFault| match fault {
            ConfigFault::Missing { name, .. } | ConfigFault::Invalid { name, .. } => name,
            other => other.to_string(),
        };
        faults.into_iter().map(name).collect()
    };
    let good = || InternalAuth::builder().shared_secret(secrets());
    assert_eq!(names(InternalAuth::builder()), ["an internal auth strategy"]);
    for audience in ["", "backend service", "dienst-für-alles", &"a".repeat(257)] {
        let builder = InternalAuth::builder().signed_jwt(tokens(), audience);
        assert_eq!(names(builder), ["the internal auth audience"], "{audience}");
    }
    for lifetime in [Duration::ZERO, Duration::from_millis(999)] {
        assert_eq!(names(good().max_lifetime(lifetime)), ["the internal auth lifetime"]);
    }
    for header in ["", "Authorization", "x internal", "x:internal", "x-intérnal", "x\r\n"] {
        assert_eq!(names(good().header(header)), ["the internal auth header"], "{header:?}");
    }
    let all = InternalAuth::builder().max_lifetime(Duration::ZERO).header("");
    assert_eq!(names(all).len(), 3, "every fault at once");
}

#[test]
fn the_application_can_give_refusals_a_form() {
    #[derive(Debug)]
    struct Plain;
    impl ProblemBody for Plain {
        fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
            ("text/plain".into(), problem.code().into())
        }
    }
    let auth =
        InternalAuth::builder().shared_secret(secrets()).problem_body(Plain).build().unwrap();
    let refusal = validate_all(&auth, &[], &[]).unwrap_err();
    let answer = auth.responder().respond(&refusal);
    assert_eq!((answer.status, &*answer.body), (401, &b"invalid_internal_auth"[..]));
}

#[test]
fn no_secret_and_no_token_shows_in_anything() {
    let clock = TestClock::new();
    let builder = by_token(clock).shared_secret(secrets()).replay_protection();
    let token = system_with(&[]);
    let expired = system_with(&[("exp", at(0.0))]);
    let mut hidden = Secrets::default();
    for text in [INTERNAL, OLD_INTERNAL, SECRET, &token, &expired, "a wrong guess at the secret"] {
        hidden.add(text);
    }
    hidden.assert_not_in("InternalAuthBuilder", &builder);
    let auth = builder.build().unwrap();
    hidden.assert_not_in("InternalCaller", auth.validate([], [INTERNAL.as_bytes()]));
    validate_token(&auth, &token).unwrap();
    for credential in [&token, &expired, "a wrong guess at the secret"] {
        let refusal: Rejection = validate_token(&auth, credential).unwrap_err();
        let kind: RejectionKind = refusal.kind();
        assert_eq!(kind, InvalidInternalAuth);
        assert!(!hidden.shows_in(&whole_chain(&refusal)), "{}", whole_chain(&refusal));
        hidden.assert_not_in("Refusal", auth.responder().respond(&refusal));
    }
    hidden.assert_not_in("InternalAuth", &auth);
}
