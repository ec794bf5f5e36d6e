//! What is the same in every engine: how long the simulated chain takes, how much is taken at a
//! time, and what is answered.

use std::time::Duration;

use key0_auth::{Rejection, RejectionKind};
use serde::Serialize;

use crate::partner::{json::MAX_INTEGER, passports::Filter};

/// How long the simulated chain takes to certify a passport.
pub(super) const CERTIFICATION: Duration = Duration::from_secs(1);
/// How long it takes to settle an order.
pub(super) const SETTLEMENT: Duration = Duration::from_secs(1);
/// The most imports of one owner that may wait, and how much they may be, in bytes.
pub(super) const MAX_WAITING: i64 = 1_000;
pub(super) const MAX_WAITING_BYTES: i64 = 16 * 1024 * 1024;

/// What a request to publish came to.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::partner) struct Published {
    pub(in crate::partner) accepted: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::partner) more: bool,
}

impl Published {
    /// Up to `limit` were handed over by a filter.
    pub(in crate::partner) fn by_filter(accepted: u64, limit: u32) -> Self {
        Self { accepted, more: accepted >= u64::from(limit) }
    }

    pub(in crate::partner) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Whether no draft can agree with a filter: none is called published.
pub(super) fn is_for_no_draft(filter: &Filter) -> bool {
    filter.status.as_deref() == Some("published")
}

/// Whether an owner who has `held` bytes waiting, in so many imports, may add another.
pub(super) fn check_waiting(waiting: i64, held: i64, bytes: i64) -> Result<(), Rejection> {
    if waiting >= MAX_WAITING || held.saturating_add(bytes) > MAX_WAITING_BYTES {
        return Err(too_many_imports());
    }
    Ok(())
}

pub(super) fn too_many_imports() -> Rejection {
    Rejection::new(RejectionKind::TooManyRequests).detail("Too many imports of this caller wait")
}

pub(in crate::partner) fn queued(id: &str) -> String {
    serde_json::json!({ "id": id, "status": "queued" }).to_string()
}

pub(in crate::partner) fn minted(balance: i64) -> String {
    serde_json::json!({ "newamount": balance }).to_string()
}

pub(super) fn is_full() -> Rejection {
    let full = format!("The balance of an account ends at {MAX_INTEGER}");
    Rejection::new(RejectionKind::RequestConflict).detail(full)
}

pub(super) fn is_taken() -> Rejection {
    let taken = "A passport of this application has this modelNumber already";
    Rejection::new(RejectionKind::RequestConflict).detail(taken)
}

/// The id at this place in the list is unknown.
pub(in crate::partner) fn is_unknown(place: usize) -> Rejection {
    let unknown = format!("ids[{place}] is the id of no passport; none was published");
    Rejection::new(RejectionKind::NotFound).detail(unknown)
}
