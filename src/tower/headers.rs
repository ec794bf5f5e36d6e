use http::{
    HeaderMap,
    header::{AUTHORIZATION, AsHeaderName},
};

/// Where an API key may stand.
pub(super) const X_API_KEY: &str = "x-api-key";
/// What Key0's gateway puts before the names of its headers, which are in lower case here.
const GATEWAY_PREFIX: &str = "x-key0-";

/// The values of a header as bytes, in order.
pub(super) fn values(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).into_iter().map(|value| value.as_bytes())
}

/// Makes the headers fit for the inner service: nobody could tell whether a gateway's header came
/// from the gateway, and no credential is to stand in a log of the request.
pub(super) fn clean(headers: &mut HeaderMap, credential: &str) {
    let mut gateway = Vec::new();
    for (name, value) in headers.iter_mut() {
        if name.as_str().starts_with(GATEWAY_PREFIX) {
            gateway.push(name.clone());
        } else if name == AUTHORIZATION || name == credential {
            value.set_sensitive(true);
        }
    }
    for name in gateway {
        headers.remove(name);
    }
}
