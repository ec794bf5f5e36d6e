use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    jws::{CompactJws, Room},
    remote::RemoteKeys,
    validator::AccessTokens,
};
use crate::{
    Rejection, RejectionKind,
    domain::{Credential, Timestamp, json},
    error::{ConfigError, ConfigFault},
};

/// How far ahead of ours the clock of the provider may be.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);
/// Where providers name the client, the first that is there counts: RFC 9068, OpenID and Keycloak,
/// Entra, Okta, and RFC 9068 for a client that acts for itself.
const CLIENT_CLAIMS: [&str; 5] = ["client_id", "azp", "appid", "cid", "sub"];

/// Access tokens of an operator's identity provider (OAuth 2.0, RFC 9068), by which a service
/// proves to [`InternalAuth`](crate::InternalAuth) who it is.
///
/// - The issuer must be `iss`, exactly: a slash at its end counts.
/// - The audience must be in `aud`, or one of the client ids must be the client (`client_id`, else
///   `azp`, `appid`, `cid`, `sub`): one of the two is required, both count where both are set.
/// - The scope must be in `scope` (text), `scp` (text or list) or `roles` (list).
/// - Refused: symmetric algorithms, a `typ` other than `JWT` and `at+jwt`, ID, refresh and logout
///   tokens, a `cnf` claim.
///
/// | provider | issuer | what tells its services apart |
/// |---|---|---|
/// | Auth0 | `https://TENANT.auth0.com/` (with the slash) | the API's identifier as audience |
/// | Keycloak | `https://HOST/realms/REALM` | client ids; an audience only where a mapper adds it |
/// | Entra, v2 tokens | `https://login.microsoftonline.com/TENANT/v2.0` | the API's application id as audience; a role as scope |
/// | Okta | `https://ORG.okta.com/oauth2/SERVER` | the server's audience; client ids |
/// | Cognito | `https://cognito-idp.REGION.amazonaws.com/POOL` | client ids, as its tokens have no `aud` |
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{InternalAuth, token::{OAuthTokens, RemoteKeys}};
///
/// let issuer = "https://id.example.com/";
/// let keys = RemoteKeys::of_issuer("INTERNAL_OAUTH_ISSUER", issuer)?;
/// let oauth = OAuthTokens::new(issuer, keys).audience("https://photos.example.com").build()?;
/// let internal = InternalAuth::builder().oauth(oauth).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OAuthTokens {
    tokens: AccessTokens,
    rules: Rules,
}

#[derive(Debug)]
struct Rules {
    issuer: Box<str>,
    audience: Option<Box<str>>,
    client_ids: Vec<Box<str>>,
    scope: Option<Box<str>>,
}

/// Collects the rules of an [`OAuthTokens`].
#[derive(Debug)]
#[must_use]
pub struct OAuthTokensBuilder {
    keys: RemoteKeys,
    rules: Rules,
}

impl OAuthTokens {
    /// Tokens of this issuer, signed with these keys.
    #[expect(clippy::new_ret_no_self, reason = "one of two rules is still missing")]
    pub fn new(issuer: impl Into<Box<str>>, keys: RemoteKeys) -> OAuthTokensBuilder {
        let rules =
            Rules { issuer: issuer.into(), audience: None, client_ids: Vec::new(), scope: None };
        OAuthTokensBuilder { keys, rules }
    }

    /// Starts fetching the keys; see [`RemoteKeys::start`].
    pub fn start(&self) {
        self.tokens.start_fetching();
    }

    pub(crate) fn validate(&self, token: Credential<'_>, now: Timestamp) -> Result<(), Rejection> {
        let malformed = || invalid("The token is malformed");
        let token = CompactJws::split(token).ok_or_else(malformed)?;
        self.tokens.verify_signature(&token)?;
        let mut payload = Room::<1024>::new();
        let payload = payload.decode(token.payload()).ok_or_else(malformed)?;
        let claims = json::object(payload).map_err(|_| malformed())?;
        self.rules.check(&claims, now)
    }
}

impl OAuthTokensBuilder {
    /// Requires the claim `aud` to name this.
    pub fn audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.rules.audience = Some(audience.into());
        self
    }

    /// Requires the client to be this one. If called several times, one of them.
    pub fn client_id(mut self, id: impl Into<Box<str>>) -> Self {
        self.rules.client_ids.push(id.into());
        self
    }

    /// Requires this scope, or role.
    pub fn scope(mut self, scope: impl Into<Box<str>>) -> Self {
        self.rules.scope = Some(scope.into());
        self
    }

    /// Checks that the rules tell one service of the provider from another.
    ///
    /// # Errors
    ///
    /// Fails with neither an audience nor a client id, and with a text that is empty.
    pub fn build(self) -> Result<OAuthTokens, ConfigError> {
        let Rules { issuer, audience, client_ids, scope } = &self.rules;
        let mut faults = Vec::new();
        if audience.is_none() && client_ids.is_empty() {
            let why = "every client of the provider could call the internal endpoints";
            faults.push(ConfigFault::missing("an OAuth audience or client id", why));
        }
        let texts = [issuer].into_iter().chain(audience).chain(client_ids).chain(scope);
        if texts.map(|text| &**text).any(|text| text.is_empty()) {
            let reason = "none of its issuer, audience, client ids and scope is empty";
            faults.push(ConfigFault::invalid("the OAuth strategy", reason));
        }
        ConfigError::check(faults)?;
        let tokens = AccessTokens::builder().remote_keys(self.keys).build()?;
        Ok(OAuthTokens { tokens, rules: self.rules })
    }
}

impl Rules {
    fn check(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<(), Rejection> {
        let expires_at = time(claims, "exp")?.ok_or_else(|| invalid("The claim exp is missing"))?;
        if now >= expires_at {
            return Err(RejectionKind::TokenExpired.into());
        }
        if time(claims, "nbf")?.is_some_and(|from| now < from) {
            return Err(invalid("The token is not valid yet"));
        }
        if time(claims, "iat")?.is_some_and(|at| at > now.plus(MAX_CLOCK_SKEW)) {
            return Err(invalid("The token was issued in the future"));
        }
        if text(claims, "iss")? != Some(&*self.issuer) {
            return Err(invalid("The token comes from another issuer"));
        }
        if claims.contains_key("cnf") {
            return Err(invalid("A sender-constrained token is not accepted as a bearer token"));
        }
        if !is_access_token(claims) {
            return Err(invalid("The token is no access token"));
        }
        let audience = texts(claims, "aud")?;
        if self.audience.as_ref().is_some_and(|wanted| !audience.contains(&&**wanted)) {
            return Err(invalid("The token is meant for another audience"));
        }
        if !self.client_ids.is_empty() && !self.is_known_client(claims)? {
            return Err(invalid("The token is of another client"));
        }
        match &self.scope {
            Some(scope) if !has_scope(claims, scope)? => Err(invalid("The token lacks the scope")),
            _ => Ok(()),
        }
    }

    fn is_known_client(&self, claims: &Map<String, Value>) -> Result<bool, Rejection> {
        let Some(name) = CLIENT_CLAIMS.iter().find(|name| claims.contains_key(**name)) else {
            return Ok(false);
        };
        let client = text(claims, name)?;
        Ok(self.client_ids.iter().any(|id| client == Some(&**id)))
    }
}

/// Whether the claims are not those of an ID token, a refresh token or a logout token, as Cognito,
/// Keycloak and OpenID mark them.
fn is_access_token(claims: &Map<String, Value>) -> bool {
    let is = |name: &str, kinds: &[&str]| {
        let kind = claims.get(name);
        kind.is_none_or(|kind| kind.as_str().is_some_and(|kind| kinds.contains(&kind)))
    };
    is("token_use", &["access"])
        && is("typ", &["Bearer", "JWT", "at+jwt"])
        && !["events", "nonce", "at_hash", "c_hash"].iter().any(|name| claims.contains_key(*name))
}

/// Whether one of the claims that providers use for it names the scope. All must be of their type.
fn has_scope(claims: &Map<String, Value>, scope: &str) -> Result<bool, Rejection> {
    let in_text = text(claims, "scope")?.is_some_and(|text| names(text, scope));
    let in_scp = match claims.get("scp") {
        Some(Value::String(text)) => names(text, scope),
        _ => list(claims, "scp")?.contains(&scope),
    };
    let in_roles = list(claims, "roles")?.contains(&scope);
    Ok(in_text || in_scp || in_roles)
}

fn names(words: &str, wanted: &str) -> bool {
    words.split(' ').any(|word| word == wanted)
}

/// One text or a list of them, as `aud` is (RFC 7519, section 4.1.3).
fn texts<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Vec<&'a str>, Rejection> {
    match claims.get(name) {
        Some(Value::String(text)) => Ok(vec![text]),
        _ => list(claims, name),
    }
}

fn list<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Vec<&'a str>, Rejection> {
    let texts = match claims.get(name) {
        None => Some(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    texts.ok_or_else(|| wrong_type(name))
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Rejection> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(name)),
    }
}

fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Rejection> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) => Ok(Some(Timestamp::from_seconds_f64(seconds))),
            None => Err(wrong_type(name)),
        },
    }
}

fn wrong_type(name: &str) -> Rejection {
    Rejection::new(RejectionKind::InvalidToken).detail(format!("The claim {name} is not valid"))
}

fn invalid(detail: &'static str) -> Rejection {
    Rejection::new(RejectionKind::InvalidToken).detail(detail)
}

#[cfg(all(test, feature = "testing"))]
mod tests;
