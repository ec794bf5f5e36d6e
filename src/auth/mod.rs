//! Who is asking: from the bytes of a request to an [`Identity`](crate::Identity) or a
//! [`Rejection`](crate::Rejection), and from a rejection to an HTTP answer.
//!
//! The shape of a bearer value says what it is:
//!
//! - three parts between dots are an access token,
//! - the configured prefix makes an API key,
//! - anything else goes to the application's [`Fallback`], if it has one, or is refused.
//!
//! `X-Api-Key` always holds an API key.
//!
//! A store that can't answer is a 503, never a refusal and never a pass.

pub(crate) mod api_keys;
mod builder;
mod caller;
mod ending;
mod fallback;
mod gateway;
pub(crate) mod identity;
pub(crate) mod internal;
mod question;
#[cfg(any(feature = "tower", feature = "actix"))]
mod renewal;
mod response;
mod seller;
mod source;
mod terms;
pub(crate) mod validator;

pub use builder::ValidatorBuilder;
pub use caller::Caller;
pub(crate) use ending::Ending;
pub use fallback::{Fallback, FallbackError, FallbackGrant};
#[cfg(any(feature = "tower", feature = "actix"))]
pub(crate) use gateway::Proxied;
pub(crate) use gateway::Sent;
pub use gateway::{ClaimedPayment, Gateway, GatewayBuilder, GatewayCall};
pub use identity::IdentityKind;
pub(crate) use internal::is_header_name;
pub use internal::{InternalAuthBuilder, InternalCaller, InternalStrategy};
#[cfg(any(feature = "tower", feature = "actix"))]
pub(crate) use question::{Lookup, Validation};
pub use response::{Problem, ProblemBody, Refusal, Responder};
pub use seller::Seller;
pub use source::Source;
pub use validator::{AuthorizationHeader, Given, Optional};
