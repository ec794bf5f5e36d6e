//! From columns to values: what can't be understood is an error, never a guess.

use std::str::FromStr;

use rusqlite::{
    Error, ErrorCode,
    ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE},
};

use crate::{
    domain::Timestamp,
    error::{StoreError, StoreErrorKind},
};

/// A failed job; lets `?` take SQLite's errors without making them part of the public API.
#[derive(Debug)]
pub(super) struct Fault(pub(super) StoreError);

/// A column whose text or number is none that we write. Its content is not shown.
#[derive(Debug, thiserror::Error)]
#[error("the stored {0} can't be understood")]
struct BadColumn(&'static str);

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

pub(super) fn bad(column: &'static str) -> Fault {
    Fault(StoreError::corrupt(BadColumn(column)))
}

pub(super) fn parsed<T: FromStr>(text: &str, column: &'static str) -> Result<T, Fault> {
    text.parse().map_err(|_| bad(column))
}

pub(super) fn instant(micros: i64, column: &'static str) -> Result<Timestamp, Fault> {
    let instant = Timestamp::from_micros(micros);
    if instant.as_micros() == micros { Ok(instant) } else { Err(bad(column)) }
}

pub(super) fn instant_if_any(
    micros: Option<i64>,
    column: &'static str,
) -> Result<Option<Timestamp>, Fault> {
    micros.map(|micros| instant(micros, column)).transpose()
}

pub(super) fn json<T: serde::de::DeserializeOwned>(
    text: &str,
    column: &'static str,
) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|_| bad(column))
}

/// The JSON text of a value that has one.
pub(super) fn to_json(value: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|e| Fault(StoreError::unavailable(e)))
}
