use std::{borrow::Cow, fmt, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use super::credential;
use crate::{
    Rejection, RejectionKind,
    domain::{InvalidId, PlanId, ids::MAX_ID_BYTES, json},
    error::{FieldError, StoreError},
};

/// The largest body that an endpoint takes, in bytes: 64 KiB.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// A good answer of an endpoint. Its body can hold a credential, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A JSON answer that no cache keeps.
    pub(super) fn json(status: u16, body: &impl Serialize) -> Self {
        Self {
            status,
            headers: vec![
                ("content-type".into(), "application/json".to_owned()),
                ("cache-control".into(), "no-store".to_owned()),
            ],
            // Only a map whose keys are no texts, or a failing `Serialize`, could fail here.
            body: serde_json::to_vec(body).unwrap_or_default(),
        }
    }

    /// One JSON value on each line, which no cache keeps.
    pub(super) fn json_lines(lines: impl Iterator<Item = impl Serialize>) -> Self {
        let mut body = Vec::new();
        for line in lines {
            // As above.
            body.extend(serde_json::to_vec(&line).unwrap_or_default());
            body.push(b'\n');
        }
        let headers = vec![
            ("content-type".into(), "application/x-ndjson".to_owned()),
            ("cache-control".into(), "no-store".to_owned()),
        ];
        Self { status: 200, headers, body }
    }

    pub(super) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name.into(), value));
        self
    }

    /// An answer without a body (204).
    pub(super) fn empty() -> Self {
        let headers = vec![("cache-control".into(), "no-store".to_owned())];
        Self { status: 204, headers, body: Vec::new() }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Checks that a body is announced as JSON.
///
/// # Errors
///
/// [`UnsupportedMediaType`](RejectionKind::UnsupportedMediaType) for anything else, and where
/// nothing is announced.
///
/// ```
/// use key0_auth::api::check_media_type;
///
/// assert!(check_media_type(Some(b"application/json; charset=utf-8")).is_ok());
/// assert_eq!(check_media_type(None).expect_err("it is not said").kind().status(), 415);
/// ```
pub fn check_media_type(content_type: Option<&[u8]>) -> Result<(), Rejection> {
    let essence = content_type
        .and_then(|value| value.split(|byte| *byte == b';').next())
        .map(<[u8]>::trim_ascii);
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case(b"application/json") => Ok(()),
        _ => Err(RejectionKind::UnsupportedMediaType.into()),
    }
}

/// Checks that a body is not encoded, by the values of `Content-Encoding`.
///
/// # Errors
///
/// [`UnsupportedMediaType`](RejectionKind::UnsupportedMediaType) for any coding but `identity`.
///
/// ```
/// use key0_auth::api::check_content_encoding;
///
/// assert!(check_content_encoding([]).is_ok());
/// assert!(check_content_encoding([&b"gzip"[..]]).is_err());
/// ```
pub fn check_content_encoding<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), Rejection> {
    let mut codings = values.into_iter().flat_map(|value| value.split(|byte| *byte == b','));
    if codings.all(|coding| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    }) {
        return Ok(());
    }
    Err(Rejection::new(RejectionKind::UnsupportedMediaType)
        .detail("The request body must not have a Content-Encoding"))
}

/// Checks that a body comes in no coding but chunks, by the values of `Transfer-Encoding`: servers undo
/// no other (RFC 9112, section 6.1).
#[cfg(any(feature = "axum", feature = "actix", all(feature = "tower", feature = "idempotency")))]
pub(crate) fn check_transfer_encoding<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), Rejection> {
    let mut codings = values.into_iter().flat_map(|value| value.split(|byte| *byte == b','));
    if codings.all(|coding| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"chunked")
    }) {
        return Ok(());
    }
    Err(Rejection::new(RejectionKind::UnsupportedMediaType)
        .detail("The request body must have no Transfer-Encoding but chunked"))
}

/// The largest metadata that is kept, in bytes of JSON: 4 KiB.
const MAX_METADATA_BYTES: usize = 4 * 1024;
/// The name of a member that is kept nowhere, in small letters.
const ACCESS_TOKEN: &[u8] = b"accesstoken";
/// The deepest metadata that is kept, in levels.
const MAX_METADATA_DEPTH: usize = 16;

/// Whether a value is small and flat enough to be kept with a key.
pub(super) fn can_be_kept(metadata: &Value) -> bool {
    json::is_at_most_deep(metadata, MAX_METADATA_DEPTH)
        && metadata.to_string().len() <= MAX_METADATA_BYTES
}

/// Checks what the head of a request says of its body's length. Whatever it says, no more than
/// [`MAX_BODY_BYTES`] are to be read.
#[cfg(any(feature = "axum", feature = "actix"))]
pub(crate) fn check_length(content_length: Option<&[u8]>) -> Result<(), Rejection> {
    let length = content_length.and_then(|value| str::from_utf8(value).ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > MAX_BODY_BYTES as u64) {
        return Err(RejectionKind::BodyTooLarge.into());
    }
    Ok(())
}

/// A body that may be left out, and then its media type, too.
#[cfg(any(feature = "axum", feature = "actix"))]
pub(crate) fn empty_or_checked<B: AsRef<[u8]>>(
    media_type: Result<(), Rejection>,
    read: Result<B, Rejection>,
) -> Result<B, Rejection> {
    match read {
        Ok(body) if body.as_ref().is_empty() => Ok(body),
        read => media_type.and(read),
    }
}

/// The refusal of a body that ended too early, or that was none.
#[cfg(any(feature = "axum", feature = "actix", all(feature = "tower", feature = "idempotency")))]
pub(crate) fn broken_off() -> Rejection {
    invalid("The request body could not be read to its end")
}

/// How long an endpoint may take: a second less than Key0 waits.
const ANSWER_DEADLINE: Duration = Duration::from_secs(9);

/// The answer of some work, or an outage where it takes too long.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, Rejection>>,
) -> Result<T, Rejection> {
    within(ANSWER_DEADLINE, work).await
}

/// The same, with another deadline.
pub(super) async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, Rejection>>,
) -> Result<T, Rejection> {
    match tokio::time::timeout(deadline, work).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(Rejection::new(RejectionKind::StoreUnavailable).cause(elapsed)),
    }
}

/// The answer of some work that goes on when nobody waits for it any more, or an outage where it
/// takes too long. Must run within a tokio runtime.
pub(super) async fn carry_out<T: Send + 'static>(
    work: impl Future<Output = Result<T, Rejection>> + Send + 'static,
) -> Result<T, Rejection> {
    in_time(finish(&mut tokio::spawn(work))).await
}

/// The same for work that is of use to the caller alone: it is cancelled when it takes too long, so that
/// it is not done after all once the caller was told of an outage.
pub(super) async fn carry_out_in_time<T: Send + 'static>(
    work: impl Future<Output = Result<T, Rejection>> + Send + 'static,
) -> Result<T, Rejection> {
    let mut work = tokio::spawn(work);
    let answer = in_time(finish(&mut work)).await;
    work.abort();
    answer
}

async fn finish<T>(work: &mut JoinHandle<Result<T, Rejection>>) -> Result<T, Rejection> {
    let panicked = |error| Err(Rejection::new(RejectionKind::Internal).cause(error));
    work.await.unwrap_or_else(panicked)
}

/// A store's failure as the cause of a refusal.
pub(super) fn outage(error: StoreError) -> Rejection {
    Rejection::new(RejectionKind::StoreUnavailable).cause(error)
}

/// The members of a JSON object, taken out one by one.
pub(super) struct Members(Map<String, Value>);

impl Members {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Rejection> {
        if body.len() > MAX_BODY_BYTES {
            return Err(RejectionKind::BodyTooLarge.into());
        }
        json::object(body).map(Self).map_err(|fault| match fault {
            json::ObjectFault::NotJson => invalid("Invalid JSON body"),
            json::ObjectFault::NotAnObject => invalid("Expected JSON object"),
        })
    }

    /// A member that must be there and be an id.
    pub(super) fn id<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str) -> Result<T, InvalidId>,
    ) -> Result<T, Rejection> {
        self.optional_id(name, read)?.ok_or_else(|| invalid(format!("{name} is required")))
    }

    /// A member that must be an id where it is there.
    pub(super) fn optional_id<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str) -> Result<T, InvalidId>,
    ) -> Result<Option<T>, Rejection> {
        let legal = |value: Value| value.as_str().and_then(|text| read(text).ok());
        // One that is null counts as absent.
        let value = self.take(name);
        let text = value.as_ref().and_then(Value::as_str).filter(|text| text.len() <= MAX_ID_BYTES);
        if text.is_some_and(credential::is_no_id) {
            return Err(invalid(format!("{name} must not be a credential")));
        }
        match value.map(legal) {
            None => Ok(None),
            Some(Some(id)) => Ok(Some(id)),
            Some(None) => Err(invalid(format!("{name} must be 1 to 256 visible ASCII characters"))),
        }
    }

    /// `planId`, or `tierId` as older services say; both must be equal.
    pub(super) fn plan(&mut self) -> Result<PlanId, Rejection> {
        let plan = self.optional_id("planId", PlanId::new)?;
        let tier = self.optional_id("tierId", PlanId::new)?;
        match (plan, tier) {
            (Some(plan), Some(tier)) if plan != tier => {
                Err(invalid("planId and tierId must be equal"))
            }
            (Some(plan), _) | (None, Some(plan)) => Ok(plan),
            (None, None) => Err(invalid("planId is required")),
        }
    }

    /// A member of any form, `null` too.
    pub(super) fn take_as_it_is(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A member of any form. One that is `null` counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// What is read of a body, or all that is wrong with it: what was found when its members were
    /// read, and what was not taken out, which `nothing_else` says.
    pub(super) fn finish<T>(
        self,
        read: Option<T>,
        errors: FieldErrors,
        nothing_else: &'static str,
    ) -> Result<T, Rejection> {
        match read {
            Some(read) if errors.0.is_empty() && self.0.is_empty() => Ok(read),
            _ => {
                let unknown = self.0.into_iter().map(|(name, _)| FieldError::unknown(name));
                let unknown = unknown.map(|error| error.with_message(nothing_else));
                let errors = errors.0.into_iter().chain(unknown);
                Err(Rejection::new(RejectionKind::InvalidBody).errors(errors))
            }
        }
    }

    /// Everything that was not taken out, without credentials: they are kept nowhere, whoever sent
    /// them.
    pub(super) fn rest(mut self) -> Map<String, Value> {
        remove_credentials(&mut self.0);
        self.0
    }
}

/// What is wrong with a body's members, gathered while they are read.
#[derive(Default)]
pub(super) struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// What was read of a member, unless it is wrong.
    pub(super) fn keep<T>(&mut self, read: Result<T, FieldError>) -> Option<T> {
        read.map_err(|error| self.0.push(error)).ok()
    }
}

/// Removes, at any depth, what is called an access token, and texts that look like a credential.
/// Whether there was one.
pub(super) fn remove_credentials(members: &mut Map<String, Value>) -> bool {
    let mut found = false;
    members.retain(|name, value| {
        let is_one = is_token(name, value) || credential::shows_in(name);
        !is_one && is_clean(value, &mut found) || {
            found = true;
            false
        }
    });
    found
}

/// Whether a member is called an access token, as `accessToken` or `X-Access-Token`. What is only told
/// of one is none, as the number in `accessTokenExpiresIn`.
fn is_token(name: &str, value: &Value) -> bool {
    let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
    let letters: Vec<_> = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    let can_be_one = !matches!(value, Value::Number(_) | Value::Bool(_) | Value::Null);
    letters == ACCESS_TOKEN
        || can_be_one && letters.windows(ACCESS_TOKEN.len()).any(|part| part == ACCESS_TOKEN)
}

/// Whether a value is no credential, once those within it were removed.
fn is_clean(value: &mut Value, found: &mut bool) -> bool {
    match value {
        Value::String(text) => !credential::shows_in(text),
        Value::Array(values) => {
            let before = values.len();
            values.retain_mut(|value| is_clean(value, found));
            *found |= values.len() < before;
            true
        }
        Value::Object(members) => {
            *found |= remove_credentials(members);
            true
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::new(RejectionKind::InvalidBody).detail(detail)
}

#[cfg(all(test, feature = "axum"))]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_in_chunks_or_whole() {
        for good in [&[][..], &["chunked"], &[" Chunked ,"]] {
            let values = good.iter().map(|value| value.as_bytes());
            assert!(check_transfer_encoding(values).is_ok(), "{good:?}");
        }
        for bad in [&["gzip, chunked"][..], &["gzip", "chunked"], &["identity"], &["x"]] {
            let values = bad.iter().map(|value| value.as_bytes());
            let refused = check_transfer_encoding(values).map_err(|refused| refused.kind());
            assert_eq!(refused, Err(RejectionKind::UnsupportedMediaType), "{bad:?}");
        }
    }
}
