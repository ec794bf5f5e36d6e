use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};

use super::body::{self, Members, Reply};
use crate::{
    Rejection, RejectionKind,
    apikey::KeyRecord,
    domain::{ChallengeId, Clock, Permissions, PlanId, RequestId, ResourceId, Timestamp, TxHash},
    error::StoreError,
    store::{Issuance, IssuanceKey, RequestFingerprint, steady::SteadyClock},
};

/// How long the application's hook may take; Key0 itself gives up after ten seconds.
pub(super) const HOOK_DEADLINE: Duration = Duration::from_secs(8);

/// The application's say in what is issued.
///
/// Asked once per issuance, and again when the first asking was cut off or, for a credential of
/// the application's own, when the request is retried: the same request must then get the same
/// answer.
///
/// Implemented with [`async_trait`](crate::async_trait):
///
/// ```
/// use key0_auth::{async_trait, api::{Decision, HookError, IssuanceHook, IssuanceRequest, Terms}};
///
/// /// Sells photos and nothing else.
/// #[derive(Debug)]
/// struct Photos;
///
/// #[async_trait]
/// impl IssuanceHook for Photos {
///     async fn decide(&self, request: &IssuanceRequest) -> Result<Decision, HookError> {
///         match request.resource_id.as_str().starts_with("photo-") {
///             true => Ok(Decision::Approve(Terms::new())),
///             false => Ok(Decision::Refuse),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait IssuanceHook: fmt::Debug + Send + Sync + 'static {
    /// Decides on a request.
    ///
    /// # Errors
    ///
    /// Fails when the application can't tell; the request is answered 503 and may be retried.
    /// The same after eight seconds without an answer. A panic is answered 500.
    async fn decide(&self, request: &IssuanceRequest) -> Result<Decision, HookError>;
}

/// Why a hook could not decide.
pub type HookError = Box<dyn std::error::Error + Send + Sync>;

/// What a hook decides.
///
/// ```
/// use std::time::Duration;
/// use key0_auth::api::{Decision, IssuanceRequest, OwnCredential, Terms};
///
/// fn decide(request: &IssuanceRequest) -> Decision {
///     match request.plan_id.as_str() {
///         "day" => Decision::Approve(Terms::new().time_to_live(Duration::from_secs(24 * 60 * 60))),
///         "partner" => Decision::Own(OwnCredential::new("known to our fallback", None)),
///         _ => Decision::Refuse,
///     }
/// }
/// # let _ = decide;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Decision {
    /// Issue a key on these terms.
    Approve(Terms),
    /// This resource and plan are not for sale (422).
    Refuse,
    /// Hand out this credential of the application's own.
    Own(OwnCredential),
}

/// The terms of an issued key.
///
/// ```
/// use std::time::Duration;
/// use key0_auth::{api::Terms, domain::{Action, Permissions}};
///
/// let terms = Terms::new()
///     .time_to_live(Duration::from_secs(24 * 60 * 60))
///     .permissions(Permissions::none().grant("orders", Action::Read));
/// # let _ = terms;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Terms {
    pub(super) time_to_live: Option<Duration>,
    pub(super) permissions: Option<Permissions>,
    pub(super) metadata: Option<Map<String, Value>>,
}

/// A credential that the application has made itself and that its fallback will know.
///
/// ```
/// use std::time::Duration;
/// use key0_auth::{api::OwnCredential, domain::{Clock, SystemClock}};
///
/// let ends = SystemClock.now().plus(Duration::from_secs(3_600));
/// let own = OwnCredential::new("known to our fallback", Some(ends));
/// # let _ = own;
/// ```
#[derive(Debug, Clone)]
pub struct OwnCredential {
    pub(super) credential: SecretString,
    pub(super) expires_at: Option<Timestamp>,
}

/// What Key0 asks for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct IssuanceRequest {
    /// The agent's request.
    pub request_id: RequestId,
    /// The payment's challenge, where one is named.
    pub challenge_id: Option<ChallengeId>,
    /// What was bought.
    pub resource_id: ResourceId,
    /// The plan that was bought.
    pub plan_id: PlanId,
    /// The payment on the chain.
    pub tx_hash: TxHash,
    /// Every further member of the request; empty where they came to more than 4 KiB, or to
    /// more than 16 levels.
    pub metadata: Map<String, Value>,
}

impl Terms {
    /// The endpoint's own terms.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the key lives.
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = Some(time_to_live);
        self
    }

    /// Gives the key permissions besides its resource; it has none by default.
    #[must_use]
    pub fn permissions(mut self, permissions: Permissions) -> Self {
        self.permissions = Some(permissions);
        self
    }

    /// Replaces the metadata that is kept with the key.
    #[must_use]
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = Some(metadata);
        self
    }
}

impl OwnCredential {
    /// A credential that expires at `expires_at`, or never.
    pub fn new(credential: impl Into<String>, expires_at: Option<Timestamp>) -> Self {
        Self { credential: SecretString::from(credential.into()), expires_at }
    }
}

impl IssuanceRequest {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Rejection> {
        let mut members = Members::parse(body)?;
        let mut request = Self {
            request_id: members.id("requestId", RequestId::new)?,
            challenge_id: members.optional_id("challengeId", ChallengeId::new)?,
            resource_id: members.id("resourceId", ResourceId::new)?,
            plan_id: members.plan()?,
            tx_hash: members.id("txHash", TxHash::new)?,
            metadata: Map::new(),
        };
        let metadata = Value::Object(members.rest());
        if let (true, Value::Object(metadata)) = (body::can_be_kept(&metadata), metadata) {
            request.metadata = metadata;
        }
        Ok(request)
    }

    /// Under which id it is idempotent.
    pub(super) fn key(&self) -> IssuanceKey {
        match &self.challenge_id {
            Some(id) => IssuanceKey::Challenge(id.clone()),
            None => IssuanceKey::Request(self.request_id.clone()),
        }
    }

    pub(super) fn fingerprint(&self) -> RequestFingerprint {
        RequestFingerprint::of([
            self.request_id.as_str().as_bytes(),
            self.resource_id.as_str().as_bytes(),
            self.plan_id.as_str().as_bytes(),
            self.tx_hash.normalized().as_bytes(),
        ])
    }
}

/// Asks the application about a request; without a hook it is approved.
pub(super) async fn decide(
    hook: Option<&Arc<dyn IssuanceHook>>,
    request: &IssuanceRequest,
) -> Result<Decision, Rejection> {
    let Some(hook) = hook else { return Ok(Decision::Approve(Terms::new())) };
    let unavailable = Rejection::new(RejectionKind::StoreUnavailable)
        .detail("The application can't decide on this request now");
    // On a task of its own, so that a panic in the hook frees the claim like any other failure.
    let (hook, request) = (hook.clone(), request.clone());
    let mut asked = tokio::spawn(async move { hook.decide(&request).await });
    match tokio::time::timeout(HOOK_DEADLINE, &mut asked).await {
        Ok(Ok(Ok(decision))) => Ok(decision),
        Ok(Ok(Err(error))) => Err(unavailable.cause(StoreError::unavailable(error))),
        Ok(Err(panicked)) => Err(Rejection::new(RejectionKind::Internal).cause(panicked)),
        Err(elapsed) => {
            asked.abort();
            Err(unavailable.cause(elapsed))
        }
    }
}

/// The body of a good answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Issued<'a> {
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    token_type: &'static str,
}

pub(super) fn reply(credential: &str, expires_at: Option<Timestamp>) -> Reply {
    Reply::json(200, &Issued { token: credential, expires_at, token_type: "Bearer" })
}

/// A credential that was just made, and what is to be kept of it.
pub(super) struct Made {
    pub(super) credential: SecretString,
    pub(super) issuance: Issuance,
    pub(super) record: Option<KeyRecord>,
}

impl Made {
    pub(super) fn reply(&self) -> Reply {
        reply(self.credential.expose_secret(), self.issuance.expires_at)
    }
}

/// For how long a credential is not replaced that this process can't make again: another process may
/// have its secret, or its form of keys, while a new one is being rolled out, and retries come within
/// seconds.
const YOUNG: Duration = Duration::from_secs(10 * 60);

/// Refuses to replace a credential that another process may be about to give again: one that is young,
/// or that may be, since the clock was not believed yet.
pub(super) fn check_replaceable(issuance: &Issuance, clock: &SteadyClock) -> Result<(), Rejection> {
    let young = issuance.issued_at.plus(YOUNG).since(clock.now());
    let wait = clock.until_first_believed().map_or(young, |doubted| doubted.max(young));
    if wait.is_zero() {
        return Ok(());
    }
    #[cfg(feature = "tracing")]
    tracing::error!(
        "a credential that was sold can't be given again: this process lacks the issuance secret \
         that it was derived from, or makes keys of another form"
    );
    // No `Retry-After` of so much: another process may give it at once.
    let seconds = wait.as_micros().div_ceil(1_000_000);
    Err(Rejection::new(RejectionKind::IssuanceInProgress)
        .detail(format!(
            "The credential was made with a secret or a key format that this server does not have. \
             This server can replace it in {seconds} s"
        ))
        .cause(LacksSecret))
}

#[derive(Debug, thiserror::Error)]
#[error("this process lacks the issuance secret of this credential, or makes keys of another form")]
struct LacksSecret;

/// The hook brought another credential than the first time.
#[derive(Debug, thiserror::Error)]
#[error("the issuance hook did not give the same credential again")]
pub(super) struct Unsteady;
