use std::fmt;

use serde_json::Value;

/// What a client sends that has not bought anything: a name for it, and its headers.
const BAD: [(&str, &[(&str, &str)]); 9] = [
    ("without a credential", &[]),
    ("with another scheme", &[("authorization", "Basic dGVzdDp0ZXN0")]),
    ("with an empty bearer", &[("authorization", "Bearer ")]),
    ("with a token that nobody signed", &[("authorization", UNSIGNED)]),
    ("with an opaque bearer", &[("authorization", "Bearer nobody-knows-this")]),
    ("with an unknown key as bearer", &[("authorization", UNKNOWN_BEARER)]),
    ("with an unknown key", &[("x-api-key", UNKNOWN)]),
    ("with an empty internal secret", &[("x-internal-auth", "")]),
    ("with a wrong internal secret", &[("x-internal-auth", UNKNOWN)]),
];
/// Claims that would be good for a year or more, and `alg: none`.
const UNSIGNED: &str = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyIiwianRpIjoiYyIsInJlc291cmNlSWQiOiJkZWZhdWx0IiwicGxhbklkIjoicCIsInR4SGFzaCI6IjB4MSIsImV4cCI6NDEwMjQ0NDgwMH0.";
const UNKNOWN: &str = "ak_0123456789abcdef0123456789abcdef";
const UNKNOWN_BEARER: &str = "Bearer ak_0123456789abcdef0123456789abcdef";

/// A request without a body, as [`assert_guarded_by`] sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// The method, in capitals.
    pub method: String,
    /// The path.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, &'static str)>,
}

/// The answer to a [`Probe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// The status code.
    pub status: u16,
    /// The headers, whatever the case of their names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Proves that no route was left open by accident, in whatever framework: `send` gets a request
/// and brings the answer.
///
/// Each of `routes`, a method and a path, must refuse a request without a credential, and requests
/// with bad ones, by a 401 in the form of this crate: a problem with a code, `no-store` and a
/// challenge. Each of `open` must answer without a credential, neither by a refusal nor by a
/// failure. What stands between braces in a path is filled in, so that the patterns of a router
/// will do.
///
/// # Panics
///
/// Panics where a route is not as it should be, and says all that is wrong.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use key0_auth::{AccessTokens, Validator, testing::{self, ProbeAnswer}};
///
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend").expect("long");
/// let validator = Validator::builder().access_tokens(tokens).build().expect("tokens");
/// testing::assert_guarded_by(
///     // Here an application of any framework is called.
///     async |probe| {
///         let sent = probe.headers.iter().filter(|(name, _)| *name == "authorization");
///         let judged = validator.validate(sent.map(|(_, value)| value.as_bytes()), []).await;
///         match judged {
///             _ if probe.path == "/health" => ProbeAnswer::new(200, "fine"),
///             Ok(_) => ProbeAnswer::new(200, "a photo"),
///             Err(rejection) => validator.responder().respond(&rejection).into(),
///         }
///     },
///     &[("GET", "/photos/{id}"), ("DELETE", "/photos/{id}")],
///     &[("GET", "/health")],
/// )
/// .await;
/// # }
/// ```
pub async fn assert_guarded_by(
    send: impl AsyncFn(Probe) -> ProbeAnswer,
    routes: &[(&str, &str)],
    open: &[(&str, &str)],
) {
    assert!(!routes.is_empty(), "no route is listed: nothing would be proved");
    let mut faults = Vec::new();
    for (method, path) in routes {
        for (sent, headers) in BAD {
            let answer = send(Probe::new(method, path, headers)).await;
            if let Some(fault) = answer.is_no_refusal(method) {
                faults.push(format!("{method} {path} {sent}: {fault}"));
            }
        }
    }
    for (method, path) in open {
        let answer = send(Probe::new(method, path, &[])).await;
        if matches!(answer.status, 401 | 403 | 404 | 405 | 500..) {
            faults.push(format!("{method} {path} should be open, and is answered {answer}"));
        }
    }
    assert!(faults.is_empty(), "routes are not guarded as they should be:\n{}", faults.join("\n"));
}

impl Probe {
    fn new(method: &str, pattern: &str, headers: &[(&'static str, &'static str)]) -> Self {
        Self { method: method.to_owned(), path: filled_in(pattern), headers: headers.to_vec() }
    }
}

/// The path of a pattern: `x` wherever something stands between braces.
fn filled_in(pattern: &str) -> String {
    let mut parts = pattern.split('{');
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| match part.split_once('}') {
        Some((_, after)) => format!("x{after}"),
        None => panic!("{pattern} has a brace that is not closed"),
    });
    std::iter::once(first.to_owned()).chain(rest).collect()
}

impl ProbeAnswer {
    /// An answer without headers.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.as_str())
    }

    /// What keeps it from being a 401 of this crate.
    fn is_no_refusal(&self, method: &str) -> Option<String> {
        if self.status != 401 {
            return Some(format!("answered {self}, not 401"));
        }
        if self.header("www-authenticate").is_none() {
            return Some("the 401 has no challenge".to_owned());
        }
        if self.header("cache-control") != Some("no-store") {
            return Some("the 401 may be kept by caches".to_owned());
        }
        if self.header("content-type") != Some("application/problem+json") {
            return Some("the 401 is no application/problem+json".to_owned());
        }
        if method == "HEAD" {
            return None;
        }
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let has_code = body.get("code").is_some_and(Value::is_string);
        (!has_code || body.get("status") != Some(&401.into()))
            .then(|| "the body of the 401 is no problem of this crate".to_owned())
    }
}

impl fmt::Display for ProbeAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(100).collect();
        write!(f, "{} {body:?}", self.status)
    }
}

impl From<crate::auth::Refusal> for ProbeAnswer {
    fn from(refusal: crate::auth::Refusal) -> Self {
        let headers = refusal.headers.into_iter();
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).collect();
        Self { status: refusal.status, headers, body: refusal.body }
    }
}
