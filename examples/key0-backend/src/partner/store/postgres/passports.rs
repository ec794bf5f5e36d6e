use std::collections::HashSet;

use async_trait::async_trait;
use key0_auth::domain::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection, Row, postgres::PgRow};

use super::Postgres;
use crate::partner::{
    passports::{Filter, NewPassport, Passport, Wanted, not_found},
    store::{
        Answer, Asked, Fault, Passports,
        terms::{self, CERTIFICATION, Published},
    },
};

#[async_trait]
impl Passports for Postgres {
    async fn create_passport(
        &self,
        asked: Option<Asked>,
        new: NewPassport,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        self.write(async {
            let mut tx = match self.begin_once(asked.as_ref(), now).await? {
                Ok(tx) => tx,
                Err(answer) => return Ok(answer),
            };
            let passport = Passport::draft(new, now);
            let made = sqlx::query(
                "INSERT INTO partner_passports (id, granularity, application, network,
                     model_number, name, description, status, certification, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, 'draft', 'none', $8, $8)
                 ON CONFLICT (application, model_number) DO NOTHING",
            )
            .bind(&passport.id)
            .bind(&passport.granularity)
            .bind(&passport.application)
            .bind(&passport.network)
            .bind(&passport.model_number)
            .bind(&passport.name)
            .bind(passport.description.as_deref().map(str::as_bytes))
            .bind(now.as_micros())
            .execute(&mut *tx)
            .await?;
            if made.rows_affected() == 0 {
                return tx.refuse(terms::is_taken()).await;
            }
            self.end_once(tx, asked.as_ref(), passport.to_json()).await
        })
        .await
    }

    async fn passport(&self, id: String) -> Result<Passport, Fault> {
        self.read(async {
            let mut conn = self.reads.lend().await?;
            let found = sqlx::query(
                "SELECT id, granularity, application, network, model_number, name, description,
                     status, certification, created_at, updated_at
                 FROM partner_passports WHERE id = $1",
            )
            .bind(id)
            .fetch_optional(&mut *conn)
            .await?;
            conn.give_back();
            found.map(|row| passport(&row)).transpose()?.ok_or_else(|| not_found().into())
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
        self.write(async {
            let mut tx = match self.begin_once(asked.as_ref(), now).await? {
                Ok(tx) => tx,
                Err(answer) => return Ok(answer),
            };
            let published = match &wanted {
                Wanted::Ids(ids) => match publish_these(&mut tx, ids, now).await? {
                    Ok(published) => published,
                    Err(place) => return tx.refuse(terms::is_unknown(place)).await,
                },
                Wanted::Those(filter) => publish_those(&mut tx, filter, limit, now).await?,
            };
            self.end_once(tx, asked.as_ref(), published.to_json()).await
        })
        .await
    }

    async fn certify(&self, now: Timestamp, limit: u32) -> Result<usize, Fault> {
        self.write(async {
            let mut tx = self.begin().await?;
            let certified = sqlx::query(
                "WITH due AS MATERIALIZED (
                     SELECT arrival FROM partner_passports
                     WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)
                 UPDATE partner_passports AS certified
                 SET certification = 'certified', status = 'published', due_at = NULL,
                     updated_at = $1
                 FROM due WHERE certified.arrival = due.arrival",
            )
            .bind(now.as_micros())
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(certified.rows_affected() as usize)
        })
        .await
    }
}

/// The place of the first id that is unknown comes in place of what was done.
async fn publish_these(
    tx: &mut PgConnection,
    ids: &[String],
    now: Timestamp,
) -> Result<Result<Published, usize>, Fault> {
    // Locked in one order by everybody, so that nobody waits for each other.
    let known: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM partner_passports WHERE id = ANY($1) ORDER BY arrival FOR UPDATE",
    )
    .bind(ids)
    .fetch_all(&mut *tx)
    .await?;
    let known: HashSet<String> = known.into_iter().collect();
    if let Some(unknown) = ids.iter().position(|id| !known.contains(id)) {
        return Ok(Err(unknown));
    }
    let accepted = sqlx::query(
        "UPDATE partner_passports SET certification = 'pending', updated_at = $1, due_at = $2
         WHERE certification = 'none' AND id = ANY($3)",
    )
    .bind(now.as_micros())
    .bind(now.plus(CERTIFICATION).as_micros())
    .bind(ids)
    .execute(tx)
    .await?;
    Ok(Ok(Published { accepted: accepted.rows_affected(), more: false }))
}

async fn publish_those(
    tx: &mut PgConnection,
    filter: &Filter,
    limit: u32,
    now: Timestamp,
) -> Result<Published, Fault> {
    if terms::is_for_no_draft(filter) {
        return Ok(Published { accepted: 0, more: false });
    }
    // Only what is given stands in the statement: no index serves a condition that may be void.
    let members = [("application", &filter.application), ("model_number", &filter.model_number)];
    let given = members.into_iter().filter_map(|(column, value)| Some((column, value.as_ref()?)));
    let conditions: String =
        given.clone().zip(4..).map(|((column, _), n)| format!(" AND {column} = ${n}")).collect();
    let sql = format!(
        "WITH drafts AS MATERIALIZED (
             SELECT arrival FROM partner_passports WHERE certification = 'none'{conditions}
             ORDER BY arrival LIMIT $3 FOR UPDATE)
         UPDATE partner_passports AS draft
         SET certification = 'pending', updated_at = $1, due_at = $2
         FROM drafts WHERE draft.arrival = drafts.arrival"
    );
    let query = sqlx::query(AssertSqlSafe(sql))
        .bind(now.as_micros())
        .bind(now.plus(CERTIFICATION).as_micros())
        .bind(i64::from(limit));
    let query = given.fold(query, |query, (_, value)| query.bind(value));
    let accepted = query.execute(tx).await?.rows_affected();
    Ok(Published::by_filter(accepted, limit))
}

fn passport(row: &PgRow) -> sqlx::Result<Passport> {
    let description: Option<Vec<u8>> = row.try_get(6)?;
    let description = description.map(String::from_utf8).transpose();
    Ok(Passport {
        id: row.try_get(0)?,
        granularity: row.try_get(1)?,
        application: row.try_get(2)?,
        network: row.try_get(3)?,
        model_number: row.try_get(4)?,
        name: row.try_get(5)?,
        description: description.map_err(|error| sqlx::Error::Decode(error.into()))?,
        status: row.try_get(7)?,
        certification_status: row.try_get(8)?,
        created_at: Timestamp::from_micros(row.try_get(9)?),
        updated_at: Timestamp::from_micros(row.try_get(10)?),
    })
}
