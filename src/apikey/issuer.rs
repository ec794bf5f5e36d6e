use std::fmt;

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    digest::KeyDigest,
    format::{KeyFormat, PlainKey},
};
use crate::{
    domain::{KeyId, Secret, SecretSet},
    error::RandomError,
};

/// Tells derived keys of this crate from whatever else the same secret may be used for.
const KEY_LABEL: &[u8] = b"key0-auth issued key v1";
const OWN_LABEL: &[u8] = b"key0-auth application's own credential v1";
const SECRET_LABEL: &[u8] = b"key0-auth issuance secret v1";
const FINGERPRINT_LABEL: &[u8] = b"key0-auth issuance secret fingerprint v1";

/// Random bytes that go into one derived key; of no use without the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; 16]);

/// Tells which secret a key was derived from, without telling the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFingerprint([u8; 16]);

/// The secrets from which issued credentials are derived, so that a retry gets the same one
/// although only its digest is stored.
///
/// HKDF-SHA256 (RFC 5869) over a fixed label, a random nonce and the record's id.
///
/// # To change the secret
///
/// A retry can reach another process than the first request. Where several run, restart them one
/// by one, three times over, each round only when the one before is through:
///
/// 1. the new secret as a *previous* one, the old one still current;
/// 2. the new one current, the old one previous;
/// 3. the new one alone, a day after the second round: as long as retries are answered.
///
/// A single process needs the last two. Where secrets are
/// [derived](Self::derived_from) from those for internal authentication, the same holds for those.
///
/// ```
/// use key0_auth::{apikey::IssuanceSecrets, domain::{Secret, SecretSet}};
///
/// let old = Secret::new("ISSUANCE_PREVIOUS_SECRETS", "the secret of last year, of 32 bytes")?;
/// let new = Secret::new("ISSUANCE_SECRET", "the secret of this year, of 32 bytes")?;
/// let secrets = IssuanceSecrets::new(&SecretSet::new(new).previous(old));
/// # Ok::<(), key0_auth::error::ConfigFault>(())
/// ```
#[derive(Debug, Clone)]
pub struct IssuanceSecrets {
    /// The current one first.
    secrets: Vec<(SecretFingerprint, Secret)>,
}

impl Nonce {
    /// 128 random bits from the operating system.
    ///
    /// # Errors
    ///
    /// Fails when the operating system gives no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(RandomError::new)?;
        Ok(Self(bytes))
    }

    /// A nonce that was stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The nonce's bytes, to be stored for as long as a retry is answered.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}

impl SecretFingerprint {
    fn of(secret: &Secret) -> Self {
        let hash = Sha256::new()
            .chain_update(FINGERPRINT_LABEL)
            .chain_update(secret.expose_bytes())
            .finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        Self(short)
    }

    /// A fingerprint that was stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The fingerprint's bytes, to be stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl IssuanceSecrets {
    /// Derives new keys from the current secret, and old ones again from whichever they came from.
    pub fn new(secrets: &SecretSet) -> Self {
        Self {
            secrets: secrets
                .iter()
                .map(|secret| (SecretFingerprint::of(secret), secret.clone()))
                .collect(),
        }
    }

    /// Secrets of our own, derived from those for internal authentication, for operators who
    /// configure none for issuance.
    pub fn derived_from(internal: &SecretSet) -> Self {
        let derive = |secret: &Secret| {
            let mut bytes = vec![0; 32];
            expand(secret, &[SECRET_LABEL], &mut bytes);
            match Secret::new(&format!("{}, for issuance", secret.name()), bytes) {
                Ok(secret) => secret,
                Err(_) => unreachable!("32 bytes are enough"),
            }
        };
        let first = SecretSet::new(derive(internal.current()));
        let previous = internal.iter().skip(1).map(derive);
        Self::new(&previous.fold(first, SecretSet::previous))
    }

    /// The fingerprint of the secret that new keys are derived from.
    pub fn current(&self) -> SecretFingerprint {
        self.secrets[0].0
    }

    /// The key for this record, as derived from the secret with this fingerprint. `None` when
    /// that secret is not configured any more.
    pub fn derive(
        &self,
        format: &KeyFormat,
        fingerprint: &SecretFingerprint,
        nonce: &Nonce,
        id: &KeyId,
    ) -> Option<PlainKey> {
        let secret = self.secret(fingerprint)?;
        let mut stream = [0; 128];
        expand(secret, &[KEY_LABEL, nonce.as_bytes(), id.as_str().as_bytes()], &mut stream);
        format.key_from_stream(&stream)
    }

    /// A digest of a credential that the application has made. It takes the secret to compute, so
    /// that a short credential can't be searched for in the database alone. `None` when that
    /// secret is not configured any more.
    pub(crate) fn digest(
        &self,
        fingerprint: &SecretFingerprint,
        credential: &str,
    ) -> Option<KeyDigest> {
        let mut digest = [0; 32];
        expand(self.secret(fingerprint)?, &[OWN_LABEL, credential.as_bytes()], &mut digest);
        Some(KeyDigest::from_bytes(digest))
    }

    fn secret(&self, fingerprint: &SecretFingerprint) -> Option<&Secret> {
        let mut secrets = self.secrets.iter();
        let (_, secret) = secrets.find(|(known, _)| known.0.ct_eq(&fingerprint.0).into())?;
        secret.used();
        Some(secret)
    }
}

fn expand(secret: &Secret, info: &[&[u8]], okm: &mut [u8]) {
    let hkdf = Hkdf::<Sha256>::new(None, secret.expose_bytes());
    if hkdf.expand_multi_info(info, okm).is_err() {
        unreachable!("HKDF-SHA256 gives up to 8,160 bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(fill: u8) -> Secret {
        Secret::new("T", vec![fill; 32]).expect("32 bytes")
    }

    #[test]
    fn the_same_input_gives_the_same_key_and_any_other_another() {
        let secrets = IssuanceSecrets::new(&SecretSet::new(secret(1)).previous(secret(2)));
        let format = KeyFormat::default();
        let (nonce, id) = (Nonce::from_bytes([7; 16]), KeyId::new("id-1").expect("legal"));
        let derive = |fingerprint: &SecretFingerprint, nonce: &Nonce, id: &KeyId| {
            let key = secrets.derive(&format, fingerprint, nonce, id).expect("known secret");
            key.expose().to_owned()
        };
        let current = secrets.current();
        let key = derive(&current, &nonce, &id);
        assert!(format.is_well_formed(&key));
        assert_eq!(key, derive(&current, &nonce, &id));
        assert_ne!(key, derive(&SecretFingerprint::of(&secret(2)), &nonce, &id));
        assert_ne!(key, derive(&current, &Nonce::from_bytes([8; 16]), &id));
        assert_ne!(key, derive(&current, &nonce, &KeyId::new("id-2").expect("legal")));
        let gone = SecretFingerprint::of(&secret(3));
        assert!(secrets.derive(&format, &gone, &nonce, &id).is_none());
    }

    #[test]
    fn previous_internal_secrets_give_previous_issuance_secrets() {
        let old = IssuanceSecrets::derived_from(&SecretSet::new(secret(1)));
        let rotated = IssuanceSecrets::derived_from(&SecretSet::new(secret(2)).previous(secret(1)));
        let (nonce, id) = (Nonce::from_bytes([7; 16]), KeyId::new("id-1").expect("legal"));
        let format = KeyFormat::default();
        let derive = |secrets: &IssuanceSecrets| {
            let key = secrets.derive(&format, &old.current(), &nonce, &id).expect("known secret");
            key.expose().to_owned()
        };
        assert_eq!(derive(&old), derive(&rotated));
        assert_ne!(old.current(), rotated.current());
    }
}
