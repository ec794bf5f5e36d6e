use std::{fmt, sync::Weak};

use async_trait::async_trait;

use super::denials::TokenDigest;
use crate::{
    apikey::{KeyDigest, KeyRecord},
    domain::{Actor, KeyId, Timestamp},
    error::StoreError,
};

/// Where API keys are kept, found by their digest.
///
/// A revoked or expired key is still found: whoever asks checks its times, so that its holder
/// can be told why.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{KeyStore, MemoryStore, apikey::KeyDigest};
///
/// let store: &dyn KeyStore = &MemoryStore::new();
/// assert!(store.find(&KeyDigest::of("ak_unknown")).await?.is_none());
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait KeyStore: fmt::Debug + Send + Sync + 'static {
    /// The record with this digest, whatever its state.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell. Never stands for "unknown".
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError>;

    /// The record with this id, whatever its state.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError>;

    /// Adds a record, whose id and digest must be new, and says in its history who made it.
    ///
    /// # Errors
    ///
    /// Fails when the store can't keep it; with
    /// [`StoreErrorKind::Conflict`](crate::error::StoreErrorKind::Conflict) when it holds the id
    /// or the digest already.
    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError>;

    /// Marks a key as revoked, durably, and tells the listeners before it returns. `None` when
    /// there is no such key, or it was revoked before; else the digest that is dead now.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether the key is revoked now.
    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError>;

    /// Succeeds while the store can answer.
    ///
    /// # Errors
    ///
    /// Fails when it can't.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Brings what was written to where it is to stay. For the end of a process, after its last
    /// request; a store may refuse everything from then on. Does nothing unless a store needs it.
    ///
    /// # Errors
    ///
    /// Fails when the store can't. Nothing that was acknowledged is lost then.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether changes that other processes make are heard at the moment. Where not, caches hold for
    /// their time to live. Stores without other processes, or without such notifications, say `true`.
    fn hears_changes(&self) -> bool {
        true
    }

    /// Whether listeners are told, by [`ChangeListener::caught_up`], up to when all changes are told
    /// that [`find`](Self::find) could read. A cache may then remember a key longer than its time to
    /// live. `false` unless a store says otherwise: only one that reads keys where it looks for changes
    /// can know. A store that wraps another one passes on `true` only if it reads from nowhere else.
    fn proves_changes(&self) -> bool {
        false
    }

    /// Asks to be told of every change to a key that this store makes or sees, by whichever
    /// process. A store without such notifications does nothing: caches then hold for their time to live.
    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        drop(listener);
    }
}

/// What changed in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The key with this digest was added, changed or removed.
    Key(KeyDigest),
    /// The access tokens with this digest are denied from now on.
    Token(TokenDigest),
    /// Anything may have changed.
    All,
}

/// What stands before the digest of a denied token in an engine's log of changes. A key's digest
/// stands there alone.
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
const DENIED: u8 = 1;

#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
impl Change {
    /// A line of an engine's log; `None` where it can't be understood.
    pub(crate) fn logged(bytes: &[u8]) -> Option<Self> {
        if let Ok(digest) = bytes.try_into() {
            return Some(Self::Key(KeyDigest::from_bytes(digest)));
        }
        let token = bytes.strip_prefix(&[DENIED])?.try_into().ok()?;
        Some(Self::Token(TokenDigest::from_bytes(token)))
    }
}

/// Hears of changes in a store. Called on the store's own threads: it must be quick and must not
/// block.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
/// use key0_auth::{KeyStore, MemoryStore, store::spi::{Change, ChangeListener}};
///
/// #[derive(Debug, Default)]
/// struct Count(AtomicUsize);
///
/// impl ChangeListener for Count {
///     fn changed(&self, _: Change) {
///         self.0.fetch_add(1, Ordering::SeqCst);
///     }
/// }
///
/// let count: Arc<dyn ChangeListener> = Arc::new(Count::default());
/// // It is told for as long as somebody holds it.
/// MemoryStore::new().subscribe(Arc::downgrade(&count));
/// ```
pub trait ChangeListener: fmt::Debug + Send + Sync + 'static {
    /// Something changed; from the return on, no old answer may be given.
    fn changed(&self, change: Change);

    /// The store begins to look for changes that it has not told of: see
    /// [`caught_up`](Self::caught_up).
    fn catching_up(&self) {}

    /// The store has told of every change that had been made, by whichever process, when it last was
    /// [`catching_up`](Self::catching_up). A cache may then remember more than its time to live: see
    /// [`CachedBuilder::time_to_live_while_hearing`](crate::store::CachedBuilder::time_to_live_while_hearing).
    ///
    /// Both are said by one task or thread, in turns, and only by a store that has seen for itself what
    /// is new: that it has heard of nothing is no reason. What it looks at must be what
    /// [`find`](KeyStore::find) reads, so on the same server. A key that is new need not be told of:
    /// what is unknown is remembered for the time to live alone.
    fn caught_up(&self) {}
}
