//! API keys: their shape, their digest, what a record of one holds, and how one is made.

mod bootstrap;
mod digest;
mod event;
mod format;
mod issuer;
mod metadata;
mod record;

pub(crate) use bootstrap::BootstrapHolder;
pub use bootstrap::BootstrapKeys;
pub use digest::KeyDigest;
pub use event::{InvalidKeyAction, KeyAction, KeyEvent};
pub(crate) use format::holds_issued;
pub use format::{KeyFormat, PlainKey};
pub use issuer::{IssuanceSecrets, Nonce, SecretFingerprint};
pub use metadata::{InvalidMetadata, Metadata};
pub use record::{Grant, KeyKind, KeyRecord, KeyState, Predecessor};
