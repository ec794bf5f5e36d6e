use std::any::type_name;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{ChallengeId, PlanId, RequestId, ResourceId, Timestamp, TxHash};

/// The claims of a Key0 access token.
///
/// These are words, not a proof: whoever has an [`Identity`](crate::Identity) knows that its
/// claims were verified.
///
/// ```
/// use key0_auth::domain::{Claims, Clock, SystemClock};
///
/// let in_an_hour = SystemClock.now().plus(std::time::Duration::from_secs(3_600));
/// let claims = Claims::new(
///     "request-1".parse()?,
///     "challenge-1".parse()?,
///     "photo-1".parse()?,
///     "basic".parse()?,
///     "0xabc".parse()?,
///     in_an_hour,
/// );
/// assert_eq!(claims.resource_id().as_str(), "photo-1");
/// # Ok::<(), key0_auth::domain::InvalidId>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    pub(crate) request_id: RequestId,
    pub(crate) challenge_id: ChallengeId,
    pub(crate) resource_id: ResourceId,
    pub(crate) plan_id: PlanId,
    pub(crate) tx_hash: TxHash,
    pub(crate) expires_at: Timestamp,
    pub(crate) issued_at: Option<Timestamp>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) issuer: Option<Box<str>>,
    pub(crate) audience: Vec<Box<str>>,
    pub(crate) extra: Map<String, Value>,
}

impl Claims {
    /// The claims that every access token has.
    pub fn new(
        request_id: RequestId,
        challenge_id: ChallengeId,
        resource_id: ResourceId,
        plan_id: PlanId,
        tx_hash: TxHash,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            request_id,
            challenge_id,
            resource_id,
            plan_id,
            tx_hash,
            expires_at,
            issued_at: None,
            not_before: None,
            issuer: None,
            audience: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Sets when the token was made (`iat`).
    #[must_use]
    pub fn issued(mut self, at: Timestamp) -> Self {
        self.issued_at = Some(at);
        self
    }

    /// Sets from when on the token holds (`nbf`).
    #[must_use]
    pub fn valid_from(mut self, at: Timestamp) -> Self {
        self.not_before = Some(at);
        self
    }

    /// Sets who made the token (`iss`).
    #[must_use]
    pub fn from_issuer(mut self, issuer: impl Into<Box<str>>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Adds one for whom the token is meant (`aud`).
    #[must_use]
    pub fn for_audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.audience.push(audience.into());
        self
    }

    /// Sets the claims that this crate gives no meaning.
    #[must_use]
    pub fn with_extra(mut self, extra: Map<String, Value>) -> Self {
        self.extra = extra;
        self
    }

    /// The agent's request (`sub`).
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// The payment challenge (`jti`).
    pub fn challenge_id(&self) -> &ChallengeId {
        &self.challenge_id
    }

    /// What was bought (`resourceId`).
    pub fn resource_id(&self) -> &ResourceId {
        &self.resource_id
    }

    /// The plan that was bought (`planId`, or `tierId` from older services).
    pub fn plan_id(&self) -> &PlanId {
        &self.plan_id
    }

    /// The payment on the chain (`txHash`).
    pub fn tx_hash(&self) -> &TxHash {
        &self.tx_hash
    }

    /// From when on the token is expired (`exp`).
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// When the token was made (`iat`).
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// From when on the token holds (`nbf`).
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// Who made the token (`iss`).
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// For whom the token is meant (`aud`); empty where it does not say.
    pub fn audience(&self) -> impl Iterator<Item = &str> {
        self.audience.iter().map(|one| &**one)
    }

    /// The claims that this crate gives no meaning, by name.
    pub fn extra(&self) -> &Map<String, Value> {
        &self.extra
    }

    /// The same as a type of the application's own. The extractor [`ExtraClaims`] does it for a
    /// handler.
    ///
    /// ```
    /// # use key0_auth::testing::TokenSigner;
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct Credits {
    ///     credits: u32,
    /// }
    ///
    /// # let token = TokenSigner::new().token().claim("credits", 100);
    /// let identity = token.validate().expect("a good token");
    /// let claims = identity.claims().expect("an access token's");
    /// assert_eq!(claims.extra_as::<Credits>().expect("they are there").credits, 100);
    /// assert!(claims.extra_as::<Vec<u32>>().is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// Fails where they are not of this type. The error holds nothing of the token.
    pub fn extra_as<T: DeserializeOwned>(&self) -> Result<T, ExtraClaimsError> {
        T::deserialize(&self.extra).map_err(|_| ExtraClaimsError { wanted: type_name::<T>() })
    }
}

/// The claims of the access token that this crate gives no meaning, as a type of the application's
/// own: an extractor of the modules `axum` and `actix`.
///
/// A credential of another kind, and a token whose claims are not of the type, are refused by a 403
/// `insufficient_permissions`; without an identity it fails as [`Identity`](crate::Identity) does.
///
/// ```
/// use key0_auth::domain::ExtraClaims;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Credits {
///     credits: u32,
/// }
///
/// /// A handler of axum or actix-web.
/// async fn left(ExtraClaims(bought): ExtraClaims<Credits>) -> String {
///     format!("{} credits", bought.credits)
/// }
/// # let _ = left;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtraClaims<T>(pub T);

/// The further claims of a token are not of the type that the application wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the further claims of the token are no {wanted}")]
pub struct ExtraClaimsError {
    wanted: &'static str,
}
