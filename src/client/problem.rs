use std::fmt;

use serde_json::{Map, Value};

/// What a server says of a refusal: problem details (RFC 9457), or any JSON object in their place.
///
/// Its texts are searched for the credential as it was sent; a copy in another form (encoded, cut in
/// two) would stay.
#[derive(Clone, PartialEq, Eq)]
pub struct Problem(Map<String, Value>);

impl Problem {
    pub(super) fn from_json(value: Value) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self(members)),
            _ => None,
        }
    }

    /// The kind of problem, as a URI.
    pub fn type_uri(&self) -> Option<&str> {
        self.text("type")
    }

    /// A short text for this kind of problem; `error` of servers that have no `title`.
    pub fn title(&self) -> Option<&str> {
        self.text("title").or(self.text("error"))
    }

    /// A text for this very case; `message` of servers that have no `detail`.
    pub fn detail(&self) -> Option<&str> {
        self.text("detail").or(self.text("message"))
    }

    /// The stable name of this kind of problem, as `insufficient_permissions`.
    pub fn code(&self) -> Option<&str> {
        self.text("code")
    }

    /// Any member.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.member(name)?.as_str()
    }
}

/// The title and the code alone: the other texts are about somebody's data.
impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("title", &self.title())
            .field("code", &self.code())
            .finish_non_exhaustive()
    }
}
