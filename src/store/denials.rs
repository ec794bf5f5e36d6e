use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::keys::KeyStore;
use crate::{
    domain::{ChallengeId, Timestamp},
    error::StoreError,
};

/// Where access tokens are denied that would be good otherwise: their holder has ended them, or
/// their purchase was revoked.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use key0_auth::{MemoryStore, domain::{Clock, SystemClock}};
/// use key0_auth::store::{DenialStore, spi::{Denial, TokenDigest}};
///
/// let store = MemoryStore::new();
/// let token = TokenDigest::of(&"challenge-1".parse()?);
/// let denial = Denial { token, until: SystemClock.now().plus(Duration::from_secs(3_600)) };
/// store.deny(&denial).await?;
/// assert_eq!(store.denials(None, 100).await?, [denial]);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait DenialStore: KeyStore {
    /// Denies the tokens with one `jti`, durably, and tells the listeners before it returns. Where
    /// they are denied already, the later end counts.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether they are denied now.
    async fn deny(&self, denial: &Denial) -> Result<(), StoreError>;

    /// Up to `limit` denials in the order of their digests, from the one after `after` on. A denial
    /// that is there all the while is on one of these pages, whatever comes and goes meanwhile. Fewer
    /// than `limit` are the last page.
    ///
    /// One whose end can't be understood counts as denied for ever: a row that is damaged must
    /// neither let its token in nor hide the others.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn denials(
        &self,
        after: Option<&TokenDigest>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError>;

    /// Removes up to `limit` denials that ended before `before`, and says how many.
    ///
    /// # Errors
    ///
    /// Fails when the store can't; some may be removed then.
    async fn purge_denials(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError>;
}

/// SHA-256 of the `jti` of an access token, which is the challenge of its purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of the tokens of this purchase.
    pub fn of(jti: &ChallengeId) -> Self {
        Self(Sha256::digest(jti.as_str()).into())
    }

    /// A digest that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes, to be stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The tokens of one purchase are denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// Which ones.
    pub token: TokenDigest,
    /// Until when. A token of them that lives longer is good again some time after it.
    pub until: Timestamp,
}
