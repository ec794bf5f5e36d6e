//! The partner's side: calls to a backend, sent again where that is safe, with typed answers and
//! typed errors.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use key0_auth::client::{Client, ErrorKind, segment};
//! use serde_json::{Value, json};
//!
//! let client = Client::builder("http://127.0.0.1:9")
//!     .api_key("ak_a_key_of_a_partner")
//!     .attempts(2)
//!     .backoff(Duration::from_millis(1), Duration::from_millis(1))
//!     .build()?;
//! let path = format!("/v1/loyalty/account/{}/mint", segment("ada@example.com"));
//! let minted = client.post(&path).json(&json!({"amount": 600})).send::<Value>().await;
//! let error = minted.expect_err("nobody listens there");
//! assert_eq!((error.kind(), error.attempts()), (ErrorKind::Connect, 2));
//! assert!(error.idempotency_key().is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # What is sent again
//!
//! A call is sent again
//!
//! - if there is no connection, or it broke,
//! - if the answer is late,
//! - after a 408, 425, 429, 502, 503 or 504; a GET also after a 500, a POST also after a 409
//!   `idempotency_in_progress`.
//!
//! Pauses double and are jittered. A `Retry-After` is waited for before them; if it is longer than
//! what is left of the [deadline](ClientBuilder::deadline), the call ends at once. While the server
//! says that it is at it already, with that 409 or with a 503 `issuance_in_progress`, no attempt is
//! counted: only the deadline ends the call.
//!
//! | call | sent again |
//! |---|---|
//! | `get` | yes |
//! | `delete` | yes; a 404 problem with a code counts as done after an attempt whose answer was lost |
//! | `post` | yes, under one `Idempotency-Key` for all its attempts |
//! | any with [`once`](Call::once) | never; a POST goes without a key, unless one was set |
//! | `post` with [`allow_repeats`](Call::allow_repeats) | yes, without a key |
//!
//! # What to mind
//!
//! - Every POST has a random key unless it is told otherwise, and is repeated in the belief that
//!   the server heeds it. For an endpoint that does not, say [`once`](Call::once). This crate's
//!   `POST /keys` and `POST /keys/{id}/rotate` are such: they return secrets, and heed no key.
//! - A server that heeds keys keeps no answer from 500 on: the next attempt runs the handler anew.
//!   One that may fail half-way has to know the key itself, or to be called with `once`.
//! - A POST that failed may have been carried out: [`Error::is_outcome_unknown`]. The same [`Call`],
//!   or another one under [`Error::idempotency_key`], does it once where the server heeds the key,
//!   with the same exception.
//! - A DELETE is repeated without asking: what was made anew under the same path in between goes too.
//! - No redirect is followed and no proxy of the environment is used: either would get the
//!   credential. Plain http is spoken to this machine alone, unless it is
//!   [allowed](ClientBuilder::dangerous_allow_plain_http).
//! - Paths that climb by dots, also escaped ones, are refused. [`segment`] escapes an id.
//! - The credential is in no `Debug` and no error. What a server says in a refusal is searched for
//!   it as it was sent; a copy in another form (encoded, cut in two) would stay. An answer of 200 to
//!   299 is handed over as it came.
//! - It runs in a tokio runtime with its timers and its sockets on.

mod attempt;
mod base;
mod builder;
mod call;
mod credential;
mod error;
mod poll;
mod problem;
mod response;
mod retry;

use std::{fmt, sync::Arc, time::Duration};

use reqwest::Method;

use self::{base::BaseUrl, credential::Credential, retry::RetryPolicy};
pub use self::{
    base::segment,
    builder::ClientBuilder,
    call::Call,
    error::{Error, ErrorKind},
    poll::{PollError, PollErrorKind},
    problem::Problem,
    response::Response,
};
use crate::domain::Clock;

/// Calls one server with one credential. A clone is cheap and shares its connections.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::client::Client;
///
/// let client = Client::builder("https://api.example.com").api_key("ak_0123").build()?;
/// let passport = client.get("/v1/dpp/passports/1").send::<serde_json::Value>().await?;
/// # let _ = passport;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    base: BaseUrl,
    credential: Option<Credential>,
    token_life: Duration,
    max_answer_bytes: usize,
    policy: RetryPolicy,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// Starts with the address that stands before every path, as `https://api.example.com`.
    ///
    /// Without a credential none is sent.
    pub fn builder(base_url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(base_url.into())
    }

    /// Reads what is at a path, which begins with a slash and may have a query.
    pub fn get(&self, path: &str) -> Call {
        Call::new(self.clone(), Method::GET, path)
    }

    /// Asks for something to be done, under an idempotency key of its own.
    pub fn post(&self, path: &str) -> Call {
        Call::new(self.clone(), Method::POST, path)
    }

    /// Deletes what is at a path. It is sent again like a GET: see [`once`](Call::once).
    pub fn delete(&self, path: &str) -> Call {
        Call::new(self.clone(), Method::DELETE, path)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base_url", &self.0.base)
            .field("credential", &self.0.credential)
            .finish_non_exhaustive()
    }
}
