use std::{fmt, sync::Arc};

use serde::Serialize;
use serde_json::Value;

use super::{
    seller::{Offer, Seller},
    source::Source,
    terms::{Challenge, Terms, terms},
};
use crate::{
    Rejection, Retry,
    domain::{PlanId, ResourceId},
    error::{ConfigFault, FieldError, rejection::Purchase},
};

/// Turns a refusal into its HTTP answer: status, challenge and body. The only place that does.
///
/// ```
/// use key0_auth::{RejectionKind, auth::Responder};
///
/// let refusal = Responder::new("photos")?.respond(&RejectionKind::MissingCredential.into());
/// assert_eq!(refusal.status, 401);
/// assert!(refusal.headers.contains(&("www-authenticate", "Bearer realm=\"photos\"".to_owned())));
/// # Ok::<(), key0_auth::error::ConfigFault>(())
/// ```
#[derive(Debug, Clone)]
pub struct Responder {
    realm: Box<str>,
    schemes: Vec<&'static str>,
    body: Option<Arc<dyn ProblemBody>>,
    seller: Option<Seller>,
    gateway: bool,
}

/// A refusal as an HTTP answer, in the words of no framework.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case. A name can stand twice.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A refusal's body in the application's own form. The status stays what it is.
///
/// ```
/// use key0_auth::{AccessTokens, Validator, auth::{Problem, ProblemBody}};
///
/// #[derive(Debug)]
/// struct Plain;
///
/// impl ProblemBody for Plain {
///     fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
///         ("text/plain".to_owned(), problem.detail().into())
///     }
/// }
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
/// let validator = Validator::builder().access_tokens(tokens).problem_body(Plain).build()?;
/// # let _ = validator;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ProblemBody: fmt::Debug + Send + Sync + 'static {
    /// The media type and the bytes of the body for this problem.
    fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>);
}

impl<B: ProblemBody + ?Sized> ProblemBody for Arc<B> {
    fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
        (**self).render(problem)
    }
}

/// What is told of a refusal: a problem detail (RFC 9457) that clients which expect `error` or
/// `message` can read as well.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    code: &'static str,
    retry: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    offers: &'a [Offer<'a>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    error: &'static str,
    message: &'a str,
}

impl<'a> Problem<'a> {
    /// The short text of the status, as `Unauthorized`.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The text for the caller.
    pub fn detail(&self) -> &'a str {
        self.detail
    }

    /// The path of the request, where it is known.
    pub fn instance(&self) -> Option<&'a str> {
        self.instance
    }

    /// What the caller can do about it: `never`, `after`, `new_credential` or `purchase`.
    pub fn retry(&self) -> &'static str {
        self.retry
    }

    /// The name of the case, as `token_expired`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What is wrong with each member of the body, where that is the reason.
    pub fn errors(&self) -> &'a [FieldError] {
        self.errors
    }
}

impl Default for Responder {
    /// The realm `api`, bearer credentials, problem details as bodies.
    fn default() -> Self {
        Self {
            realm: "api".into(),
            schemes: vec!["Bearer"],
            body: None,
            seller: None,
            gateway: false,
        }
    }
}

impl Responder {
    /// Answers in this realm.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::Invalid`] when the realm can't stand in a quoted header value.
    pub fn new(realm: &str) -> Result<Self, ConfigFault> {
        if realm.is_empty() || !realm.bytes().all(is_quotable) {
            let reason = "it is printable ascii without quotes and backslashes";
            return Err(ConfigFault::invalid("realm", reason));
        }
        Ok(Self { realm: realm.into(), ..Self::default() })
    }

    /// Sets the body's form.
    #[must_use]
    pub fn body(mut self, body: Arc<dyn ProblemBody>) -> Self {
        self.body = Some(body);
        self
    }

    /// Names the shop in refusals that a purchase would cure.
    #[must_use]
    pub fn seller(mut self, seller: Seller) -> Self {
        self.seller = Some(seller);
        self
    }

    /// Whether requests may come from Key0's gateway.
    pub(super) fn gateway(mut self, gateway: bool) -> Self {
        self.gateway = gateway;
        self
    }

    /// A refusal of a request that carries the gateway's token, or does not.
    #[cfg(any(feature = "axum", feature = "actix"))]
    pub(crate) fn address(&self, rejection: Rejection, proxied: bool) -> Rejection {
        if self.is_proxied(proxied) { rejection.for_gateway() } else { rejection }
    }

    /// Whether a request comes from the gateway that carries its token, or does not.
    #[cfg(any(feature = "axum", feature = "actix"))]
    pub(crate) fn is_proxied(&self, has_token: bool) -> bool {
        self.gateway && has_token
    }

    pub(super) fn schemes(mut self, sources: &[Source]) -> Self {
        self.schemes.clear();
        for source in sources {
            let scheme = match source {
                Source::Bearer => "Bearer",
                Source::ApiKeyScheme | Source::ApiKeyHeader => "ApiKey",
            };
            if !self.schemes.contains(&scheme) {
                self.schemes.push(scheme);
            }
        }
        self
    }

    /// Where credentials can be bought.
    #[cfg(any(feature = "tower", feature = "actix"))]
    pub(super) fn shop(&self) -> Option<&Seller> {
        self.seller.as_ref()
    }

    /// How a credential that was bought can be renewed, as a refusal's `offers` say it; `None`
    /// without a shop.
    pub(crate) fn renewal(&self, plan_id: &PlanId, resource_id: &ResourceId) -> Option<Value> {
        let bought = Purchase {
            plan_id: Some(plan_id.as_str().into()),
            resource_id: Some(resource_id.as_str().into()),
        };
        serde_json::to_value(self.seller.as_ref()?.offers(&[bought])).ok()
    }

    /// The HTTP answer to a refusal.
    pub fn respond(&self, rejection: &Rejection) -> Refusal {
        let terms = terms(rejection.kind());
        let retry = rejection.retry();
        let shop = self.seller.as_ref().filter(|_| retry == Retry::Purchase);
        let purchases = rejection.known_purchases().unwrap_or_default();
        let offers = shop.map(|seller| seller.offers(purchases)).unwrap_or_default();
        let problem = Problem {
            r#type: "about:blank",
            title: terms.title,
            status: terms.status,
            detail: rejection.message(),
            instance: rejection.path(),
            code: terms.code,
            retry: match retry {
                Retry::Never => "never",
                Retry::After => "after",
                Retry::NewCredential => "new_credential",
                Retry::Purchase => "purchase",
            },
            offers: &offers,
            errors: rejection.field_errors(),
            error: terms.title,
            message: rejection.message(),
        };
        let (content_type, body) = match &self.body {
            Some(custom) => custom.render(&problem),
            None => {
                let json = serde_json::to_vec(&problem).unwrap_or_default();
                ("application/problem+json".to_owned(), json)
            }
        };
        // The gateway hands problem details on as a text.
        let content_type = match &*content_type {
            "application/problem+json" if rejection.is_to_gateway() => {
                "application/json".to_owned()
            }
            _ => content_type,
        };
        let mut headers =
            vec![("content-type", content_type), ("cache-control", "no-store".into())];
        self.push_challenge(&mut headers, &terms, rejection);
        if let Some(seconds) = rejection.seconds_to_wait().map(u32::from).or(terms.retry_after) {
            headers.push(("retry-after", seconds.to_string()));
        }
        headers.extend(shop.map(|seller| ("link", seller.link())));
        Refusal { status: terms.status, headers, body }
    }

    fn push_challenge(
        &self,
        headers: &mut Vec<(&'static str, String)>,
        terms: &Terms,
        rejection: &Rejection,
    ) {
        let realm = &self.realm;
        let first = self.schemes.first().copied().unwrap_or("Bearer");
        let mut push = |challenge: String| headers.push(("www-authenticate", challenge));
        match terms.challenge {
            Challenge::Silent => {}
            Challenge::Internal => push("Bearer realm=\"internal\"".to_owned()),
            Challenge::Invite => {
                for scheme in &self.schemes {
                    push(format!("{scheme} realm=\"{realm}\""));
                }
            }
            Challenge::Error(error) => {
                let scope = match rejection.missing_scope() {
                    Some(scope) => format!(", scope=\"{}\"", quotable(scope)),
                    None => String::new(),
                };
                push(format!("{first} realm=\"{realm}\", error=\"{error}\"{scope}"));
            }
            Challenge::Explained(error) => {
                let description = quotable(rejection.message());
                push(format!(
                    "{first} realm=\"{realm}\", error=\"{error}\", \
                     error_description=\"{description}\""
                ));
            }
        }
    }
}

/// What may stand between quotes without an escape (RFC 6750, section 3).
fn is_quotable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn quotable(text: &str) -> String {
    text.bytes().filter(|byte| is_quotable(*byte)).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RejectionKind;

    fn header<'a>(refusal: &'a Refusal, name: &str) -> Vec<&'a str> {
        let matching = refusal.headers.iter().filter(|(known, _)| *known == name);
        matching.map(|(_, value)| value.as_str()).collect()
    }

    /// The documentation of each kind begins with its status and code.
    #[test]
    fn kinds_are_documented_with_their_answer() {
        let source = include_str!("../error/rejection.rs");
        let (_, variants) = source.split_once("pub enum RejectionKind {").expect("an enum");
        let variants = variants.split_once("\n}").expect("its end").0;
        let (mut documented, mut first_line) = (Vec::new(), None);
        for line in variants.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("/// ") {
                first_line = first_line.or(Some(text));
            } else if let Some(name) = line.strip_suffix(',') {
                let answer = first_line.take().and_then(|text| text.split(": ").next());
                documented.push(format!("{name}: {}", answer.unwrap_or_default()));
            }
        }
        let answer = |kind: RejectionKind| format!("{kind:?}: {} `{}`", kind.status(), kind.code());
        let answers: Vec<_> = RejectionKind::ALL.iter().copied().map(answer).collect();
        assert_eq!(documented, answers);
        assert_eq!(RejectionKind::KeyRevoked.to_string(), "key_revoked");
    }

    #[test]
    fn the_body_is_the_contract_s() {
        let refusal = Responder::default().respond(&RejectionKind::InvalidApiKey.into());
        assert_eq!(
            String::from_utf8(refusal.body).expect("utf-8"),
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Invalid API key","code":"invalid_api_key","retry":"new_credential","error":"Unauthorized","message":"Invalid API key"}"#
        );
        assert_eq!(
            refusal.headers,
            [
                ("content-type", "application/problem+json".to_owned()),
                ("cache-control", "no-store".to_owned()),
                (
                    "www-authenticate",
                    "Bearer realm=\"api\", error=\"invalid_token\", \
                     error_description=\"Invalid API key\""
                        .to_owned()
                ),
            ]
        );
    }

    #[test]
    fn nothing_sent_is_answered_with_every_scheme() {
        let responder = Responder::new("photos").expect("legal");
        let responder = responder.schemes(&[Source::Bearer, Source::ApiKeyHeader]);
        let refusal = responder.respond(&RejectionKind::MissingCredential.into());
        assert_eq!(
            header(&refusal, "www-authenticate"),
            ["Bearer realm=\"photos\"", "ApiKey realm=\"photos\""]
        );
    }

    #[test]
    fn a_missing_permission_is_named_and_can_not_break_out() {
        let rejection = Rejection::new(RejectionKind::InsufficientPermissions).scope("a\"b\\:x\n");
        let refusal = Responder::default().respond(&rejection);
        assert_eq!(
            header(&refusal, "www-authenticate"),
            ["Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"ab:x\""]
        );
    }

    #[test]
    fn an_outage_asks_for_patience_and_for_no_other_credential() {
        let refusal = Responder::default().respond(&RejectionKind::StoreUnavailable.into());
        assert_eq!(refusal.status, 503);
        assert_eq!(header(&refusal, "retry-after"), ["1"]);
        assert!(header(&refusal, "www-authenticate").is_empty());
    }

    #[test]
    fn a_body_of_one_s_own_keeps_the_status() {
        #[derive(Debug)]
        struct Plain;
        impl ProblemBody for Plain {
            fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
                ("text/plain".into(), problem.code().into())
            }
        }
        let responder = Responder::default().body(Arc::new(Plain));
        let refusal = responder.respond(&RejectionKind::TokenExpired.into());
        assert_eq!((refusal.status, &*refusal.body), (401, &b"token_expired"[..]));
        assert_eq!(header(&refusal, "content-type"), ["text/plain"]);
        assert_eq!(header(&refusal, "www-authenticate").len(), 1);
    }

    #[test]
    fn realms() {
        assert!(Responder::new("my api").is_ok());
        for bad in ["", "a\"b", "a\\b", "a\nb", "é"] {
            assert!(Responder::new(bad).is_err(), "{bad:?}");
        }
    }
}
