//! Tokens that are remembered get the outcome that they would get from the start, and no other
//! token gets theirs.

use std::{sync::Arc, time::Duration};

use crate::tokens::{SECRET, b64, key_file};
use key0_auth::{
    AccessTokens, InternalAuth, MemoryStore, RejectionKind,
    RejectionKind::{InvalidToken, TokenExpired},
    Validator,
    domain::{
        ChallengeId, Claims, Clock, Credential, PlanId, RequestId, ResourceId, Secret, Timestamp,
        TxHash,
    },
    store::DeniedTokens,
    token::{AccessTokensBuilder, Algorithm, TokenIssuer, VerifyingKey},
};
use serde_json::{Value, json};

const NOW: i64 = 1_795_305_965;
const EXP: i64 = NOW + 3600;
const PAIRS: [(Algorithm, &str); 4] = [
    (Algorithm::Hs256, "hs256"),
    (Algorithm::Rs256, "rsa2048"),
    (Algorithm::Es256, "p256"),
    (Algorithm::EdDsa, "ed25519"),
];

fn now() -> Timestamp {
    Timestamp::from_seconds(NOW)
}

fn issuer(name: &str) -> TokenIssuer {
    let (algorithm, _) = PAIRS.into_iter().find(|(_, other)| *other == name).unwrap();
    if algorithm == Algorithm::Hs256 {
        return TokenIssuer::hs256(&shared());
    }
    TokenIssuer::from_pem(name, algorithm, &key_file(&format!("{name}-private"))).unwrap()
}

fn key(name: &str) -> VerifyingKey {
    if name == "hs256" {
        return VerifyingKey::hs256(&shared());
    }
    VerifyingKey::from_any_pem(name, &key_file(&format!("{name}-public"))).unwrap()
}

/// With one key, and room for ten tokens.
fn remembering(name: &str) -> AccessTokensBuilder {
    AccessTokens::builder().key(key(name)).remember_verified(10)
}

fn shared() -> Secret {
    Secret::new("a test secret", SECRET).unwrap()
}

fn claims(id: &str) -> Claims {
    Claims::new(
        RequestId::new(id).unwrap(),
        ChallengeId::new("c-1").unwrap(),
        ResourceId::new("photo-1").unwrap(),
        PlanId::new("basic").unwrap(),
        TxHash::new("0xab").unwrap(),
        Timestamp::from_seconds(EXP),
    )
}

/// The claims, or the kind and the text of the refusal.
type Outcome = Result<Claims, (RejectionKind, String)>;

fn validate(tokens: &AccessTokens, token: &str, at: Timestamp) -> Outcome {
    Credential::try_from(token)
        .and_then(|token| tokens.validate(token, at))
        .map(Arc::unwrap_or_clone)
        .map_err(|refusal| (refusal.kind(), refusal.message().to_owned()))
}

fn kind(outcome: Outcome) -> Option<RejectionKind> {
    outcome.err().map(|(kind, _)| kind)
}

/// How many tokens are remembered; `None` where there is no memory.
fn remembered(tokens: &AccessTokens) -> Option<usize> {
    let shown = format!("{tokens:?}");
    let (_, rest) = shown.split_once("Remembered(")?;
    Some(rest.split_once(" tokens").unwrap().0.parse().unwrap())
}

#[test]
fn an_accepted_token_is_remembered_and_says_the_same() {
    for (_, name) in PAIRS {
        let tokens = remembering(name).audience("photos").build().unwrap();
        let extra = [("scope".to_owned(), json!(["a", 1]))].into_iter().collect();
        let claims = claims("r-1").issued(now()).for_audience("photos").with_extra(extra);
        let token = issuer(name).access_token(&claims).unwrap();
        for turn in 0..3 {
            assert_eq!(remembered(&tokens), Some(turn.min(1)), "{name}");
            assert_eq!(validate(&tokens, &token, now()), Ok(claims.clone()), "{name}");
        }
    }
}

#[test]
fn nothing_is_remembered_unasked() {
    let tokens = AccessTokens::builder().key(key("ed25519")).build().unwrap();
    let token = issuer("ed25519").access_token(&claims("r-1")).unwrap();
    for _ in 0..2 {
        assert!(validate(&tokens, &token, now()).is_ok());
        assert_eq!(remembered(&tokens), None);
    }
}

#[test]
fn tokens_of_all_keys_share_a_memory() {
    let both = remembering("ed25519").key(key("hs256")).build().unwrap();
    for (kept, name) in [(1, "hs256"), (2, "ed25519")] {
        let token = issuer(name).access_token(&claims("r-1")).unwrap();
        assert!(validate(&both, &token, now()).is_ok());
        assert_eq!(remembered(&both), Some(kept));
    }
}

#[test]
fn a_memory_has_room_for_one_token_to_a_million() {
    for (max, fine) in
        [(0, false), (1, true), (1_000_000, true), (1_000_001, false), (usize::MAX, false)]
    {
        let built = AccessTokens::builder().key(key("ed25519")).remember_verified(max).build();
        assert_eq!(built.is_ok(), fine, "{max}");
    }
}

// The time

#[test]
fn a_remembered_token_is_validated_by_the_time_as_one_never_seen() {
    let token = issuer("ed25519")
        .access_token(&claims("r-1").valid_from(Timestamp::from_seconds(NOW - 60)))
        .unwrap();
    for leeway in [0, 30] {
        let builder = || {
            let leeway = Duration::from_secs(leeway);
            AccessTokens::builder().key(key("ed25519")).leeway(leeway)
        };
        let remembers = builder().remember_verified(10).build().unwrap();
        let micros = 1_000_000;
        let (early, late) = (NOW - 60 - leeway as i64, EXP + leeway as i64);
        for (at, wanted) in [
            (i64::MIN, Some(InvalidToken)),
            (early * micros - 1, Some(InvalidToken)),
            (early * micros, None),
            (NOW * micros, None),
            (late * micros - 1, None),
            (late * micros, Some(TokenExpired)),
            (late * micros + 1, Some(TokenExpired)),
            (i64::MAX, Some(TokenExpired)),
            // A clock that was wrong costs nobody the token.
            (NOW * micros, None),
        ] {
            let at = Timestamp::from_micros(at);
            assert!(validate(&remembers, &token, now()).is_ok());
            assert_eq!(remembered(&remembers), Some(1));
            let outcome = validate(&remembers, &token, at);
            assert_eq!(outcome, validate(&builder().build().unwrap(), &token, at), "{at}");
            assert_eq!(kind(outcome), wanted, "{at}");
            // What is refused makes room: else it would keep its place by being sent again.
            assert_eq!(remembered(&remembers), Some(usize::from(wanted.is_none())), "{at}");
        }
    }
}

#[test]
fn a_token_that_was_refused_for_its_time_passes_when_its_time_has_come() {
    let tokens = remembering("ed25519").build().unwrap();
    let early = claims("r-1").valid_from(Timestamp::from_seconds(NOW + 60));
    let token = issuer("ed25519").access_token(&early).unwrap();
    for _ in 0..2 {
        assert_eq!(kind(validate(&tokens, &token, now())), Some(InvalidToken));
        assert_eq!(remembered(&tokens), Some(0));
    }
    assert!(validate(&tokens, &token, Timestamp::from_seconds(NOW + 60)).is_ok());
    assert_eq!(remembered(&tokens), Some(1));
}

// Other tokens

/// Much that comes near a token without being it; of its bytes, one in `step` is tampered.
fn near(token: &str, foreign_signature: &str, step: usize) -> Vec<String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{token}") };
    let mut near = vec![
        format!("{header}.{payload}.{foreign_signature}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}."),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.{payload}..{signature}"),
        format!(".{header}.{payload}.{signature}"),
        format!("{token}="),
        format!("{token}=="),
        format!("{token}A"),
        format!("{token},{token}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload}.A{signature}"),
        token.to_ascii_lowercase(),
        token.replace('-', "+").replace('_', "/") + "=",
    ];
    for at in (0..token.len()).step_by(step) {
        let mut bytes = token.as_bytes().to_vec();
        // One bit where that is a letter too, as a stray bit at the end of a part would be.
        bytes[at] = if bytes[at].is_ascii_digit() { bytes[at] ^ 1 } else { bytes[at] ^ 0x20 };
        near.extend(String::from_utf8(bytes).ok());
        near.push(token[..at].to_owned());
    }
    near
}

#[test]
fn what_is_not_the_very_token_is_validated_from_the_start() {
    for (_, name) in PAIRS {
        let tokens = remembering(name).build().unwrap();
        let sign = |id: &str| issuer(name).access_token(&claims(id)).unwrap();
        let token = sign("r-1");
        assert!(validate(&tokens, &token, now()).is_ok());
        let other = sign("r-2");
        // RSA is slow without optimisation.
        let step = if name == "rsa2048" { 13 } else { 1 };
        for tampered in near(&token, other.rsplit_once('.').unwrap().1, step) {
            assert_ne!(tampered, token);
            assert!(validate(&tokens, &tampered, now()).is_err(), "{name}: {tampered}\nof {token}");
        }
        assert_eq!(remembered(&tokens), Some(1), "{name}");
        assert!(validate(&tokens, &token, now()).is_ok());
    }
}

#[test]
fn claims_under_the_signature_of_another_token_are_not_taken_for_it() {
    let tokens = remembering("ed25519").build().unwrap();
    let [mine, other] =
        ["r-1", "r-2"].map(|id| issuer("ed25519").access_token(&claims(id)).unwrap());
    for token in [&mine, &other] {
        assert!(validate(&tokens, token, now()).is_ok());
    }
    let (input, _) = mine.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    assert_eq!(kind(validate(&tokens, &format!("{input}.{signature}"), now())), Some(InvalidToken));
    assert_eq!(validate(&tokens, &mine, now()).unwrap().request_id(), "r-1");
    assert_eq!(validate(&tokens, &other, now()).unwrap().request_id(), "r-2");
}

#[test]
fn refused_tokens_are_not_remembered() {
    let tokens = remembering("ed25519").issuer("key0").build().unwrap();
    let issuer = issuer("ed25519");
    let good = claims("r-1").from_issuer("key0");
    let token = issuer.access_token(&good).unwrap();
    assert!(validate(&tokens, &token, now()).is_ok());
    let (input, _) = token.rsplit_once('.').unwrap();
    let mut refused = vec![
        issuer.access_token(&claims("r-1")).unwrap(),
        issuer.access_token(&good.clone().valid_from(Timestamp::from_seconds(EXP))).unwrap(),
        issuer.system_token("photos", now(), Duration::from_secs(60)).unwrap(),
        TokenIssuer::hs256(&shared()).access_token(&good).unwrap(),
        format!("{}.{}.", b64(r#"{"alg":"none"}"#), b64("{}")),
    ];
    refused.extend((0..100).map(|n| format!("{input}.{}", b64([n; 64]))));
    for token in &refused {
        assert!(validate(&tokens, token, now()).is_err(), "{token}");
    }
    let late = issuer.access_token(&claims("r-2").from_issuer("key0")).unwrap();
    assert_eq!(kind(validate(&tokens, &late, Timestamp::from_seconds(EXP))), Some(TokenExpired));
    assert_eq!(remembered(&tokens), Some(1));
}

// Other validators

#[test]
fn a_memory_is_of_one_validator() {
    let token = issuer("ed25519").access_token(&claims("r-1")).unwrap();
    let first = remembering("ed25519").build().unwrap();
    assert!(validate(&first, &token, now()).is_ok());
    assert_eq!(remembered(&first), Some(1));
    for other in [
        remembering("p256"),
        remembering("ed25519").issuer("key0"),
        remembering("ed25519").audience("photos"),
        AccessTokens::builder().key(key("ed25519").kid("a")).key(key("p256")).issuer("key0"),
    ] {
        let other = other.build().unwrap();
        assert_eq!(kind(validate(&other, &token, now())), Some(InvalidToken), "{other:?}");
    }
    assert_eq!(remembered(&remembering("ed25519").build().unwrap()), Some(0));
}

/// Another process may have denied it; this one is asked at every use.
#[tokio::test]
async fn a_remembered_token_that_is_denied_is_refused() {
    let denied = DeniedTokens::new(Arc::new(MemoryStore::new()));
    denied.first_reading(Duration::from_secs(60)).await.unwrap();
    let validator = Validator::builder()
        .access_tokens(remembering("hs256").build().unwrap())
        .denied_tokens(denied.clone())
        .clock(Arc::new(FixedClock))
        .build()
        .unwrap();
    let token = format!("Bearer {}", issuer("hs256").access_token(&claims("r-1")).unwrap());
    for _ in 0..2 {
        assert!(validator.validate([token.as_bytes()], []).await.is_ok());
    }
    let challenge = ChallengeId::new("c-1").unwrap();
    denied.deny(&challenge, Timestamp::from_seconds(EXP)).await.unwrap();
    let refused = validator.validate([token.as_bytes()], []).await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::TokenRevoked);
}

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

#[test]
fn a_token_that_one_door_remembers_does_not_open_the_other() {
    let tokens = Arc::new(remembering("ed25519").build().unwrap());
    let internal = InternalAuth::builder()
        .signed_jwt(Arc::clone(&tokens), "photo-1")
        .max_lifetime(Duration::from_secs(7200))
        .clock(Arc::new(FixedClock))
        .build()
        .unwrap();
    let issuer = issuer("ed25519");
    let system = issuer.system_token("photo-1", now(), Duration::from_secs(60)).unwrap();
    let access = issuer.access_token(&claims("r-1").issued(now())).unwrap();
    let opens = |token: &str| internal.validate([format!("Bearer {token}").as_bytes()], []).is_ok();
    for _ in 0..3 {
        assert!(opens(&system));
        assert_eq!(kind(validate(&tokens, &system, now())), Some(InvalidToken));
        assert!(validate(&tokens, &access, now()).is_ok());
        assert!(!opens(&access));
    }
    assert_eq!(remembered(&tokens), Some(1), "the access token alone");
}

// Many

#[test]
fn no_more_tokens_are_remembered_than_there_is_room_for() {
    let tokens = AccessTokens::builder().key(key("ed25519")).remember_verified(20).build().unwrap();
    let issuer = issuer("ed25519");
    for n in 0..200 {
        let token = issuer.access_token(&claims(&n.to_string())).unwrap();
        for _ in 0..2 {
            assert_eq!(
                validate(&tokens, &token, now()).unwrap().request_id(),
                n.to_string().as_str()
            );
        }
        assert!(remembered(&tokens) <= Some(20));
    }
    assert!(remembered(&tokens) >= Some(16));
}

#[test]
fn a_token_that_is_remembered_asks_for_no_memory() {
    for (_, name) in PAIRS {
        let tokens = remembering(name).build().unwrap();
        let token = issuer(name).access_token(&claims("r-1")).unwrap();
        let validate = || tokens.validate(Credential::try_from(token.as_str()).unwrap(), now());
        assert!(validate().is_ok());
        let asked = allocation_counter::measure(|| {
            for _ in 0..1_000 {
                assert!(validate().is_ok());
            }
        });
        assert_eq!(asked.count_total, 0, "{name}");
    }
}

#[test]
fn a_token_takes_as_much_memory_as_is_said() {
    let text = |size| json!("x".repeat(size));
    let nested = (0..62).fold(text(4_000), |inner, _| json!({ "a": inner }));
    let texts = (0..63).map(|n| (format!("k{n}"), text(70)));
    for (extra, least, most) in [
        (json!({}), 700, 1536),
        (json!({ "x": text(5_500) }), 11_000, 72 * 1024),
        (json!({ "x": nested }), 38 * 1024, 72 * 1024),
        (texts.collect(), 14_000, 72 * 1024),
    ] {
        let Value::Object(extra) = extra else { unreachable!() };
        let claims = claims("550e8400-e29b-41d4-a716-446655440000").with_extra(extra);
        let token = issuer("ed25519").access_token(&claims).unwrap();
        let tokens = remembering("ed25519").build().unwrap();
        let taken = allocation_counter::measure(|| {
            assert!(tokens.validate(Credential::try_from(token.as_str()).unwrap(), now()).is_ok());
        });
        assert_eq!(remembered(&tokens), Some(1), "a token of {} bytes", token.len());
        let taken = taken.bytes_current;
        assert!((least..=most).contains(&taken), "{taken} bytes for a token of {}", token.len());
    }
}

#[test]
fn threads_that_share_a_memory_get_the_claims_of_their_own_token() {
    let tokens = AccessTokens::builder().key(key("ed25519")).remember_verified(8).build().unwrap();
    let issuer = issuer("ed25519");
    let signed: Vec<(String, String)> = (0..16)
        .map(|n| (n.to_string(), issuer.access_token(&claims(&n.to_string())).unwrap()))
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (tokens, signed) = (&tokens, &signed);
            scope.spawn(move || {
                for turn in 0..500 {
                    let (id, token) = &signed[(turn * (thread + 1) + turn / 7) % signed.len()];
                    assert_eq!(validate(tokens, token, now()).unwrap().request_id(), id.as_str());
                    let (input, _) = token.rsplit_once('.').unwrap();
                    let (_, signature) = signed[(turn + 1) % 16].1.rsplit_once('.').unwrap();
                    let crossed = format!("{input}.{signature}");
                    assert!(crossed == *token || validate(tokens, &crossed, now()).is_err());
                }
            });
        }
    });
    assert!(remembered(&tokens) <= Some(8));
}

#[test]
fn debug_shows_how_many_and_none_of_them() {
    let tokens = remembering("ed25519").build().unwrap();
    let token = issuer("ed25519").access_token(&claims("r-secret")).unwrap();
    assert!(validate(&tokens, &token, now()).is_ok());
    let shown = format!("{tokens:?}");
    assert!(shown.contains("Remembered(1 tokens)"), "{shown}");
    for hidden in ["r-secret", "photo-1", "0xab"].into_iter().chain(token.split('.')) {
        assert!(!shown.contains(hidden), "{shown}");
    }
}
