//! Many passports at once: taken in now, carried out in the background.

use axum::{
    extract::{Request, State},
    response::Response,
};
use key0_auth::{Identity, Rejection, RejectionKind};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Partner,
    http::{IdPath, Sent, answer, json, known_id},
    json::{Object, invalid},
};

/// The most rows in one import.
const MAX_ROWS: usize = 1_000;
/// The largest body of an import, in bytes: 1 MiB, as a thousand rows don't fit into 64 KiB.
pub(super) const MAX_IMPORT_BYTES: usize = 1024 * 1024;

/// What became of an import.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    id: String,
    status: &'static str,
    pub(super) created: u32,
    pub(super) updated: u32,
    pub(super) failed: Vec<Failed>,
}

/// A row that was passed over; the first row is row 0.
#[derive(Debug, Serialize)]
pub(super) struct Failed {
    pub(super) row: usize,
    pub(super) message: String,
}

pub(super) async fn create(
    State(partner): State<Partner>,
    request: Request,
) -> Result<Response, Rejection> {
    let owner = request.extensions().get::<Identity>().map(Identity::lasting_id);
    let Sent { asked, body } = partner.read(request, MAX_IMPORT_BYTES).await?;
    let rows = partner.judged(asked.as_ref(), rows(&body)).await?;
    Ok(answer(202, partner.store.queue_import(asked, owner, rows, partner.now()).await?))
}

pub(super) async fn show(
    State(partner): State<Partner>,
    id: IdPath,
) -> Result<Response, Rejection> {
    let id = known_id(id).ok_or_else(not_found)?;
    Ok(json(200, partner.store.import(id).await?))
}

pub(super) fn not_found() -> Rejection {
    Rejection::new(RejectionKind::NotFound).detail("Import not found")
}

/// The rows as they were written: whatever is wrong with one is found when it has its turn.
fn rows(body: &[u8]) -> Result<Box<RawValue>, Rejection> {
    let rows = Object::parse_around(body, "rows")?.take("rows");
    let fits = |rows: &RawValue| {
        let rows = serde_json::from_str::<Vec<&RawValue>>(rows.get());
        rows.is_ok_and(|rows| (1..=MAX_ROWS).contains(&rows.len()))
    };
    let wrong = || invalid(format!("rows must be a list of 1 to {MAX_ROWS} passports"));
    rows.filter(|rows| fits(rows)).ok_or_else(wrong)
}

impl Outcome {
    pub(super) fn new(id: String) -> Self {
        Self { id, status: "done", created: 0, updated: 0, failed: Vec::new() }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
