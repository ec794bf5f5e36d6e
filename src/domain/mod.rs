//! The words of the trade: secrets, credentials, ids, claims, permissions and time.

pub(crate) mod bytes;
pub(crate) mod claims;
pub(crate) mod credential;
pub(crate) mod ids;
pub(crate) mod json;
pub(crate) mod path;
mod percent;
pub(crate) mod permission;
pub(crate) mod secret;
mod spelling;
pub(crate) mod text;
pub(crate) mod time;

pub use claims::{Claims, ExtraClaims, ExtraClaimsError};
pub(crate) use credential::CredentialFault;
pub use credential::{Credential, MAX_CREDENTIAL_BYTES};
pub use ids::{
    Actor, ChallengeId, InvalidId, KeyId, PlanId, RequestId, ResourceId, RouteName, TxHash,
};
pub(crate) use path::segments as path_segments;
pub use path::{PathParameters, PathTemplate, RouteTemplate};
pub(crate) use percent::{percent_decode, percent_decode_leniently};
pub use permission::{Action, InvalidPermissions, Permissions, Role};
pub use secret::{MIN_SECRET_BYTES, Secret, SecretSet, check_secrets_differ};
pub use spelling::name_meant;
pub use text::{disturbs, flaw_at_ends};
pub use time::{Clock, InvalidTimestamp, SystemClock, Timestamp};
