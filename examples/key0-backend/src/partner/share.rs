//! How much of the memory one partner may take with requests and answers that are on their way.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{
    Error,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use key0_auth::{Identity, Rejection, RejectionKind};

/// The most that one partner's requests and answers may hold at a time, in bytes.
const BUDGET: usize = 32 * 1024 * 1024;
/// What an answer is taken to hold before it is there: the most of a page.
const ANSWER: usize = super::query::MAX_PAGE_BYTES;
/// How much of an answer is handed out at a time. What was handed out is not counted any more.
const PIECE: usize = 16 * 1024;

/// What each partner holds. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares(Arc<Mutex<HashMap<String, usize>>>);

/// A part of a partner's budget, given back when this is dropped.
#[derive(Debug)]
struct Share {
    shares: Shares,
    caller: String,
    bytes: usize,
}

/// Lets a request through where its caller has enough left of the budget for its body, of at most
/// `limit` bytes, and for its answer.
pub(super) async fn within_share(
    State((shares, limit)): State<(Shares, usize)>,
    request: Request,
    next: Next,
) -> Result<Response, Rejection> {
    // Where nothing is checked, all are one caller.
    let caller = request.extensions().get().map(Identity::lasting_id).unwrap_or_default();
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let body = match length {
        Some(length) => limit.min(length),
        None if request.body().is_end_stream() => 0,
        None => limit,
    };
    let Some(mut share) = shares.take(caller, body + ANSWER) else {
        let rejection = Rejection::new(RejectionKind::TooManyRequests);
        return Err(rejection.detail("Too much of this caller is on its way; let some of it end"));
    };
    let response = next.run(request).await;
    let (parts, body) = response.into_parts();
    share.resize(usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX));
    Ok(Response::from_parts(parts, Body::new(Held { body, rest: Bytes::new(), _share: share })))
}

impl Shares {
    fn take(&self, caller: String, bytes: usize) -> Option<Share> {
        let mut table = self.table();
        let held = table.get(&caller).copied().unwrap_or(0);
        if held + bytes > BUDGET {
            return None;
        }
        table.insert(caller.clone(), held + bytes);
        drop(table);
        Some(Share { shares: self.clone(), caller, bytes })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn resize(&mut self, bytes: usize) {
        let mut table = self.shares.table();
        if let Some(held) = table.get_mut(&self.caller) {
            *held = held.saturating_sub(self.bytes).saturating_add(bytes);
            if *held == 0 {
                table.remove(&self.caller);
            }
        } else if bytes > 0 {
            table.insert(self.caller.clone(), bytes);
        }
        drop(table);
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}

/// An answer that is handed out in pieces, so that a client which does not read it holds its share.
struct Held {
    body: Body,
    rest: Bytes,
    _share: Share,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()? {
                None => return Poll::Ready(None),
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
            }
        }
        let piece = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn one_caller_has_a_budget_and_takes_nothing_from_another() {
        let shares = Shares::default();
        let take = |caller: &str, bytes| shares.take(caller.to_owned(), bytes);
        let mut first = take("a", BUDGET).unwrap();
        assert!(take("a", 1).is_none());
        assert!(take("b", BUDGET).is_some());
        first.resize(BUDGET - 10);
        let second = take("a", 10).unwrap();
        assert!(take("a", 1).is_none());
        drop((first, second));
        assert!(shares.table().is_empty());
    }

    #[tokio::test]
    async fn an_answer_is_whole_and_holds_its_share_until_it_is_read() {
        let shares = Shares::default();
        let text: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let held = |size: usize| {
            let share = shares.take("a".to_owned(), size).unwrap();
            Held { body: Body::from(text.clone()), rest: Bytes::new(), _share: share }
        };
        let mut answer = held(text.len());
        assert_eq!(answer.size_hint().exact(), Some(100_000));
        let piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((piece.len(), answer.size_hint().exact()), (PIECE, Some(83_616)));
        assert_eq!(shares.table().get("a"), Some(&100_000));
        drop(answer);
        assert!(shares.table().is_empty());
        assert_eq!(held(1).collect().await.unwrap().to_bytes(), text);
    }
}
