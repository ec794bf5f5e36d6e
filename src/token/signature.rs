//! The only file that names the JWT crypto.
//!
//! Keys are read once where the library lets them be. The asymmetric algorithms go through `jsonwebtoken`'s
//! providers by name, never through its process-wide default, which panics when another crate of
//! the same build turns on the second provider. Only to verify, aws-lc is asked itself: the provider
//! would read the public key anew for every token, a sixth of the time that RS256 takes.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{DecodingKey, EncodingKey, crypto::CryptoProvider};
use sha2::Sha256;

use super::{algorithm::Algorithm, ed25519, pem};
use crate::domain::{Secret, bytes};

#[cfg(feature = "aws_lc_rs")]
static PROVIDER: &CryptoProvider = &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
#[cfg(all(feature = "rust_crypto", not(feature = "aws_lc_rs")))]
static PROVIDER: &CryptoProvider = &jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
#[cfg(not(any(feature = "aws_lc_rs", feature = "rust_crypto")))]
compile_error!("key0-auth needs one of the features `aws_lc_rs` (the default) and `rust_crypto`");

/// The least size of an RSA modulus, in bits.
const MIN_RSA_BITS: usize = 2048;
/// The greatest size of an RSA modulus that the providers verify with, in bits.
const MAX_RSA_BITS: usize = if cfg!(feature = "aws_lc_rs") { 8192 } else { 4096 };
/// An uncompressed point of P-256: a marker byte and two coordinates (SEC 1, section 2.3.3).
const P256_POINT_BYTES: usize = 65;
/// The object identifier of P-256 (RFC 5480, section 2.1.1.1), as it stands in a DER key.
const P256_OID: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

const NOT_ON_P256: &str = "an ES256 key must be on the curve P-256, uncompressed";

/// Checks signatures of one algorithm with one key.
pub(super) enum Verifier {
    Hmac(Box<Hmac<Sha256>>),
    Public(PublicKey),
}

impl Verifier {
    pub(super) fn hmac(secret: &Secret) -> Self {
        Self::Hmac(Box::new(prepared(secret)))
    }

    /// Reads a public key from an SPKI structure (RFC 5280, section 4.1.2.7); the error says what
    /// is wrong with it.
    pub(super) fn public(algorithm: Algorithm, der: &[u8]) -> Result<Self, &'static str> {
        let pem = pem::of_public_key(der);
        let key = match algorithm {
            Algorithm::Hs256 => return Err("HS256 takes a secret, not a PEM key"),
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::Es256 => DecodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDsa => DecodingKey::from_ed_pem(pem.as_bytes()),
        }
        .map_err(|_| algorithm.key_expected())?;
        if algorithm == Algorithm::Es256 && !der.windows(P256_OID.len()).any(|at| at == P256_OID) {
            return Err(NOT_ON_P256);
        }
        Self::checked(algorithm, key)
    }

    /// An RSA key by its modulus and exponent, as big-endian numbers without leading zeros.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, &'static str> {
        let numbers = [der(0x02, &unsigned(modulus)), der(0x02, &unsigned(exponent))].concat();
        Self::checked(Algorithm::Rs256, DecodingKey::from_rsa_der(&der(0x30, &numbers)))
    }

    /// A P-256 key by its coordinates.
    pub(super) fn p256(x: &[u8; 32], y: &[u8; 32]) -> Result<Self, &'static str> {
        let point = [&[0x04], &x[..], y].concat();
        Self::checked(Algorithm::Es256, DecodingKey::from_ec_der(&point))
    }

    /// An Ed25519 key by its encoded point.
    pub(super) fn ed25519(point: &[u8; 32]) -> Result<Self, &'static str> {
        Self::checked(Algorithm::EdDsa, DecodingKey::from_ed_der(point))
    }

    /// Takes a key that nobody can forge signatures of.
    fn checked(algorithm: Algorithm, key: DecodingKey) -> Result<Self, &'static str> {
        let material = key.try_get_as_bytes().map_err(|_| algorithm.key_expected())?;
        match algorithm {
            Algorithm::Hs256 => return Err(algorithm.key_expected()),
            Algorithm::Rs256 => check_rsa(material)?,
            Algorithm::Es256 if material.len() != P256_POINT_BYTES => return Err(NOT_ON_P256),
            Algorithm::Es256 => {}
            Algorithm::EdDsa => ed25519::check(material)?,
        }
        PublicKey::new(algorithm, key).map(Self::Public).ok_or("the key can't be used")
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(mac) => bytes::ct_eq(&code(mac, message), signature).into(),
            Self::Public(key) => key.verify(message, signature),
        }
    }
}

/// The authentication code of a message.
fn code(mac: &Hmac<Sha256>, message: &[u8]) -> [u8; 32] {
    // Not the box that it is in: a copy on the stack asks for no memory.
    Hmac::clone(mac).chain_update(message).finalize().into_bytes().into()
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

/// A public key that was read once.
#[cfg(feature = "aws_lc_rs")]
pub(super) struct PublicKey(aws_lc_rs::signature::ParsedPublicKey);

#[cfg(feature = "aws_lc_rs")]
impl PublicKey {
    fn new(algorithm: Algorithm, key: DecodingKey) -> Option<Self> {
        use aws_lc_rs::signature::{
            ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
            VerificationAlgorithm,
        };
        let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::Hs256 => return None,
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::EdDsa => &ED25519,
        };
        ParsedPublicKey::new(algorithm, key.try_get_as_bytes().ok()?).ok().map(Self)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// A public key that the provider reads for each token, in little of the time that it verifies.
#[cfg(not(feature = "aws_lc_rs"))]
pub(super) struct PublicKey(jsonwebtoken::Algorithm, DecodingKey);

#[cfg(not(feature = "aws_lc_rs"))]
impl PublicKey {
    fn new(algorithm: Algorithm, key: DecodingKey) -> Option<Self> {
        let algorithm = algorithm.to_jsonwebtoken();
        (PROVIDER.verifier_factory)(&algorithm, &key).ok()?;
        Some(Self(algorithm, key))
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        (PROVIDER.verifier_factory)(&self.0, &self.1)
            .is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }
}

/// Makes signatures of one algorithm with one key.
pub(super) enum Signer {
    Hmac(Box<Hmac<Sha256>>),
    Private(jsonwebtoken::Algorithm, EncodingKey),
}

impl Signer {
    pub(super) fn hmac(secret: &Secret) -> Self {
        Self::Hmac(Box::new(prepared(secret)))
    }

    /// Reads a private key in PKCS #8 PEM; the error says what is wrong with it.
    pub(super) fn private(algorithm: Algorithm, pem: &str) -> Result<Self, &'static str> {
        let key = match algorithm {
            Algorithm::Hs256 => return Err("HS256 takes a secret, not a PEM key"),
            Algorithm::Rs256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::Es256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
        }
        .map_err(|_| "it is not a private key of this algorithm in PKCS #8 PEM")?;
        let signer = Self::Private(algorithm.to_jsonwebtoken(), key);
        signer.sign(b"probe").ok_or("the key can't be used")?;
        Ok(signer)
    }

    /// `None` where the key turned out to be unusable, which the constructor rules out.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hmac(mac) => {
                Some(mac.clone().chain_update(message).finalize().into_bytes().to_vec())
            }
            Self::Private(algorithm, key) => {
                (PROVIDER.signer_factory)(algorithm, key).ok()?.try_sign(message).ok()
            }
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(..)")
    }
}

impl Algorithm {
    fn to_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    fn key_expected(self) -> &'static str {
        match self {
            Self::Hs256 => "a secret is expected",
            Self::Rs256 => "an RSA public key is expected (-----BEGIN PUBLIC KEY-----)",
            Self::Es256 => "a P-256 public key is expected (-----BEGIN PUBLIC KEY-----)",
            Self::EdDsa => "an Ed25519 public key is expected (-----BEGIN PUBLIC KEY-----)",
        }
    }
}

fn prepared(secret: &Secret) -> Hmac<Sha256> {
    match Hmac::new_from_slice(secret.expose_bytes()) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes a key of any length"),
    }
}

fn check_rsa(der: &[u8]) -> Result<(), &'static str> {
    let (modulus, exponent) = (PROVIDER.key_utils.rsa_pub_components_from_public_key)(der)
        .map_err(|_| "its RSA key can't be read, or is longer than the crypto provider takes")?;
    let significant = modulus.iter().skip_while(|byte| **byte == 0);
    let bits = significant.clone().count() * 8
        - significant.clone().next().map_or(0, |top| top.leading_zeros() as usize);
    if bits < MIN_RSA_BITS {
        Err("its RSA modulus is shorter than 2048 bits")
    } else if bits > MAX_RSA_BITS {
        Err("its RSA modulus is longer than the crypto provider verifies with")
    } else if is_weak(&exponent) {
        Err("its RSA exponent must be odd and at least 3")
    } else {
        Ok(())
    }
}

/// With an exponent of 1 every message is its own signature.
fn is_weak(exponent: &[u8]) -> bool {
    let Some((last, before)) = exponent.split_last() else { return true };
    last % 2 == 0 || (*last < 3 && before.iter().all(|byte| *byte == 0))
}

/// A DER structure (X.690, section 8.1).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match (content.len(), significant) {
        (0..=0x7f, _) => [&[tag, content.len() as u8], content].concat(),
        (_, bytes) => [&[tag, 0x80 | bytes.len() as u8], bytes, content].concat(),
    }
}

/// A number that begins with a set bit would be read as a negative one.
fn unsigned(number: &[u8]) -> Vec<u8> {
    match number.first() {
        Some(0x80..) => [&[0], number].concat(),
        _ => number.to_vec(),
    }
}
