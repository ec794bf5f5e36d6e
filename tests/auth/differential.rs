//! Generated and tampered tokens, validated by this crate and by an oracle: `jsonwebtoken::decode` as
//! strict as it can be set, and the rules it has no word for, written out plainly below.
//!
//! `KEY0_DIFFERENTIAL_SEED` says where the
//! generator starts. Times are relative to the present, because `decode` reads the system clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::tokens::{
    DEFAULT_PROVIDER, PREVIOUS_SECRET, SECRET, b64, good_claims, hmac_sha256, key_file,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{DecodingKey, EncodingKey, Validation, errors::ErrorKind};
use key0_auth::{
    AccessTokens, RejectionKind,
    domain::{Credential, Secret, Timestamp},
    token::VerifyingKey,
};
use serde_json::{Map, Value};

const FOREIGN_SECRET: &str = "a secret that nobody has configured, 32+";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Good,
    Expired,
    Invalid,
}

#[test]
fn outcomes_equal_those_of_the_oracle() {
    validate_cases(5_000);
}

#[test]
#[ignore = "long: differential"]
fn long_differential_outcomes_equal_those_of_the_oracle() {
    validate_cases(1_000_000);
}

fn validate_cases(cases: u64) {
    // The other test of this program may have been first.
    let _ = DEFAULT_PROVIDER.install_default();
    let seed: u64 = env::var("KEY0_DIFFERENTIAL_SEED").map_or(1, |seed| seed.parse().unwrap());
    let parties = parties();
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);

    let counts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|worker| {
                let parties = &parties;
                scope.spawn(move || {
                    let mut counts: BTreeMap<Outcome, u64> = BTreeMap::new();
                    for case in (worker..cases).step_by(workers as usize) {
                        let outcome = validate_case(parties, seed.wrapping_add(case));
                        *counts.entry(outcome).or_default() += 1;
                    }
                    counts
                })
            })
            .collect();
        let mut sum: BTreeMap<Outcome, u64> = BTreeMap::new();
        for worker in workers {
            for (outcome, count) in worker.join().expect("a outcome differed") {
                *sum.entry(outcome).or_default() += count;
            }
        }
        sum
    });
    println!("{cases} cases from seed {seed}: {counts:?}");
    // A generator whose tokens are all refused for one reason would prove nothing.
    for outcome in [Outcome::Good, Outcome::Expired, Outcome::Invalid] {
        let share = counts.get(&outcome).copied().unwrap_or_default() as f64 / cases as f64;
        assert!(share > 0.04, "{outcome:?}: {share}");
    }
}

fn validate_case(parties: &[Party], seed: u64) -> Outcome {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
    let party = random.pick(parties);
    let mut now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    if random.one_in(2) {
        // On the second, so that `exp` and `nbf` are hit exactly.
        now -= now % 1_000_000;
    }
    let token = generate(&mut random, party, now.div_euclid(1_000_000));
    let wanted = oracle(party, &token, now);
    let validate = |tokens: &AccessTokens, now| {
        let validated = Credential::try_from(token.as_str())
            .and_then(|token| tokens.validate(token, Timestamp::from_micros(now)));
        match validated.map_err(|refusal| refusal.kind()) {
            Ok(_) => Outcome::Good,
            Err(RejectionKind::TokenExpired) => Outcome::Expired,
            // The last two: an empty token, and one with a byte that no header may hold.
            Err(
                RejectionKind::InvalidToken
                | RejectionKind::MissingCredential
                | RejectionKind::MalformedCredential,
            ) => Outcome::Invalid,
            Err(other) => panic!("seed {seed}: {other:?} for {token}"),
        }
    };
    let got = validate(&party.tokens, now);
    assert_eq!(got, wanted, "seed {seed}, now {now} µs, party {}\n{token}", party.name);
    // It may have been good at an earlier time, and be remembered since.
    validate(&party.remembers, now - random.pick(&[0, 1, 60, 7200]) * 1_000_000);
    for _ in 0..2 {
        let got = validate(&party.remembers, now);
        assert_eq!(got, wanted, "seed {seed}, now {now} µs, {} remembers\n{token}", party.name);
    }
    got
}

// The two sides

/// One configuration, as this crate and as the oracle know it.
struct Party {
    name: &'static str,
    tokens: AccessTokens,
    /// The same, with a memory.
    remembers: AccessTokens,
    keys: Vec<OracleKey>,
    issuer: Option<&'static str>,
    audience: Option<&'static str>,
    leeway: u64,
}

struct OracleKey {
    signer: Signer,
    kid: Option<&'static str>,
    algorithm: jsonwebtoken::Algorithm,
    key: DecodingKey,
}

fn parties() -> Vec<Party> {
    let entry = |signer: &Signer, kid: Option<&'static str>| {
        let (algorithm, key, mut verifying) = match *signer {
            Signer::Shared(text) => {
                let secret = Secret::new("a test secret", text).unwrap();
                let oracle = DecodingKey::from_secret(text.as_ref()).unwrap();
                (jsonwebtoken::Algorithm::HS256, oracle, VerifyingKey::hs256(&secret))
            }
            Signer::Private(algorithm, name, _) => {
                let pem = key_file(&format!("{name}-public"));
                let oracle = match name {
                    "rsa2048" => DecodingKey::from_rsa_pem(pem.as_bytes()),
                    "p256" => DecodingKey::from_ec_pem(pem.as_bytes()),
                    _ => DecodingKey::from_ed_pem(pem.as_bytes()),
                };
                (algorithm, oracle.unwrap(), VerifyingKey::from_any_pem(name, &pem).unwrap())
            }
        };
        if let Some(kid) = kid {
            verifying = verifying.kid(kid);
        }
        (verifying, OracleKey { signer: *signer, kid, algorithm, key })
    };
    let [current, previous, _, rsa, p256, ed] = &*SIGNERS;
    type Key<'a> = (&'a Signer, Option<&'static str>);
    let party = |name, keys: &[Key<'_>], issuer: Option<_>, audience: Option<_>, leeway| {
        let builder = || {
            let leeway = std::time::Duration::from_secs(leeway);
            let mut builder = AccessTokens::builder().leeway(leeway);
            for (signer, kid) in keys {
                builder = builder.key(entry(signer, *kid).0);
            }
            builder = issuer.into_iter().fold(builder, |builder, one: &str| builder.issuer(one));
            audience.into_iter().fold(builder, |builder, one: &str| builder.audience(one))
        };
        let tokens = builder().build().unwrap();
        let remembers = builder().remember_verified(1_000).build().unwrap();
        let keys = keys.iter().map(|(signer, kid)| entry(signer, *kid).1).collect();
        Party { name, tokens, remembers, keys, issuer, audience, leeway }
    };
    vec![
        party("one secret", &[(current, None)], None, None, 0),
        party(
            "rotated secrets, strict",
            &[(current, Some("a")), (previous, None)],
            Some("key0"),
            Some("photos"),
            0,
        ),
        party(
            "every algorithm, leeway",
            &[(current, None), (previous, Some("b")), (rsa, None), (p256, Some("a")), (ed, None)],
            None,
            None,
            30,
        ),
        party(
            "public keys only",
            &[(rsa, Some("a")), (p256, None), (ed, Some("a"))],
            None,
            Some("photos"),
            0,
        ),
    ]
}

fn oracle(party: &Party, token: &str, now: i64) -> Outcome {
    oracle_reads(party, token, now).unwrap_or(Outcome::Invalid)
}

/// `None` for a token that is invalid whatever the time.
fn oracle_reads(party: &Party, token: &str, now: i64) -> Option<Outcome> {
    if token.len() > 8192 {
        return None;
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { return None };
    canonical(signature)?;
    let header = unambiguous(&canonical(header)?)?;
    let claims = unambiguous(&canonical(payload)?)?;

    for refused in ["crit", "zip", "b64", "jwk", "jku", "x5u", "x5c"] {
        if header.contains_key(refused) {
            return None;
        }
    }
    for text in ["kid", "typ"] {
        if header.get(text).is_some_and(|value| !value.is_string()) {
            return None;
        }
    }

    let is_known_type = |typ: &str| {
        let typ = typ.to_lowercase();
        ["jwt", "at+jwt"].contains(&typ.strip_prefix("application/").unwrap_or(&typ))
    };
    if header.get("typ").and_then(Value::as_str).is_some_and(|typ| !is_known_type(typ)) {
        return None;
    }

    // Where the time is seconds away from mattering, jsonwebtoken's clock is asked too.
    let clear = |name: &str| match claims.get(name) {
        None => true,
        Some(at) => at.as_u64().is_some_and(|at| (at as f64 - now as f64 / 1e6).abs() > 100.0),
    };
    let ask_clock = clear("exp") && clear("nbf");
    let kid = header.get("kid").and_then(Value::as_str);
    let known = kid.is_some() && party.keys.iter().any(|key| key.kid == kid);
    let mut decoded = Err(ErrorKind::InvalidToken);
    for key in &party.keys {
        if kid.is_some() && key.kid != (if known { kid } else { None }) {
            continue;
        }
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = party.leeway;
        validation.validate_exp = ask_clock;
        validation.validate_nbf = ask_clock;
        let mut required = vec!["exp", "sub"];
        if !ask_clock {
            // It refuses negative times as malformed, and calls others absent.
            required.remove(0);
        }
        match party.issuer {
            Some(issuer) => {
                required.push("iss");
                validation.set_issuer(&[issuer]);
            }
            None => validation.iss = None,
        }
        match party.audience {
            Some(audience) => {
                required.push("aud");
                validation.set_audience(&[audience]);
            }
            // It refuses a token that has an audience where none is expected.
            None => validation.validate_aud = true,
        }
        validation.set_required_spec_claims(&required);
        decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &validation)
            .map(|data| data.claims)
            .map_err(|error| error.into_kind());
        // Another key may do where this one did not sign; any other answer is final.
        if !matches!(decoded, Err(ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm)) {
            break;
        }
    }
    let told = match decoded {
        Ok(seen) => {
            assert_eq!(seen, claims, "the oracle's two readers differ: {token}");
            Some(Outcome::Good)
        }
        Err(ErrorKind::ExpiredSignature) => Some(Outcome::Expired),
        // The signature held, and a claim is wrong; below it shows whether it had expired besides,
        // which this crate tells first.
        Err(
            ErrorKind::InvalidIssuer
            | ErrorKind::InvalidAudience
            | ErrorKind::MissingRequiredClaim(_)
            | ErrorKind::ImmatureSignature,
        ) => None,
        // Its reader stumbles over a list where it wants a text. The header was read, so this came
        // after the signature.
        Err(ErrorKind::Json(_)) if jsonwebtoken::decode_header(token).is_ok() => None,
        Err(_) => return None,
    };

    let outcome = explicit_rules(party, &claims, now).unwrap_or(Outcome::Invalid);
    if ask_clock {
        match told {
            Some(Outcome::Expired) => assert_ne!(outcome, Outcome::Good, "{token}"),
            Some(_) => assert_ne!(outcome, Outcome::Expired, "{token}"),
            None => assert_ne!(outcome, Outcome::Good, "{token}"),
        }
    } else if told.is_none() {
        assert_ne!(outcome, Outcome::Good, "{token}");
    }
    Some(outcome)
}

/// What CONTRACT asks of the claims, in its order: types, expiry, then everything else.
fn explicit_rules(party: &Party, claims: &Map<String, Value>, now: i64) -> Option<Outcome> {
    let micros = |name: &str| match claims.get(name) {
        None => Some(None),
        Some(value) => {
            // Far beyond any calendar the exact number is of no account.
            let seconds = value.as_f64()?.clamp(-1e11, 1e11);
            Some(Some((seconds * 1e6).round() as i64))
        }
    };
    let leeway = party.leeway as i64 * 1_000_000;
    micros("iat")?;
    let nbf = micros("nbf")?;
    let exp = micros("exp")??;
    let issuer = match claims.get("iss") {
        None => None,
        Some(value) => Some(value.as_str()?),
    };
    let audience: Vec<&str> = match claims.get("aud") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect::<Option<_>>()?,
        Some(value) => vec![value.as_str()?],
    };

    if now >= exp + leeway {
        return Some(Outcome::Expired);
    }
    if nbf.is_some_and(|nbf| nbf > now + leeway) || claims.contains_key("cnf") {
        return None;
    }
    if party.issuer.is_some() && issuer != party.issuer {
        return None;
    }
    match party.audience {
        Some(wanted) if !audience.contains(&wanted) => return None,
        None if claims.contains_key("aud") => return None,
        _ => {}
    }
    let id = |name: &str| {
        let text = claims.get(name)?.as_str()?;
        let visible = text.chars().all(|c| ('!'..='~').contains(&c));
        (visible && !text.is_empty() && text.len() <= 256).then_some(text)
    };
    let plan = match (claims.contains_key("planId"), claims.contains_key("tierId")) {
        (true, false) => id("planId")?,
        (false, true) => id("tierId")?,
        _ => Some(id("planId")?).filter(|plan| id("tierId") == Some(plan))?,
    };
    let subject = id("sub")?;
    id("jti")?;
    id("resourceId")?;
    let hash = id("txHash")?;
    let system = subject == "key0-service" || plan == "system" || hash == "system-auth";
    (!system).then_some(Outcome::Good)
}

/// Decodes base64url by going there and back over the standard alphabet.
fn canonical(part: &str) -> Option<Vec<u8>> {
    if part.contains(['+', '/', '=']) {
        return None;
    }
    let mut standard = part.replace('-', "+").replace('_', "/");
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    let bytes = STANDARD.decode(standard).ok()?;
    (b64(&bytes) == part).then_some(bytes)
}

/// A JSON object in which no object has a member twice.
fn unambiguous(text: &[u8]) -> Option<Map<String, Value>> {
    let text = std::str::from_utf8(text).ok()?;
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return None };
    (!has_duplicates(text)).then_some(object)
}

/// Walks over the text of a valid JSON value. A name is a string that a colon follows.
fn has_duplicates(text: &str) -> bool {
    let mut open: Vec<BTreeSet<String>> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            '{' => open.push(BTreeSet::new()),
            '}' => drop(open.pop()),
            '"' => {
                let mut end = 1;
                while rest.as_bytes()[end] != b'"' {
                    end += if rest.as_bytes()[end] == b'\\' { 2 } else { 1 };
                }
                let (literal, after) = rest.split_at(end + 1);
                if after.trim_start().starts_with(':') {
                    let name: String = serde_json::from_str(literal).unwrap();
                    if !open.last_mut().unwrap().insert(name) {
                        return true;
                    }
                }
                rest = after;
                continue;
            }
            _ => {}
        }
        rest = &rest[first.len_utf8()..];
    }
    false
}

#[test]
fn the_oracle_finds_duplicates() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061" : 1}"#,
        r#"{"b":[{"x":{}},{"a":"}","a":0}]}"#,
        r#"{"\"":1,"\u0022":2}"#,
    ] {
        assert!(has_duplicates(text), "{text}");
    }
    for text in
        [r#"{"a":{"a":["a","a"]},"b":"a"}"#, r#"{"a":"\",\"a\":1"}"#, r#"[{"a":1},{"a":1}]"#]
    {
        assert!(!has_duplicates(text), "{text}");
    }
}

// The generator

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// An object's members as they will be written: a name with its quotes, and a value.
type Members = Vec<(String, String)>;

/// The claims that Key0 writes, in its order.
const ORDER_OF_KEY0: [&str; 7] = [
    r#""sub""#,
    r#""jti""#,
    r#""resourceId""#,
    r#""planId""#,
    r#""txHash""#,
    r#""iat""#,
    r#""exp""#,
];

fn generate(random: &mut Random, party: &Party, now: i64) -> String {
    let mut own = random.pick(&party.keys);
    if own.algorithm == jsonwebtoken::Algorithm::RS256 && !random.one_in(8) {
        // RSA signs slowly; an eighth of its turns is enough.
        own = random.pick(&party.keys);
    }
    let signer = if random.one_in(12) { random.pick(&*SIGNERS) } else { &own.signer };
    let mut header = vec![(r#""alg""#.to_owned(), format!(r#""{}""#, signer.name()))];
    let kid = match (random.below(8), own.kid) {
        (0, _) => Some(*random.pick(&["a", "b", "c"])),
        (1..4, own) => own,
        _ => None,
    };
    if let Some(kid) = kid {
        header.push((r#""kid""#.to_owned(), format!("\"{kid}\"")));
    }
    if random.one_in(4) {
        let usual = !random.one_in(8);
        let others = &["\"at+jwt\"", "\"application/JWT\"", "\"logout+jwt\"", "\"JWTs\"", "\"\""];
        let typ = if usual { "\"JWT\"" } else { *random.pick(others) };
        header.push((r#""typ""#.to_owned(), typ.to_owned()));
    }
    if random.one_in(8) {
        tamper_with_header(random, &mut header);
    }
    let mut payload = members(&good_claims(now));
    set(&mut payload, "exp", random_time(random, now));
    let as_key0_writes = random.one_in(2);
    if as_key0_writes {
        payload.sort_by_key(|(name, _)| ORDER_OF_KEY0.iter().position(|other| name == other));
    }
    let no_more = as_key0_writes && random.one_in(2);
    if !no_more && !random.one_in(10) {
        payload.push((r#""iss""#.to_owned(), r#""key0""#.to_owned()));
    }
    let unusual = random.one_in(10);
    if !no_more && party.audience.is_some() != unusual {
        let audience = random.pick(&[r#""photos""#, r#"["videos","photos"]"#]);
        payload.push((r#""aud""#.to_owned(), (*audience).to_owned()));
    }
    if random.one_in(2) {
        for _ in 0..=random.below(3) {
            tamper_with_claims(random, &mut payload, now);
        }
    }

    let header = without_thumbprint(write(random, &header));
    let header = encode(random, header);
    let payload = write(random, &payload);
    let payload = encode(random, payload);
    let mut token = format!("{header}.{payload}");
    let signature = signer.sign(&token);
    token.push('.');
    token.push_str(&signature);
    if random.one_in(10) { tamper_with_token(random, token) } else { token }
}

/// A certificate's thumbprint (`x5t`), which a tampered `x5u` can come to, must be a text for
/// jsonwebtoken; this crate gives it no meaning and passes it over.
fn without_thumbprint(mut header: Vec<u8>) -> Vec<u8> {
    if let Some(at) = header.windows(3).position(|three| three == b"5t\"") {
        header[at + 1] = b'u';
    }
    header
}

fn members(object: &Map<String, Value>) -> Members {
    object.iter().map(|(name, value)| (format!("\"{name}\""), value.to_string())).collect()
}

fn set(members: &mut Members, name: &str, value: String) {
    let name = format!("\"{name}\"");
    match members.iter_mut().find(|member| member.0 == name) {
        Some(member) => member.1 = value,
        None => members.push((name, value)),
    }
}

fn random_time(random: &mut Random, now: i64) -> String {
    let near = now + random.below(9) as i64 - 4;
    let fraction = random.below(1_000_000);
    match random.below(32) {
        0..16 => (now + 3600).to_string(),
        16..20 => (now - 3600).to_string(),
        20 => near.to_string(),
        21 => format!("{near}.{fraction:06}"),
        22 => (near - 30).to_string(),
        23 => (near + 30).to_string(),
        24 => format!("{}.{fraction:06}", now - 30),
        25 => format!("{}.5", now + 7200),
        26 => format!("{}e{}", random.below(100), random.below(320)),
        27 => format!("-{}", random.below(10)),
        28 => random.next().to_string(),
        29 => format!("\"{}\"", now + 3600),
        30 => (now + random.next() as i64 % 10_000).to_string(),
        _ => (*random.pick(VALUES)).to_owned(),
    }
}

/// Values that some claim, or any of them, does not take.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "1e308",
    "1e309",
    "18446744073709551616",
    r#""""#,
    r#"" ""#,
    r#""x""#,
    r#""a b""#,
    r#""default""#,
    r#""system""#,
    r#""\u0073ystem""#,
    r#""SYSTEM""#,
    r#""key0-service""#,
    r#""system-auth""#,
    r#""key0""#,
    r#""photos""#,
    r#""é""#,
    r#""\u00e9""#,
    r#""\u0000""#,
    r#""\ud83d\ude00""#,
    r#""\ud83d""#,
    r#""\"quoted\"""#,
    "[]",
    r#"["photos"]"#,
    r#"["key0"]"#,
    r#"["photos",1]"#,
    r#"[["photos"]]"#,
    "{}",
    r#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#,
    r#"{"a":1,"a":1}"#,
    r#"[1,{"a":1,"\u0061":2}]"#,
    r#"["photos",{"a":1,"b":2,"a":3}]"#,
    r#"{"jkt":"abc"}"#,
];

fn value(random: &mut Random) -> String {
    match random.below(12) {
        0 => format!("\"{}\"", "x".repeat(255 + random.below(4))),
        1 => {
            let depth = 120 + random.below(12);
            format!("{}{}", "[".repeat(depth), "]".repeat(depth))
        }
        2 => format!("\"{}\"", "x".repeat(random.below(7000))),
        _ => (*random.pick(VALUES)).to_owned(),
    }
}

fn tamper_with_claims(random: &mut Random, members: &mut Members, now: i64) {
    let at = random.below(members.len());
    match random.below(11) {
        0 => drop(members.remove(at)),
        1 => members[at].1 = value(random),
        2 => {
            let mut again = members[at].clone();
            if random.one_in(2) {
                again.1 = value(random);
            }
            if random.one_in(2) {
                again.0 = escaped(random, &again.0);
            }
            members.push(again);
        }
        3 => members[at].0 = escaped(random, &members[at].0),
        4 => set(members, "nbf", random_time(random, now)),
        5 => set(members, "exp", random_time(random, now)),
        6 => {
            let name = random.pick(&["iat", "cnf", "iss", "aud", "sub", "txHash", "planId"]);
            set(members, name, value(random));
        }
        7 => {
            let plan = random.pick(&[r#""basic""#, r#""gold""#, r#""system""#, "null"]);
            set(members, "tierId", (*plan).to_owned());
            if random.one_in(3) {
                members.retain(|member| member.0 != r#""planId""#);
            }
        }
        8 => {
            let name = random.pick(&["x", "", "Sub", "EXP", "crit", "alg"]);
            set(members, name, value(random));
        }
        9 => {
            let (name, mark) = *random.pick(&[
                ("sub", r#""key0-service""#),
                ("planId", r#""system""#),
                ("txHash", r#""system-auth""#),
            ]);
            set(members, name, mark.to_owned());
        }
        _ => {
            let other = random.below(members.len());
            members.swap(at, other);
        }
    }
    if members.is_empty() {
        members.push((r#""x""#.to_owned(), "1".to_owned()));
    }
}

fn tamper_with_header(random: &mut Random, members: &mut Members) {
    match random.below(7) {
        0 => {
            let name = *random.pick(&["crit", "zip", "b64", "jwk", "jku", "x5u", "x5c"]);
            let name = format!("\"{name}\"");
            let name = if random.one_in(3) { escaped(random, &name) } else { name };
            members
                .push((name, (*random.pick(&[r#""exp""#, "null", "true", "{}", "[]"])).to_owned()));
        }
        1 => {
            let name = random.pick(&[
                "HS256", "HS384", "HS512", "RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA",
                "none", "None", "", "hs256",
            ]);
            set(members, "alg", format!("\"{name}\""));
        }
        2 => {
            let mut again = random.pick(members).clone();
            if random.one_in(2) {
                again.0 = escaped(random, &again.0);
            }
            members.insert(random.below(members.len() + 1), again);
        }
        3 => set(members, "other", value(random)),
        4 => {
            let name = *random.pick(&["alg", "kid", "typ"]);
            set(members, name, value(random));
        }
        5 => {
            let at = random.below(members.len());
            members[at].0 = escaped(random, &members[at].0);
        }
        _ => drop(members.remove(random.below(members.len()))),
    }
}

/// The same name with one of its letters escaped.
fn escaped(random: &mut Random, name: &str) -> String {
    if name.len() <= 2 || name.contains('\\') {
        return name.to_owned();
    }
    let at = 1 + random.below(name.len() - 2);
    format!("{}\\u{:04x}{}", &name[..at], name.as_bytes()[at], &name[at + 1..])
}

fn write(random: &mut Random, members: &Members) -> Vec<u8> {
    let space = if random.one_in(8) { *random.pick(&[" ", "\n", "\t", "\r\n  "]) } else { "" };
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{space}{name}{space}:{space}{value}"))
        .collect();
    let mut text = format!("{{{}{space}}}", members.join(",")).into_bytes();
    if random.one_in(24) {
        let at = random.below(text.len());
        match random.below(5) {
            0 => text[at] ^= 1 << random.below(8),
            1 => text[at] = random.next() as u8,
            2 => drop(text.remove(at)),
            3 => text.truncate(at),
            _ => text.push(*random.pick(b" \n,}x\0")),
        }
    }
    text
}

fn encode(random: &mut Random, text: Vec<u8>) -> String {
    let part = b64(text);
    if random.one_in(24) { tamper_with_part(random, part) } else { part }
}

/// Changes how a part is written, often not what sloppy readers read in it.
fn tamper_with_part(random: &mut Random, mut part: String) -> String {
    match random.below(5) {
        0 => part.push('='),
        1 => part.push_str("=="),
        2 => part = part.replace('-', "+").replace('_', "/"),
        3 => {
            const ALPHABET: &[u8] =
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            if let Some(last) = part.pop() {
                let index = ALPHABET.iter().position(|letter| char::from(*letter) == last);
                part.push(char::from(ALPHABET[index.unwrap_or_default() ^ 1]));
            }
        }
        _ => part.push(*random.pick(&['A', '.', '~', 'é', ' '])),
    }
    part
}

fn tamper_with_token(random: &mut Random, token: String) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let at = random.below(token.len());
    match random.below(8) {
        0 | 1 => {
            let mut bytes = token.into_bytes();
            bytes[at] = b'!' + (random.next() % 94) as u8;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        2 => token.chars().take(at).collect(),
        3 => parts[..random.below(parts.len())].join("."),
        4 => format!("{token}."),
        5 => format!("{token}.{}", parts[0]),
        6 => match token.rsplit_once('.') {
            Some((input, signature)) => {
                format!("{input}.{}", tamper_with_part(random, signature.to_owned()))
            }
            None => token,
        },
        _ => match token.rsplit_once('.') {
            Some((input, _)) => format!("{input}."),
            None => token,
        },
    }
}

#[derive(Clone, Copy)]
enum Signer {
    Shared(&'static str),
    Private(jsonwebtoken::Algorithm, &'static str, &'static EncodingKey),
}

static SIGNERS: LazyLock<[Signer; 6]> = LazyLock::new(|| {
    use jsonwebtoken::Algorithm::{ES256, EdDSA, RS256};
    let private =
        |algorithm, name, read: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>| {
            let key = read(key_file(&format!("{name}-private")).as_bytes()).unwrap();
            Signer::Private(algorithm, name, Box::leak(Box::new(key)))
        };
    [
        Signer::Shared(SECRET),
        Signer::Shared(PREVIOUS_SECRET),
        Signer::Shared(FOREIGN_SECRET),
        private(RS256, "rsa2048", EncodingKey::from_rsa_pem),
        private(ES256, "p256", EncodingKey::from_ec_pem),
        private(EdDSA, "ed25519", EncodingKey::from_ed_pem),
    ]
});

impl Signer {
    fn name(&self) -> String {
        match self {
            Self::Shared(_) => "HS256".to_owned(),
            Self::Private(algorithm, ..) => format!("{algorithm:?}"),
        }
    }

    fn sign(&self, input: &str) -> String {
        match self {
            Self::Shared(secret) => b64(hmac_sha256(secret, input)),
            Self::Private(algorithm, _, key) => {
                jsonwebtoken::crypto::sign(input.as_bytes(), key, *algorithm).unwrap()
            }
        }
    }
}
