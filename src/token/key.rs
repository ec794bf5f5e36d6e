use super::{algorithm::Algorithm, pem, signature::Verifier};
use crate::{domain::Secret, error::ConfigFault, metrics::Counter};

/// A key that verifies tokens of exactly one algorithm.
///
/// ```
/// use key0_auth::{AccessTokens, domain::Secret, token::VerifyingKey};
///
/// let secret = Secret::new("KEY0_ACCESS_TOKEN_SECRET", "a secret that Key0 shares with us")?;
/// let tokens = AccessTokens::builder().key(VerifyingKey::hs256(&secret)).build()?;
/// # let _ = tokens;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    verifier: Verifier,
    kid: Option<Box<str>>,
    /// The setting that it came from.
    setting: Box<str>,
    uses: Counter,
}

/// The identifier of an RSA key that is for PSS alone (RFC 4055, section 3.1).
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];

impl VerifyingKey {
    pub(super) fn new(algorithm: Algorithm, verifier: Verifier) -> Self {
        Self { algorithm, verifier, kid: None, setting: "a JWK".into(), uses: Counter::default() }
    }

    /// A shared secret for HS256.
    pub fn hs256(secret: &Secret) -> Self {
        Self::new(Algorithm::Hs256, Verifier::hmac(secret)).of(secret.name())
    }

    /// A public key in SPKI PEM (`-----BEGIN PUBLIC KEY-----`) for an asymmetric algorithm. Line
    /// ends may be written out (`\n`). `name` is the setting it came from and stands in the error.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::BadKey`] when it is not one public key of this algorithm, when it is an RSA
    /// key of fewer than 2048 or more than 8192 bits (4096 where `rust_crypto` is the only crypto
    /// feature), or an Ed25519 key of small order. The reason says what it is instead.
    pub fn from_pem(name: &str, algorithm: Algorithm, pem: &str) -> Result<Self, ConfigFault> {
        let der = pem::public_key(pem).map_err(|reason| ConfigFault::bad_key(name, reason))?;
        let key = Self::from_spki(algorithm, &der);
        key.map(|key| key.of(name)).map_err(|reason| ConfigFault::bad_key(name, reason))
    }

    /// A public key in SPKI PEM of whichever kind it is: RSA, P-256 or Ed25519.
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem), when it is of none of them.
    pub fn from_any_pem(name: &str, pem: &str) -> Result<Self, ConfigFault> {
        let der = pem::public_key(pem).map_err(|reason| ConfigFault::bad_key(name, reason))?;
        let key = Self::from_any_spki(&der);
        key.map(|key| key.of(name)).map_err(|reason| ConfigFault::bad_key(name, reason))
    }

    /// All public keys of a text of one or more PEM blocks, each of whichever kind it is.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use key0_auth::{AccessTokens, token::VerifyingKey};
    ///
    /// let pem = "-----BEGIN PUBLIC KEY-----
    /// MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
    /// -----END PUBLIC KEY-----";
    /// let keys = VerifyingKey::all_from_pem("KEY0_PUBLIC_KEY", &format!("{pem}\n{pem}"))?;
    /// assert_eq!(keys.len(), 2);
    /// let tokens = AccessTokens::builder().keys(keys).build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_pem`](Self::from_pem), for the first block that can't be used.
    pub fn all_from_pem(name: &str, pem: &str) -> Result<Vec<Self>, ConfigFault> {
        let blocks = pem::public_keys(pem).map_err(|reason| ConfigFault::bad_key(name, reason))?;
        let count = blocks.len();
        let read = |(n, der): (usize, &Vec<u8>)| match (Self::from_any_spki(der), count) {
            (Ok(key), 1) => Ok(key.of(name)),
            (Ok(key), _) => Ok(key.of(&format!("{name} (number {})", n + 1))),
            (Err(reason), 1) => Err(ConfigFault::bad_key(name, reason)),
            (Err(reason), _) => {
                let reason = format!("block {} of {count}: {reason}", n + 1);
                Err(ConfigFault::bad_key(name, reason))
            }
        };
        blocks.iter().enumerate().map(read).collect()
    }

    fn from_any_spki(der: &[u8]) -> Result<Self, &'static str> {
        let kind = [
            (Algorithm::Rs256, [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01].as_slice()),
            (Algorithm::Es256, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01].as_slice()),
            (Algorithm::EdDsa, [0x2b, 0x65, 0x70].as_slice()),
        ];
        // The algorithm's identifier stands within the first bytes of every SPKI structure.
        let head = &der[..der.len().min(32)];
        if head.windows(RSA_PSS.len()).any(|window| window == RSA_PSS) {
            return Err("it is an RSA-PSS key, whose signatures are PS256 and not RS256");
        }
        let algorithm = kind
            .into_iter()
            .find(|(_, oid)| head.windows(oid.len()).any(|window| window == *oid))
            .map(|(algorithm, _)| algorithm)
            .ok_or("it is neither an RSA, a P-256 nor an Ed25519 key")?;
        Self::from_spki(algorithm, der)
    }

    fn from_spki(algorithm: Algorithm, der: &[u8]) -> Result<Self, &'static str> {
        Ok(Self::new(algorithm, Verifier::public(algorithm, der)?))
    }

    fn of(self, setting: &str) -> Self {
        Self { setting: setting.into(), ..self }
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
        let holds = self.verifier.verify(message, signature);
        if holds {
            self.uses.count("key0_secret_uses_total", "secret", &self.setting);
        }
        holds
    }
}

/// What keys say of a signature.
#[derive(Debug)]
pub(super) enum Outcome {
    Holds,
    Fails,
    /// Other keys, which can't be had now, may say otherwise.
    #[cfg_attr(not(feature = "jwks"), expect(dead_code, reason = "all keys are at hand"))]
    Undecided,
}
