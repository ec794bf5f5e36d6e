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

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(match kind(&error) {
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
            Some("23505") => StoreErrorKind::Conflict,
            // query_canceled: the statement's time is over. lock_not_available: the same for locks.
            Some("57014" | "55P03") => StoreErrorKind::TimedOut,
            // data_corrupted, index_corrupted
            Some("XX001" | "XX002") => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Unavailable,
        },
        _ => StoreErrorKind::Unavailable,
    }
}
