use std::{
    fmt,
    hash::{Hash, Hasher},
};

use sha2::{Digest, Sha256};

use crate::domain::bytes;

/// SHA-256 of a credential: all that is ever stored of it.
///
/// An issued key carries at least 160 random bits, so that a fast digest without a pepper can't
/// be searched. Equality takes the same time whichever bytes differ.
///
/// ```
/// use key0_auth::apikey::KeyDigest;
///
/// let digest = KeyDigest::of("a key of another service, to be taken over");
/// assert_eq!(KeyDigest::from_bytes(*digest.as_bytes()), digest);
/// ```
#[derive(Clone, Copy, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of a credential.
    pub fn of(credential: &str) -> Self {
        Self(Sha256::digest(credential).into())
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

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        bytes::ct_eq(&self.0, &other.0).into()
    }
}

impl Hash for KeyDigest {
    /// Eight bytes say where to look, as all are evenly spread; what is found, all 32 say.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}
