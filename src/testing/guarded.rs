use std::fmt;

use crate::{Rejection, RejectionKind};

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

/// A request without a body, as [`assert_guarded_by`] and [`assert_sold_by`] send it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// The method, in capitals.
    pub method: String,
    /// The path.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
}

/// The answer to a [`Probe`].
///
/// ```
/// use key0_auth::testing::ProbeAnswer;
///
/// let answer = ProbeAnswer::new(401, "who are you?")
///     .header("WWW-Authenticate", "Bearer realm=\"api\"")
///     .header("Cache-Control", "no-store");
/// assert_eq!(answer.status, 401);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeAnswer {
    /// The status code.
    pub status: u16,
    /// The headers, whatever the case of their names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The kind of the [`Rejection`] in the response's extensions, for an application that is
    /// called in this process: `Some(None)` where there is none.
    pub rejection: Option<Option<RejectionKind>>,
}

/// Proves that no route was left open by accident, in whatever framework: `send` gets a request
/// and brings the answer.
///
/// - Each of `routes`, a method and a path, must refuse a request without a credential, and
///   requests with bad ones. The refusal is a 401 with a challenge and `no-store`, and a body of
///   any form. If the application runs in this process, the [`Rejection`] is in the response's
///   extensions.
/// - Each of `open` must answer without a credential, with neither a refusal nor a failure.
///
/// What stands between braces in a path is filled in, so the patterns of a router will do.
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
///         let validated = validator.validate(sent.map(|(_, value)| value.as_bytes()), []).await;
///         match validated {
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
            let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
            let answer = send(Probe::new(method, path, headers.collect())).await;
            if let Some(fault) = answer.is_no_refusal(401) {
                faults.push(format!("{method} {path} {sent}: {fault}"));
            }
        }
    }
    for (method, path) in open {
        let answer = send(Probe::new(method, path, Vec::new())).await;
        if matches!(answer.status, 401 | 403 | 404 | 405 | 500..) {
            faults.push(format!("{method} {path} should be open, and is answered {answer}"));
        }
    }
    assert!(faults.is_empty(), "routes are not guarded as they should be:\n{}", faults.join("\n"));
}

/// Proves that what a credential was bought for is asked on every route, in whatever framework:
/// `send` gets a request and brings the answer.
///
/// `credential` makes a good access token or key, sent as a bearer, that was bought for a resource.
/// What stands between braces in the paths of `routes` is filled in with `x`. Each route must let
/// the credential for `x` in, and refuse one that was bought for another resource. The refusal is a
/// 403 with a challenge and `no-store`. If the application runs in this process, the [`Rejection`]
/// is in the response's extensions.
///
/// # Panics
///
/// Panics where a route is not as it should be, and says all that is wrong.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use key0_auth::{Policy, Validator, testing::{self, ProbeAnswer, TokenSigner}};
///
/// let signer = TokenSigner::new();
/// let tokens = signer.access_tokens();
/// let validator = Validator::builder().access_tokens(tokens).build().expect("tokens");
/// testing::assert_sold_by(
///     // Here an application of any framework is called.
///     async |probe| {
///         let sent = probe.headers.iter().map(|(_, value)| value.as_bytes());
///         let validated = validator.validate(sent, []).await;
///         let id = probe.path.trim_start_matches("/photos/");
///         match validated.and_then(|identity| Policy::resource(id).check(&identity)) {
///             Ok(()) => ProbeAnswer::new(200, "a photo"),
///             Err(rejection) => validator.responder().respond(&rejection).into(),
///         }
///     },
///     |resource| signer.token().resource(resource).sign(),
///     &[("GET", "/photos/{id}")],
/// )
/// .await;
/// # }
/// ```
pub async fn assert_sold_by(
    send: impl AsyncFn(Probe) -> ProbeAnswer,
    credential: impl Fn(&str) -> String,
    routes: &[(&str, &str)],
) {
    assert!(!routes.is_empty(), "no route is listed: nothing would be proved");
    let mut faults = Vec::new();
    for (method, path) in routes {
        let sent_for = |resource| {
            let bearer = format!("Bearer {}", credential(resource));
            send(Probe::new(method, path, vec![("authorization", bearer)]))
        };
        let answer = sent_for(FILLED_IN).await;
        if matches!(answer.status, 401 | 403 | 500..) {
            let fault = format!("should let in who has bought `{FILLED_IN}`, and answered");
            faults.push(format!("{method} {path} {fault} {answer}"));
        }
        if let Some(fault) = sent_for(ANOTHER).await.is_no_refusal(403) {
            let sent = "with a credential for another resource";
            faults.push(format!("{method} {path} {sent}: {fault}"));
        }
    }
    assert!(faults.is_empty(), "routes are not sold as they should be:\n{}", faults.join("\n"));
}

/// What stands in a path for a parameter.
const FILLED_IN: &str = "x";
const ANOTHER: &str = "another-resource";

impl Probe {
    fn new(method: &str, pattern: &str, headers: Vec<(&'static str, String)>) -> Self {
        Self { method: method.to_owned(), path: filled_in(pattern), headers }
    }
}

/// The path of a pattern, with all filled in that stands between braces.
fn filled_in(pattern: &str) -> String {
    let mut parts = pattern.split('{');
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| match part.split_once('}') {
        Some((_, after)) => format!("{FILLED_IN}{after}"),
        None => panic!("{pattern} has a brace that is not closed"),
    });
    std::iter::once(first.to_owned()).chain(rest).collect()
}

impl ProbeAnswer {
    /// An answer without headers, from an application that is called over the wire.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), rejection: None }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Says that the application was called in this process, and what its response's extensions
    /// held.
    #[must_use]
    pub fn in_process(mut self, rejection: Option<&Rejection>) -> Self {
        self.rejection = Some(rejection.map(Rejection::kind));
        self
    }

    fn find(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.as_str())
    }

    /// What keeps it from being a refusal of this crate with this status.
    fn is_no_refusal(&self, status: u16) -> Option<String> {
        if self.status != status {
            return Some(format!("answered {self}, not {status}"));
        }
        if self.find("www-authenticate").is_none() {
            return Some(format!("the {status} has no challenge"));
        }
        if self.find("cache-control") != Some("no-store") {
            return Some(format!("the {status} may be kept by caches"));
        }
        match self.rejection {
            Some(None) => Some(format!("the {status} is none of this crate")),
            Some(Some(kind)) if kind.status() != status => {
                Some(format!("the {status} is another refusal's, {}", kind.code()))
            }
            _ => None,
        }
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
        Self { headers, ..Self::new(refusal.status, refusal.body) }
    }
}
