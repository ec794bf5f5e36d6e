use std::time::Duration;

use key0_auth::{Rejection, RejectionKind, domain::Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use super::{Asked, Fault, Store, once::Done};
use crate::partner::passports::{Filter, NewPassport, Passport, Wanted, not_found};

/// How long the simulated chain takes to certify a passport.
const CERTIFICATION: Duration = Duration::from_secs(1);

const COLUMNS: &str = "id, granularity, application, network, model_number, name, description,
     status, certification, created_at, updated_at";

/// What became of a passport that is to be there.
pub(super) enum Upsert {
    Created,
    Updated,
    /// It is certified, or is being so.
    Fixed,
}

impl Store {
    pub(crate) async fn create_passport(
        &self,
        asked: Option<Asked>,
        new: NewPassport,
        now: Timestamp,
    ) -> Result<String, Fault> {
        self.once(asked, now, move |tx| {
            if find(tx, &new)?.is_some() {
                let taken = "A passport of this application has this modelNumber already";
                return Err(Rejection::new(RejectionKind::RequestConflict).detail(taken).into());
            }
            let (row, passport) = insert(tx, new, now)?;
            Ok(Done { table: "partner_passports", row, answer: passport.to_json() })
        })
        .await
    }

    pub(crate) async fn passport(&self, id: String) -> Result<Passport, Fault> {
        self.read(move |conn| {
            let sql = format!("SELECT {COLUMNS} FROM partner_passports WHERE id = ?1");
            let found = conn.prepare_cached(&sql)?.query_row([id], passport).optional()?;
            found.ok_or_else(|| not_found().into())
        })
        .await
    }

    /// Hands drafts over to be certified. Those that are on their way, or there, are passed over.
    pub(crate) async fn publish(
        &self,
        asked: Option<Asked>,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<String, Fault> {
        let keyed = asked.is_some();
        self.once(asked, now, move |tx| {
            let accepted = match &wanted {
                Wanted::Ids(ids) => publish_these(tx, ids, now)?,
                Wanted::Those(filter) => publish_those(tx, filter, now)?,
            };
            let accepted = i64::try_from(accepted).unwrap_or(i64::MAX);
            let mut row = 0;
            if keyed {
                let sql = "INSERT INTO partner_publications (accepted, created_at) VALUES (?1, ?2)";
                tx.prepare_cached(sql)?.execute((accepted, now.as_micros()))?;
                row = tx.last_insert_rowid();
            }
            let answer = serde_json::json!({ "accepted": accepted }).to_string();
            Ok(Done { table: "partner_publications", row, answer })
        })
        .await
    }

    /// Certifies up to `limit` passports whose time has come, and says how many.
    pub(crate) async fn certify(&self, now: Timestamp, limit: u32) -> Result<usize, Fault> {
        self.write(move |tx| {
            let sql = "UPDATE partner_passports
                 SET certification = 'certified', status = 'published', due_at = NULL,
                     updated_at = ?1
                 WHERE arrival IN (SELECT arrival FROM partner_passports
                     WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2)";
            Ok(tx.prepare_cached(sql)?.execute((now.as_micros(), limit))?)
        })
        .await
    }
}

const PUBLISH: &str = "UPDATE partner_passports SET certification = 'pending', due_at = :due,
     updated_at = :now WHERE certification = 'none'";

fn publish_these(tx: &Transaction<'_>, ids: &[String], now: Timestamp) -> Result<usize, Fault> {
    let mut known = tx.prepare_cached("SELECT 1 FROM partner_passports WHERE id = ?1")?;
    let sql = format!("{PUBLISH} AND id = :id");
    let mut publish = tx.prepare_cached(&sql)?;
    let due = now.plus(CERTIFICATION).as_micros();
    let mut accepted = 0;
    for (place, id) in ids.iter().enumerate() {
        if !known.exists([id])? {
            let unknown = format!("ids[{place}] is the id of no passport; none was published");
            return Err(Rejection::new(RejectionKind::NotFound).detail(unknown).into());
        }
        let now = now.as_micros();
        accepted += publish.execute(named_params! {":due": due, ":now": now, ":id": id})?;
    }
    Ok(accepted)
}

fn publish_those(tx: &Transaction<'_>, filter: &Filter, now: Timestamp) -> Result<usize, Fault> {
    let sql = format!(
        "{PUBLISH} AND (:application IS NULL OR application = :application)
             AND (:model IS NULL OR model_number = :model)
             AND (:status IS NULL OR status = :status)"
    );
    let Filter { application, model_number, status } = filter;
    Ok(tx.prepare_cached(&sql)?.execute(named_params! {
        ":due": now.plus(CERTIFICATION).as_micros(),
        ":now": now.as_micros(),
        ":application": application,
        ":model": model_number,
        ":status": status,
    })?)
}

/// Makes a passport, or brings the one with its application and model number up to date.
pub(super) fn upsert(
    tx: &Transaction<'_>,
    new: NewPassport,
    now: Timestamp,
) -> Result<Upsert, Fault> {
    let Some((row, certification)) = find(tx, &new)? else {
        insert(tx, new, now)?;
        return Ok(Upsert::Created);
    };
    if certification != "none" {
        return Ok(Upsert::Fixed);
    }
    let sql = "UPDATE partner_passports SET granularity = ?2, network = ?3, name = ?4,
             description = ?5, updated_at = ?6 WHERE arrival = ?1";
    let NewPassport { granularity, network, name, description, .. } = new;
    let now = now.as_micros();
    tx.prepare_cached(sql)?.execute((row, granularity, network, name, description, now))?;
    Ok(Upsert::Updated)
}

fn find(tx: &Transaction<'_>, new: &NewPassport) -> rusqlite::Result<Option<(i64, String)>> {
    let sql = "SELECT arrival, certification FROM partner_passports
         WHERE application = ?1 AND model_number = ?2";
    let mut statement = tx.prepare_cached(sql)?;
    let found = statement
        .query_row((&new.application, &new.model_number), |row| Ok((row.get(0)?, row.get(1)?)));
    found.optional()
}

fn insert(tx: &Connection, new: NewPassport, now: Timestamp) -> rusqlite::Result<(i64, Passport)> {
    let passport = Passport::draft(new, now);
    let sql = format!(
        "INSERT INTO partner_passports ({COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    );
    tx.prepare_cached(&sql)?.execute((
        &passport.id,
        &passport.granularity,
        &passport.application,
        &passport.network,
        &passport.model_number,
        &passport.name,
        &passport.description,
        &passport.status,
        &passport.certification_status,
        passport.created_at.as_micros(),
        passport.updated_at.as_micros(),
    ))?;
    Ok((tx.last_insert_rowid(), passport))
}

fn passport(row: &Row<'_>) -> rusqlite::Result<Passport> {
    Ok(Passport {
        id: row.get(0)?,
        granularity: row.get(1)?,
        application: row.get(2)?,
        network: row.get(3)?,
        model_number: row.get(4)?,
        name: row.get(5)?,
        description: row.get(6)?,
        status: row.get(7)?,
        certification_status: row.get(8)?,
        created_at: Timestamp::from_micros(row.get(9)?),
        updated_at: Timestamp::from_micros(row.get(10)?),
    })
}
