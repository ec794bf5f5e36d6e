/// Where an API key may stand.
pub(crate) const X_API_KEY: &str = "x-api-key";
/// What Key0's gateway puts before the names of its headers, which are in lower case here.
const GATEWAY_PREFIX: &str = "x-key0-";

/// What becomes of a header before a handler sees the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    Keep,
    /// Marked as sensitive: no credential is to stand in a log of the request.
    Hide,
    /// Nobody could tell whether a gateway's header came from the gateway.
    Remove,
}

/// How a header is treated where the header `credential` may hold a credential, too.
pub(super) fn treatment(name: &str, credential: &str) -> Treatment {
    if name.starts_with(GATEWAY_PREFIX) {
        Treatment::Remove
    } else if name == "authorization" || name == credential {
        Treatment::Hide
    } else {
        Treatment::Keep
    }
}
