//! Every rule for access tokens, one hand-made token each.

use std::{sync::Arc, time::Duration};

use crate::tokens::{
    DEFAULT_PROVIDER, HS256, PREVIOUS_SECRET, SECRET, b64, good_claims, hmac_sha256, hs256,
    key_file, sign_parts,
};
use key0_auth::{
    AccessTokens, Rejection, RejectionKind,
    RejectionKind::{InvalidToken, TokenExpired},
    domain::{
        ChallengeId, Claims, Credential, PlanId, RequestId, ResourceId, Secret, Timestamp, TxHash,
    },
    error::ConfigFault,
    token::{Algorithm, MAX_LEEWAY, SigningError, TokenIssuer, VerifyingKey},
};
use serde_json::{Map, Value, json};

const NOW: i64 = 1_795_305_965;

fn now() -> Timestamp {
    Timestamp::from_seconds(NOW)
}

fn secret(text: &str) -> Secret {
    Secret::new("a test secret", text).unwrap()
}

fn validate(tokens: &AccessTokens, token: &str, now: Timestamp) -> Result<Arc<Claims>, Rejection> {
    Credential::try_from(token).and_then(|credential| tokens.validate(credential, now))
}

fn ours() -> AccessTokens {
    AccessTokens::hs256(SECRET).unwrap()
}

/// Asserts the kind of a refusal, and that nothing of the token stands in it.
#[track_caller]
fn assert_refused(
    tokens: &AccessTokens,
    token: &str,
    at: Timestamp,
    kind: RejectionKind,
    row: &str,
) {
    let Err(refusal) = validate(tokens, token, at) else { panic!("accepted: {row}") };
    assert_eq!(refusal.kind(), kind, "{row}: {refusal}");
    let shown = format!("{} | {refusal} | {refusal:?}", refusal.message());
    for part in token.split('.').filter(|part| part.len() > 3) {
        assert!(!shown.contains(part), "{row}: {shown}");
    }
    let payload = token.split('.').nth(1).unwrap_or_default();
    let payload = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, payload);
    let Ok(Value::Object(claims)) = serde_json::from_slice(&payload.unwrap_or_default()) else {
        return;
    };
    for value in claims.values().filter_map(Value::as_str).filter(|value| value.len() > 6) {
        assert!(!shown.contains(value), "{row}: {shown}");
    }
}

#[track_caller]
fn assert_invalid(token: &str, row: &str) {
    assert_refused(&ours(), token, now(), InvalidToken, row);
}

#[track_caller]
fn assert_good(token: &str, row: &str) -> Arc<Claims> {
    validate(&ours(), token, now()).unwrap_or_else(|refusal| panic!("{row}: {refusal}"))
}

fn good_payload() -> String {
    Value::Object(good_claims(NOW)).to_string()
}

#[test]
fn a_signature_that_is_none_is_told_from_a_wrong_one() {
    let good = hs256(HS256, good_payload());
    let (input, signature) = good.rsplit_once('.').unwrap();
    let other = sign_parts(PREVIOUS_SECRET, &b64(HS256), &b64(good_payload()));
    let (_, wrong) = other.rsplit_once('.').unwrap();
    for (signature, message) in [
        (wrong, "The signature of the access token is not valid"),
        ("", "The signature of the access token is not valid"),
        (&signature[..40], "The signature of the access token is not valid"),
        (&*format!("{signature}="), "The access token is malformed"),
        (&format!("{signature}*"), "The access token is malformed"),
        (&signature[..41], "The access token is malformed"),
    ] {
        let refusal = validate(&ours(), &format!("{input}.{signature}"), now()).unwrap_err();
        assert_eq!(refusal.message(), message, "{signature}");
    }
}

fn good_token() -> String {
    hs256(HS256, good_payload())
}

/// A payload that differs from the good one in these members; `None` removes one.
fn payload_with(changes: &[(&str, Option<Value>)]) -> String {
    let mut claims = good_claims(NOW);
    for (name, value) in changes {
        match value {
            Some(value) => claims.insert((*name).into(), value.clone()),
            None => claims.remove(*name),
        };
    }
    Value::Object(claims).to_string()
}

fn with(name: &str, value: impl Into<Value>) -> String {
    hs256(HS256, payload_with(&[(name, Some(value.into()))]))
}

fn without(name: &str) -> String {
    hs256(HS256, payload_with(&[(name, None)]))
}

/// A good payload with `tail` written before its last brace.
fn payload_and(tail: &str) -> String {
    let good = good_payload();
    format!("{},{tail}}}", &good[..good.len() - 1])
}

// Recorded tokens

fn recorded() -> Value {
    serde_json::from_str(include_str!("../fixtures/key0-wire.json")).unwrap()
}

#[test]
fn recorded_tokens_get_their_outcome() {
    let wire = recorded();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let token = |name: &str| text(&wire["tokens"][name]);
    let current = AccessTokens::hs256(text(&wire["accessTokenSecret"])).unwrap();
    let rotated = AccessTokens::builder()
        .key(VerifyingKey::hs256(&secret(wire["accessTokenSecret"].as_str().unwrap())))
        .key(VerifyingKey::hs256(&secret(wire["previousAccessTokenSecret"].as_str().unwrap())))
        .build()
        .unwrap();
    let rsa = AccessTokens::public_key_pem(wire["rs256PublicKeyPem"].as_str().unwrap()).unwrap();

    let claims = validate(&current, &token("hs256"), now()).unwrap();
    assert_eq!(claims.request_id(), wire["claims"]["sub"].as_str().unwrap());
    assert_eq!(claims.challenge_id(), wire["claims"]["jti"].as_str().unwrap());
    assert_eq!(claims.resource_id(), wire["claims"]["resourceId"].as_str().unwrap());
    assert_eq!(claims.plan_id(), wire["claims"]["planId"].as_str().unwrap());
    assert_eq!(claims.tx_hash(), wire["claims"]["txHash"].as_str().unwrap());
    assert_eq!(claims.issued_at(), Some(Timestamp::from_seconds(1_795_305_965)));
    assert_eq!(claims.expires_at(), Timestamp::from_seconds(4_002_825_965));

    let all = validate(&current, &token("hs256DefaultResource"), now()).unwrap();
    assert_eq!(all.resource_id(), ResourceId::DEFAULT);
    assert_eq!(validate(&rsa, &token("rs256"), now()).unwrap(), claims);
    assert_eq!(validate(&rotated, &token("hs256"), now()).unwrap(), claims);
    assert_eq!(validate(&rotated, &token("hs256PreviousSecret"), now()).unwrap(), claims);

    let system = wire["requests"][1]["headers"]["authorization"].as_str().unwrap();
    let system = system.strip_prefix("Bearer ").unwrap();
    for (tokens, token, kind) in [
        (&current, token("hs256Expired"), TokenExpired),
        (&current, token("hs256PreviousSecret"), InvalidToken),
        (&current, token("hs256EmptyTxHash"), InvalidToken),
        (&current, token("rs256"), InvalidToken),
        (&current, system.to_owned(), InvalidToken),
        (&rsa, token("rs256Expired"), TokenExpired),
        (&rsa, token("hs256"), InvalidToken),
        (&rsa, token("hs256Expired"), InvalidToken),
    ] {
        assert_refused(tokens, &token, now(), kind, &token);
    }
}

// Header

#[test]
fn the_plain_good_token_passes() {
    // What all other rows differ from in one point.
    let claims = assert_good(&good_token(), "good");
    assert_eq!(claims.resource_id(), "photo-1");
    for header in [
        r#"{"typ":"JWT","alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"unknown"}"#,
        r#"{"alg":"HS256","cty":"json","x5t":"abc","other":{"nested":[1,null]}}"#,
        " {\"alg\" :\t\"HS256\"}\n",
        r#"{"\u0061lg":"HS\u0032\u00356"}"#,
    ] {
        assert_good(&hs256(header, good_payload()), header);
    }
}

#[test]
fn a_token_says_that_it_is_a_jwt_or_an_access_token_or_nothing() {
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "Application/At+Jwt"] {
        assert_good(&hs256(format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#), good_payload()), typ);
        let spaced = format!(r#"{{ "typ": "{typ}", "alg": "HS256" }}"#);
        assert_good(&hs256(spaced, good_payload()), typ);
    }
    for typ in [
        "",
        " JWT",
        "JWT ",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "JWS",
        "JOSE",
        "at+jwt; charset=utf-8",
        "application/",
        "application/application/jwt",
        "text/jwt",
        "applicationXjwt",
        "ａt+jwt",
    ] {
        for header in [
            format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#),
            format!(r#"{{ "alg":"HS256","typ":"{typ}"}}"#),
        ] {
            assert_invalid(&hs256(header, good_payload()), typ);
        }
    }
}

#[test]
fn ed25519_has_two_names_and_ed448_is_another_algorithm() {
    let private = key_file("ed25519-private");
    let private = jsonwebtoken::EncodingKey::from_ed_pem(private.as_bytes()).unwrap();
    let tokens = AccessTokens::public_key_pem(&key_file("ed25519-public")).unwrap();
    for (name, good) in [
        ("EdDSA", true),
        ("Ed25519", true),
        ("Ed448", false),
        ("ed25519", false),
        ("EDDSA", false),
        ("Ed25519 ", false),
    ] {
        let input = format!("{}.{}", b64(format!(r#"{{"alg":"{name}"}}"#)), b64(good_payload()));
        let signer = (DEFAULT_PROVIDER.signer_factory)(&jsonwebtoken::Algorithm::EdDSA, &private);
        let signature = signer.unwrap().try_sign(input.as_bytes()).unwrap();
        let token = format!("{input}.{}", b64(signature));
        assert_eq!(validate(&tokens, &token, now()).is_ok(), good, "{name}");
        assert_refused(&ours(), &token, now(), InvalidToken, name);
    }
}

#[test]
fn of_a_header_that_nobody_signed_nothing_is_built() {
    let objects = |count: usize| vec!["{}"; count].join(",");
    let members = |count: usize| (0..count).map(|n| format!(r#""{n}":0"#)).collect::<Vec<_>>();
    let padded = |member: String| format!(r#"{{"alg":"HS256",{member}}}"#);
    for (header, good) in [
        (padded(format!(r#""x":[{}]"#, objects(240))), true),
        (padded(format!(r#""x":{}{}"#, "[".repeat(100), "]".repeat(100))), true),
        (padded(members(32).join(",")), true),
        (padded(members(33).join(",")), false),
        (
            padded(format!(r#""x":[{{{}}},{{{}}}]"#, members(20).join(","), members(20).join(","))),
            false,
        ),
        (padded(format!(r#""x":[{}]"#, objects(1_200))), false),
        (padded(members(400).join(",")), false),
        (padded(format!(r#""x":"{}""#, "x".repeat(4_000))), true),
    ] {
        let token = hs256(&header, good_payload());
        let tokens = ours();
        let validated = |token: &str| validate(&tokens, token, now()).is_ok();
        assert_eq!(validated(&token), good, "{header}");
        // The same with a signature that does not hold: all that is asked for is for the refusal.
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{unsigned}.{}", b64([0; 32]));
        let asked = allocation_counter::measure(|| assert!(!validated(&forged)));
        assert!(asked.count_total <= 10, "{header}: {asked:?}");
        assert!(asked.bytes_total <= 3 * token.len() as u64, "{header}: {asked:?}");
    }
}

#[test]
fn header_members_that_change_the_reading_are_refused() {
    for member in [
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""crit":null"#,
        r#""zip":"DEF""#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""jwk":{"kty":"oct","k":"AAAA"}"#,
        r#""jwk":null"#,
        r#""jku":"https://attacker.example/keys""#,
        r#""x5u":"https://attacker.example/cert""#,
        r#""x5c":["MIIB"]"#,
        r#""\u0063rit":["exp"]"#,
        r#""j\u0077k":{}"#,
    ] {
        assert_invalid(&hs256(format!(r#"{{"alg":"HS256",{member}}}"#), good_payload()), member);
        assert_invalid(&hs256(format!(r#"{{{member},"alg":"HS256"}}"#), good_payload()), member);
    }
}

#[test]
fn the_algorithm_is_the_keys_own() {
    for alg in [
        r#""none""#,
        r#""None""#,
        r#""NONE""#,
        r#""""#,
        r#""HS384""#,
        r#""HS512""#,
        r#""hs256""#,
        r#""HS256 ""#,
        r#""RS256""#,
        r#""ES256""#,
        r#""EdDSA""#,
        "null",
        "0",
        r#"["HS256"]"#,
        r#"{"alg":"HS256"}"#,
    ] {
        let header = format!(r#"{{"alg":{alg}}}"#);
        assert_invalid(&hs256(&header, good_payload()), &header);
        let unsigned = format!("{}.{}.", b64(&header), b64(good_payload()));
        assert_invalid(&unsigned, &header);
    }
    assert_invalid(&hs256("{}", good_payload()), "no alg");
    assert_invalid(&hs256(r#"{"typ":"JWT"}"#, good_payload()), "no alg");
}

#[test]
fn a_public_key_is_no_shared_secret() {
    // The classic confusion: an HS256 token signed with the public text of an RS256 key.
    let pem = key_file("rsa2048-public");
    let tokens = AccessTokens::public_key_pem(&pem).unwrap();
    for secret in [pem.as_str(), pem.trim(), &pem.replace('\n', "\r\n"), &pem.replace('\n', "")] {
        for alg in ["HS256", "RS256"] {
            let header = b64(format!(r#"{{"alg":"{alg}"}}"#));
            let token = sign_parts(secret, &header, &b64(good_payload()));
            assert_refused(&tokens, &token, now(), InvalidToken, alg);
        }
    }
}

#[test]
fn an_algorithm_of_another_configured_key_does_not_lend_its_key() {
    // HS256 and RS256 are both configured: each signature counts under its own name only.
    let pem = key_file("rsa2048-public");
    let tokens = AccessTokens::builder()
        .key(VerifyingKey::hs256(&secret(SECRET)))
        .key(VerifyingKey::from_pem("rsa", Algorithm::Rs256, &pem).unwrap())
        .build()
        .unwrap();
    assert!(validate(&tokens, &good_token(), now()).is_ok());
    assert_refused(
        &tokens,
        &hs256(r#"{"alg":"RS256"}"#, good_payload()),
        now(),
        InvalidToken,
        "an HMAC under the name of RS256",
    );
    let input = format!("{}.{}", b64(HS256), b64(good_payload()));
    let rsa = jsonwebtoken::EncodingKey::from_rsa_pem(key_file("rsa2048-private").as_bytes());
    let signer = DEFAULT_PROVIDER.signer_factory;
    let signer = signer(&jsonwebtoken::Algorithm::RS256, &rsa.unwrap()).unwrap();
    let token = format!("{input}.{}", b64(signer.try_sign(input.as_bytes()).unwrap()));
    assert_refused(&tokens, &token, now(), InvalidToken, "an RSA signature under HS256");
}

#[test]
fn headers_that_are_not_a_plain_object_are_refused() {
    for header in [
        "",
        "null",
        "[]",
        r#"["HS256"]"#,
        r#""HS256""#,
        "{",
        r#"{"alg":"HS256"}}"#,
        r#"{"alg":"HS256"} x"#,
        r#"{"alg":"HS256",}"#,
        r#"{alg:"HS256"}"#,
        r#"{'alg':'HS256'}"#,
        r#"{"alg":"HS256","typ":1}"#,
        r#"{"alg":"HS256","typ":null}"#,
        r#"{"alg":"HS256","kid":1}"#,
        r#"{"alg":"HS256","kid":null}"#,
        r#"{"alg":"HS256","kid":["a"]}"#,
        r#"{"alg":"HS256","x":"\ud800"}"#,
        r#"{"alg":"HS256","x":1e999}"#,
        "\u{feff}{\"alg\":\"HS256\"}",
        "// c\n{\"alg\":\"HS256\"}",
    ] {
        assert_invalid(&hs256(header, good_payload()), header);
    }
    assert_invalid(&hs256(b"{\"alg\":\"HS256\",\"x\":\"\xff\"}", good_payload()), "not UTF-8");
    assert_invalid(&hs256(b"{\"alg\":\"HS256\",\"\xc0\xae\":1}", good_payload()), "overlong");
    let deep = format!(r#"{{"alg":"HS256","x":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    assert_invalid(&hs256(deep, good_payload()), "deeply nested");
}

#[test]
fn duplicate_members_are_refused() {
    for header in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"a"}"#,
        r#"{"alg":"HS256","kid":"a","k\u0069d":"b"}"#,
        r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
        r#"{"alg":"HS256","x":1,"x":1}"#,
        r#"{"alg":"HS256","x":1,"y":2,"\u0078":1}"#,
        r#"{"alg":"HS256","x":{"a":1,"a":1}}"#,
        r#"{"alg":"HS256","x":[[{"a":1,"b":2,"\u0061":1}]]}"#,
    ] {
        assert_invalid(&hs256(header, good_payload()), header);
    }
    for tail in [
        r#""sub":"550e8400-e29b-41d4-a716-446655440000""#,
        r#""s\u0075b":"other""#,
        r#""planId":"basic""#,
        r#""exp":1795309565"#,
        r#""ex\u0070":4002825965"#,
        r#""nbf":1,"nbf":1"#,
        r#""x":1,"x":1"#,
        r#""x":1,"y":1,"\u0078":1"#,
        r#""":1,"":1"#,
        r#""x":{"a":1,"a":1}"#,
        r#""x":{"a":1,"\u0061":1}"#,
        r#""x":[0,{"y":{"a":1,"b":1,"a":1}}]"#,
        r#""aud":[{"a":1,"a":1}]"#,
        r#""aud":["a",1,{"a":1,"a":1}]"#,
        r#""iss":{"a":1,"a":1}"#,
        r#""cnf":{"a":1,"a":1}"#,
    ] {
        assert_invalid(&hs256(HS256, payload_and(tail)), tail);
    }
    // The same name in two objects is no duplicate.
    let nested = payload_and(r#""x":{"a":{"a":1},"x":1,"sub":2},"y":[{"a":1},{"a":1}]"#);
    assert_good(&hs256(HS256, nested), "nested names");
}

// Encoding

/// The same bytes with a bit set that no byte of the text has: many decoders let it pass.
fn stray_bit(part: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(part.len() % 4, 0, "a part without spare bits");
    let last = part.bytes().last().unwrap();
    let index = ALPHABET.iter().position(|letter| *letter == last).unwrap();
    format!("{}{}", &part[..part.len() - 1], char::from(ALPHABET[index | 1]))
}

#[test]
fn only_canonical_base64url_is_read() {
    // The spaces bring both parts to lengths with spare bits.
    let header = b64(format!("{HS256} "));
    let tail = r#""x":"~~~???>>>""#;
    let payload = [format!("{tail} "), tail.to_owned()].map(|tail| b64(payload_and(&tail)));
    let payload = payload.into_iter().find(|part| part.len() % 4 != 0).unwrap();
    assert!(payload.contains(['-', '_']), "{payload}");
    let good = sign_parts(SECRET, &header, &payload);
    assert_good(&good, "good");
    let signature = good.rsplit_once('.').unwrap().1;

    let tampered = |part: &str| {
        let middle = part.len() / 2;
        vec![
            format!("{part}="),
            format!("{part}=="),
            format!("{part}%3D"),
            format!("{part}A"),
            stray_bit(part),
            format!("{}+{}", &part[..middle], &part[middle + 1..]),
            format!("{}/{}", &part[..middle], &part[middle + 1..]),
            format!("{}={}", &part[..middle], &part[middle..]),
            format!("{}~{}", &part[..middle], &part[middle..]),
            String::new(),
        ]
    };
    for part in tampered(&header) {
        // Signed anew, and with the signature of the good token.
        assert_invalid(&sign_parts(SECRET, &part, &payload), &part);
        assert_invalid(&format!("{part}.{payload}.{signature}"), &part);
    }
    for part in tampered(&payload) {
        assert_invalid(&sign_parts(SECRET, &header, &part), &part);
        assert_invalid(&format!("{header}.{part}.{signature}"), &part);
    }
    for part in tampered(signature) {
        assert_invalid(&format!("{header}.{payload}.{part}"), &part);
    }
    let standard = payload.replace('-', "+").replace('_', "/");
    assert_invalid(&sign_parts(SECRET, &header, &standard), "the standard alphabet");
}

#[test]
fn a_token_has_three_parts_and_no_space() {
    let good = good_token();
    let parts: Vec<&str> = good.split('.').collect();
    for token in [
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[2]),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{}", parts[2]),
        format!("{}..{}.{}", parts[0], parts[1], parts[2]),
        format!("{}..{}", parts[0], parts[2]),
        format!(".{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        "..".to_owned(),
        ".".to_owned(),
        "...".to_owned(),
        parts[0].to_owned(),
        parts.concat(),
    ] {
        assert_invalid(&token, &token);
    }
    for token in [
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}\r\n"),
        format!("{good}\0"),
        good.replacen('.', " .", 1),
        good.replacen('.', ".\t", 1),
        good.replacen('e', "é", 1),
    ] {
        assert_refused(&ours(), &token, now(), RejectionKind::MalformedCredential, &token);
    }
    assert_refused(&ours(), "", now(), RejectionKind::MissingCredential, "empty");
}

#[test]
fn eight_kibibytes_pass_and_no_more() {
    let padded = |length| with("x", "x".repeat(length));
    let spare = 8 * 1024 - padded(0).len();
    let longest = (spare / 4 * 3..).find(|length| padded(*length).len() > 8 * 1024).unwrap() - 1;
    assert!(padded(longest).len() > 8 * 1024 - 3);
    assert_good(&padded(longest), "8 KiB");
    assert_invalid(&padded(longest + 1), "over 8 KiB");
    assert_invalid(&padded(100_000), "far over 8 KiB");
}

#[test]
fn a_changed_byte_breaks_the_signature() {
    let good = good_token();
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert_invalid(&String::from_utf8(bytes).unwrap(), &format!("byte {at}"));
    }
    let (input, _) = good.rsplit_once('.').unwrap();
    let tag = hmac_sha256(SECRET, input);
    for length in 0..tag.len() {
        assert_invalid(&format!("{input}.{}", b64(&tag[..length])), "a truncated tag");
    }
    let longer = [tag.as_slice(), b"\0"].concat();
    assert_invalid(&format!("{input}.{}", b64(longer)), "a longer tag");
    for other in ["", "another secret of more than 32 bytes!", PREVIOUS_SECRET] {
        let token = sign_parts(other, &b64(HS256), &b64(good_payload()));
        assert_invalid(&token, "another secret");
    }
}

// Claims

#[test]
fn payloads_that_are_not_an_object_are_refused() {
    for payload in ["", "null", "[]", "1", r#""text""#, "{}", "{", r#"[{"sub":"a"}]"#] {
        assert_invalid(&hs256(HS256, payload), payload);
    }
    assert_invalid(&hs256(HS256, format!("{}x", good_payload())), "trailing text");
    assert_invalid(&hs256(HS256, format!("{0}{0}", good_payload())), "two objects");
    assert_invalid(&hs256(HS256, payload_and(r#""x":"\ud800""#)), "a lone surrogate");
    assert_invalid(&hs256(HS256, payload_and(r#""x":NaN"#)), "NaN");
    assert_invalid(&hs256(HS256, payload_and(r#""x":1e999"#)), "a number out of range");
    let deep = format!(r#""x":{}{}"#, "[".repeat(1500), "]".repeat(1500));
    assert_invalid(&hs256(HS256, payload_and(&deep)), "deeply nested");
    let deep = format!(r#""aud":{}{}"#, "[".repeat(1500), "]".repeat(1500));
    assert_invalid(&hs256(HS256, payload_and(&deep)), "deeply nested audience");
}

#[test]
fn required_claims_are_ids() {
    for name in ["sub", "jti", "resourceId", "planId", "txHash"] {
        assert_invalid(&without(name), name);
        for bad in [
            json!(null),
            json!(1),
            json!(true),
            json!(["photo-1"]),
            json!({"id": "photo-1"}),
            json!(""),
            json!(" "),
            json!("photo 1"),
            json!("photo-1 "),
            json!("photo-1\n"),
            json!("photo-1\0"),
            json!("phötö"),
            json!("photo\u{7f}"),
            json!("\u{202e}photo"),
            json!("x".repeat(257)),
        ] {
            assert_invalid(&with(name, bad.clone()), &format!("{name}: {bad}"));
        }
        for good in ["x", "~!@#$%^&*()[]{}\"\\'<>", &"x".repeat(256)] {
            assert_good(&with(name, good), &format!("{name}: {good}"));
        }
        let other_case =
            payload_with(&[(name, None), (&name.to_ascii_uppercase(), Some(json!("photo-1")))]);
        assert_invalid(&hs256(HS256, other_case), "another case is another name");
    }
}

#[test]
fn tier_id_is_an_alias_of_plan_id() {
    let token = |plan: Option<Value>, tier: Value| {
        hs256(HS256, payload_with(&[("planId", plan), ("tierId", Some(tier))]))
    };
    let claims = assert_good(&token(None, json!("gold")), "tierId alone");
    assert_eq!(claims.plan_id(), "gold");
    assert!(claims.extra().is_empty());
    let both = assert_good(&token(Some(json!("gold")), json!("gold")), "both, equal");
    assert_eq!(both.plan_id(), "gold");

    assert_invalid(&token(Some(json!("gold")), json!("basic")), "both, different");
    assert_invalid(&token(Some(json!("gold")), json!("Gold")), "different case");
    assert_invalid(&token(None, json!("")), "empty tierId");
    for (plan, tier) in [(json!("gold"), json!(1)), (json!(1), json!("gold"))] {
        assert_invalid(&token(Some(plan), tier), "one of the wrong type");
    }
    assert_invalid(&token(Some(json!("gold")), json!(null)), "a null tierId");
    assert_invalid(&token(Some(json!(null)), json!("gold")), "a null planId");
}

#[test]
fn a_token_expires_at_exp() {
    let exp = Timestamp::from_seconds(NOW + 3600);
    let just_before = Timestamp::from_micros(exp.as_micros() - 1);
    let token = good_token();
    assert!(validate(&ours(), &token, just_before).is_ok());
    assert_refused(&ours(), &token, exp, TokenExpired, "now == exp");
    let later = exp.plus(Duration::from_secs(1));
    assert_refused(&ours(), &token, later, TokenExpired, "now > exp");

    let fraction = hs256(
        HS256,
        payload_and("\"x\":0")
            .replace(&format!("\"exp\":{}", NOW + 3600), &format!("\"exp\":{}.25", NOW + 3600)),
    );
    let exp = Timestamp::from_micros((NOW + 3600) * 1_000_000 + 250_000);
    let claims = validate(&ours(), &fraction, Timestamp::from_micros(exp.as_micros() - 1)).unwrap();
    assert_eq!(claims.expires_at(), exp);
    assert_refused(&ours(), &fraction, exp, TokenExpired, "now == exp with a fraction");
}

#[test]
fn exp_is_a_number_within_reason() {
    let exp = |text: &str| {
        let good = good_payload();
        let payload = good.replace(&format!("\"exp\":{}", NOW + 3600), &format!("\"exp\":{text}"));
        assert_ne!(payload, good);
        hs256(HS256, payload)
    };
    for far in ["1e300", "1e308", "9223372036854775807", "18446744073709551615", "1e20", "2e9"] {
        let claims = assert_good(&exp(far), far);
        // It can be shown, and signed again.
        assert!(!format!("{} {claims:?}", claims.expires_at()).is_empty());
    }
    for past in
        ["0", "-0", "-1", "-1e300", "-9223372036854775808", "1", "0.5", "1e-300", "1795305965.0"]
    {
        assert_refused(&ours(), &exp(past), now(), TokenExpired, past);
    }
    for bad in [
        "null",
        "true",
        r#""4002825965""#,
        r#""""#,
        "[4002825965]",
        r#"{"n":4002825965}"#,
        "1e309",
        "-1e309",
        "NaN",
        "Infinity",
        "0x7fffffff",
        "04002825965",
        "+4002825965",
        "",
    ] {
        assert_invalid(&exp(bad), bad);
    }
    assert_invalid(&without("exp"), "no exp");
}

#[test]
fn expiry_is_told_only_after_the_signature_held() {
    let payload = payload_with(&[("exp", Some(json!(NOW - 1)))]);
    assert_refused(&ours(), &hs256(HS256, &payload), now(), TokenExpired, "ours");
    let foreign = sign_parts("a secret that is somebody else's, 32+", &b64(HS256), &b64(payload));
    assert_invalid(&foreign, "somebody else's");
}

#[test]
fn leeway_forgives_so_much_and_no_more() {
    let tokens = AccessTokens::builder()
        .key(VerifyingKey::hs256(&secret(SECRET)))
        .leeway(Duration::from_secs(30))
        .build()
        .unwrap();
    let at = |micros: i64| Timestamp::from_micros((NOW + 3600) * 1_000_000 + micros);
    assert!(validate(&tokens, &good_token(), at(29_999_999)).is_ok());
    assert_refused(&tokens, &good_token(), at(30_000_000), TokenExpired, "exp + leeway");

    let early = with("nbf", NOW);
    let at = |micros: i64| Timestamp::from_micros(NOW * 1_000_000 + micros);
    assert!(validate(&tokens, &early, at(-30_000_000)).is_ok());
    assert_refused(&tokens, &early, at(-30_000_001), InvalidToken, "before nbf - leeway");

    for (leeway, fine) in [(MAX_LEEWAY, true), (MAX_LEEWAY + Duration::from_nanos(1), false)] {
        let key = VerifyingKey::hs256(&secret(SECRET));
        let built = AccessTokens::builder().key(key).leeway(leeway).build();
        assert_eq!(built.is_ok(), fine, "{leeway:?}");
    }
}

#[test]
fn nbf_is_honoured_wherever_it_stands() {
    for past in [json!(NOW), json!(NOW - 1), json!(0), json!(-5), json!(NOW as f64 - 0.5)] {
        assert_good(&with("nbf", past.clone()), &past.to_string());
    }
    for bad in [
        json!(NOW + 1),
        json!(NOW as f64 + 0.5),
        json!(1e300),
        json!(u64::MAX),
        json!(null),
        json!(NOW.to_string()),
        json!(false),
        json!([NOW]),
        json!({}),
    ] {
        assert_invalid(&with("nbf", bad.clone()), &bad.to_string());
    }
    let one_micro_early = Timestamp::from_micros(NOW * 1_000_000 - 1);
    assert_refused(&ours(), &with("nbf", NOW), one_micro_early, InvalidToken, "one µs early");
}

#[test]
fn iat_is_optional_and_a_number() {
    assert_eq!(assert_good(&without("iat"), "none").issued_at(), None);
    let half = assert_good(&with("iat", json!(NOW as f64 + 0.5)), "a fraction");
    assert_eq!(half.issued_at(), Some(Timestamp::from_micros(NOW * 1_000_000 + 500_000)));
    for bad in [json!(null), json!("1795305965"), json!(true), json!([1]), json!({})] {
        assert_invalid(&with("iat", bad.clone()), &bad.to_string());
    }
}

#[test]
fn issuer_and_audience_count_once_configured() {
    let strict = || {
        AccessTokens::builder()
            .key(VerifyingKey::hs256(&secret(SECRET)))
            .issuer("https://key0.example")
            .issuer("key0-old")
            .audience("photos")
            .audience("videos")
            .build()
            .unwrap()
    };
    let token = |iss: Option<Value>, aud: Option<Value>| {
        hs256(HS256, payload_with(&[("iss", iss), ("aud", aud)]))
    };
    let iss = || Some(json!("https://key0.example"));
    for (iss, aud) in [
        (iss(), Some(json!("photos"))),
        (Some(json!("key0-old")), Some(json!("videos"))),
        (iss(), Some(json!(["elsewhere", "videos"]))),
        (iss(), Some(json!(["photos"]))),
    ] {
        let token = token(iss.clone(), aud.clone());
        let claims = validate(&strict(), &token, now()).unwrap();
        assert_eq!(claims.issuer(), iss.as_ref().and_then(Value::as_str));
        let listed = aud.map(|aud| if aud.is_array() { aud } else { json!([aud]) });
        assert_eq!(Some(json!(claims.audience().collect::<Vec<_>>())), listed);
    }
    for (iss, aud) in [
        (None, Some(json!("photos"))),
        (Some(json!("")), Some(json!("photos"))),
        (Some(json!("https://key0.example/")), Some(json!("photos"))),
        (Some(json!("HTTPS://KEY0.EXAMPLE")), Some(json!("photos"))),
        (Some(json!("photos")), Some(json!("photos"))),
        (iss(), None),
        (iss(), Some(json!(""))),
        (iss(), Some(json!("photo"))),
        (iss(), Some(json!("photos videos"))),
        (iss(), Some(json!([]))),
        (iss(), Some(json!(["elsewhere"]))),
        (iss(), Some(json!([["photos"]]))),
    ] {
        let row = format!("{iss:?} {aud:?}");
        assert_refused(&strict(), &token(iss, aud), now(), InvalidToken, &row);
    }
    // Of the wrong type they are refused, whether configured or not.
    for bad in [json!(null), json!(1), json!(true), json!({"photos": 1}), json!(["photos", 1])] {
        for tokens in [&ours(), &strict()] {
            let row = bad.to_string();
            let (wrong_iss, wrong_aud) =
                (token(Some(bad.clone()), Some(json!("photos"))), token(iss(), Some(bad.clone())));
            assert_refused(tokens, &wrong_iss, now(), InvalidToken, &row);
            assert_refused(tokens, &wrong_aud, now(), InvalidToken, &row);
        }
    }
    let listed = token(Some(json!(["https://key0.example"])), Some(json!("photos")));
    assert_refused(&strict(), &listed, now(), InvalidToken, "a list of issuers");
    // Not configured, the issuer is kept and not validated, and whoever is named in `aud` is not us.
    let claims = assert_good(&token(Some(json!("anyone")), None), "kept");
    assert_eq!((claims.issuer(), claims.audience().count()), (Some("anyone"), 0));
    for aud in [json!("photos"), json!(["a", "b"]), json!([]), json!("")] {
        assert_invalid(&token(iss(), Some(aud.clone())), &aud.to_string());
    }
}

#[test]
fn a_sender_constrained_token_is_no_bearer_token() {
    for cnf in [json!({"jkt": "abc"}), json!({}), json!(null), json!("x"), json!(false)] {
        assert_invalid(&with("cnf", cnf.clone()), &cnf.to_string());
    }
    assert_good(&with("CNF", json!({})), "another name");
    assert_good(&with("x", json!({"cnf": {"jkt": "abc"}})), "not a claim of the token");
}

#[test]
fn unknown_claims_are_kept() {
    let extra =
        json!({"scope": "a b", "n": 1.5, "deep": {"list": [1, null, {"a": "ü"}]}, "": true});
    let Value::Object(extra) = extra else { unreachable!() };
    let mut claims = good_claims(NOW);
    claims.extend(extra.clone());
    let claims = assert_good(&hs256(HS256, Value::Object(claims).to_string()), "extra");
    assert_eq!(claims.extra(), &extra);
    assert!(assert_good(&good_token(), "none").extra().is_empty());
}

#[test]
fn any_one_mark_of_a_system_token_bars_it() {
    for (name, value) in [
        ("sub", "key0-service"),
        ("planId", "system"),
        ("tierId", "system"),
        ("txHash", "system-auth"),
    ] {
        let plan = if name == "tierId" { None } else { Some(json!("basic")) };
        let changes = [("planId", plan), (name, Some(json!(value)))];
        assert_invalid(&hs256(HS256, payload_with(&changes)), name);
    }
    let escaped = good_payload().replace("\"basic\"", r#""\u0073ystem""#);
    assert_invalid(&hs256(HS256, escaped), "an escaped mark");
    // The values mark nothing in other claims.
    for (name, value) in
        [("resourceId", "key0-service"), ("jti", "system"), ("iss", "key0-service")]
    {
        assert_good(&with(name, value), name);
    }

    let issuer = TokenIssuer::hs256(&secret(SECRET));
    let system = issuer.system_token("backend-service", now(), Duration::from_secs(60)).unwrap();
    assert_invalid(&system, "a system token");
    for (sub, plan, hash) in [
        ("key0-service", "basic", "0xab"),
        ("r-1", "system", "0xab"),
        ("r-1", "basic", "system-auth"),
    ] {
        let refused = issuer.access_token(&claims(sub, plan, hash));
        assert_eq!(refused, Err(SigningError::SystemMarker), "{sub} {plan} {hash}");
    }
}

// Keys

fn claims(sub: &str, plan: &str, hash: &str) -> Claims {
    Claims::new(
        RequestId::new(sub).unwrap(),
        ChallengeId::new("c-1").unwrap(),
        ResourceId::new("photo-1").unwrap(),
        PlanId::new(plan).unwrap(),
        TxHash::new(hash).unwrap(),
        Timestamp::from_micros((NOW + 60) * 1_000_000 + 125_000),
    )
}

fn full_claims() -> Claims {
    let extra: Map<String, Value> = [("scope".to_owned(), json!(["a", 1]))].into_iter().collect();
    claims("r-1", "basic", "0xab")
        .issued(now())
        .valid_from(Timestamp::from_micros(NOW * 1_000_000 - 500_000))
        .from_issuer("key0")
        .for_audience("photos")
        .for_audience("videos")
        .with_extra(extra)
}

const PAIRS: [(Algorithm, &str); 3] =
    [(Algorithm::Rs256, "rsa2048"), (Algorithm::Es256, "p256"), (Algorithm::EdDsa, "ed25519")];

fn for_photos(key: VerifyingKey) -> AccessTokens {
    AccessTokens::builder().key(key).audience("photos").build().unwrap()
}

#[test]
fn what_the_issuer_signs_is_accepted_and_says_the_same() {
    let shared = VerifyingKey::hs256(&secret(SECRET));
    let mut pairs = vec![(TokenIssuer::hs256(&secret(SECRET)), for_photos(shared))];
    for (algorithm, name) in PAIRS {
        let private = key_file(&format!("{name}-private"));
        let public = key_file(&format!("{name}-public"));
        pairs.push((
            TokenIssuer::from_pem(name, algorithm, &private).unwrap(),
            for_photos(VerifyingKey::from_any_pem(name, &public).unwrap()),
        ));
    }
    for (signs, (issuer, _)) in pairs.iter().enumerate() {
        for (verifies, (_, tokens)) in pairs.iter().enumerate() {
            for claims in [full_claims(), claims("r-1", "basic", "0xab").for_audience("photos")] {
                let token = issuer.access_token(&claims).unwrap();
                if signs == verifies {
                    assert_eq!(validate(tokens, &token, now()).unwrap(), claims.into());
                } else {
                    assert_refused(tokens, &token, now(), InvalidToken, "another key");
                }
            }
        }
    }
}

#[test]
fn asymmetric_signatures_are_bound_to_their_message() {
    for (algorithm, name) in PAIRS {
        let issuer = TokenIssuer::from_pem(name, algorithm, &key_file(&format!("{name}-private")));
        let tokens = AccessTokens::public_key_pem(&key_file(&format!("{name}-public"))).unwrap();
        let token = issuer.unwrap().access_token(&full_claims()).unwrap();
        let (input, signature) = token.rsplit_once('.').unwrap();
        let raw = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, signature);
        let raw = raw.unwrap();
        let refuse = |signature: &[u8], row: &str| {
            let token = format!("{input}.{}", b64(signature));
            assert_refused(&tokens, &token, now(), InvalidToken, row);
        };
        for at in [0, raw.len() / 2, raw.len() - 1] {
            let mut tampered = raw.clone();
            tampered[at] ^= 1;
            refuse(&tampered, "a changed signature");
        }
        refuse(&[], "no signature");
        refuse(&vec![0; raw.len()], "a signature of zeros");
        refuse(&raw[..raw.len() - 1], "a shorter signature");
        refuse(&raw[1..], "a shorter signature");
        refuse(&[&raw[..], &[0]].concat(), "a longer signature");
        refuse(&[&[0], &raw[..]].concat(), "a longer signature");
        let other =
            format!("{}.{}", b64(format!(r#"{{"alg":"{algorithm}"}}"#)), b64(good_payload()));
        let moved = format!("{other}.{signature}");
        assert_refused(&tokens, &moved, now(), InvalidToken, "a signature of another token");
    }
}

#[test]
fn an_ecdsa_signature_is_two_numbers_not_der() {
    let issuer = TokenIssuer::from_pem("p256", Algorithm::Es256, &key_file("p256-private"));
    let tokens = AccessTokens::public_key_pem(&key_file("p256-public")).unwrap();
    let token = issuer.unwrap().access_token(&full_claims()).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let raw = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, signature);
    let integer = |number: &[u8]| {
        let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = if digits[0] >= 0x80 { vec![0] } else { vec![] };
        let body = [sign, digits].concat();
        [&[0x02, body.len() as u8][..], &body].concat()
    };
    let raw = raw.unwrap();
    let body = [integer(&raw[..32]), integer(&raw[32..])].concat();
    let der = [&[0x30, body.len() as u8][..], &body].concat();
    assert_refused(&tokens, &format!("{input}.{}", b64(der)), now(), InvalidToken, "DER");
    // CVE-2022-21449: zeros must not verify everything.
    let zeros = format!("{input}.{}", b64([0; 64]));
    assert_refused(&tokens, &zeros, now(), InvalidToken, "r = s = 0");
}

#[test]
fn a_kid_selects_among_named_keys() {
    let key = |text: &str| VerifyingKey::hs256(&secret(text));
    let tokens = AccessTokens::builder()
        .key(key("the secret of the key named a, 32+ bytes").kid("a"))
        .key(key("the secret of the key named b, 32+ bytes").kid("b"))
        .key(key("the secret of another key named b, 32+").kid("b"))
        .key(key("the secret of the key with no name, 32+"))
        .build()
        .unwrap();
    let [a, b, b2, unnamed] = [
        "the secret of the key named a, 32+ bytes",
        "the secret of the key named b, 32+ bytes",
        "the secret of another key named b, 32+",
        "the secret of the key with no name, 32+",
    ];
    let token = |secret: &str, kid: Option<&str>| {
        let kid = kid.map(|kid| format!(r#","kid":"{kid}""#)).unwrap_or_default();
        let header = format!(r#"{{"alg":"HS256"{kid}}}"#);
        sign_parts(secret, &b64(header), &b64(good_payload()))
    };
    for (secret, kid, good) in [
        // No kid: every key is tried.
        (a, None, true),
        (b2, None, true),
        (unnamed, None, true),
        // A known kid: the keys of that name alone.
        (a, Some("a"), true),
        (b, Some("b"), true),
        (b2, Some("b"), true),
        (a, Some("b"), false),
        (b, Some("a"), false),
        (unnamed, Some("a"), false),
        // An unknown kid: the keys without a name.
        (unnamed, Some("c"), true),
        (unnamed, Some(""), true),
        (unnamed, Some("A"), true),
        (a, Some("c"), false),
        (a, Some("A"), false),
        (b, Some("a b"), false),
    ] {
        let token = token(secret, kid);
        let row = format!("{secret} {kid:?}");
        if good {
            assert!(validate(&tokens, &token, now()).is_ok(), "{row}");
        } else {
            assert_refused(&tokens, &token, now(), InvalidToken, &row);
        }
    }

    let named = AccessTokens::builder().key(key(a).kid("a")).build().unwrap();
    assert_refused(&named, &token(a, Some("c")), now(), InvalidToken, "every key has a name");
    let signed =
        TokenIssuer::hs256(&secret(a)).kid("a").access_token(&claims("r-1", "basic", "0xab"));
    let signed = signed.unwrap();
    assert!(validate(&named, &signed, now()).is_ok());
}

#[test]
fn a_kid_does_not_change_the_algorithm() {
    let pem = key_file("rsa2048-public");
    let tokens = AccessTokens::builder()
        .key(VerifyingKey::hs256(&secret(SECRET)).kid("hmac"))
        .key(VerifyingKey::from_pem("rsa", Algorithm::Rs256, &pem).unwrap().kid("rsa"))
        .build()
        .unwrap();
    for (header, good) in [
        (r#"{"alg":"HS256","kid":"hmac"}"#, true),
        (r#"{"alg":"HS256","kid":"rsa"}"#, false),
        (r#"{"alg":"RS256","kid":"hmac"}"#, false),
    ] {
        let token = hs256(header, good_payload());
        assert_eq!(validate(&tokens, &token, now()).is_ok(), good, "{header}");
    }
}

#[track_caller]
fn assert_bad_key(result: Result<VerifyingKey, ConfigFault>, pem: &str, row: &str) {
    let Err(fault) = result else { panic!("taken: {row}") };
    assert!(matches!(fault, ConfigFault::BadKey { .. }), "{row}: {fault:?}");
    let shown = fault.to_string();
    assert!(shown.starts_with("THE_KEY "), "{row}: {shown}");
    for line in pem.lines().filter(|line| line.len() > 8 && !line.starts_with("-----")) {
        assert!(!shown.contains(line), "{row}: {shown}");
    }
}

#[test]
fn keys_that_can_not_be_trusted_are_refused_at_start_up() {
    const ASYMMETRIC: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    for name in [
        "rsa1024-public",
        "rsa2047-public",
        "rsa-pss2048-public",
        "rsa2048-pkcs1-public",
        "rsa2048-pkcs1-private",
        "rsa2048-certificate",
        "rsa2048-private",
        "p256-private",
        "p256-compressed-public",
        "p384-public",
        "secp256k1-public",
        "ed25519-private",
        "ed448-public",
        "x25519-public",
    ] {
        let pem = key_file(name);
        assert_bad_key(VerifyingKey::from_any_pem("THE_KEY", &pem), &pem, name);
        // Whoever put a private key here should be told so.
        let told = VerifyingKey::from_any_pem("THE_KEY", &pem).unwrap_err().to_string();
        assert_eq!(told.contains("it is a private key"), name.ends_with("private"), "{told}");
        for algorithm in ASYMMETRIC {
            let key = VerifyingKey::from_pem("THE_KEY", algorithm, &pem);
            assert_bad_key(key, &pem, &format!("{name} as {algorithm}"));
        }
        assert!(AccessTokens::public_key_pem(&pem).is_err(), "{name}");
    }
    for (own, name) in PAIRS {
        let pem = key_file(&format!("{name}-public"));
        assert_eq!(VerifyingKey::from_any_pem("THE_KEY", &pem).unwrap().algorithm(), own);
        for algorithm in [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let key = VerifyingKey::from_pem("THE_KEY", algorithm, &pem);
            if algorithm == own {
                assert_eq!(key.unwrap().algorithm(), own);
            } else {
                assert_bad_key(key, &pem, &format!("{name} as {algorithm}"));
            }
        }
        assert!(VerifyingKey::from_any_pem("THE_KEY", &format!("\n {pem}\n\n")).is_ok());
        assert!(VerifyingKey::from_any_pem("THE_KEY", &pem.replace('\n', "\r\n")).is_ok());

        let body = pem.lines().nth(1).unwrap();
        for (tampered, row) in [
            (format!("{pem}{pem}"), "two blocks"),
            (format!("{pem}{}", key_file(&format!("{name}-private"))), "a private key behind it"),
            (format!("{}{pem}", key_file(&format!("{name}-private"))), "a private key before it"),
            (format!("a comment\n{pem}"), "text before it"),
            (format!("{pem}\na comment"), "text behind it"),
            (pem.replace(body, ""), "a line missing"),
            (pem.replace(body, &body[1..]), "a letter missing"),
            (pem.replace(body, &format!("{body}=")), "padding within"),
            (pem.replace("BEGIN", "begin"), "another label"),
            (pem.replace("-----END PUBLIC KEY-----", ""), "no end"),
            (pem.replace("PUBLIC KEY", "EC PUBLIC KEY"), "another label"),
            (body.to_owned(), "no labels"),
            (String::new(), "nothing"),
        ] {
            let row = format!("{name}: {row}");
            assert_bad_key(VerifyingKey::from_any_pem("THE_KEY", &tampered), &tampered, &row);
            assert_bad_key(VerifyingKey::from_pem("THE_KEY", own, &tampered), &tampered, &row);
        }
    }
}

#[test]
fn public_keys_come_in_every_spelling_of_a_setting() {
    let all = PAIRS.map(|(_, name)| key_file(&format!("{name}-public")));
    let one = &all[1];
    for pem in [
        one.replace('\n', "\\n"),
        one.replace('\n', "\\r\\n"),
        one.replace('\n', "\\\\n"),
        one.replace('\n', "\n\n"),
        one.replace('\n', " \r\n \n"),
        one.replace('\n', " "),
        format!("\u{feff}{one}"),
        format!("\"{}\"", one.replace('\n', "\\n")),
        format!("'{one}'"),
    ] {
        let key = VerifyingKey::from_any_pem("THE_KEY", &pem).unwrap();
        assert_eq!(key.algorithm(), Algorithm::Es256, "{pem}");
    }
    for pem in [
        all.concat(),
        all.join("\n\n"),
        all.concat().replace('\n', "\\n"),
        all.concat().replace('\n', "\\r\\n"),
        format!("\"{}\"", all.concat().replace('\n', "\\n")),
        all.concat().replace('\n', ""),
    ] {
        let keys = VerifyingKey::all_from_pem("THE_KEY", &pem).unwrap();
        let algorithms: Vec<_> = keys.iter().map(VerifyingKey::algorithm).collect();
        assert_eq!(algorithms, PAIRS.map(|(algorithm, _)| algorithm), "{pem}");
        let tokens = AccessTokens::public_key_pem(&pem).unwrap();
        for (algorithm, name) in PAIRS {
            let private = key_file(&format!("{name}-private"));
            let issuer = TokenIssuer::from_pem(name, algorithm, &private).unwrap();
            let token = issuer.access_token(&claims("r-1", "basic", "0xab")).unwrap();
            validate(&tokens, &token, now()).unwrap();
        }
        assert_bad_key(VerifyingKey::from_any_pem("THE_KEY", &pem), &pem, "several for one");
    }
}

#[test]
fn it_is_said_what_is_there_in_place_of_public_keys() {
    let public = key_file("p256-public");
    let beside = |name: &str| format!("{public}{}", key_file(name));
    // The identifier of the algorithm ends in 1, and for PSS alone in 10.
    let pss = key_file("rsa2048-public").replace("BgkqhkiG9w0BAQEF", "BgkqhkiG9w0BAQoF");
    let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvciB0ZXN0cyBhbG9uZQ ops@host";
    for (text, reason) in [
        (key_file("rsa2048-certificate"), "it is a certificate; "),
        (key_file("rsa2048-certificate").replace('\n', "\\n"), "it is a certificate; "),
        (key_file("rsa2048-pkcs1-public"), "it is an RSA public key in PKCS #1; "),
        (
            key_file("rsa2048-pkcs1-public").replace("RSA PUBLIC", "PUBLIC"),
            "it is an RSA public key in PKCS #1 under the label of another form; ",
        ),
        (
            key_file("rsa2048-public").replace("PUBLIC KEY", "RSA PUBLIC KEY"),
            "it is a public key under the label of PKCS #1; -----BEGIN PUBLIC KEY----- is",
        ),
        (pss, "it is an RSA-PSS key, whose signatures are PS256 and not RS256"),
        (key_file("rsa2048-pkcs1-private"), "it is a private key; "),
        (key_file("rsa2048-private"), "it is a private key; "),
        (key_file("rsa2048-private")[..300].to_owned(), "it is a private key; "),
        (beside("rsa2048-certificate"), "block 2 of 2 is a certificate; "),
        (beside("p256-private"), "block 2 of 2 is a private key; "),
        (beside("rsa1024-public"), "block 2 of 2: its RSA modulus is shorter than 2048 bits"),
        (public.replace("PUBLIC", "EC PUBLIC"), "it is a PEM block of another kind; "),
        (format!("{public}a comment"), "there is text before or after its PEM block"),
        (format!("a comment\n{public}"), "there is text before or after its PEM block"),
        (format!("{public}# the next\n{public}"), "there is text before or after its PEM block"),
        (public.replace("-----END PUBLIC KEY-----", ""), "its -----END PUBLIC KEY----- line is"),
        (public.replace("END", "ENDE"), "its -----END PUBLIC KEY----- line is missing"),
        ("-----BEGIN PUBLIC".into(), "its -----BEGIN … ----- line breaks off"),
        (r#"{"kty":"OKP","crv":"Ed25519","x":"11qY"}"#.into(), "it is a JWK, and PEM"),
        (r#"{"keys":[{"kty":"OKP"}]}"#.into(), "it is a JWK set, and PEM"),
        (ssh.into(), "it is an OpenSSH key; "),
        ("hush".into(), "it has no -----BEGIN PUBLIC KEY----- line"),
        (" \n".into(), "it is empty"),
    ] {
        let result = VerifyingKey::all_from_pem("THE_KEY", &text).map(|mut keys| keys.remove(0));
        let told = result.as_ref().unwrap_err().to_string();
        let told = told.strip_prefix("THE_KEY is not a usable key: ").unwrap();
        assert!(told.starts_with(reason), "{reason}: {told}");
        assert_bad_key(result, &text, reason);
    }
}

#[test]
fn keys_that_anybody_could_sign_for_are_refused() {
    use base64::{Engine, prelude::BASE64_STANDARD};

    let spki = |prefix: &[u8], key: &[u8]| {
        let body = BASE64_STANDARD.encode([prefix, key].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    };
    let ed25519 = |point: &[u8; 32]| {
        let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        VerifyingKey::from_any_pem("THE_KEY", &spki(&prefix, point)).map_err(|e| e.to_string())
    };
    let bytes = |digits: &str| -> [u8; 32] {
        std::array::from_fn(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).unwrap())
    };
    let good = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    assert!(ed25519(&good).is_ok());
    // Points of order 1, 2, 4, 8 and 8, then encodings of the numbers from the prime on.
    for (point, reason) in [
        ("0100000000000000000000000000000000000000000000000000000000000000", "small order"),
        ("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "small order"),
        ("0000000000000000000000000000000000000000000000000000000000000000", "small order"),
        ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "small order"),
        ("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "small order"),
        ("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "canonically"),
        ("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "canonically"),
        ("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "canonically"),
    ] {
        let mut point = bytes(point);
        for sign in [0, 0x80] {
            point[31] |= sign;
            assert!(ed25519(&point).unwrap_err().contains(reason), "{point:02x?}");
        }
    }
    // With an exponent of 1 a message is its own signature.
    let pem = key_file("rsa2048-public");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64_STANDARD.decode(body).unwrap();
    let head = &der[..der.len() - 3];
    assert!(der.ends_with(&[0x01, 0x00, 0x01]));
    for exponent in [[0, 0, 1], [0, 0, 2], [1, 0, 0], [0, 0, 0]] {
        let tampered = spki(head, &exponent);
        assert!(VerifyingKey::from_any_pem("THE_KEY", &tampered).is_err(), "{exponent:?}");
    }
}

#[test]
fn private_keys_that_do_not_fit_are_refused() {
    for (own, name) in PAIRS {
        let private = key_file(&format!("{name}-private"));
        for algorithm in [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let issuer = TokenIssuer::from_pem("THE_KEY", algorithm, &private);
            assert_eq!(issuer.is_ok(), algorithm == own, "{name} as {algorithm}");
        }
        let public = key_file(&format!("{name}-public"));
        let fault = TokenIssuer::from_pem("THE_KEY", own, &public).unwrap_err();
        assert!(matches!(fault, ConfigFault::BadKey { .. }), "{fault:?}");
    }
}

#[test]
fn builders_refuse_what_could_not_be_kept() {
    assert!(AccessTokens::builder().build().is_err(), "no key");
    assert!(AccessTokens::hs256("31 bytes are one byte too few..").is_err());
    assert!(AccessTokens::hs256("32 bytes are the least of all...").is_ok());
    let key = || VerifyingKey::hs256(&secret(SECRET));
    assert!(AccessTokens::builder().key(key()).issuer("").build().is_err());
    assert!(AccessTokens::builder().key(key()).audience("").build().is_err());
    // Everybody has the public key: as a shared secret it would let anybody sign.
    for name in ["rsa2048-public", "p256-public", "rsa2048-pkcs1-public", "rsa2048-certificate"] {
        let error = AccessTokens::hs256(key_file(name)).unwrap_err();
        assert!(matches!(error.faults(), [ConfigFault::BadKey { .. }]), "{name}: {error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let tokens = AccessTokens::builder()
        .key(VerifyingKey::hs256(&secret(SECRET)))
        .key(VerifyingKey::from_any_pem("p256", &key_file("p256-public")).unwrap());
    let issuer =
        TokenIssuer::from_pem("ed", Algorithm::EdDsa, &key_file("ed25519-private")).unwrap();
    let shown =
        format!("{tokens:?} {:?} {issuer:?} {:?}", ours(), TokenIssuer::hs256(&secret(SECRET)));
    let private = key_file("ed25519-private");
    for hidden in [SECRET, private.lines().nth(1).unwrap(), &format!("{:?}", SECRET.as_bytes())] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}
