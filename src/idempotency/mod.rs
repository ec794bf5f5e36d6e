//! Safe retries: a request with an `Idempotency-Key` runs once, and its retries get the answer
//! that the first one got (draft-ietf-httpapi-idempotency-key-header).
//!
//! [`Idempotency`] says how long, how large and for which routes; `IdempotencyLayer` and
//! `actix::IdempotencyMiddleware` put it around handlers, inside of the middleware that validates the
//! credential.
//!
//! # What passes
//!
//! - The first `POST` or `PATCH` with a key. The handler runs in a task of its own: a client that
//!   hangs up does not stop it, and its retry finds the answer.
//! - A request without a key, unless the route [demands](Idempotency::required) one, and every
//!   other method, whatever its headers say: those are idempotent by themselves.
//!
//! # What is answered without the handler
//!
//! | request | answer |
//! |---|---|
//! | the same one again, within 24 h | what was kept: status, headers, body, and `Idempotent-Replayed: true` |
//! | the same one, while the first still runs | 409 `idempotency_in_progress`, `Retry-After: 1` |
//! | the same key with another method, path, query, media type or body | 422 `idempotency_key_reused` |
//! | a key that is malformed, sent twice, or missing where demanded | 400 `invalid_request` |
//! | a body over the limit; not JSON where [JSON](Idempotency::json) is demanded | 413; 415 |
//! | any with a key, while the store can't be reached | 503 `store_unavailable` |
//!
//! # What is kept
//!
//! Every answer from 200 to 499 but what was refused before anything was done (400, 401, 403, 408,
//! 413, 415, 422, 425 and 429): the mended request may use the same key. After one that is not kept the key is free, and the next
//! request runs. Not kept either are an answer that says [`NotKept`], one of a route that [returns
//! secrets](Idempotency::secret_responses), and a handler's own
//! [`IdempotencyKeyReused`](crate::RejectionKind::IdempotencyKeyReused).
//!
//! Only the first caller gets `Set-Cookie`, `Date`, `X-Request-Id` and what belongs to one
//! connection. An answer [over the limit](Idempotency::max_response_bytes), or one whose body
//! breaks off, reaches the first caller as it is and can't be kept. The request must not run twice,
//! so its retries get 409 `idempotency_response_not_kept`.
//!
//! # What to mind
//!
//! - Keys are the caller's own: two callers with one key don't meet. See
//!   [`Identity::lasting_id`](crate::Identity::lasting_id).
//! - Whoever has lost a right must be turned away by the layer outside, as its policies do: what
//!   the handler alone would refuse today is replayed from yesterday.
//! - One such middleware around a route: a second one would find the key taken by the first.
//!   Compression and CORS stand outside of it, as their headers are for one request, not for its
//!   retries.
//! - A run holds its key by a [lease](Idempotency::lease) that is renewed while the handler runs.
//!   After a crash the key is free when the lease ends, and a retry runs the handler again. Only
//!   the application knows whether the first run had any effect: it can write [`IdempotentRequest`]
//!   into its own rows.
//! - A handler that blocks its thread renews nothing where the runtime has no other one, as a worker
//!   of actix-web's: what blocks belongs into `web::block`.
//! - A run ends after [five minutes](Idempotency::max_run), the body of its answer included, which
//!   is read before the first caller gets any of it. A stream that is to be seen while it grows does
//!   not go with a key.
//! - Where the handler has run and its answer can't be stored, its caller still gets it. Storing
//!   is tried again for ten minutes, and the key is held meanwhile. An outage in which no lease can
//!   be renewed frees it all the same, and so does the end of the process: then a retry runs.
//! - A server that shuts down waits for connections, not for handlers whose clients have hung up.
//! - Answers are kept as they are. See [`purge`](Idempotency::purge) for when they go.

mod config;
mod key;
mod lease;
mod response;
mod run;
mod settings;
#[cfg(test)]
mod tests;

#[cfg(any(feature = "tower", feature = "actix"))]
pub(crate) use config::Caller;
pub use config::Idempotency;
pub use key::{IdempotencyKey, IdempotentRequest};
pub use response::NotKept;
#[cfg(any(feature = "tower", feature = "actix"))]
pub(crate) use run::{Begun, Run};

#[cfg(any(feature = "tower", feature = "actix"))]
pub(crate) use response::REPLAYED;
