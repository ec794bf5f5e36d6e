use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};
use subtle::ConditionallySelectable;

use super::digest::KeyDigest;
use crate::{
    domain::{KeyId, Role, Secret, bytes},
    error::ConfigFault,
};

/// A longer text before a `=` is a part of a key, not its name.
const MAX_SPLIT_NAME: usize = 32;

/// Keys that come from the configuration, in any shape of at least 32 bytes.
///
/// They are compared before anything else is done with a credential: all of them, in constant
/// time. No API creates, lists or revokes them.
///
/// ```
/// use key0_auth::{apikey::BootstrapKeys, domain::{Role, Secret}};
///
/// let key = Secret::new("MASTER_API_KEYS", "a key of 32 bytes or more for the operator")?;
/// let keys = BootstrapKeys::new().key(Role::Master, key);
/// # Ok::<(), key0_auth::error::ConfigFault>(())
/// ```
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
    /// Of the key itself, as a name can be given to another key. Not to be shown.
    pub(crate) mark: [u8; 16],
}

impl BootstrapKeys {
    /// No keys yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. Its id is made of the role and a short fingerprint of the key, as
    /// `bootstrap-master-3f9c01d2`: what logs and histories call it stays, wherever it is added.
    #[must_use]
    pub fn key(self, role: Role, secret: Secret) -> Self {
        let (_, shown) = marks(&secret);
        let name: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add(role, &name, secret)
    }

    /// Adds one with a name of its own. Its id is made of the role and the name, as
    /// `bootstrap-master-alice`.
    ///
    /// ```
    /// use key0_auth::{apikey::BootstrapKeys, domain::{Role, Secret}};
    ///
    /// let key = Secret::new("MASTER_API_KEYS", "a key of 32 bytes or more for alice alone")?;
    /// let keys = BootstrapKeys::new().named(Role::Master, "alice", key)?;
    /// # Ok::<(), key0_auth::error::ConfigFault>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigFault::Invalid`] where the name is not 1 to 64 of `a-z`, `A-Z`, `0-9`, `.`, `_` and
    /// `-`, or another key of this role has it.
    pub fn named(self, role: Role, name: &str, secret: Secret) -> Result<Self, ConfigFault> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(legal) {
            let reason = "the name of a key is 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'";
            return Err(ConfigFault::invalid(secret.name(), reason));
        }
        let id = id(role, name);
        if self.keys.iter().any(|key| key.holder.id == id) {
            return Err(ConfigFault::invalid(secret.name(), "another key has the same name"));
        }
        Ok(self.add(role, name, secret))
    }

    /// The name and the key of `name=key`, or a bare key without one. The padding of a bare key in
    /// base64 is no key.
    ///
    /// ```
    /// use key0_auth::apikey::BootstrapKeys;
    ///
    /// assert_eq!(BootstrapKeys::split_name("ada=a-key"), (Some("ada"), "a-key"));
    /// assert_eq!(BootstrapKeys::split_name("YS1rZXk=="), (None, "YS1rZXk=="));
    /// ```
    pub fn split_name(item: &str) -> (Option<&str>, &str) {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match item.split_once('=') {
            Some((name, key))
                if (1..=MAX_SPLIT_NAME).contains(&name.len())
                    && name.bytes().all(legal)
                    && !key.trim_matches('=').is_empty() =>
            {
                (Some(name), key)
            }
            _ => (None, item),
        }
    }

    fn add(mut self, role: Role, name: &str, secret: Secret) -> Self {
        let holder = BootstrapHolder { id: id(role, name), role, mark: marks(&secret).0 };
        self.keys.push(BootstrapKey { holder: Arc::new(holder), secret });
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
        let key = self.keys.get(found as usize)?;
        key.secret.used();
        Some(&key.holder)
    }
}

fn id(role: Role, name: &str) -> KeyId {
    match KeyId::new(&format!("bootstrap-{}-{name}", role.as_str())) {
        Ok(id) => id,
        Err(_) => unreachable!("a role and such a name make an id"),
    }
}

/// Two that tell one key from another, and nothing of the key; the second may be shown.
fn marks(secret: &Secret) -> ([u8; 16], [u8; 4]) {
    let digest = Sha256::new()
        .chain_update(b"key0-auth bootstrap key mark\0")
        .chain_update(secret.digest())
        .finalize();
    let (mut mark, mut shown) = ([0; 16], [0; 4]);
    mark.copy_from_slice(&digest[..16]);
    shown.copy_from_slice(&digest[16..20]);
    (mark, shown)
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
            .named(Role::Read, "alice", secret("b"))
            .and_then(|keys| keys.named(Role::Master, "alice", secret("c")))
            .expect("two roles have a name of their own");
        let id = |credential: String| keys.find(&credential).map(|holder| holder.id.to_string());
        assert_eq!(id("a".repeat(32)).as_deref(), Some("bootstrap-master-e231b376"));
        assert_eq!(id("b".repeat(32)).as_deref(), Some("bootstrap-read-alice"));
        assert_eq!(id("c".repeat(32)).as_deref(), Some("bootstrap-master-alice"));
        assert_eq!(id("a".repeat(31)), None);
        assert_eq!(id(String::new()), None);
        assert!(BootstrapKeys::new().find("").is_none());
    }

    #[test]
    fn what_a_key_is_called_does_not_depend_on_its_place() {
        let secret = |fill: &str| Secret::new("T", fill.repeat(32)).expect("32 bytes");
        let one = BootstrapKeys::new().key(Role::Read, secret("a")).key(Role::Read, secret("b"));
        let other = BootstrapKeys::new().key(Role::Read, secret("b"));
        let id = |keys: &BootstrapKeys| keys.find(&"b".repeat(32)).map(|holder| holder.id.clone());
        assert_eq!(id(&one), id(&other));
    }

    #[test]
    fn names() {
        let secret = |fill: &str| Secret::new("T", fill.repeat(32)).expect("32 bytes");
        let named = |name: &str| BootstrapKeys::new().named(Role::Read, name, secret("a"));
        for bad in ["", "a b", "é", "a/b", &"a".repeat(65)] {
            assert!(named(bad).is_err(), "{bad}");
        }
        let twice = named("alice").and_then(|keys| keys.named(Role::Read, "alice", secret("b")));
        let told = twice.expect_err("the name is taken").to_string();
        assert_eq!(told, "T is not valid: another key has the same name");
    }
}
