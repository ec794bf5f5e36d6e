use std::fmt;

use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable};

use super::bytes;
use crate::{
    error::{ConfigError, ConfigFault, MAX_TOLD_NAME},
    metrics::Counter,
};

/// The least number of bytes that a shared secret may have.
pub const MIN_SECRET_BYTES: usize = 32;
// What is told of a body's members is shorter than any secret.
const _: () = assert!(MAX_TOLD_NAME < MIN_SECRET_BYTES);

/// Secrets that stand in public examples: everybody knows them.
const PUBLISHED_EXAMPLES: [&str; 6] = [
    "shared-secret-with-key0-service-min-32-chars",
    "separate-internal-auth-secret-min-32-chars",
    "previous-secret-with-key0-service-32-chars!!",
    "your-secret-key-min-32-characters-long",
    "your-shared-secret-min-32-characters",
    "change-me-to-a-random-secret-of-32-chars",
];

/// How PEM texts begin that anybody may have.
const PUBLIC_PEM: [&str; 3] =
    ["-----BEGIN PUBLIC KEY", "-----BEGIN RSA PUBLIC KEY", "-----BEGIN CERTIFICATE"];

/// A shared secret: redacted in `Debug`, compared in constant time, wiped from memory on drop.
///
/// There is no `Display`, no `PartialEq` and no serialisation. To read it, say so:
/// [`expose_bytes`](Self::expose_bytes).
///
/// ```
/// use key0_auth::domain::Secret;
///
/// let secret = Secret::new("INTERNAL_AUTH_SECRET", "a secret for Key0's own calls alone")?;
/// assert!(secret.matches(b"a secret for Key0's own calls alone"));
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::new("INTERNAL_AUTH_SECRET", "too short").is_err());
/// # Ok::<(), key0_auth::error::ConfigFault>(())
/// ```
#[derive(Clone)]
pub struct Secret {
    name: Box<str>,
    bytes: SecretSlice<u8>,
    digest: [u8; 32],
    uses: Counter,
}

impl Secret {
    /// Takes a secret of at least [`MIN_SECRET_BYTES`] bytes. `name` is the setting it came from
    /// and stands in the error.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::TooShort`] when it has fewer bytes, [`ConfigFault::BadKey`] when it is a
    /// public key or a certificate in PEM.
    pub fn new(name: &str, bytes: impl Into<Vec<u8>>) -> Result<Self, ConfigFault> {
        let bytes: Vec<u8> = bytes.into();
        if bytes.len() < MIN_SECRET_BYTES {
            return Err(ConfigFault::TooShort {
                name: name.to_owned(),
                length: bytes.len(),
                minimum: MIN_SECRET_BYTES,
            });
        }
        // Whoever has the public key could sign with it.
        if PUBLIC_PEM.iter().any(|label| bytes.trim_ascii_start().starts_with(label.as_bytes())) {
            let reason = "it is a public key or a certificate, which is no secret";
            return Err(ConfigFault::bad_key(name, reason));
        }
        let digest = Sha256::digest(&bytes).into();
        Ok(Self { name: name.into(), bytes: bytes.into(), digest, uses: Counter::default() })
    }

    /// The setting that it came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The secret itself. Every call of this is a place to look at in a review.
    pub fn expose_bytes(&self) -> &[u8] {
        self.bytes.expose_secret()
    }

    /// Whether `candidate` is this secret, in a time that tells neither content nor length.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.matches_digest(&Sha256::digest(candidate).into()).into()
    }

    /// Whether this secret is printed in public examples, and so is known to everybody, be it with
    /// quotes or white space around it, which some tools hand on with a value.
    pub fn is_published_example(&self) -> bool {
        let mut bare = self.expose_bytes().trim_ascii();
        while let [b'"' | b'\'' | b'`', inner @ .., b'"' | b'\'' | b'`'] = bare {
            bare = inner.trim_ascii();
        }
        let bare = Sha256::digest(bare);
        let is_bare = |example: &&str| bytes::ct_eq(&Sha256::digest(example), &bare).into();
        PUBLISHED_EXAMPLES.iter().any(is_bare)
    }

    /// SHA-256 of the secret: tells whether two are equal without showing either.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// It has verified something.
    pub(crate) fn used(&self) {
        self.uses.count("key0_secret_uses_total", "secret", &self.name);
    }

    fn matches_digest(&self, candidate: &[u8; 32]) -> Choice {
        bytes::ct_eq(&self.digest, candidate)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A current secret and the previous ones, all of which are accepted while callers move over.
///
/// ```
/// use key0_auth::domain::{Secret, SecretSet};
///
/// let old = Secret::new("INTERNAL_AUTH_PREVIOUS_SECRETS", "the secret before the current one")?;
/// let new = Secret::new("INTERNAL_AUTH_SECRET", "a secret for Key0's own calls alone")?;
/// let secrets = SecretSet::new(new).previous(old);
/// assert!(secrets.matches(b"the secret before the current one"));
/// # Ok::<(), key0_auth::error::ConfigFault>(())
/// ```
#[derive(Debug, Clone)]
pub struct SecretSet {
    current: Secret,
    previous: Vec<Secret>,
}

impl SecretSet {
    /// A set of one.
    pub fn new(current: Secret) -> Self {
        Self { current, previous: Vec::new() }
    }

    /// Adds a secret that was current before.
    #[must_use]
    pub fn previous(mut self, secret: Secret) -> Self {
        self.previous.push(secret);
        self
    }

    /// The secret to use for new work.
    pub fn current(&self) -> &Secret {
        &self.current
    }

    /// All of them, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Whether `candidate` is one of them. Every one is compared, whichever matches.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let digest = Sha256::digest(candidate).into();
        let none = u32::MAX;
        let mut found = none;
        for (place, secret) in (0..).zip(self.iter()) {
            found.conditional_assign(&place, secret.matches_digest(&digest));
        }
        if let Some(secret) = self.iter().nth(found as usize) {
            secret.used();
        }
        found != none
    }
}

/// Checks at start-up that secrets of different purposes differ pairwise, so that knowing one never
/// opens what another protects. Hand it all of them, each with its previous ones: access token
/// secrets, internal secrets, issuance secrets, the gateway's and bootstrap keys.
///
/// ```
/// use key0_auth::domain::{Secret, check_secrets_differ};
///
/// let tokens = Secret::new("KEY0_ACCESS_TOKEN_SECRET", "one secret for all, as it is so handy")?;
/// let internal = Secret::new("INTERNAL_AUTH_SECRET", "one secret for all, as it is so handy")?;
/// assert!(check_secrets_differ([&tokens, &internal]).is_err());
/// # Ok::<(), key0_auth::error::ConfigFault>(())
/// ```
///
/// # Errors
///
/// [`ConfigFault::SameSecret`] for each pair that is equal.
pub fn check_secrets_differ<'a>(
    secrets: impl IntoIterator<Item = &'a Secret>,
) -> Result<(), ConfigError> {
    let secrets: Vec<&Secret> = secrets.into_iter().collect();
    let mut faults = Vec::new();
    for (i, first) in secrets.iter().enumerate() {
        let equal = secrets[i + 1..].iter().filter(|second| first.digest == second.digest);
        faults.extend(equal.map(|second| ConfigFault::SameSecret {
            first: first.name().to_owned(),
            second: second.name().to_owned(),
        }));
    }
    ConfigError::check(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(fill: u8) -> Secret {
        Secret::new("TEST", vec![fill; 32]).expect("long enough")
    }

    #[test]
    fn a_short_secret_is_refused_by_name() {
        let fault = Secret::new("INTERNAL_AUTH_SECRET", "x".repeat(31)).expect_err("31 bytes");
        assert_eq!(
            fault.to_string(),
            "INTERNAL_AUTH_SECRET is too short: 31 bytes, at least 32 are needed"
        );
    }

    #[test]
    fn matches_current_and_previous_only() {
        let set = SecretSet::new(secret(1)).previous(secret(2));
        assert!(set.matches(&[1; 32]));
        assert!(set.matches(&[2; 32]));
        for other in [&[3; 32][..], &[1; 31], &[1; 33], b""] {
            assert!(!set.matches(other));
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let text = format!(
            "{:?}",
            SecretSet::new(Secret::new("T", "a-secret-that-must-never-be-shown").expect("33"))
        );
        assert!(!text.contains("never"), "{text}");
        assert!(!text.contains("97"), "{text}");
    }

    #[test]
    fn knows_the_published_examples() {
        let example = Secret::new("T", "shared-secret-with-key0-service-min-32-chars").expect("44");
        assert!(example.is_published_example());
        for quoted in [
            "'change-me-to-a-random-secret-of-32-chars'",
            "\" 'your-secret-key-min-32-characters-long'\"\n",
        ] {
            assert!(Secret::new("T", quoted).expect("long").is_published_example(), "{quoted}");
        }
        assert!(!secret(1).is_published_example());
    }
}
