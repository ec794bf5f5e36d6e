//! Headers and claims of the usual token, read without a JSON parser.
//!
//! A shortcut, never a second opinion. It reads only one object of known names, plain texts and
//! whole numbers, all in visible ASCII, and leaves everything else to the parser. What it reads,
//! the parser would read the same. What it refuses, the parser would refuse.

use super::raw::{Claim, Header, Name, RawClaims};
use crate::domain::{
    Timestamp,
    bytes::{self, Visible},
};

/// So many digits are read without asking whether the number fits.
const MAX_DIGITS: usize = 15;

/// A value that means the same to every reader.
enum Plain<'a> {
    Text(Visible<'a>),
    Seconds(i64),
}

/// Why something was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotRead {
    /// No reader may take it: it is no JSON, no object, or a member stands twice.
    Illegal,
    /// It is for the parser to say.
    Unusual,
}

use NotRead::{Illegal, Unusual};

/// Reads claims of which each has a name that is known.
pub(super) fn read_claims(json: &[u8]) -> Result<RawClaims<'_>, NotRead> {
    let json = plain(json)?;
    if let Some(claims) = read_claims_of_key0(json) {
        return Ok(claims);
    }
    let mut claims = RawClaims::default();
    members(json, |name, value| {
        let value = match value {
            Plain::Text(text) => Claim::Visible(text),
            Plain::Seconds(seconds) => Claim::Time(Timestamp::from_seconds(seconds)),
        };
        fill(claims.slot(Name::of(name).ok_or(Unusual)?), value)
    })?;
    Ok(claims)
}

/// Reads the claims that Key0 writes, all of them and in its order: no name has to be looked up.
fn read_claims_of_key0(json: Visible<'_>) -> Option<RawClaims<'_>> {
    let (sub, rest) = text(json.strip_prefix(r#"{"sub":"#)?).ok()?;
    let (jti, rest) = text(rest.strip_prefix(r#","jti":"#)?).ok()?;
    let (resource_id, rest) = text(rest.strip_prefix(r#","resourceId":"#)?).ok()?;
    let (plan_id, rest) = text(rest.strip_prefix(r#","planId":"#)?).ok()?;
    let (tx_hash, rest) = text(rest.strip_prefix(r#","txHash":"#)?).ok()?;
    let (iat, rest) = number(rest.strip_prefix(r#","iat":"#)?).ok()?;
    let (exp, rest) = number(rest.strip_prefix(r#","exp":"#)?).ok()?;
    if rest.as_str() != "}" {
        return None;
    }
    let mut claims = RawClaims::default();
    let texts = [
        (Name::Sub, sub),
        (Name::Jti, jti),
        (Name::ResourceId, resource_id),
        (Name::PlanId, plan_id),
        (Name::TxHash, tx_hash),
    ];
    for (name, text) in texts {
        *claims.slot(name) = Some(Claim::Visible(text));
    }
    for (name, seconds) in [(Name::Iat, iat), (Name::Exp, exp)] {
        *claims.slot(name) = Some(Claim::Time(Timestamp::from_seconds(seconds)));
    }
    Some(claims)
}

/// Reads a header that names an algorithm, a key, a type and nothing else.
pub(super) fn read_header(json: &[u8]) -> Result<Header<'_>, NotRead> {
    let (mut algorithm, mut kid, mut typ) = (None, None, None);
    members(plain(json)?, |name, value| {
        let Plain::Text(text) = value else { return Err(Unusual) };
        match name {
            "alg" => fill(&mut algorithm, text.as_str().into()),
            "kid" => fill(&mut kid, text.as_str().into()),
            "typ" => fill(&mut typ, text.as_str().into()),
            _ => Err(Unusual),
        }
    })?;
    Ok(Header { algorithm: algorithm.ok_or(Unusual)?, kid, typ })
}

/// What can be read here at all.
fn plain(json: &[u8]) -> Result<Visible<'_>, NotRead> {
    if !matches!(json.first(), Some(b'{' | b' ' | b'\t' | b'\n' | b'\r')) {
        return Err(Illegal);
    }
    // Nothing is escaped: so a quote ends a text, wherever it stands.
    Visible::of_bytes_without(json, b'\\').ok_or(Unusual)
}

/// Hands over one member after the other.
fn members<'a>(
    json: Visible<'a>,
    mut member: impl FnMut(&'a str, Plain<'a>) -> Result<(), NotRead>,
) -> Result<(), NotRead> {
    let mut rest = json.strip_prefix("{").ok_or(Unusual)?;
    loop {
        let (name, value, after) = next(rest)?;
        member(name.as_str(), value)?;
        rest = match (after.strip_prefix(","), after.as_str().as_bytes()) {
            (Some(next), _) => next,
            (None, b"}") => return Ok(()),
            // A number that goes on.
            (None, [b'.' | b'e' | b'E', ..]) => return Err(Unusual),
            // There is no space that could stand here.
            (None, _) => return Err(Illegal),
        };
    }
}

/// A name, its value, and what follows them.
fn next(json: Visible<'_>) -> Result<(Visible<'_>, Plain<'_>, Visible<'_>), NotRead> {
    let (name, after) = text(json)?;
    let after = after.strip_prefix(":").ok_or(Illegal)?;
    let (value, after) = match after.as_str().as_bytes().first().ok_or(Illegal)? {
        b'"' => text(after).map(|(text, after)| (Plain::Text(text), after))?,
        _ => number(after).map(|(seconds, after)| (Plain::Seconds(seconds), after))?,
    };
    Ok((name, value, after))
}

/// Fills a slot that must be empty.
fn fill<T>(slot: &mut Option<T>, value: T) -> Result<(), NotRead> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Illegal),
    }
}

/// A text in which nothing is escaped, and what follows it.
fn text(json: Visible<'_>) -> Result<(Visible<'_>, Visible<'_>), NotRead> {
    let body = json.strip_prefix("\"").ok_or(Unusual)?;
    let end = bytes::find(body.as_str().as_bytes(), b'"').ok_or(Illegal)?;
    let (text, after) = body.split_at_checked(end).ok_or(Unusual)?;
    Ok((text, after.strip_prefix("\"").ok_or(Unusual)?))
}

/// A whole number without a sign or an exponent, and what follows it.
fn number(json: Visible<'_>) -> Result<(i64, Visible<'_>), NotRead> {
    let end = json.as_str().bytes().position(|byte| !byte.is_ascii_digit()).ok_or(Illegal)?;
    let (digits, after) = json.split_at_checked(end).ok_or(Unusual)?;
    let digits = digits.as_str();
    if !(1..=MAX_DIGITS).contains(&end) || (end > 1 && digits.starts_with('0')) {
        return Err(Unusual);
    }
    let value = digits.bytes().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Ok((value, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::parsed::ParsedClaims;

    const NAMES: [&str; 11] = [
        "sub",
        "jti",
        "resourceId",
        "planId",
        "tierId",
        "txHash",
        "iat",
        "exp",
        "nbf",
        "iss",
        "aud",
    ];

    /// What the shortcut reads, the parser reads the same.
    fn agree(json: &str) -> bool {
        let parsed = serde_json::from_str(json);
        let flat = match read_claims(json.as_bytes()) {
            Ok(flat) => flat,
            Err(why) => {
                assert!(why == Unusual || parsed.is_err(), "{json}");
                return false;
            }
        };
        let mut parsed: ParsedClaims<'_> = parsed.unwrap_or_else(|e| panic!("{e}: {json}"));
        assert_eq!(format!("{flat:?}"), format!("{:?}", parsed.lend()), "{json}");
        true
    }

    #[test]
    fn the_usual_token_is_read() {
        let json = r#"{"sub":"r","jti":"c","resourceId":"photo-1","planId":"p","txHash":"0x1","iat":0,"exp":1795306966}"#;
        assert!(agree(json));
        assert!(agree(r#"{"sub":"!~","exp":999999999999999}"#));
    }

    #[test]
    fn the_unusual_is_not_read() {
        for json in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"exp":}"#,
            r#"{"exp":-1}"#,
            r#"{"exp":01}"#,
            r#"{"exp":1.0}"#,
            r#"{"exp":1e3}"#,
            r#"{"exp":1000000000000000}"#,
            r#"{"exp":1,}"#,
            r#"{"exp":1}x"#,
            r#"{"exp":1} "#,
            r#"{ "exp":1}"#,
            r#"{"exp" :1}"#,
            r#"{"exp":1,"exp":1}"#,
            r#"{"exp":1,"other":1}"#,
            r#"{"exp":1,"cnf":1}"#,
            r#"{"exp":null}"#,
            r#"{"aud":["a"]}"#,
            r#"{"sub":"\u0061"}"#,
            r#"{"sub":"a b"}"#,
            r#"{"sub":"Grüße"}"#,
            r#"{"\u0073ub":"a"}"#,
            "{\"sub\":\"\n\"}",
            r#"{"sub":"a"#,
            r#"{sub:"a"}"#,
        ] {
            assert!(!agree(json), "{json}");
        }
    }

    #[test]
    fn what_nobody_may_read_is_not_read_twice() {
        for json in [
            "",
            "[]",
            "1",
            "sub",
            r#"{"sub"#,
            r#"{"sub""#,
            r#"{"sub":"#,
            r#"{"sub":"a"#,
            r#"{"sub":"a""#,
            r#"{"exp":1"#,
            r#"{"sub"1}"#,
            r#"{"sub":"a"}}"#,
            r#"{"sub":"a"x}"#,
            r#"{"exp":1x}"#,
            r#"{"sub":"a","sub":1,"#,
            r#"{"exp":1,"iat":1,"exp":1}"#,
        ] {
            assert_eq!(read_claims(json.as_bytes()).err(), Some(Illegal), "{json}");
        }
        let twice = br#"{"alg":"HS256","alg":"HS256"}"#;
        assert_eq!(read_header(twice).err(), Some(Illegal));
        for json in [" {}", "\t{}", "\n{}", "\r{}", "{", r#"{"sub":"a","Sub":"a"}"#] {
            assert_eq!(read_claims(json.as_bytes()).err(), Some(Unusual), "{json}");
        }
    }

    #[test]
    fn no_control_character_stands_in_a_text() {
        for control in (0..0x20_u8).map(char::from) {
            assert!(!agree(&format!("{{\"sub\":\"{control}\"}}")), "{control:?}");
        }
    }

    #[test]
    fn what_key0_writes_is_read_by_its_order_and_nothing_else_is() {
        let json = r#"{"sub":"r","jti":"c","resourceId":"photo-1","planId":"p","txHash":"","iat":0,"exp":1}"#;
        let by_order = |json: &str| {
            let claims = read_claims_of_key0(plain(json.as_bytes()).expect("plain"));
            assert!(agree(json) || claims.is_none(), "{json}");
            claims.is_some()
        };
        assert!(by_order(json));
        for (was, is) in [
            ("}", ",\"nbf\":1}"),
            ("}", "}}"),
            ("}", ",}"),
            (",\"iat\":0", ""),
            ("\"iat\":0,\"exp\":1", "\"exp\":1,\"iat\":0"),
            (":1}", ":1.5}"),
            (":1}", ":\"1\"}"),
            ("planId", "tierId"),
            ("\"r\"", "1"),
        ] {
            assert!(!by_order(&json.replace(was, is)), "{is}");
        }
    }

    #[test]
    fn every_name_has_its_own_place() {
        let members: Vec<_> = NAMES.iter().map(|name| format!("\"{name}\":\"<{name}>\"")).collect();
        let json = format!("{{{}}}", members.join(","));
        assert!(agree(&json));
        let claims = read_claims(json.as_bytes()).expect("claims");
        let claim_names = [
            Name::Sub,
            Name::Jti,
            Name::ResourceId,
            Name::PlanId,
            Name::TierId,
            Name::TxHash,
            Name::Iat,
            Name::Exp,
            Name::Nbf,
            Name::Iss,
            Name::Aud,
        ];
        for (name, claim_name) in NAMES.iter().zip(claim_names) {
            assert_eq!(claim_name.as_str(), *name);
            let value = claims.get(claim_name);
            assert!(
                matches!(value, Some(Claim::Visible(text)) if text.as_str() == format!("<{name}>"))
            );
        }
    }

    /// What the shortcut reads of a header, the parser reads the same.
    fn headers_agree(json: &str) -> bool {
        let parsed = serde_json::from_str(json);
        let flat = match read_header(json.as_bytes()) {
            Ok(flat) => flat,
            Err(why) => {
                assert!(why == Unusual || parsed.is_err(), "{json}");
                return false;
            }
        };
        let parsed: Header<'_> = parsed.unwrap_or_else(|e| panic!("{e}: {json}"));
        assert_eq!(flat, parsed, "{json}");
        true
    }

    #[test]
    fn the_usual_header_is_read() {
        for json in [
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"RS256","typ":"JWT","kid":"2026-11"}"#,
            r#"{"kid":"","typ":"JWT","alg":"none"}"#,
        ] {
            assert!(headers_agree(json), "{json}");
        }
    }

    #[test]
    fn the_unusual_header_is_not_read() {
        for json in [
            "{}",
            r#"{"kid":"a"}"#,
            r#"{"alg":1}"#,
            r#"{"alg":"HS256","kid":1}"#,
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"{"alg":"HS256","kid":"a","kid":"a"}"#,
            r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
            r#"{"alg":"HS256","crit":"b64"}"#,
            r#"{"alg":"HS256","jku":"https://example.com"}"#,
            r#"{"alg":"HS256","cty":"JWT"}"#,
            r#"{"alg":"HS256"} "#,
            r#"{"alg":"HS\u003256"}"#,
        ] {
            assert!(!headers_agree(json), "{json}");
        }
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "[!#-\\[\\]-~]{0,8}".prop_map(|text| format!("\"{text}\"")),
            (0..10_u64.pow(15)).prop_map(|n| n.to_string()),
        ]
    }

    /// An object of known names, each once, with values that the shortcut reads.
    fn plain_object() -> impl Strategy<Value = String> {
        proptest::collection::btree_map(0..NAMES.len(), value(), 1..11).prop_map(|members| {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("\"{}\":{value}", NAMES[*name]))
                .collect();
            format!("{{{}}}", members.join(","))
        })
    }

    /// What Key0 writes, in its order.
    fn object_of_key0() -> impl Strategy<Value = String> {
        let text = || "[!#-\\[\\]-~]{0,70}";
        let seconds = || 0..10_u64.pow(15);
        (text(), text(), text(), text(), text(), seconds(), seconds()).prop_map(
            |(sub, jti, resource, plan, hash, iat, exp)| {
                format!(
                    r#"{{"sub":"{sub}","jti":"{jti}","resourceId":"{resource}","planId":"{plan}","txHash":"{hash}","iat":{iat},"exp":{exp}}}"#
                )
            },
        )
    }

    /// `PROPTEST_CASES` asks for more.
    fn config() -> ProptestConfig {
        let cases = std::env::var("PROPTEST_CASES");
        let cases = cases.map_or(2_000, |cases| cases.parse().expect("a number"));
        ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn what_is_plain_is_read_and_as_the_parser_reads_it(
            json in prop_oneof![plain_object(), object_of_key0()],
        ) {
            prop_assert!(agree(&json), "{}", json);
        }

        #[test]
        fn what_is_bent_is_read_as_the_parser_reads_it_or_not_at_all(
            json in prop_oneof![plain_object(), object_of_key0()],
            at in any::<prop::sample::Index>(),
            cut in 0..3_usize,
            byte in prop_oneof![
                (0..0x80_u8).prop_map(|byte| char::from(byte).to_string()),
                prop::sample::select(vec!["\"", ",", ":", "}", "{", "0", "é", "\"sub\":1,"])
                    .prop_map(str::to_owned),
                Just(String::new()),
            ],
        ) {
            let chars: Vec<char> = json.chars().collect();
            let at = at.index(chars.len() + 1);
            let tampered: String =
                chars[..at].iter().copied()
                .chain(byte.chars())
                .chain(chars[(at + cut).min(chars.len())..].iter().copied())
                .collect();
            agree(&tampered);
        }

        #[test]
        fn a_bent_header_is_read_as_the_parser_reads_it_or_not_at_all(
            members in proptest::collection::vec(
                (
                    prop::sample::select(vec!["alg", "kid", "typ", "crit", "x"]),
                    prop::sample::select(vec!["\"HS256\"", "\"\"", "\"é\"", "1", "null", "[]"]),
                ),
                0..4,
            ),
            at in any::<prop::sample::Index>(),
            byte in prop::sample::select(vec!["", "\"", ",", ":", "}", "{", " ", "\\", "\n"]),
        ) {
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let mut json = format!("{{{}}}", members.join(","));
            let at = at.index(json.len() + 1);
            if json.is_char_boundary(at) {
                json.insert_str(at, byte);
            }
            headers_agree(&json);
        }
    }
}
