use std::fmt;

use async_trait::async_trait;

use super::{Lease, RequestFingerprint};
use crate::{domain::Timestamp, error::StoreError};

/// Where the answers to requests with an `Idempotency-Key` are kept.
///
/// Every method is one transaction, also against other processes on the same store.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use key0_auth::{MemoryStore, domain::{Clock, SystemClock}, store::IdempotencyStore};
/// use key0_auth::store::spi::{IdempotencyState, Lease, RequestFingerprint, Slot};
///
/// let (store, now) = (MemoryStore::new(), SystemClock.now());
/// let slot = Slot { scope: "acme".to_owned(), key: "order-1".to_owned() };
/// let fingerprint = RequestFingerprint::of([&b"POST /orders"[..]]);
/// let lease = Lease::new(now.plus(Duration::from_secs(30)));
/// let state = store.begin_request(&slot, &fingerprint, &lease, now).await?;
/// assert_eq!(state, IdempotencyState::Started);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait IdempotencyStore: fmt::Debug + Send + Sync + 'static {
    /// Claims a slot. One whose answer is past its time, or whose lease ran out without an answer,
    /// counts as free. So does one whose lease ends later than
    /// [`LONGEST_WAIT`](super::LONGEST_WAIT) from now: callers whose clocks differ a little ask for
    /// leases that are well below it.
    ///
    /// A slot that this very lease holds stays claimed, from now on until the lease's end: that is
    /// how a lease is renewed. One that it held and that has its answer is
    /// [`Done`](IdempotencyState::Done): that is how a caller learns that an answer is kept although
    /// the store's own word of it was lost.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn begin_request(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<IdempotencyState, StoreError> {
        self.claim(slot, fingerprint, lease, now, now).await
    }

    /// As [`begin_request`](Self::begin_request), but an answer that is there counts however long its
    /// time is over. For callers that can't tell whether `now` is ahead: see
    /// [`SteadyClock`](super::spi::SteadyClock).
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn begin_unless_answered(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<IdempotencyState, StoreError> {
        self.claim(slot, fingerprint, lease, now, NEVER).await
    }

    /// The same for both, and what a store has to have: leases are over by `now`, and answers that were
    /// kept until `answers_over_at` or earlier.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn claim(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
        answers_over_at: Timestamp,
    ) -> Result<IdempotencyState, StoreError>;

    /// Keeps the answer until `expires_at`. `false` where the lease is lost, and where this lease has
    /// kept an answer before. One that ran out is not lost while nobody took the slot and nothing
    /// purged it.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether it is kept.
    async fn complete_request(
        &self,
        slot: &Slot,
        lease: &Lease,
        response: &StoredResponse,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Frees the slot, as if it had never been claimed. Does nothing where the lease is lost.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell; then the slot is free when the lease runs out.
    async fn release_request(&self, slot: &Slot, lease: &Lease) -> Result<(), StoreError>;

    /// Removes up to `limit` slots whose time, or whose lease, is over at `now`, and says how many.
    /// A slot that counts as free only as its lease ends too late stays until then.
    ///
    /// # Errors
    ///
    /// Fails when the store can't; some may be removed then.
    async fn purge_requests(&self, now: Timestamp, limit: u32) -> Result<u32, StoreError>;
}

/// An instant at which no answer is past its time.
const NEVER: Timestamp = Timestamp::from_micros(i64::MIN);

/// Where one answer is kept: a caller and the key that the caller chose.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The caller. Not to be shown.
    pub scope: String,
    /// The caller's key.
    pub key: String,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("key", &self.key).finish_non_exhaustive()
    }
}

/// How the claim of a slot came out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdempotencyState {
    /// The slot is claimed: run the request, then complete or release it.
    Started,
    /// Another request with the same fingerprint holds it until then.
    InProgress {
        /// When the other's lease runs out.
        until: Timestamp,
    },
    /// The answer that was kept.
    Done(StoredResponse),
    /// The slot belongs to a request with another fingerprint.
    Reused,
}

/// An answer to be given again.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for StoredResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredResponse").field("status", &self.status).finish_non_exhaustive()
    }
}
