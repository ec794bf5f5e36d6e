/// Marks a response whose rejection was rendered without knowing the middleware's responder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Provisional;

/// The headers that speak of a refusal's body or of its kind. All are taken off a response whose
/// refusal is rendered again.
pub(crate) const OF_THE_BODY: [&str; 6] = [
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "retry-after",
    "www-authenticate",
];
