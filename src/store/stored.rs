//! From what a database holds to values: what can't be understood is an error, never a guess.

use std::str::FromStr;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::apikey::{KeyDigest, Predecessor};
use crate::{
    apikey::{Grant, Metadata},
    domain::{Permissions, Timestamp},
    error::StoreError,
};

/// A column whose text or number is none that we write. Its content is not shown.
#[derive(Debug, thiserror::Error)]
#[error("the stored {0} can't be understood")]
struct BadColumn(&'static str);

pub(crate) fn bad(column: &'static str) -> StoreError {
    StoreError::corrupt(BadColumn(column))
}

pub(crate) fn parsed<T: FromStr>(text: &str, column: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| bad(column))
}

pub(crate) fn instant(micros: i64, column: &'static str) -> Result<Timestamp, StoreError> {
    let instant = Timestamp::from_micros(micros);
    if instant.as_micros() == micros { Ok(instant) } else { Err(bad(column)) }
}

pub(crate) fn instant_if_any(
    micros: Option<i64>,
    column: &'static str,
) -> Result<Option<Timestamp>, StoreError> {
    micros.map(|micros| instant(micros, column)).transpose()
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(
    text: &str,
    column: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| bad(column))
}

/// A key's predecessor; all of its columns are there or none.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn predecessor(
    digest: Option<[u8; 32]>,
    display: Option<String>,
    until: Option<i64>,
) -> Result<Option<Predecessor>, StoreError> {
    let Some(digest) = digest else { return Ok(None) };
    let (Some(display), Some(until)) = (display, until) else { return Err(bad("old_until")) };
    let (digest, until) = (KeyDigest::from_bytes(digest), instant(until, "old_until")?);
    Ok(Some(Predecessor { digest, display, until }))
}

pub(crate) fn metadata(text: &str) -> Result<Metadata, StoreError> {
    Metadata::parse(text).map_err(|_| bad("metadata"))
}

/// The JSON text of a value that has one.
pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::unavailable)
}

/// What a key opens, as texts: the permissions as JSON.
#[derive(Debug, Default)]
pub(crate) struct StoredGrant {
    pub(crate) role: Option<String>,
    pub(crate) permissions: Option<String>,
    pub(crate) resource_id: Option<String>,
    pub(crate) plan_id: Option<String>,
}

impl StoredGrant {
    pub(crate) fn of(grant: &Grant) -> Result<Self, StoreError> {
        let json =
            |permissions: &Option<Permissions>| permissions.as_ref().map(to_json).transpose();
        Ok(match grant {
            Grant::Integrator { role, permissions } => Self {
                role: Some(role.as_str().to_owned()),
                permissions: json(permissions)?,
                ..Self::default()
            },
            Grant::Payment { resource_id, plan_id, permissions } => Self {
                role: None,
                permissions: json(permissions)?,
                resource_id: Some(resource_id.as_str().to_owned()),
                plan_id: Some(plan_id.as_str().to_owned()),
            },
        })
    }

    pub(crate) fn understood(self, kind: &str) -> Result<Grant, StoreError> {
        let permissions = self.permissions.map(|text| json(&text, "permissions")).transpose()?;
        match (kind, self.role, self.resource_id, self.plan_id) {
            ("integrator", Some(role), None, None) => {
                Ok(Grant::Integrator { role: parsed(&role, "role")?, permissions })
            }
            ("payment", None, Some(resource_id), Some(plan_id)) => Ok(Grant::Payment {
                resource_id: parsed(&resource_id, "resource_id")?,
                plan_id: parsed(&plan_id, "plan_id")?,
                permissions,
            }),
            _ => Err(bad("kind")),
        }
    }
}

#[cfg(any(feature = "postgres", feature = "redis"))]
impl super::PaymentOutcome {
    /// As a database says it, and whether the purchase was revoked before.
    pub(crate) fn told(text: &str) -> Option<(Self, bool)> {
        let word = text.strip_suffix(" revoked");
        let outcome = match word.unwrap_or(text) {
            "recorded" => Self::Recorded,
            "repeated" => Self::Repeated,
            "conflict" => Self::Conflict,
            _ => return None,
        };
        Some((outcome, word.is_some()))
    }
}
