use std::{any::type_name, borrow::Cow, fmt, sync::Arc};

use super::request::{IncomingRequest, PathParameter};
use crate::{Policy, Rejection, RejectionKind};

/// A policy, or where it comes from.
pub(super) enum Requirement<H> {
    Fixed(Policy),
    OfRequest(Arc<PolicyOf<H>>),
    #[cfg_attr(not(any(feature = "axum", feature = "actix")), allow(dead_code))]
    OfPath {
        parameter: Box<str>,
        policy: Arc<PolicyOfText>,
    },
}

type PolicyOf<H> = dyn Fn(&H) -> Option<Policy> + Send + Sync;
type PolicyOfText = dyn Fn(&str) -> Policy + Send + Sync;

/// Why a policy can't be made of a path.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(
        "the route has no path parameter `{0}`, which its guard asks for; a guard must be around \
         routes, not around a whole application"
    )]
    Missing(Box<str>),
    #[error("the route has several path parameters `{0}`, of which its guard asks for one")]
    Repeated(Box<str>),
    #[error("the path parameter `{0}` is no text")]
    NoText(Box<str>),
}

impl<H> Requirement<H> {
    /// The policy that applies to a request.
    pub(super) fn of(
        &self,
        request: &mut impl IncomingRequest<Head = H>,
    ) -> Option<Result<Cow<'_, Policy>, Rejection>> {
        match self {
            Self::Fixed(policy) => Some(Ok(Cow::Borrowed(policy))),
            Self::OfRequest(policy_of) => {
                request.with_head(|head| policy_of(head)).map(|policy| Ok(Cow::Owned(policy)))
            }
            Self::OfPath { parameter, policy } => {
                let name = parameter.clone();
                Some(match request.path_parameter(parameter) {
                    PathParameter::Text(text) => Ok(Cow::Owned(policy(&text))),
                    PathParameter::Missing => Err(super::fault(Unusable::Missing(name))),
                    PathParameter::Repeated => Err(super::fault(Unusable::Repeated(name))),
                    // Nothing has such a name.
                    PathParameter::NoText => {
                        Err(Rejection::new(RejectionKind::NotFound).cause(Unusable::NoText(name)))
                    }
                })
            }
        }
    }
}

impl<H> Clone for Requirement<H> {
    fn clone(&self) -> Self {
        match self {
            Self::Fixed(policy) => Self::Fixed(policy.clone()),
            Self::OfRequest(policy_of) => Self::OfRequest(Arc::clone(policy_of)),
            Self::OfPath { parameter, policy } => {
                Self::OfPath { parameter: parameter.clone(), policy: Arc::clone(policy) }
            }
        }
    }
}

impl<H> fmt::Debug for Requirement<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(policy) => policy.fmt(f),
            Self::OfRequest(_) => {
                let head = type_name::<H>();
                write!(f, "Fn(&{})", head.rsplit("::").next().unwrap_or(head))
            }
            Self::OfPath { parameter, .. } => write!(f, "Fn({{{parameter}}})"),
        }
    }
}
