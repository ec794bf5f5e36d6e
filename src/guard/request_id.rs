use std::{borrow::Cow, fmt};

/// The longest id of a caller that is told again, in bytes.
const MAX_BYTES: usize = 128;

/// What a request is called in its response and in logs.
pub(crate) struct RequestId<'a>(Cow<'a, str>);

impl<'a> RequestId<'a> {
    pub(crate) const HEADER: &'static str = "x-request-id";

    /// What the caller calls it where that is harmless, else a new one.
    pub(crate) fn of(sent: Option<&'a [u8]>) -> Self {
        let is_harmless =
            |id: &&[u8]| (1..=MAX_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
        let sent = sent.filter(is_harmless).and_then(|id| str::from_utf8(id).ok());
        Self(sent.map_or_else(|| uuid::Uuid::now_v7().to_string().into(), Cow::Borrowed))
    }
}

impl fmt::Display for RequestId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
