use async_trait::async_trait;
use key0_auth::domain::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params_from_iter, types::Value};

use super::{Sqlite, once::Done};
use crate::partner::{
    imports::Upsert,
    passports::{Filter, NewPassport, Passport, Wanted, not_found},
    store::{
        Answer, Asked, Fault, Passports,
        terms::{self, CERTIFICATION, Published},
    },
};

const COLUMNS: &str = "id, granularity, application, network, model_number, name, description,
     status, certification, created_at, updated_at";

pub(super) const CERTIFY: &str = "UPDATE partner_passports
     SET certification = 'certified', status = 'published', due_at = NULL, updated_at = ?1
     WHERE arrival IN (SELECT arrival FROM partner_passports
         WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2)";

pub(super) const FIND: &str = "SELECT arrival, certification FROM partner_passports
     WHERE application = ?1 AND model_number = ?2";

pub(super) const PUBLISH_ONE: &str = "UPDATE partner_passports
     SET certification = 'pending', updated_at = ?1, due_at = ?2
     WHERE certification = 'none' AND id = ?3";

#[async_trait]
impl Passports for Sqlite {
    async fn create_passport(
        &self,
        asked: Option<Asked>,
        new: NewPassport,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        self.once(asked, now, move |tx| {
            if find(tx, &new)?.is_some() {
                return Err(terms::is_taken().into());
            }
            let (row, passport) = insert(tx, &new, now)?;
            Ok(Done { table: "partner_passports", row, answer: passport.to_json() })
        })
        .await
    }

    async fn passport(&self, id: String) -> Result<Passport, Fault> {
        self.read(move |conn| {
            let sql = format!("SELECT {COLUMNS} FROM partner_passports WHERE id = ?1");
            let found = conn.prepare_cached(&sql)?.query_row([id], passport).optional()?;
            found.ok_or_else(|| not_found().into())
        })
        .await
    }

    async fn publish(
        &self,
        asked: Option<Asked>,
        wanted: Wanted,
        limit: u32,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        let keyed = asked.is_some();
        self.once(asked, now, move |tx| {
            let published = match &wanted {
                Wanted::Ids(ids) => publish_these(tx, ids, now)?,
                Wanted::Those(filter) => publish_those(tx, filter, limit, now)?,
            };
            let mut row = 0;
            if keyed {
                let sql = "INSERT INTO partner_publications (accepted, created_at) VALUES (?1, ?2)";
                let accepted = i64::try_from(published.accepted).unwrap_or(i64::MAX);
                tx.prepare_cached(sql)?.execute((accepted, now.as_micros()))?;
                row = tx.last_insert_rowid();
            }
            Ok(Done { table: "partner_publications", row, answer: published.to_json() })
        })
        .await
    }

    async fn certify(&self, now: Timestamp, limit: u32) -> Result<usize, Fault> {
        self.write(move |tx| Ok(tx.prepare_cached(CERTIFY)?.execute((now.as_micros(), limit))?))
            .await
    }
}

fn publish_these(tx: &Transaction<'_>, ids: &[String], now: Timestamp) -> Result<Published, Fault> {
    let mut known = tx.prepare_cached("SELECT 1 FROM partner_passports WHERE id = ?1")?;
    let mut publish = tx.prepare_cached(PUBLISH_ONE)?;
    let due = now.plus(CERTIFICATION).as_micros();
    let mut accepted = 0;
    for (place, id) in ids.iter().enumerate() {
        if !known.exists([id])? {
            return Err(terms::is_unknown(place).into());
        }
        accepted += publish.execute((now.as_micros(), due, id))? as u64;
    }
    Ok(Published { accepted, more: false })
}

fn publish_those(
    tx: &Transaction<'_>,
    filter: &Filter,
    limit: u32,
    now: Timestamp,
) -> Result<Published, Fault> {
    if terms::is_for_no_draft(filter) {
        return Ok(Published { accepted: 0, more: false });
    }
    let (sql, given) = publish_by(filter);
    let due = now.plus(CERTIFICATION).as_micros();
    let numbers = [now.as_micros(), due, limit.into()].map(Value::from);
    let values = numbers.into_iter().chain(given.into_iter().map(Value::from));
    let accepted = tx.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(Published::by_filter(accepted as u64, limit))
}

/// The statement that hands over the drafts that agree with a filter, and the filter's values from
/// ?4 on. Only what is given stands in it: no index serves a condition that may be void.
pub(super) fn publish_by(filter: &Filter) -> (String, Vec<String>) {
    let members = [("application", &filter.application), ("model_number", &filter.model_number)];
    let (mut given, mut values) = (String::new(), Vec::new());
    for (column, value) in members {
        let Some(value) = value else { continue };
        given += &format!(" AND {column} = ?{}", values.len() + 4);
        values.push(value.clone());
    }
    let sql = format!(
        "UPDATE partner_passports SET certification = 'pending', updated_at = ?1, due_at = ?2
         WHERE arrival IN (SELECT arrival FROM partner_passports
             WHERE certification = 'none'{given} LIMIT ?3)"
    );
    (sql, values)
}

/// Makes a passport, or brings the one with its application and model number up to date.
pub(super) fn upsert(
    tx: &Transaction<'_>,
    new: &NewPassport,
    now: Timestamp,
) -> Result<Upsert, Fault> {
    let Some((row, certification)) = find(tx, new)? else {
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
    let mut statement = tx.prepare_cached(FIND)?;
    let found = statement
        .query_row((&new.application, &new.model_number), |row| Ok((row.get(0)?, row.get(1)?)));
    found.optional()
}

fn insert(tx: &Connection, new: &NewPassport, now: Timestamp) -> rusqlite::Result<(i64, Passport)> {
    let passport = Passport::draft(new.clone(), now);
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
