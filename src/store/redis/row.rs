//! What scripts answer: the fields of hashes, and errors.

use std::str::FromStr;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::{
    domain::Timestamp,
    error::{StoreError, StoreErrorKind},
    store::stored::{self, bad, json, parsed},
};

/// The fields of one hash.
pub(super) struct Fields(Vec<Vec<u8>>);

impl Fields {
    /// Names and values in turn, as Redis lists them.
    pub(super) fn new(names_and_values: Vec<Vec<u8>>) -> Self {
        Self(names_and_values)
    }

    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let mut pairs = self.0.chunks_exact(2);
        pairs.find(|pair| pair[0] == name.as_bytes()).map(|pair| &*pair[1])
    }

    pub(super) fn array<const N: usize>(
        &self,
        name: &'static str,
    ) -> Result<Option<[u8; N]>, StoreError> {
        self.bytes(name).map(|bytes| bytes.try_into().map_err(|_| bad(name))).transpose()
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, StoreError> {
        self.bytes(name).map(|bytes| str::from_utf8(bytes).map_err(|_| bad(name))).transpose()
    }

    pub(super) fn parsed<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        self.text(name)?.map(|text| parsed(text, name)).transpose()
    }

    pub(super) fn instant(&self, name: &'static str) -> Result<Option<Timestamp>, StoreError> {
        self.text(name)?.map(|text| micros(text, name)).transpose()
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, StoreError> {
        self.text(name)?.map(|text| json(text, name)).transpose()
    }
}

/// A field that must be there.
pub(super) fn needed<T>(value: Option<T>, name: &'static str) -> Result<T, StoreError> {
    value.ok_or_else(|| bad(name))
}

pub(super) fn micros(text: &str, name: &'static str) -> Result<Timestamp, StoreError> {
    stored::instant(stored::parsed(text, name)?, name)
}

/// What an error of Redis, or of one of our scripts, means.
pub(super) fn fault(error: RedisError) -> StoreError {
    match error.code() {
        Some("KEY0TAKEN") => StoreError::new(StoreErrorKind::Conflict),
        Some("KEY0BROKEN") => StoreError::corrupt(error),
        _ if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {
            StoreError::unavailable(discreet(error))
        }
        _ => StoreError::unavailable(error),
    }
}

/// The error without the server's words, which may repeat what it was sent, the password too, or
/// name the user.
pub(super) fn discreet(error: RedisError) -> RedisError {
    if error.is_io_error() {
        return error;
    }
    let code = error.code().unwrap_or("no code").to_owned();
    RedisError::from((error.kind(), "the server refuses", code))
}
