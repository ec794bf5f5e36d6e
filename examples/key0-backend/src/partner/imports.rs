//! Many passports at once: taken in now, carried out in the background.

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State},
    response::Response,
};
use key0_auth::{Identity, Rejection, RejectionKind, error::FieldError};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Partner,
    http::{IdPath, Sent, answer, json, known_id},
    json::Object,
    passports::NewPassport,
    store::terms,
};

/// The most rows in one import.
const MAX_ROWS: usize = 1_000;
/// The largest body of an import, in bytes: 1 MiB, as a thousand rows don't fit into 64 KiB.
pub(super) const MAX_IMPORT_BYTES: usize = 1024 * 1024;

/// The rows of an import, as they were understood: the passports in the order of their names, so that
/// of two imports at a time neither waits for the other, and each with the numbers of its rows. Of
/// several rows for one passport each would replace the one before, so the last counts.
#[derive(Debug)]
pub(super) struct Rows {
    passports: BTreeMap<(String, String), (NewPassport, Vec<usize>)>,
    failed: Vec<Failed>,
}

/// What became of a passport that is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upsert {
    Created,
    Updated,
    /// It is certified, or is being so.
    Fixed,
}

/// What became of an import.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    id: String,
    status: &'static str,
    created: usize,
    updated: usize,
    failed: Vec<Failed>,
}

/// A row that was passed over; the first row is row 0.
#[derive(Debug, Serialize)]
pub(super) struct Failed {
    row: usize,
    message: String,
}

pub(super) async fn create(
    State(partner): State<Partner>,
    request: Request,
) -> Result<Response, Rejection> {
    let owner = request.extensions().get::<Identity>().map(Identity::lasting_id);
    let Sent { asked, body } = partner.read(request, MAX_IMPORT_BYTES).await?;
    let rows = partner.read_or_refuse(asked.as_ref(), rows(&body)).await?;
    let queued = partner.store.queue_import(asked, owner, rows, partner.now()).await?;
    Ok(answer(202, queued.whole(|id| Some(terms::queued(id)))))
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
    let mut object = Object::parse_around(body, "rows")?;
    let rows = object.take_unless_null("rows");
    let fits = |rows: &RawValue| {
        let rows = serde_json::from_str::<Vec<&RawValue>>(rows.get());
        rows.is_ok_and(|rows| (1..=MAX_ROWS).contains(&rows.len()))
    };
    let fitting = rows.as_ref().filter(|rows| fits(rows)).cloned();
    if fitting.is_none() {
        let wrong = format!("rows must be a list of 1 to {MAX_ROWS} passports");
        object.add_errors([match rows {
            Some(_) => FieldError::invalid("rows", wrong),
            None => FieldError::required("rows").with_message(wrong),
        }]);
    }
    object.finish(fitting)
}

impl Rows {
    /// Reads what was taken in. Were that no list, the import would fail for ever: it is empty then.
    pub(super) fn read(taken_in: &str) -> Self {
        let rows: Vec<&RawValue> = serde_json::from_str(taken_in).unwrap_or_default();
        let (mut passports, mut failed) = (BTreeMap::new(), Vec::new());
        for (number, row) in rows.into_iter().enumerate() {
            match NewPassport::read_row(row.get().as_bytes()) {
                Err(rejection) => failed.push(Failed::refused(number, &rejection)),
                Ok(new) => {
                    let name = (new.application.clone(), new.model_number.clone());
                    let (last, numbers) =
                        passports.entry(name).or_insert_with(|| (new.clone(), Vec::new()));
                    *last = new;
                    numbers.push(number);
                }
            }
        }
        Self { passports, failed }
    }

    pub(super) fn passports(&self) -> impl ExactSizeIterator<Item = &NewPassport> {
        self.passports.values().map(|(passport, _)| passport)
    }

    /// What became of the import, where this became of each of the passports.
    pub(super) fn outcome(self, id: String, became: impl IntoIterator<Item = Upsert>) -> Outcome {
        let (mut created, mut updated, mut failed) = (0, 0, self.failed);
        for ((_, numbers), became) in self.passports.into_values().zip(became) {
            match became {
                // The rows after the first find what that has made.
                Upsert::Created => (created, updated) = (created + 1, updated + numbers.len() - 1),
                Upsert::Updated => updated += numbers.len(),
                Upsert::Fixed => failed.extend(numbers.into_iter().map(Failed::fixed)),
            }
        }
        failed.sort_unstable_by_key(|failed| failed.row);
        Outcome { id, status: "done", created, updated, failed }
    }
}

impl Failed {
    fn new(row: usize, message: &str) -> Self {
        Self { row, message: message.to_owned() }
    }

    /// All that is wrong with the row.
    fn refused(row: usize, rejection: &Rejection) -> Self {
        match rejection.field_errors() {
            [] => Self::new(row, rejection.message()),
            errors => {
                let messages: Vec<_> = errors.iter().map(FieldError::message).collect();
                Self::new(row, &messages.join("; "))
            }
        }
    }

    fn fixed(row: usize) -> Self {
        Self::new(row, "This passport is published and can't be changed")
    }
}

impl Outcome {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
