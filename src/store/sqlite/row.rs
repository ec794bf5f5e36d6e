use rusqlite::{
    Error, ErrorCode,
    ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE},
};

use crate::error::{StoreError, StoreErrorKind};

/// A failed job; lets `?` take SQLite's errors without making them part of the public API.
#[derive(Debug)]
pub(super) struct Fault(pub(super) StoreError);

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(match error.sqlite_extended_error_code() {
            Some(SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_UNIQUE) => {
                StoreError::new(StoreErrorKind::Conflict)
            }
            _ if is_corruption(&error) => StoreError::corrupt(error),
            _ => StoreError::unavailable(error),
        })
    }
}

pub(super) fn is_corruption(error: &Error) -> bool {
    match error {
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => true,
        other => matches!(
            other.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ),
    }
}
