use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{
    body::{self, Reply, outage},
    issuance::{
        Decision, HOOK_DEADLINE, IssuanceHook, IssuanceRequest, Made, OwnCredential, Terms,
        Unsteady, check_replaceable, decide, reply,
    },
};
use crate::{
    ApiKeys, KeyStore, Rejection, RejectionKind,
    apikey::{Grant, IssuanceSecrets, KeyRecord, Nonce, PlainKey},
    domain::{Clock, KeyId, SystemClock, Timestamp},
    error::StoreError,
    metrics,
    store::{
        Issuance, IssuanceClaim, IssuanceKey, IssuanceState, Lease, PaymentStore, spi::Order,
        steady::SteadyClock,
    },
};

/// How long the same request gets the same credential again.
const REPLAY_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the second of two racing requests waits for the first.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks.
const GLANCE: Duration = Duration::from_millis(25);
/// How long a claim holds without a hook: shorter than [`PATIENCE`], so that a retry after a
/// crash takes the claim over instead of being sent away.
const CLAIM: Duration = Duration::from_millis(1_500);

/// `POST /internal/issue-token`: a credential for a payment, and the same one for every retry.
///
/// Idempotent by itself, also after a restart, when retries race, and across instances on one
/// store: the credential is derived from a secret, a random nonce and the record's id, so that it
/// can be told again although only its digest is stored. Cheap to clone.
///
/// The work goes on when the client hangs up: its retry then finds the credential.
///
/// A retry gets another credential, and the old one dies, only where the first can't be derived again: by
/// another secret, or another key format. Until ten minutes after the purchase, and an hour after this was
/// made, it is a 503 `issuance_in_progress` whose `detail` tells how much of that is left: see [`IssuanceSecrets`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, api::IssueToken, apikey::IssuanceSecrets};
/// use key0_auth::domain::{Secret, SecretSet};
///
/// let store = Arc::new(MemoryStore::new());
/// let keys = ApiKeys::new(store.clone());
/// let secret = Secret::new("ISSUANCE_SECRET", "a secret from which keys are derived")?;
/// let issue_token = IssueToken::new(store, keys, IssuanceSecrets::new(&SecretSet::new(secret)));
/// let order = br#"{"requestId":"r","resourceId":"photo-1","planId":"basic","txHash":"0xabc"}"#;
/// let first = issue_token.handle(order).await?;
/// // A retry gets the same key.
/// assert_eq!(issue_token.handle(order).await?.body, first.body);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct IssueToken(Arc<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    payments: Arc<dyn PaymentStore>,
    keys: Arc<ApiKeys>,
    secrets: IssuanceSecrets,
    hook: Option<Arc<dyn IssuanceHook>>,
    time_to_live: Duration,
    clock: Arc<dyn Clock>,
    steady: SteadyClock,
}

impl IssueToken {
    /// Issues keys into the store behind `keys`. `payments` must be the same store.
    pub fn new(
        payments: Arc<dyn PaymentStore>,
        keys: impl Into<Arc<ApiKeys>>,
        secrets: IssuanceSecrets,
    ) -> Self {
        Self(Arc::new(Parts {
            payments,
            keys: keys.into(),
            secrets,
            hook: None,
            time_to_live: Duration::from_secs(60 * 60),
            steady: SteadyClock::new(Arc::new(SystemClock)),
            clock: Arc::new(SystemClock),
        }))
    }

    /// Sets how long a key lives; one hour by default.
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        Arc::make_mut(&mut self.0).time_to_live = time_to_live;
        self
    }

    /// Asks the application about every request; without a hook all are approved.
    #[must_use]
    pub fn hook(mut self, hook: impl IssuanceHook) -> Self {
        Arc::make_mut(&mut self.0).hook = Some(Arc::new(hook));
        self
    }

    /// Sets where the time comes from; the system's clock by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        let parts = Arc::make_mut(&mut self.0);
        parts.steady = SteadyClock::new(clock.clone());
        parts.clock = clock;
        self
    }

    /// Answers a request whose caller was validated. Must run within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The reason to refuse it.
    pub async fn handle(&self, body: &[u8]) -> Result<Reply, Rejection> {
        let parts = self.0.clone();
        let issued = match IssuanceRequest::parse(body) {
            Ok(request) => body::carry_out(async move { parts.issue(request).await }).await,
            Err(rejection) => Err(rejection),
        };
        if let Err(rejection) = &issued {
            metrics::issuance(rejection.kind().code());
        }
        issued
    }

    /// Removes nonces that no retry needs any more, up to `limit`, and says how many. To be called
    /// every now and then. None while the clock is in doubt: it was first seen, or set by more than
    /// two minutes, within the last hour.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    pub async fn forget_old_nonces(&self, limit: u32) -> Result<u32, StoreError> {
        let Some(now) = self.0.steady.believed() else { return Ok(0) };
        self.0.payments.forget_nonces(now.minus(REPLAY_WINDOW), limit).await
    }
}

/// How far one try came.
enum Progress {
    Done(Reply),
    /// The state has changed under our hands: look again.
    Again,
}

impl Parts {
    async fn issue(&self, request: IssuanceRequest) -> Result<Reply, Rejection> {
        let give_up = tokio::time::Instant::now() + PATIENCE;
        loop {
            let now = self.clock.now();
            let claim = self.claim(&request, now);
            // Where nobody is to be asked, what is claimed is issued in the same step.
            let made = match &self.hook {
                Some(_) => None,
                None => Some(self.make(&request, Terms::new(), now)?),
            };
            let begun = match &made {
                Some(Made { issuance, record, .. }) => {
                    self.payments.issue(&claim, issuance, record.as_ref(), now).await
                }
                None => self.payments.begin_issuance(&claim, now).await,
            };
            let progress = match begun.map_err(outage)? {
                IssuanceState::Started => match &made {
                    Some(made) => self.kept(made),
                    None => self.start(&request, &claim, now).await?,
                },
                IssuanceState::Issued(issuance) => self.replay(&request, &issuance).await?,
                IssuanceState::InProgress => Progress::Again,
                IssuanceState::Conflict => return Err(RejectionKind::RequestConflict.into()),
                IssuanceState::Redeemed => {
                    return Err(RejectionKind::PaymentAlreadyRedeemed.into());
                }
                IssuanceState::Revoked => return Err(RejectionKind::PurchaseRevoked.into()),
            };
            match progress {
                Progress::Done(reply) => return Ok(reply),
                Progress::Again if tokio::time::Instant::now() >= give_up => {
                    return Err(RejectionKind::IssuanceInProgress.into());
                }
                Progress::Again => tokio::time::sleep(GLANCE).await,
            }
        }
    }

    fn claim(&self, request: &IssuanceRequest, now: Timestamp) -> IssuanceClaim {
        let patience = if self.hook.is_some() { CLAIM + HOOK_DEADLINE } else { CLAIM };
        IssuanceClaim {
            key: request.key(),
            fingerprint: request.fingerprint(),
            tx_hash: request.tx_hash.clone(),
            order: Order {
                request_id: request.request_id.clone(),
                resource_id: request.resource_id.clone(),
                plan_id: request.plan_id.clone(),
            },
            lease: Lease::new(now.plus(patience)),
        }
    }

    /// The claim is ours: decide, make the credential, keep it.
    async fn start(
        &self,
        request: &IssuanceRequest,
        claim: &IssuanceClaim,
        now: Timestamp,
    ) -> Result<Progress, Rejection> {
        let made = match decide(self.hook.as_ref(), request).await {
            Ok(Decision::Approve(terms)) => self.make(request, terms, now),
            Ok(Decision::Own(own)) => self.keep(own),
            Ok(Decision::Refuse) => Err(RejectionKind::NotForSale.into()),
            Err(rejection) => Err(rejection),
        };
        let made = match made {
            Ok(made) => made,
            Err(rejection) => {
                // Where this fails the claim runs out by itself; the refusal is the better answer.
                let _ = self.payments.abandon_issuance(claim).await;
                return Err(rejection);
            }
        };
        let kept = self
            .payments
            .complete_issuance(claim, &made.issuance, made.record.as_ref())
            .await
            .map_err(outage)?;
        if !kept {
            return Ok(Progress::Again);
        }
        Ok(self.kept(&made))
    }

    fn kept(&self, made: &Made) -> Progress {
        self.keys.store().forget(&made.issuance.digest);
        metrics::issuance("new");
        Progress::Done(made.reply())
    }

    /// It was issued before: the same credential again, or the reason why not.
    async fn replay(
        &self,
        request: &IssuanceRequest,
        issuance: &Issuance,
    ) -> Result<Progress, Rejection> {
        let now = self.steady.now();
        if now.since(issuance.issued_at) >= REPLAY_WINDOW {
            return Err(RejectionKind::PaymentAlreadyRedeemed.into());
        }
        let Some(id) = &issuance.key_id else {
            return self.replay_own(request, issuance).await;
        };
        let record = self.keys.store().get(id).await.map_err(outage)?;
        let record = record.ok_or(RejectionKind::PaymentAlreadyRedeemed)?;
        if record.revoked_at.is_some() {
            return Err(RejectionKind::CredentialRevoked.into());
        }
        let (Some(nonce), Some(secret)) = (&issuance.nonce, &issuance.secret) else {
            return Err(RejectionKind::PaymentAlreadyRedeemed.into());
        };
        let format = self.keys.key_format();
        match self.secrets.derive(format, secret, nonce, id) {
            Some(key) if key.digest() == issuance.digest => {
                metrics::issuance("replayed");
                Ok(Progress::Done(reply(key.expose(), issuance.expires_at)))
            }
            _ => self.replace(&request.key(), issuance, id).await,
        }
    }

    /// What the credential came from is gone, its secret or the form of keys: a new one takes its place.
    async fn replace(
        &self,
        key: &IssuanceKey,
        old: &Issuance,
        id: &KeyId,
    ) -> Result<Progress, Rejection> {
        check_replaceable(old, &self.steady)?;
        let (plain, nonce) = self.derive(id)?;
        let new = Issuance {
            digest: plain.digest(),
            nonce: Some(nonce),
            secret: Some(self.secrets.current()),
            ..old.clone()
        };
        let now = self.clock.now();
        let replaced = self.payments.replace_issuance(key, old, &new, &plain.masked(), now).await;
        if !replaced.map_err(outage)? {
            return Ok(Progress::Again);
        }
        self.keys.store().forget(&old.digest);
        self.keys.store().forget(&new.digest);
        metrics::issuance("replaced");
        Ok(Progress::Done(reply(plain.expose(), new.expires_at)))
    }

    /// The hook is asked again, since nothing of its credential was kept but a digest.
    async fn replay_own(
        &self,
        request: &IssuanceRequest,
        old: &Issuance,
    ) -> Result<Progress, Rejection> {
        let Decision::Own(own) = decide(self.hook.as_ref(), request).await? else {
            return Err(Rejection::new(RejectionKind::Internal).cause(Unsteady));
        };
        let credential = own.credential.expose_secret();
        let now = self.clock.now();
        match old.secret.as_ref().and_then(|secret| self.secrets.digest(secret, credential)) {
            Some(digest) if digest == old.digest => {
                // The hook takes its time, and the purchase can be revoked meanwhile.
                let again = self.payments.begin_issuance(&self.claim(request, now), now).await;
                if !matches!(again.map_err(outage)?, IssuanceState::Issued(_)) {
                    return Ok(Progress::Again);
                }
                metrics::issuance("replayed");
                Ok(Progress::Done(reply(credential, old.expires_at)))
            }
            Some(_) => Err(Rejection::new(RejectionKind::Internal).cause(Unsteady)),
            None => {
                check_replaceable(old, &self.steady)?;
                // The secret is gone: what the hook says now is what counts from now on.
                let new = Issuance { issued_at: old.issued_at, ..self.issuance_of(&own)? };
                let replaced =
                    self.payments.replace_issuance(&request.key(), old, &new, "", now).await;
                Ok(match replaced.map_err(outage)? {
                    true => {
                        metrics::issuance("replaced");
                        Progress::Done(reply(credential, new.expires_at))
                    }
                    false => Progress::Again,
                })
            }
        }
    }

    fn make(
        &self,
        request: &IssuanceRequest,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Made, Rejection> {
        let id = KeyId::generate();
        let (plain, nonce) = self.derive(&id)?;
        let now = now.to_millis();
        let grant = Grant::Payment {
            resource_id: request.resource_id.clone(),
            plan_id: request.plan_id.clone(),
            permissions: terms.permissions,
        };
        let mut record = KeyRecord::new(id, &plain, grant, now);
        let time_to_live = terms.time_to_live.unwrap_or(self.time_to_live);
        record.expires_at = Some(now.plus(time_to_live).to_millis());
        record.metadata = terms.metadata.unwrap_or_else(|| request.metadata.clone()).into();
        let issuance = Issuance {
            key_id: Some(record.id.clone()),
            digest: record.digest,
            nonce: Some(nonce),
            secret: Some(self.secrets.current()),
            issued_at: now,
            expires_at: record.expires_at,
        };
        let credential = SecretString::from(plain.expose());
        Ok(Made { credential, issuance, record: Some(record) })
    }

    fn keep(&self, own: OwnCredential) -> Result<Made, Rejection> {
        let issuance = self.issuance_of(&own)?;
        Ok(Made { credential: own.credential, issuance, record: None })
    }

    fn issuance_of(&self, own: &OwnCredential) -> Result<Issuance, Rejection> {
        let secret = self.secrets.current();
        let digest = self.secrets.digest(&secret, own.credential.expose_secret());
        Ok(Issuance {
            key_id: None,
            digest: digest.ok_or(RejectionKind::Internal)?,
            nonce: None,
            secret: Some(secret),
            issued_at: self.clock.now().to_millis(),
            expires_at: own.expires_at,
        })
    }

    fn derive(&self, id: &KeyId) -> Result<(PlainKey, Nonce), Rejection> {
        let internal = || Rejection::from(RejectionKind::Internal);
        let nonce = Nonce::generate().map_err(|error| internal().cause(error))?;
        let format = self.keys.key_format();
        let plain = self.secrets.derive(format, &self.secrets.current(), &nonce, id);
        Ok((plain.ok_or_else(internal)?, nonce))
    }
}
