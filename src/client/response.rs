use std::fmt;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::de::DeserializeOwned;

use super::error::{Error, ErrorKind, UnreadableAnswer};

/// An answer with a status from 200 to 299, read to its end.
#[derive(Clone)]
pub struct Response {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Without the credential, should the server have named the request by it.
    pub(super) request_id: Option<String>,
    pub(super) body: Vec<u8>,
    pub(super) attempts: u32,
    pub(super) idempotency_key: Option<String>,
}

impl Response {
    /// Its status. It is 404 where a DELETE was told on a later attempt, in a problem with a code,
    /// that an earlier one whose answer was lost had done its work.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A header that stands once and holds visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        single(&self.headers, name)
    }

    /// The server's name for this request.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Whether the server had the answer already: an earlier attempt under this key was carried out,
    /// and this one was not.
    pub fn is_replayed(&self) -> bool {
        is_replayed(&self.headers)
    }

    /// How often the call was sent.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The key under which the call was sent, where it had one.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// The body as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as JSON. An empty one is `null`, so that `()` and `Option` can be read from it.
    ///
    /// # Errors
    ///
    /// [`Unreadable`](ErrorKind::Unreadable) when its content type is not JSON, or the JSON another.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let parsed = if self.body.is_empty() {
            serde_json::from_slice(b"null")
        } else if is_json(&self.headers) {
            serde_json::from_slice(&self.body)
        } else {
            return Err(self.unreadable(UnreadableAnswer::NoJson));
        };
        parsed.map_err(|error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            self.unreadable(UnreadableAnswer::OtherJson { line, column })
        })
    }

    fn unreadable(&self, why: UnreadableAnswer) -> Error {
        Error::new(ErrorKind::Unreadable)
            .source_is(why)
            .answered(self.status, self.request_id.clone())
            .of_call(self.attempts, self.idempotency_key())
            .outcome_unknown(true)
    }
}

/// The body and the headers may hold a credential that was just made.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// `application/json`, or a type that is written as JSON (RFC 6839, section 3.1).
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let media_type = media_type(headers);
    media_type == "application/json"
        || media_type.starts_with("application/") && media_type.ends_with("+json")
}

/// The media type of problem details (RFC 9457, section 3).
pub(super) fn is_problem_json(headers: &HeaderMap) -> bool {
    media_type(headers) == "application/problem+json"
}

pub(super) fn is_replayed(headers: &HeaderMap) -> bool {
    single(headers, "idempotent-replayed") == Some("true")
}

fn media_type(headers: &HeaderMap) -> String {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}
