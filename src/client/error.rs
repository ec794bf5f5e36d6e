use std::{error::Error as StdError, fmt, time::Duration};

use super::problem::Problem;

/// A call with this key is being carried out.
const IN_PROGRESS: &str = "idempotency_in_progress";
/// A credential is being issued for this request.
const ISSUING: &str = "issuance_in_progress";
/// A call with this key was carried out, and its answer is gone.
const NOT_KEPT: &str = "idempotency_response_not_kept";

/// A call that did not come out well, after all its attempts.
///
/// It holds no credential. What the server said is searched for it as it was sent; a copy in another
/// form (encoded, cut in two) would stay.
pub struct Error(Box<Inner>);

#[derive(Default)]
struct Inner {
    kind: ErrorKind,
    status: Option<u16>,
    told: Told,
    request_id: Option<String>,
    idempotency_key: Option<String>,
    attempts: u32,
    outcome_unknown: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a refusal says of itself.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) problem: Option<Problem>,
    /// Its media type is that of problem details, which no proxy's own page has.
    pub(super) is_problem_json: bool,
    /// It is the answer that an attempt before it got, under the same key.
    pub(super) replayed: bool,
    pub(super) retry_after: Option<Duration>,
}

/// The kinds of failure. Whether the call may have been carried out is told by
/// [`Error::is_outcome_unknown`], and not by the kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call was not sent: its path, key or body can't be.
    #[default]
    InvalidRequest,
    /// The call was not sent: the system token could not be signed.
    Signing,
    /// There is no connection to the server.
    Connect,
    /// The whole answer was not there in time.
    Timeout,
    /// The connection broke.
    Broken,
    /// The server refused, or failed: a status from 400 on.
    Refused,
    /// The server points elsewhere. The client does not follow: it would take its credential along.
    Redirected,
    /// The answer of 200 to 299 is not the JSON that was asked for. It may come from another
    /// version of the server, which has done it, or from something in front of the server, which
    /// has not.
    Unreadable,
    /// The answer of 200 to 299 is larger than is read.
    TooLarge,
}

/// Why a call can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidCall {
    #[error("a path begins with one slash, holds visible ascii, and never climbs by dots")]
    Path,
    #[error("an idempotency key is 1 to 255 visible ascii characters, without quotes")]
    Key,
    #[error("an idempotency key and allowed repeats are for POST alone")]
    NoPost,
    #[error("once and allowed repeats exclude each other, and allowed repeats a key")]
    Contradiction,
    #[error("the body can't be written as json")]
    Body,
    #[error("a state is waited for with GET")]
    NoGet,
}

/// Where an answer stops being what was asked for. Not the parser's own text: it quotes the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnreadableAnswer {
    #[error("its content type is not json")]
    NoJson,
    #[error("it is not what was asked for, from line {line}, column {column} on")]
    OtherJson { line: usize, column: usize },
}

impl Error {
    pub(super) fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner { kind, ..Inner::default() }))
    }

    pub(super) fn source_is(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    pub(super) fn answered(mut self, status: u16, request_id: Option<String>) -> Self {
        (self.0.status, self.0.request_id) = (Some(status), request_id);
        self
    }

    pub(super) fn told(mut self, told: Told) -> Self {
        self.0.told = told;
        self
    }

    /// What is known only to the call as a whole.
    pub(super) fn of_call(mut self, attempts: u32, idempotency_key: Option<&str>) -> Self {
        self.0.attempts = attempts;
        self.0.idempotency_key = idempotency_key.map(str::to_owned);
        self
    }

    /// An attempt, this one or one before it, may have been carried out.
    pub(super) fn outcome_unknown(mut self, unknown: bool) -> Self {
        self.0.outcome_unknown = unknown;
        self
    }

    /// Whether this attempt, taken alone, may have been carried out: in doubt, yes.
    pub(super) fn leaves_open(&self) -> bool {
        match self.kind() {
            ErrorKind::InvalidRequest | ErrorKind::Signing | ErrorKind::Connect => false,
            ErrorKind::Refused => match self.status() {
                Some(409) => matches!(self.code(), None | Some(IN_PROGRESS | NOT_KEPT)),
                status => matches!(status, Some(408 | 500..)),
            },
            _ => true,
        }
    }

    /// Whether the server did this attempt, most likely, and its answer was lost.
    pub(super) fn is_answer_lost(&self) -> bool {
        match self.kind() {
            ErrorKind::Timeout | ErrorKind::Broken => true,
            ErrorKind::Refused => matches!(self.status(), Some(408 | 502 | 504)),
            _ => false,
        }
    }

    /// Whether the server itself says that there is no such thing. A proxy that does not know the
    /// server says 404 too, but not as a problem with a code.
    pub(super) fn says_gone(&self) -> bool {
        self.status() == Some(404) && self.0.told.is_problem_json && self.code().is_some()
    }

    /// Whether the server is at it already: this attempt was not carried out, and needs only time.
    pub(super) fn is_in_progress(&self) -> bool {
        let told = (self.status(), self.code());
        matches!(told, (Some(409), Some(IN_PROGRESS)) | (Some(503), Some(ISSUING)))
    }

    /// Whether this is the refusal that an earlier attempt under the same key got. After it, nothing
    /// is open.
    pub(super) fn is_replayed(&self) -> bool {
        self.0.told.replayed && !self.leaves_open()
    }

    /// Which kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The answer's status, where there was one.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The stable name of the refusal, as `insufficient_permissions`.
    pub fn code(&self) -> Option<&str> {
        self.problem()?.code()
    }

    /// What the server said of the refusal, where it did in JSON.
    pub fn problem(&self) -> Option<&Problem> {
        self.0.told.problem.as_ref()
    }

    /// The server's name for the last attempt; its log has it too.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// How long the server wants to be left alone, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.told.retry_after
    }

    /// The key under which the call was sent. To send it later under the same key is the same call
    /// to a server that heeds it.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.0.idempotency_key.as_deref()
    }

    /// How often the call was sent.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Whether the call may have been carried out, by whichever of its attempts, and nobody knows.
    ///
    /// An attempt leaves that open if its answer did not come whole, is a redirect or can't be
    /// read. So does a 408, a status from 500 on, and a 409 that says that the call is in progress
    /// or that its answer was not kept. A refusal that the server replays settles it.
    pub fn is_outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }
}

impl From<InvalidCall> for Error {
    fn from(fault: InvalidCall) -> Self {
        Self::new(ErrorKind::InvalidRequest).source_is(fault)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind() {
            ErrorKind::InvalidRequest => "the call can't be sent as it is",
            ErrorKind::Signing => "the system token could not be signed",
            ErrorKind::Connect => "the server can't be reached",
            ErrorKind::Timeout => "the server did not answer in time",
            ErrorKind::Broken => "the connection broke before the answer was there",
            ErrorKind::Refused => "the server refused the call",
            ErrorKind::Redirected => "the server redirects the call, which is not followed",
            ErrorKind::Unreadable => "the answer is not what was asked for",
            ErrorKind::TooLarge => "the answer is larger than is read",
        })?;
        if let Some(status) = self.status() {
            write!(f, ", status {status}")?;
        }
        match self.code().filter(|code| is_name(code)) {
            Some(code) => write!(f, ", {code}"),
            None => Ok(()),
        }
    }
}

/// A text that is a name as servers give them, rather than anything else in its place.
fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(legal)
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("status", &self.0.status)
            .field("problem", &self.problem())
            .field("request_id", &self.0.request_id)
            .field("retry_after", &self.retry_after())
            .field("idempotency_key", &self.0.idempotency_key)
            .field("attempts", &self.0.attempts)
            .field("outcome_unknown", &self.0.outcome_unknown)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|error| error as &(dyn StdError + 'static))
    }
}
