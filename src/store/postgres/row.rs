use std::error::Error as StdError;

use sqlx::Error;

use crate::error::{StoreError, StoreErrorKind};

/// A failed job; lets `?` take sqlx's errors without making them part of the public API.
#[derive(Debug)]
pub(super) struct Fault(pub(super) StoreError);

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

/// What the server said, without the details: they show what was to be written.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code})")]
struct Refused {
    message: String,
    code: String,
}

impl Fault {
    /// Whether another transaction was faster, so that the same can work when it is tried again:
    /// unique_violation, deadlock_detected.
    pub(super) fn is_race(&self) -> bool {
        let refused = self.0.source().and_then(|cause| cause.downcast_ref::<Refused>());
        refused.is_some_and(|refused| ["23505", "40P01"].contains(&refused.code.as_str()))
    }
}

/// too_many_connections
pub(super) const TOO_MANY: &str = "53300";
/// cannot_connect_now: the server starts, or shuts down.
pub(super) const NOT_NOW: &str = "57P03";

/// Whether the server said this.
pub(super) fn is(error: &Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some(code)
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let kind = kind(&error);
        let error: Box<dyn StdError + Send + Sync> = match error {
            Error::Database(refused) => Box::new(Refused {
                message: refused.message().to_owned(),
                code: refused.code().unwrap_or_default().into_owned(),
            }),
            error => Box::new(error),
        };
        Self(match kind {
            StoreErrorKind::Corrupt => StoreError::corrupt(error),
            StoreErrorKind::Unavailable => StoreError::unavailable(error),
            kind => StoreError::new(kind),
        })
    }
}

fn kind(error: &Error) -> StoreErrorKind {
    match error {
        Error::ColumnDecode { .. } | Error::Decode(_) | Error::TypeNotFound { .. } => {
            StoreErrorKind::Corrupt
        }
        Error::PoolTimedOut => StoreErrorKind::TimedOut,
        Error::Database(refused) => match refused.code().as_deref() {
            // unique_violation; of a number that counts up it is the database's fault.
            Some("23505") => match refused.constraint() {
                Some("keys_pkey" | "keys_digest_key") => StoreErrorKind::Conflict,
                _ => StoreErrorKind::Unavailable,
            },
            // query_canceled: the statement's time is over. lock_not_available: the same for locks.
            Some("57014" | "55P03") => StoreErrorKind::TimedOut,
            // data_corrupted, index_corrupted
            Some("XX001" | "XX002") => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Unavailable,
        },
        _ => StoreErrorKind::Unavailable,
    }
}
