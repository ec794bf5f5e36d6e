use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};
use subtle::ConditionallySelectable;

use super::digest::KeyDigest;
use crate::domain::{KeyId, Role, Secret, bytes};

/// Keys that come from the configuration, in any shape of at least 32 bytes.
///
/// They are compared before anything else is done with a credential: all of them, in constant
/// time. No API creates, lists or revokes them.
#[derive(Debug, Clone, Default)]
pub struct BootstrapKeys {
    keys: Vec<BootstrapKey>,
}

#[derive(Debug, Clone)]
struct BootstrapKey {
    holder: Arc<BootstrapHolder>,
    secret: Secret,
}

/// Whose key one of them is; the id is for logs.
pub(crate) struct BootstrapHolder {
    pub(crate) id: KeyId,
    pub(crate) role: Role,
    /// Of the key itself, as the id is that of another key when the list is another one. Not to be
    /// shown.
    pub(crate) mark: [u8; 16],
}

impl BootstrapKeys {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. Its id is made of the role and its place, as `bootstrap-master-1`.
    #[must_use]
    pub fn key(mut self, role: Role, secret: Secret) -> Self {
        let place = self.keys.iter().filter(|key| key.holder.role == role).count() + 1;
        let id = match KeyId::new(&format!("bootstrap-{}-{place}", role.as_str())) {
            Ok(id) => id,
            Err(_) => unreachable!("a role's name and a number make an id"),
        };
        let holder = Arc::new(BootstrapHolder { id, role, mark: mark(&secret) });
        self.keys.push(BootstrapKey { holder, secret });
        self
    }

    /// Whether one of them has this digest.
    pub(crate) fn contains(&self, digest: &KeyDigest) -> bool {
        self.keys.iter().any(|key| bytes::ct_eq(key.secret.digest(), digest.as_bytes()).into())
    }

    /// The holder of the key that `credential` is. Every one is compared, whichever matches.
    pub(crate) fn find(&self, credential: &str) -> Option<&Arc<BootstrapHolder>> {
        if self.keys.is_empty() {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(credential).into();
        let none = u32::MAX;
        let mut found = none;
        for (place, key) in (0..).zip(&self.keys) {
            found.conditional_assign(&place, bytes::ct_eq(key.secret.digest(), &digest));
        }
        if found == none { None } else { self.keys.get(found as usize).map(|key| &key.holder) }
    }
}

/// Tells one key from another, and nothing of the key.
fn mark(secret: &Secret) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(b"key0-auth bootstrap key mark\0")
        .chain_update(secret.digest())
        .finalize();
    let mut mark = [0; 16];
    mark.copy_from_slice(&digest[..16]);
    mark
}

impl fmt::Debug for BootstrapHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootstrapHolder")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_and_nothing_else() {
        let secret = |fill: &str| Secret::new("T", fill.repeat(32)).expect("32 bytes");
        let keys = BootstrapKeys::new()
            .key(Role::Master, secret("a"))
            .key(Role::Read, secret("b"))
            .key(Role::Master, secret("c"));
        let id = |credential: String| keys.find(&credential).map(|holder| holder.id.to_string());
        assert_eq!(id("a".repeat(32)).as_deref(), Some("bootstrap-master-1"));
        assert_eq!(id("b".repeat(32)).as_deref(), Some("bootstrap-read-1"));
        assert_eq!(id("c".repeat(32)).as_deref(), Some("bootstrap-master-2"));
        assert_eq!(id("a".repeat(31)), None);
        assert_eq!(id(String::new()), None);
        assert!(BootstrapKeys::new().find("").is_none());
    }
}
