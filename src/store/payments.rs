use std::fmt;

use async_trait::async_trait;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Lease;
use crate::{
    apikey::{KeyDigest, KeyRecord, Nonce, SecretFingerprint},
    domain::{ChallengeId, KeyId, PlanId, RequestId, ResourceId, Timestamp, TxHash},
    error::StoreError,
};

/// Where issued credentials and received payments are kept.
///
/// Every method is one transaction, also against other processes on the same store.
#[async_trait]
pub trait PaymentStore: fmt::Debug + Send + Sync + 'static {
    /// Claims the right to issue a credential, together with the payment that buys it.
    ///
    /// A claim whose lease ran out without an issuance counts as never made, also where it is
    /// another id's claim on the same hash. The same for a lease that ends later than
    /// [`LONGEST_WAIT`](super::LONGEST_WAIT) from now.
    ///
    /// A hash that was [paid](Self::record_payment) for one challenge buys nothing for another one. Nor
    /// does it where no challenge is named, once that of the payment was issued or revoked.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn begin_issuance(
        &self,
        claim: &IssuanceClaim,
        now: Timestamp,
    ) -> Result<IssuanceState, StoreError>;

    /// Keeps what was issued and, where it is a key of ours, the key's record: both or neither.
    /// `false` when the lease is not the one that holds the claim any more, as when the purchase was
    /// revoked meanwhile; then nothing is kept.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether it is kept.
    async fn complete_issuance(
        &self,
        claim: &IssuanceClaim,
        issuance: &Issuance,
        record: Option<&KeyRecord>,
    ) -> Result<bool, StoreError>;

    /// Claims and completes in one, where nobody has to be asked in between:
    /// [`Started`](IssuanceState::Started) says that the issuance is kept, with the key's record
    /// where there is one. Every other state is as of [`begin_issuance`](Self::begin_issuance), and
    /// keeps nothing.
    ///
    /// By itself it makes one call after the other. A store that can do it in one transaction spares
    /// the seller a commit for each sale.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether it is kept; then a claim may be left, until its lease
    /// runs out.
    async fn issue(
        &self,
        claim: &IssuanceClaim,
        issuance: &Issuance,
        record: Option<&KeyRecord>,
        now: Timestamp,
    ) -> Result<IssuanceState, StoreError> {
        let state = self.begin_issuance(claim, now).await?;
        if state == IssuanceState::Started
            && !self.complete_issuance(claim, issuance, record).await?
        {
            return Ok(IssuanceState::InProgress);
        }
        Ok(state)
    }

    /// Gives the claim up, as if it had never been made. Does nothing where the lease is lost.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell; then the claim lives until its lease runs out.
    async fn abandon_issuance(&self, claim: &IssuanceClaim) -> Result<(), StoreError>;

    /// Replaces what was issued, and in the key's record the digest and the `display` form, in one
    /// step; the old digest is dead then, the listeners know, and the key's history says that it
    /// was rotated `at` this instant. `false`, and nothing changes, where `old` is not what is
    /// stored any more, or the purchase was revoked.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether it is replaced.
    async fn replace_issuance(
        &self,
        key: &IssuanceKey,
        old: &Issuance,
        new: &Issuance,
        display: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Removes the nonces of up to `limit` issuances that were made before `before`, and says how
    /// many. The issuances and their hashes stay for ever.
    ///
    /// # Errors
    ///
    /// Fails when the store can't; some may be removed then.
    async fn forget_nonces(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError>;

    /// Keeps a payment, once per challenge, durably before it returns. The handler's first attempt
    /// is due at once.
    ///
    /// A payment for a purchase that was revoked before buys nothing any more: its hash is spent, and
    /// what it has bought under another id is revoked, as by
    /// [`revoke_purchase`](super::PurchaseStore::revoke_purchase).
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether it is kept.
    async fn record_payment(&self, payment: &Payment) -> Result<PaymentOutcome, StoreError>;

    /// A payment as it was kept.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn payment(&self, challenge_id: &ChallengeId) -> Result<Option<Payment>, StoreError>;

    /// Takes the payment whose handler is due longest, if any: not finished, its next attempt not
    /// in the future, and no lease on it in force. What is later than
    /// [`LONGEST_WAIT`](super::LONGEST_WAIT) from now counts as due, after all others.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell; then a payment may be held until `lease` runs out.
    async fn lease_payment(
        &self,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Option<LeasedPayment>, StoreError>;

    /// Marks a payment's handling as finished `at` this instant, and forgets its last error. `false`
    /// where the lease is lost.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell; then the handler runs again.
    async fn finish_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Gives a payment back, to be tried again from `next_attempt` on, and keeps what its handler
    /// failed with; without an error the one before stays. `false` where the lease is lost.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell; then it is tried again when the lease runs out.
    async fn retry_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        next_attempt: Timestamp,
        error: Option<&str>,
    ) -> Result<bool, StoreError>;

    /// The payments whose handler has not succeeded yet, for the metrics. `None` where the store
    /// doesn't count them; it may stop counting at 10,000.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn waiting_payments(&self) -> Result<Option<WaitingPayments>, StoreError> {
        Ok(None)
    }
}

/// The id under which an issuance is idempotent. The two kinds are separate namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IssuanceKey {
    /// The request names a challenge.
    Challenge(ChallengeId),
    /// It does not: the request's own id counts.
    Request(RequestId),
}

impl IssuanceKey {
    /// The namespace's name: `challenge` or `request`.
    pub const fn namespace(&self) -> &'static str {
        match self {
            Self::Challenge(_) => "challenge",
            Self::Request(_) => "request",
        }
    }

    /// The id within the namespace.
    pub fn id(&self) -> &str {
        match self {
            Self::Challenge(id) => id.as_str(),
            Self::Request(id) => id.as_str(),
        }
    }
}

/// SHA-256 over everything that must be the same in a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFingerprint([u8; 32]);

impl RequestFingerprint {
    /// The fingerprint of these parts: in this order, each with its length.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let hash = parts.into_iter().fold(Sha256::new(), |hash, part| {
            hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
        });
        Self(hash.finalize().into())
    }

    /// A fingerprint that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The fingerprint's bytes, to be stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A wish to issue one credential for one payment.
#[derive(Debug, Clone)]
pub struct IssuanceClaim {
    /// Under which id it is idempotent.
    pub key: IssuanceKey,
    /// What must be the same in a retry.
    pub fingerprint: RequestFingerprint,
    /// The payment. Two hashes that differ in case alone are the same, and so are 64 hex digits
    /// with and without a leading `0x`.
    pub tx_hash: TxHash,
    /// What it is for: kept for those who look at purchases.
    pub order: Order,
    /// The claim's lease.
    pub lease: Lease,
}

/// What a credential is asked for, and by which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The agent's request.
    pub request_id: RequestId,
    /// The resource.
    pub resource_id: ResourceId,
    /// The plan.
    pub plan_id: PlanId,
}

/// How a claim came out.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum IssuanceState {
    /// The claim holds: issue, then complete or abandon it.
    Started,
    /// Another request holds the id or the payment, and nobody knows yet how it comes out.
    InProgress,
    /// It was issued before, for the same id and fingerprint.
    Issued(Issuance),
    /// It was issued before with another fingerprint.
    Conflict,
    /// The payment was spent under another id, or was for another purchase.
    Redeemed,
    /// The purchase was revoked: see [`PurchaseStore`](super::PurchaseStore). Whatever else is true
    /// of it.
    Revoked,
}

/// What was issued.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuance {
    /// The record of the key; none where the application brought a credential of its own.
    pub key_id: Option<KeyId>,
    /// The digest of the key; for the application's own credential a keyed one.
    pub digest: KeyDigest,
    /// What the credential was derived from; none after a day, and none for the application's own.
    pub nonce: Option<Nonce>,
    /// The secret that it was derived with, or that the digest is keyed with.
    pub secret: Option<SecretFingerprint>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When the credential expires.
    pub expires_at: Option<Timestamp>,
}

/// A payment that Key0 has reported. The access token of the report is not part of it.
///
/// ```
/// use key0_auth::{domain::Timestamp, store::Payment};
///
/// let received_at = Timestamp::from_seconds(1_795_953_600);
/// let mut payment = Payment::new(
///     "challenge-1".parse()?,
///     "request-1".parse()?,
///     "photo-1".parse()?,
///     "basic".parse()?,
///     "0xabc".parse()?,
///     received_at,
/// );
/// payment.details.insert("credits".to_owned(), 100.into());
/// # Ok::<(), key0_auth::domain::InvalidId>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Payment {
    /// The payment's challenge: the key under which its handling is to be deduplicated.
    pub challenge_id: ChallengeId,
    /// The agent's request.
    pub request_id: RequestId,
    /// What was bought.
    pub resource_id: ResourceId,
    /// The plan that was bought.
    pub plan_id: PlanId,
    /// The payment on the chain, as it was reported.
    pub tx_hash: TxHash,
    /// Every further member of the report, except `accessToken`.
    pub details: Map<String, Value>,
    /// When it was received.
    pub received_at: Timestamp,
}

impl Payment {
    /// A payment without details: for stores, and for tests of handlers.
    pub fn new(
        challenge_id: ChallengeId,
        request_id: RequestId,
        resource_id: ResourceId,
        plan_id: PlanId,
        tx_hash: TxHash,
        received_at: Timestamp,
    ) -> Self {
        let details = Map::new();
        Self { challenge_id, request_id, resource_id, plan_id, tx_hash, details, received_at }
    }
}

/// What became of a payment that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PaymentOutcome {
    /// It is kept now.
    Recorded,
    /// It was kept before, with the same hash.
    Repeated,
    /// Its challenge is known with another hash, or its hash with another challenge.
    Conflict,
}

/// How many payments wait for their handler to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingPayments {
    /// How many there are.
    pub count: u64,
    /// When the oldest of them was received.
    pub oldest: Option<Timestamp>,
}

/// A payment to be handled.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedPayment {
    /// The payment.
    pub payment: Payment,
    /// How often its handling was begun before.
    pub attempts: u32,
}

/// How the lease of a payment ends.
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
pub(crate) enum Ending {
    Handled(Timestamp),
    Again { next_attempt: Timestamp, error: Option<String> },
}

#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
impl Ending {
    /// When it was handled, when it is due again, in microseconds, and what is to be kept of an error.
    pub(crate) fn columns(&self) -> (Option<i64>, Option<i64>, Option<&str>) {
        match self {
            Self::Handled(at) => (Some(at.as_micros()), None, None),
            Self::Again { next_attempt, error } => {
                (None, Some(next_attempt.as_micros()), error.as_deref())
            }
        }
    }
}
