use std::{fmt, sync::Arc};

use secrecy::{ExposeSecret, SecretSlice};

use crate::{Rejection, auth::Gateway};

/// Where an API key may stand.
pub(crate) const X_API_KEY: &str = "x-api-key";
/// What Key0's gateway puts before the names of its headers, which are in lower case here.
const GATEWAY_PREFIX: &str = "x-key0-";

/// What becomes of a header before a handler sees the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderTreatment {
    Keep,
    /// Marked as sensitive: no credential is to stand in a log of the request.
    Hide,
    /// Nobody could tell whether a gateway's header came from the gateway.
    Remove,
}

/// How a header is treated where the header `credential` may hold a credential, too.
pub(super) fn treatment(name: &str, credential: &str) -> HeaderTreatment {
    if name.starts_with(GATEWAY_PREFIX) {
        HeaderTreatment::Remove
    } else if name == "authorization" || name == credential {
        HeaderTreatment::Hide
    } else {
        HeaderTreatment::Keep
    }
}

/// The same for a request that the gateway's token has let in: its other credentials are the buyer's,
/// and nobody looked at them.
pub(super) fn treatment_proxied(name: &str) -> HeaderTreatment {
    if name == "payment-signature" { HeaderTreatment::Remove } else { treatment_unseen(name) }
}

/// The same for a request whose credential nobody looked at.
pub(super) fn treatment_unseen(name: &str) -> HeaderTreatment {
    if matches!(name, "authorization" | X_API_KEY | "cookie") {
        HeaderTreatment::Remove
    } else {
        treatment(name, X_API_KEY)
    }
}

/// Headers that were removed from a request, names in lower case.
pub(crate) type RemovedHeaders = Vec<(Box<str>, Vec<u8>)>;

/// In a request's extensions: what came under the names of the gateway's headers, the gateway's token
/// among them. No handler sees it. A guard further inside validates the request by it, as by the
/// headers that are gone.
#[derive(Clone)]
pub(crate) struct GatewayHeaders(Arc<[(Box<str>, SecretSlice<u8>)]>);

impl GatewayHeaders {
    /// Out of headers that were removed. None where the gateway's token is not among them.
    pub(super) fn of(removed: RemovedHeaders) -> Option<Self> {
        if !removed.iter().any(|(name, _)| **name == *Gateway::TOKEN_HEADER) {
            return None;
        }
        let removed = removed.into_iter().filter(|(name, _)| name.starts_with(GATEWAY_PREFIX));
        Some(Self(removed.map(|(name, value)| (name, SecretSlice::from(value))).collect()))
    }

    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |(known, _): &&(Box<str>, SecretSlice<u8>)| **known == *name;
        self.0.iter().filter(same).map(|(_, value)| value.expose_secret())
    }
}

impl fmt::Debug for GatewayHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayHeaders(..)")
    }
}

/// What the router found in a path under one name.
#[cfg_attr(not(any(feature = "axum", feature = "actix")), allow(dead_code))]
pub(crate) enum PathParameter {
    Text(String),
    /// Its escapes are no UTF-8.
    NoText,
    Missing,
    /// Two routers, one in the other, use the same name.
    Repeated,
}

#[cfg(any(feature = "axum", feature = "actix"))]
impl PathParameter {
    /// Out of all that have its name.
    pub(crate) fn one_of(mut named: impl Iterator<Item = String>) -> Self {
        match (named.next(), named.next()) {
            (Some(text), None) => Self::Text(text),
            (Some(_), Some(_)) => Self::Repeated,
            (None, _) => Self::Missing,
        }
    }
}

/// A request on its way to a handler, as an adapter holds it.
pub(crate) trait IncomingRequest {
    /// What an application's rules see of it.
    type Head;

    /// Shows the head. Meanwhile the request itself may be without it.
    fn with_head<T>(&mut self, look: impl FnOnce(&Self::Head) -> T) -> T;

    fn method(&self) -> &str;

    /// The path, as the client sent it.
    fn path(&self) -> &str;

    /// The pattern of the route, where the router tells it.
    fn route(&self) -> Option<String>;

    /// A parameter of the route, decoded as the handler's own extractor does it.
    fn path_parameter(&mut self, name: &str) -> PathParameter;

    /// The values of its `Authorization` headers, in order.
    fn authorization(&self) -> impl Iterator<Item = &[u8]>;

    /// The values of its `X-Api-Key` headers, in order.
    fn api_key(&self) -> impl Iterator<Item = &[u8]>;

    /// The values of a header, in order. The name is in lower case.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;

    /// Whether a body follows that no header tells of, as from HTTP/2 on. Hands on all of it.
    fn has_untold_body(&mut self) -> bool;

    /// Treats every header as its name, in lower case, asks for. Says what was removed.
    ///
    /// # Errors
    ///
    /// Fails where a header can't be removed.
    fn treat_headers(
        &mut self,
        treatment: impl Fn(&str) -> HeaderTreatment,
    ) -> Result<RemovedHeaders, Rejection>;

    /// A proof that is in the extensions.
    fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T>;

    /// Puts a proof into the extensions, in the place of one that was there.
    fn insert<T: Clone + Send + Sync + 'static>(&mut self, proof: T);

    /// Takes a proof out of the extensions.
    fn remove<T: Clone + Send + Sync + 'static>(&mut self);
}
