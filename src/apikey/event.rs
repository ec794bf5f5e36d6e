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
    /// Why, where that was said; of an edit, the names of what was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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
    /// Its label, rights, expiry or metadata were changed.
    Edited,
    /// It was suspended.
    Suspended,
    /// It was resumed.
    Resumed,
}

impl KeyEvent {
    /// An event of this kind.
    pub fn new(action: KeyAction, by: &Actor, at: Timestamp) -> Self {
        Self { action, by: by.clone(), at, reason: None }
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, reason: Option<&str>) -> Self {
        self.reason = reason.map(str::to_owned);
        self
    }
}

impl KeyAction {
    const ALL: [Self; 6] =
        [Self::Created, Self::Rotated, Self::Revoked, Self::Edited, Self::Suspended, Self::Resumed];

    /// The action's name: `created`, `rotated`, `revoked`, `edited`, `suspended` or `resumed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Rotated => "rotated",
            Self::Revoked => "revoked",
            Self::Edited => "edited",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
        }
    }
}

/// A text that names no [`KeyAction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an action is created, rotated, revoked, edited, suspended or resumed")]
pub struct InvalidKeyAction;

impl FromStr for KeyAction {
    type Err = InvalidKeyAction;

    fn from_str(text: &str) -> Result<Self, InvalidKeyAction> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or(InvalidKeyAction)
    }
}
