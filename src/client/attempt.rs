use std::{future::Future, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER},
};
use tokio::time::{Instant, timeout_at};

use super::{
    Inner,
    credential::Proof,
    error::{Error, ErrorKind, Told},
    problem::Problem,
    response::{Response, is_json, is_problem_json, is_replayed},
    retry,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name of a request that is kept, in bytes.
const MAX_REQUEST_ID: usize = 256;

/// A call that can be sent, with the same bytes each time.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Bytes>,
    pub(super) idempotency_key: Option<String>,
}

/// Why there is no body.
enum Unread {
    TooLarge,
    Late,
    Broken(reqwest::Error),
}

impl Inner {
    /// Sends a call once and reads the answer, all within this time.
    pub(super) async fn attempt(
        &self,
        prepared: &Prepared,
        patience: Duration,
    ) -> Result<Response, Error> {
        let ends = Instant::now() + patience;
        let now = self.clock.now();
        let proof = self.credential.as_ref().map(|it| it.prove(now, self.token_life)).transpose();
        let proof = proof.map_err(|error| Error::new(ErrorKind::Signing).source_is(error))?;
        let sent = self.request(prepared, proof.as_ref()).send();
        let answer = match timeout_at(ends, sent).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(not_answered(error)),
            Err(_) => return Err(Error::new(ErrorKind::Timeout)),
        };

        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let redact = |text: &str| proof.as_ref().map_or(text.to_owned(), |it| it.redact(text));
        let request_id = header(&headers, &REQUEST_ID).filter(|id| id.len() <= MAX_REQUEST_ID);
        let request_id = request_id.map(redact);
        let body = self.read(answer, ends).await;
        match status {
            200..300 => match body {
                Ok(body) => Ok(Response {
                    status,
                    headers,
                    request_id,
                    body,
                    attempts: 0,
                    idempotency_key: prepared.idempotency_key.clone(),
                }),
                Err(why) => Err(why.into_error().answered(status, request_id)),
            },
            300..400 => Err(Error::new(ErrorKind::Redirected).answered(status, request_id)),
            _ => {
                let pause = header(&headers, &RETRY_AFTER);
                let told = Told {
                    // The status stands, whatever has become of the body.
                    problem: body.ok().and_then(|body| problem(&headers, &body, proof.as_ref())),
                    is_problem_json: is_problem_json(&headers),
                    replayed: is_replayed(&headers),
                    retry_after: pause
                        .and_then(|value| retry::retry_after(value, self.clock.now())),
                };
                Err(Error::new(ErrorKind::Refused).answered(status, request_id).told(told))
            }
        }
    }

    fn request(&self, prepared: &Prepared, proof: Option<&Proof>) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .request(prepared.method.clone(), prepared.url.clone())
            .header(ACCEPT, "application/json, application/problem+json");
        if let Some(proof) = proof {
            request = request.header(proof.name.clone(), proof.value.clone());
        }
        if let Some(key) = &prepared.idempotency_key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if let Some(body) = &prepared.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        request
    }

    async fn read(&self, mut answer: reqwest::Response, ends: Instant) -> Result<Vec<u8>, Unread> {
        let mut body = Vec::new();
        loop {
            let chunk = in_time(ends, answer.chunk()).await?;
            let Some(chunk) = chunk.map_err(Unread::Broken)? else { return Ok(body) };
            if body.len().saturating_add(chunk.len()) > self.max_answer_bytes {
                return Err(Unread::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
    }
}

impl Unread {
    fn into_error(self) -> Error {
        match self {
            Self::TooLarge => Error::new(ErrorKind::TooLarge),
            Self::Late => Error::new(ErrorKind::Timeout),
            Self::Broken(error) => Error::new(ErrorKind::Broken).source_is(error.without_url()),
        }
    }
}

async fn in_time<F: Future>(ends: Instant, future: F) -> Result<F::Output, Unread> {
    timeout_at(ends, future).await.map_err(|_| Unread::Late)
}

fn not_answered(error: reqwest::Error) -> Error {
    let kind = if error.is_builder() {
        ErrorKind::InvalidRequest
    } else if error.is_connect() {
        ErrorKind::Connect
    } else {
        ErrorKind::Broken
    };
    Error::new(kind).source_is(error.without_url())
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What a refusal says, where it is JSON, without the credential in it.
fn problem(headers: &HeaderMap, body: &[u8], proof: Option<&Proof>) -> Option<Problem> {
    if !is_json(headers) {
        return None;
    }
    let told = serde_json::from_slice(body).ok()?;
    Problem::from_json(match proof {
        Some(proof) => proof.redact_json(told),
        None => told,
    })
}
