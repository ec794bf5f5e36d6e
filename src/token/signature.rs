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

use super::key::Algorithm;
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
const MAX_RSA_BITS: usize = 8192;
/// An uncompressed point of P-256: a marker byte and two coordinates (SEC 1, section 2.3.3).
const P256_POINT_BYTES: usize = 65;
/// The object identifier of P-256 (RFC 5480, section 2.1.1.1), as it stands in a DER key.
const P256_OID: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Checks signatures of one algorithm with one key.
pub(super) enum Verifier {
    Hmac(Box<Hmac<Sha256>>),
    Public(PublicKey),
}

impl Verifier {
    pub(super) fn hmac(secret: &Secret) -> Self {
        Self::Hmac(Box::new(prepared(secret)))
    }

    /// Reads a public key; the error says what is wrong with it.
    pub(super) fn public(algorithm: Algorithm, pem: &str) -> Result<Self, &'static str> {
        let (der, pem) = spki(pem)?;
        let key = match algorithm {
            Algorithm::Hs256 => return Err("HS256 takes a secret, not a PEM key"),
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::Es256 => DecodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDsa => DecodingKey::from_ed_pem(pem.as_bytes()),
        }
        .map_err(|_| algorithm.key_expected())?;
        let material = key.try_get_as_bytes().map_err(|_| algorithm.key_expected())?;
        match algorithm {
            Algorithm::Rs256 => check_rsa_size(material)?,
            Algorithm::Es256 => {
                let on_p256 = der.windows(P256_OID.len()).any(|window| window == P256_OID);
                if !on_p256 || material.len() != P256_POINT_BYTES {
                    return Err("an ES256 key must be on the curve P-256, uncompressed");
                }
            }
            Algorithm::Hs256 | Algorithm::EdDsa => {}
        }
        PublicKey::new(algorithm, key).map(Self::Public).ok_or("the key can't be used")
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(mac) => signature
                .try_into()
                .is_ok_and(|signature| bytes::ct_eq(&code(mac, message), signature).into()),
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

/// The DER inside a PEM public key.
pub(super) fn public_key_der(pem: &str) -> Result<Vec<u8>, &'static str> {
    spki(pem).map(|(der, _)| der)
}

/// The DER inside a PEM public key, and the trimmed PEM. Private keys and certificates are told
/// apart here, because the library's reader would take an RSA private key for a public one.
fn spki(pem: &str) -> Result<(Vec<u8>, &str), &'static str> {
    use base64::{Engine, engine::general_purpose::STANDARD};

    let pem = pem.trim();
    if pem.contains("PRIVATE KEY-----") {
        return Err("it is a private key; only its public key belongs here");
    }
    let body = pem
        .strip_prefix("-----BEGIN PUBLIC KEY-----")
        .and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"))
        .ok_or("it is not one PEM block of -----BEGIN PUBLIC KEY-----")?;
    let compact: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(compact).map_err(|_| "its base64 is broken")?;
    Ok((der, pem))
}

fn check_rsa_size(der: &[u8]) -> Result<(), &'static str> {
    let (modulus, _) = (PROVIDER.key_utils.rsa_pub_components_from_public_key)(der)
        .map_err(|_| "its RSA key can't be read, or is longer than the crypto provider takes")?;
    let significant = modulus.iter().skip_while(|byte| **byte == 0);
    let bits = significant.clone().count() * 8
        - significant.clone().next().map_or(0, |top| top.leading_zeros() as usize);
    if bits < MIN_RSA_BITS {
        Err("its RSA modulus is shorter than 2048 bits")
    } else if bits > MAX_RSA_BITS {
        Err("its RSA modulus is longer than 8192 bits")
    } else {
        Ok(())
    }
}
