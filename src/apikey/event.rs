use std::str::FromStr;

use serde::Serialize;

use crate::domain::{Actor, Timestamp};

/// One line of a key's history: what was done to it, by whom and when. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyEvent {
    /// What was done.
    pub action: KeyAction,
    /// Who did it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// What can be done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum KeyAction {
    /// It was made, or imported.
    Created,
    /// It got another secret, and the old one died.
    Rotated,
    /// It was revoked.
    Revoked,
}

impl KeyEvent {
    /// An event of this kind.
    pub fn new(action: KeyAction, by: &Actor, at: Timestamp) -> Self {
        Self { action, by: by.clone(), at }
    }
}

impl KeyAction {
    /// The action's name: `created`, `rotated` or `revoked`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Rotated => "rotated",
            Self::Revoked => "revoked",
        }
    }
}

/// A text that names no [`KeyAction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an action is created, rotated or revoked")]
pub struct InvalidKeyAction;

impl FromStr for KeyAction {
    type Err = InvalidKeyAction;

    fn from_str(text: &str) -> Result<Self, InvalidKeyAction> {
        [Self::Created, Self::Rotated, Self::Revoked]
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or(InvalidKeyAction)
    }
}
