use secrecy::SecretString;

use crate::{Rejection, apikey::KeyDigest};

/// A question to the key store or to the application's fallback. Borrows nothing.
#[derive(Debug)]
pub(crate) struct Lookup(pub(super) Question);

/// What is asked.
#[derive(Debug)]
pub(super) enum Question {
    Key(KeyDigest),
    /// A key that was imported from another service, or a credential of the application's own.
    Imported {
        digest: KeyDigest,
        credential: SecretString,
    },
    /// A token that a key may have signed which is not at hand.
    #[cfg(feature = "jwks")]
    Token(SecretString),
    Fallback {
        credential: SecretString,
        unknown: Rejection,
    },
}

impl Question {
    /// What the credential looks like, for the metrics.
    pub(super) fn shape(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::Imported { .. } => "api_key",
            #[cfg(feature = "jwks")]
            Self::Token(_) => "access_token",
            Self::Fallback { .. } => "fallback",
        }
    }
}
