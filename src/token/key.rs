use std::fmt;

use super::signature::Verifier;
use crate::{domain::Secret, error::ConfigFault};

/// The signature algorithms that are accepted (RFC 7518, section 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// EdDSA with Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The name in a token's header. It is compared as it stands, case included.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key that verifies tokens of exactly one algorithm.
#[derive(Debug)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    verifier: Verifier,
    kid: Option<Box<str>>,
}

impl VerifyingKey {
    /// A shared secret for HS256.
    pub fn hs256(secret: &Secret) -> Self {
        Self { algorithm: Algorithm::Hs256, verifier: Verifier::hmac(secret), kid: None }
    }

    /// A public key in SPKI PEM (`-----BEGIN PUBLIC KEY-----`) for an asymmetric algorithm.
    /// `name` is the setting it came from and stands in the error.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::BadKey`] when it is not a public key of this algorithm, or an RSA key of
    /// fewer than 2048 or more than 8192 bits (4096 where `rust_crypto` is the only crypto feature).
    pub fn from_pem(name: &str, algorithm: Algorithm, pem: &str) -> Result<Self, ConfigFault> {
        let verifier = Verifier::public(algorithm, pem)
            .map_err(|reason| ConfigFault::bad_key(name, reason))?;
        Ok(Self { algorithm, verifier, kid: None })
    }

    /// A public key in SPKI PEM of whichever kind it is: RSA, P-256 or Ed25519.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem), when it is of none of them.
    pub fn from_any_pem(name: &str, pem: &str) -> Result<Self, ConfigFault> {
        let kind = [
            (Algorithm::Rs256, [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01].as_slice()),
            (Algorithm::Es256, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01].as_slice()),
            (Algorithm::EdDsa, [0x2b, 0x65, 0x70].as_slice()),
        ];
        let der = super::signature::public_key_der(pem)
            .map_err(|reason| ConfigFault::bad_key(name, reason))?;
        // The algorithm's identifier stands within the first bytes of every SPKI structure.
        let head = &der[..der.len().min(32)];
        let algorithm = kind
            .into_iter()
            .find(|(_, oid)| head.windows(oid.len()).any(|window| window == *oid))
            .map(|(algorithm, _)| algorithm)
            .ok_or_else(|| {
                ConfigFault::bad_key(name, "it is neither an RSA, a P-256 nor an Ed25519 key")
            })?;
        Self::from_pem(name, algorithm, pem)
    }

    /// Names the key. A token whose header has this `kid` is tried with the keys of that name
    /// alone; a token with a `kid` that no key has is tried with the keys that have no name.
    #[must_use]
    pub fn kid(mut self, kid: impl Into<Box<str>>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The algorithm, which is the key's own and never a token's choice.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier.verify(message, signature)
    }
}
