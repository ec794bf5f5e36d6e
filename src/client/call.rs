use std::{fmt, time::Duration};

use bytes::Bytes;
use reqwest::{Method, header::HeaderMap};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};

use super::{
    Client,
    attempt::Prepared,
    error::{Error, InvalidCall},
    response::Response,
    retry::{Pauses, Repeat},
};

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

/// One call, to be sent.
///
/// A POST has an idempotency key from its beginning, and keeps it: to send it twice, or to send a
/// clone of it, is to ask for the same thing once.
#[derive(Clone)]
#[must_use = "a call does nothing until it is sent"]
pub struct Call {
    pub(super) client: Client,
    pub(super) method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<Bytes>,
    random_key: Option<String>,
    own_key: Option<String>,
    repeats: Repeats,
    fault: Option<InvalidCall>,
    pub(super) interval: Duration,
}

/// What the application says of sending it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeats {
    ByMethod,
    Promised,
    Never,
}

impl Call {
    pub(super) fn new(client: Client, method: Method, path: &str) -> Self {
        let post = method == Method::POST;
        let key = post.then(|| uuid::Uuid::now_v7().hyphenated().to_string());
        Self {
            client,
            method,
            path: path.to_owned(),
            query: Vec::new(),
            body: None,
            random_key: key,
            own_key: None,
            repeats: Repeats::ByMethod,
            fault: None,
            interval: Duration::from_millis(250),
        }
    }

    /// Adds a parameter to the query.
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets the body. It is written once, and the same bytes are sent with each attempt.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body = Some(body.into()),
            // The writer's own text may quote what it could not write.
            Err(_) => self.fault = Some(InvalidCall::Body),
        }
        self
    }

    /// Sets the idempotency key of a POST, in place of the random one that it has: 1 to 255 visible
    /// ASCII characters, without quotes. With a key that is stored before the call is sent, the
    /// call stays the same one over a crash of this process.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        let key = key.into();
        let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if self.method != Method::POST {
            self.fault = Some(InvalidCall::NoPost);
        } else if !(1..=MAX_KEY).contains(&key.len()) || !key.bytes().all(legal) {
            self.fault = Some(InvalidCall::Key);
        } else {
            self.own_key = Some(key);
        }
        self
    }

    /// Sends it once only, and a POST without its random idempotency key: for endpoints that don't
    /// heed one. A key that was [set](Self::idempotency_key) is sent.
    pub fn once(self) -> Self {
        self.repeats(Repeats::Never)
    }

    /// Sends a POST without an idempotency key, and again as if it had one: for endpoints that do
    /// the same thing once by themselves, as those that Key0 calls. It excludes
    /// [`once`](Self::once), and an [idempotency key](Self::idempotency_key) that was set.
    pub fn allow_repeats(mut self) -> Self {
        if self.method != Method::POST {
            self.fault = Some(InvalidCall::NoPost);
        }
        self.repeats(Repeats::Promised)
    }

    fn repeats(mut self, repeats: Repeats) -> Self {
        if self.repeats != Repeats::ByMethod && self.repeats != repeats {
            self.fault = Some(InvalidCall::Contradiction);
        }
        self.repeats = repeats;
        self
    }

    /// The key that is sent.
    fn key(&self) -> Option<&str> {
        let random = self.random_key.as_ref().filter(|_| self.repeats == Repeats::ByMethod);
        self.own_key.as_ref().or(random).map(String::as_str)
    }

    /// Sends it, and reads the JSON of the answer. `()` takes an answer without a body.
    ///
    /// # Errors
    ///
    /// [`Error`], once no attempt is left that is safe and may help, or no time for one.
    pub async fn send<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.response().await?.json()
    }

    /// Sends it, and returns the answer as it is.
    ///
    /// # Errors
    ///
    /// [`Error`], as for [`send`](Self::send): also for each status that is not from 200 to 299.
    pub async fn response(&self) -> Result<Response, Error> {
        let (prepared, repeat) = (self.prepare()?, self.repeat());
        let policy = &self.client.0.policy;
        let mut pauses = Pauses::new(policy);
        let started = Instant::now();
        let left = || policy.deadline.saturating_sub(started.elapsed());
        let mut attempts = 0;
        let (mut outcome_unknown, mut maybe_deleted) = (false, false);
        loop {
            attempts += 1;
            let error = match self.client.0.attempt(&prepared, policy.timeout.min(left())).await {
                Ok(response) => return Ok(Response { attempts, ..response }),
                Err(error) => error,
            };
            // An earlier attempt has done it, and its answer was lost.
            if maybe_deleted && error.says_gone() {
                return Ok(Response::gone(attempts));
            }
            maybe_deleted |= repeat == Repeat::Deletes && error.is_answer_lost();
            outcome_unknown |= error.leaves_open();
            outcome_unknown &= !(repeat == Repeat::Keyed && error.is_replayed());
            let again = repeat.is_worth_it(&error).then(|| pauses.next(&error, left())).flatten();
            match again {
                Some(pause) => sleep(pause).await,
                None => {
                    let error = error.of_call(attempts, self.key());
                    return Err(error.outcome_unknown(outcome_unknown));
                }
            }
        }
    }

    pub(super) fn prepare(&self) -> Result<Prepared, Error> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        if self.repeats == Repeats::Promised && self.own_key.is_some() {
            return Err(InvalidCall::Contradiction.into());
        }
        Ok(Prepared {
            method: self.method.clone(),
            url: self.client.0.base.join(&self.path, &self.query)?,
            body: self.body.clone(),
            idempotency_key: self.key().map(str::to_owned),
        })
    }

    pub(super) fn repeat(&self) -> Repeat {
        match (self.repeats, &self.method) {
            (Repeats::Never, _) => Repeat::Never,
            (Repeats::Promised, _) => Repeat::Promised,
            (Repeats::ByMethod, &Method::GET) => Repeat::Reads,
            (Repeats::ByMethod, &Method::DELETE) => Repeat::Deletes,
            (Repeats::ByMethod, _) => Repeat::Keyed,
        }
    }
}

impl Response {
    /// What was to be deleted is gone.
    fn gone(attempts: u32) -> Self {
        Self {
            status: 404,
            headers: HeaderMap::new(),
            request_id: None,
            body: Vec::new(),
            attempts,
            idempotency_key: None,
        }
    }
}

/// The body, the query and the last part of the path may be somebody's secret.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("client", &self.client)
            .field("method", &self.method)
            .field("idempotency_key", &self.key())
            .finish_non_exhaustive()
    }
}
