use serde::Serialize;

use super::{Reply, form};
use crate::{
    Identity, Rejection, RejectionKind, Validator,
    domain::{Permissions, PlanId, ResourceId, Role, Timestamp},
};

/// Token introspection (RFC 7662): says of any credential of an agent or a partner whether it is good
/// now, and what it stands for. For those who are trusted to ask, behind an
/// [`InternalAuth`](crate::InternalAuth).
///
/// A form with `token` is answered by `{"active":false}` alone for whatever is not good, and else by
/// `active`, `kind`, `token_type`, `sub`, `client_id`, and as far as there are any `scope`,
/// `permissions`, `role`, `exp`, `iat`, `resource_id` and `plan_id`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{AccessTokens, Validator, api::Introspect};
///
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
/// let introspect = Introspect::new(Validator::builder().access_tokens(tokens).build()?);
/// assert_eq!(introspect.handle(b"token=a.b.c").await?.body, br#"{"active":false}"#);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Introspect {
    validator: Validator,
}

#[derive(Serialize)]
struct Inactive {
    active: bool,
}

#[derive(Serialize)]
struct Active<'a> {
    active: bool,
    kind: &'static str,
    token_type: &'static str,
    sub: &'a str,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<&'a Permissions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a ResourceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_id: Option<&'a PlanId>,
}

impl Introspect {
    /// Tells of the credentials that this validator accepts.
    pub fn new(validator: Validator) -> Self {
        Self { validator }
    }

    /// Checks that a body is announced as a form.
    ///
    /// # Errors
    ///
    /// [`UnsupportedMediaType`](RejectionKind::UnsupportedMediaType) for anything else, and where
    /// nothing is announced.
    pub fn check_media_type(content_type: Option<&[u8]>) -> Result<(), Rejection> {
        form::check_media_type(content_type)
    }

    /// Answers a form.
    ///
    /// # Errors
    ///
    /// [`InvalidBody`](RejectionKind::InvalidBody) without exactly one `token`,
    /// [`BodyTooLarge`](RejectionKind::BodyTooLarge), and
    /// [`StoreUnavailable`](RejectionKind::StoreUnavailable) where it can't be decided now.
    pub async fn handle(&self, body: &[u8]) -> Result<Reply, Rejection> {
        let token = form::token(body)?;
        match self.validate(&token).await {
            Ok(identity) => Ok(Reply::json(200, &Active::of(&identity))),
            Err(rejection) if is_undecided(&rejection) => Err(rejection),
            Err(_) => Ok(Reply::json(200, &Inactive { active: false })),
        }
    }

    async fn validate(&self, token: &str) -> Result<Identity, Rejection> {
        if token.trim() != token {
            return Err(RejectionKind::InvalidToken.into());
        }
        // In each place by itself: the application may take credentials from any of them, and what is
        // no API key may still be a token.
        let [bearer, api_key] = ["Bearer", "ApiKey"].map(|scheme| format!("{scheme} {token}"));
        let places =
            [(Some(&bearer), None), (Some(&api_key), None), (None, Some(token.as_bytes()))];
        let mut refused = Rejection::new(RejectionKind::InvalidToken);
        for (authorization, key) in places {
            match self.validator.validate(authorization.map(String::as_bytes), key).await {
                Err(rejection) if !is_undecided(&rejection) => refused = rejection,
                decided => return decided,
            }
        }
        Err(refused)
    }
}

/// Whether a refusal says nothing of the credential.
fn is_undecided(rejection: &Rejection) -> bool {
    matches!(rejection.kind(), RejectionKind::StoreUnavailable | RejectionKind::Internal)
}

impl<'a> Active<'a> {
    fn of(identity: &'a Identity) -> Self {
        let permissions = identity.permissions();
        let scope = permissions.filter(|permissions| !permissions.is_empty()).map(|permissions| {
            let scopes = permissions.iter();
            let scopes = scopes.map(|(resource, action)| format!("{resource}:{}", action.as_str()));
            scopes.collect::<Vec<_>>().join(" ")
        });
        Self {
            active: true,
            kind: identity.kind().as_str(),
            token_type: "Bearer",
            sub: identity.subject(),
            client_id: identity.subject(),
            scope,
            permissions,
            role: identity.role().map(Role::as_str),
            exp: identity.expires_at().map(Timestamp::as_seconds),
            iat: identity.issued_at().map(Timestamp::as_seconds),
            resource_id: identity.resource_id(),
            plan_id: identity.plan_id(),
        }
    }
}
