use std::sync::Arc;

use secrecy::SecretString;

use super::identity::Identity;
use crate::{Rejection, apikey::KeyDigest, domain::Claims};

/// What can be said of a credential without waiting.
#[derive(Debug)]
pub(crate) enum Validation {
    /// All of it.
    Decided(Result<Identity, Rejection>),
    /// The store or the application must be asked first: see [`Validator::look_up`](super::Validator::look_up).
    Pending(Lookup),
}

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
    /// A good token, before it is known which ones are denied.
    Denied(Arc<Claims>),
    /// A token that a key may have signed which is not at hand.
    #[cfg(feature = "jwks")]
    Token(SecretString),
    Fallback {
        credential: SecretString,
        unknown: Rejection,
    },
}

impl Validation {
    pub(super) fn refused(rejection: impl Into<Rejection>) -> Self {
        Self::Decided(Err(rejection.into()))
    }
}

impl Question {
    /// What the credential looks like, for the metrics.
    pub(super) fn shape(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::Imported { .. } => "api_key",
            Self::Denied(_) => "access_token",
            #[cfg(feature = "jwks")]
            Self::Token(_) => "access_token",
            Self::Fallback { .. } => "fallback",
        }
    }
}
