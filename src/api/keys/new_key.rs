use serde_json::{Map, Value};

use super::operator::Operator;
use crate::{
    Rejection,
    api::{
        body::{FieldErrors, Members, can_be_kept, remove_credentials},
        credential,
    },
    apikey::{Grant, KeyDigest, KeyFormat, KeyRecord},
    domain::{KeyId, Permissions, Role, Timestamp, disturbs},
    error::FieldError,
};

/// The longest label, in characters.
const MAX_LABEL_CHARS: usize = 200;
/// The longest name of a resource, in bytes.
const MAX_RESOURCE_BYTES: usize = 64;
/// The largest permissions, in bytes of JSON: 4 KiB.
const MAX_PERMISSIONS_BYTES: usize = 4 * 1024;

/// The terms of a key that is to be made.
pub(super) struct NewKey {
    role: Role,
    label: Option<String>,
    permissions: Option<Permissions>,
    expires_at: Option<Timestamp>,
    metadata: Map<String, Value>,
}

impl NewKey {
    /// Takes every member; one that is left over is a fault.
    pub(super) fn read(
        mut members: Members,
        operator: &Operator,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        let mut errors = FieldErrors::default();
        let role = errors.keep(role(members.take("role"), operator));
        let label = errors.keep(members.take("label").map(label).transpose());
        let permissions = errors.keep(members.take("permissions").map(permissions).transpose());
        let expires_at = members.take("expiresAt").map(|value| expiry(&value, now)).transpose();
        let expires_at = errors.keep(expires_at);
        let metadata = errors.keep(members.take("metadata").map(metadata).transpose());
        let new = || {
            Some(Self {
                role: role?,
                label: label?,
                permissions: permissions?,
                expires_at: expires_at?,
                metadata: metadata?.unwrap_or_default(),
            })
        };
        // A misspelt expiry must not make a key that never expires.
        let nothing_else =
            "A key takes role, label, permissions, expiresAt and metadata, and nothing else";
        let new = members.finish(new(), errors, nothing_else)?;
        check_permissions(new.role, new.permissions.as_ref())?;
        Ok(new)
    }

    pub(super) fn record(self, id: KeyId, digest: KeyDigest, now: Timestamp) -> KeyRecord {
        let grant = Grant::Integrator { role: self.role, permissions: self.permissions };
        let mut record = KeyRecord::of_digest(id, digest, grant, now);
        record.label = self.label;
        record.expires_at = self.expires_at;
        record.metadata = self.metadata.into();
        record
    }
}

/// Checks that a role that stands for what it may do has no permissions of its own.
pub(super) fn check_permissions(
    role: Role,
    permissions: Option<&Permissions>,
) -> Result<(), FieldError> {
    match role {
        Role::Master | Role::Support if permissions.is_some() => Err(FieldError::invalid(
            "permissions",
            "The key of a master or of support has no permissions of its own",
        )),
        _ => Ok(()),
    }
}

pub(super) fn role(value: Option<Value>, operator: &Operator) -> Result<Role, FieldError> {
    let role = value.as_ref().and_then(Value::as_str).and_then(|text| text.parse().ok());
    role.filter(|role| operator.may_grant(*role)).ok_or_else(|| {
        let wrong = "role must be \"minter\" or \"read\"";
        match value {
            Some(_) => FieldError::invalid("role", wrong),
            None => FieldError::required("role").with_message(wrong),
        }
    })
}

pub(super) fn label(value: Value) -> Result<String, FieldError> {
    let Value::String(label) = value else {
        return Err(FieldError::invalid("label", "label must be a string"));
    };
    check_text("label", &label)?;
    Ok(label)
}

/// Checks a text that people write and read.
pub(in crate::api) fn check_text(name: &'static str, text: &str) -> Result<(), FieldError> {
    if text.chars().nth(MAX_LABEL_CHARS).is_some() {
        return Err(FieldError::invalid(name, format!("{name} must have at most 200 characters")));
    }
    if text.chars().any(disturbs) {
        return Err(FieldError::invalid(name, format!("{name} must not hold control characters")));
    }
    if credential::shows_in(text) {
        return Err(FieldError::invalid(name, format!("{name} must not hold a credential")));
    }
    Ok(())
}

pub(super) fn permissions(value: Value) -> Result<Permissions, FieldError> {
    let shape = "permissions must map resources to some of create, read, update and delete";
    let small = value.to_string().len() <= MAX_PERMISSIONS_BYTES;
    let permissions: Permissions =
        serde_json::from_value(value).map_err(|_| FieldError::invalid("permissions", shape))?;
    if !small || !permissions.resources().all(is_resource) {
        return Err(FieldError::invalid(
            "permissions",
            "a resource in permissions is 1 to 64 of a-z, A-Z, 0-9, '.', '_', '-' and '/', and \
             all of them are at most 4 KiB",
        ));
    }
    Ok(permissions)
}

/// The challenge of a refusal names it, so it must be able to stand there.
fn is_resource(name: &str) -> bool {
    (1..=MAX_RESOURCE_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
}

pub(super) fn expiry(value: &Value, now: Timestamp) -> Result<Timestamp, FieldError> {
    let instant: Option<Timestamp> = value.as_str().and_then(|text| text.parse().ok());
    let instant = instant.ok_or_else(|| {
        FieldError::invalid(
            "expiresAt",
            "expiresAt must be an ISO 8601 instant such as 2026-01-31T12:00:00.000Z",
        )
    })?;
    let instant = instant.to_millis();
    if instant > now {
        Ok(instant)
    } else {
        Err(FieldError::invalid("expiresAt", "expiresAt must be in the future"))
    }
}

pub(super) fn metadata(value: Value) -> Result<Map<String, Value>, FieldError> {
    let fits = can_be_kept(&value);
    match value {
        Value::Object(mut metadata) if fits => match remove_credentials(&mut metadata) {
            false => Ok(metadata),
            true => Err(FieldError::invalid("metadata", "metadata must not hold a credential")),
        },
        Value::Object(_) => {
            Err(FieldError::invalid("metadata", "metadata must have at most 4 KiB and 16 levels"))
        }
        _ => Err(FieldError::invalid("metadata", "metadata must be an object")),
    }
}

/// The digest of a key that was issued elsewhere, and what may be shown of it.
pub(super) fn imported(
    members: &mut Members,
    format: &KeyFormat,
) -> Result<(KeyDigest, String), FieldError> {
    match (members.take("key"), members.take("digest")) {
        (Some(key), None) => match key.as_str().and_then(|key| format.recognise(key)) {
            Some(key) => Ok((key.digest(), key.masked())),
            None => {
                Err(FieldError::invalid("key", "key has none of the known shapes, or is mistyped"))
            }
        },
        (None, Some(digest)) => match digest.as_str().and_then(bytes_of_hex) {
            Some(digest) => Ok((KeyDigest::from_bytes(digest), "…".to_owned())),
            None => Err(FieldError::invalid("digest", "digest must be 64 hexadecimal digits")),
        },
        (key, _) => {
            let either = "either key or digest is required";
            Err(match key {
                Some(_) => FieldError::invalid("digest", either),
                None => FieldError::required("key").with_message(either),
            })
        }
    }
}

pub(super) fn bytes_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}
