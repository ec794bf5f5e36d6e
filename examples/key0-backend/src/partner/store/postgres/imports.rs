use std::collections::HashMap;

use async_trait::async_trait;
use key0_auth::domain::Timestamp;
use serde_json::value::RawValue;
use sqlx::PgConnection;

use super::Postgres;
use crate::partner::{
    imports::{Rows, Upsert, not_found},
    store::{Answer, Asked, Fault, Imports, new_id, terms},
};

#[async_trait]
impl Imports for Postgres {
    async fn queue_import(
        &self,
        asked: Option<Asked>,
        owner: Option<String>,
        rows: Box<RawValue>,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        self.write(async {
            let mut tx = match self.begin_once(asked.as_ref(), now).await? {
                Ok(tx) => tx,
                Err(answer) => return Ok(answer),
            };
            // One import of an owner at a time, so that none slips past the bound.
            let whose = owner.as_deref().unwrap_or_default();
            sqlx::query("SELECT pg_advisory_xact_lock(1264937266, hashtext($1))")
                .bind(whose)
                .execute(&mut *tx)
                .await?;
            let bytes = i64::try_from(rows.get().len()).unwrap_or(i64::MAX);
            let (waiting, held) = sqlx::query_as(
                "SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM partner_imports
                 WHERE owner IS NOT DISTINCT FROM $1 AND due_at IS NOT NULL",
            )
            .bind(&owner)
            .fetch_one(&mut *tx)
            .await?;
            if let Err(rejection) = terms::check_waiting(waiting, held, bytes) {
                return tx.refuse(rejection).await;
            }
            let id = new_id();
            sqlx::query(
                "INSERT INTO partner_imports (id, wanted, due_at, created_at, owner, bytes)
                 VALUES ($1, $2, $3, $3, $4, $5)",
            )
            .bind(&id)
            .bind(rows.get())
            .bind(now.as_micros())
            .bind(&owner)
            .bind(bytes)
            .execute(&mut *tx)
            .await?;
            self.end_once(tx, asked.as_ref(), terms::queued(&id)).await
        })
        .await
    }

    async fn import(&self, id: String) -> Result<String, Fault> {
        self.read(async {
            let mut conn = self.reads.lend().await?;
            let found: Option<Option<String>> =
                sqlx::query_scalar("SELECT outcome FROM partner_imports WHERE id = $1")
                    .bind(&id)
                    .fetch_optional(&mut *conn)
                    .await?;
            conn.give_back();
            match found {
                None => Err(not_found().into()),
                Some(Some(outcome)) => Ok(outcome),
                Some(None) => Ok(terms::queued(&id)),
            }
        })
        .await
    }

    async fn next_import(&self, now: Timestamp) -> Result<Option<i64>, Fault> {
        self.read(async {
            let mut conn = self.reads.lend().await?;
            let next = sqlx::query_scalar(
                "SELECT arrival FROM partner_imports
                 WHERE due_at <= $1 ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED",
            )
            .bind(now.as_micros())
            .fetch_optional(&mut *conn)
            .await?;
            conn.give_back();
            Ok(next)
        })
        .await
    }

    async fn carry_out_import(&self, arrival: i64, now: Timestamp) -> Result<bool, Fault> {
        self.write(async {
            let mut tx = self.begin().await?;
            let waiting: Option<(String, String)> = sqlx::query_as(
                "SELECT id, wanted FROM partner_imports
                 WHERE arrival = $1 AND due_at <= $2 FOR UPDATE SKIP LOCKED",
            )
            .bind(arrival)
            .bind(now.as_micros())
            .fetch_optional(&mut *tx)
            .await?;
            let Some((id, wanted)) = waiting else {
                tx.commit().await?;
                return Ok(false);
            };
            let rows = Rows::read(&wanted);
            let became = upsert(&mut tx, &rows, now).await?;
            sqlx::query(
                "UPDATE partner_imports SET wanted = NULL, due_at = NULL, outcome = $2
                 WHERE arrival = $1",
            )
            .bind(arrival)
            .bind(rows.outcome(id, became).to_json())
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn put_off_import(&self, arrival: i64, until: Timestamp) -> Result<(), Fault> {
        self.write(async {
            let mut tx = self.begin().await?;
            sqlx::query(
                "UPDATE partner_imports SET due_at = $2
                 WHERE arrival = $1 AND due_at IS NOT NULL",
            )
            .bind(arrival)
            .bind(until.as_micros())
            .execute(&mut *tx)
            .await?;
            tx.commit().await
        })
        .await
    }
}

/// Makes passports, or brings those with their application and model number up to date, by one
/// statement; says of each in turn what became of it.
async fn upsert(tx: &mut PgConnection, rows: &Rows, now: Timestamp) -> Result<Vec<Upsert>, Fault> {
    let passports: Vec<_> = rows.passports().collect();
    let column = |value: fn(&_) -> _| passports.iter().copied().map(value).collect::<Vec<_>>();
    let ids: Vec<String> = passports.iter().map(|_| new_id()).collect();
    let networks: Vec<_> = passports.iter().map(|new| new.network.as_deref()).collect();
    let descriptions: Vec<_> =
        passports.iter().map(|new| new.description.as_deref().map(str::as_bytes)).collect();
    // A row that this transaction has made has never been locked or replaced.
    let changed: Vec<(String, String, bool)> = sqlx::query_as(
        "INSERT INTO partner_passports AS kept (id, granularity, application, network,
             model_number, name, description, status, certification, created_at, updated_at)
         SELECT id, granularity, application, network, model_number, name, description,
             'draft', 'none', $8, $8
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
             $7::bytea[])
             AS wanted (id, granularity, application, network, model_number, name, description)
         ON CONFLICT (application, model_number) DO UPDATE
         SET granularity = excluded.granularity, network = excluded.network,
             name = excluded.name, description = excluded.description,
             updated_at = excluded.updated_at
         WHERE kept.certification = 'none'
         RETURNING application, model_number, xmax = 0",
    )
    .bind(&ids)
    .bind(column(|new| new.granularity.clone()))
    .bind(column(|new| new.application.clone()))
    .bind(&networks)
    .bind(column(|new| new.model_number.clone()))
    .bind(column(|new| new.name.clone()))
    .bind(&descriptions)
    .bind(now.as_micros())
    .fetch_all(tx)
    .await?;
    let changed: HashMap<(String, String), bool> = changed
        .into_iter()
        .map(|(application, model_number, is_new)| ((application, model_number), is_new))
        .collect();
    let became = passports.iter().map(|new| {
        match changed.get(&(new.application.clone(), new.model_number.clone())) {
            Some(true) => Upsert::Created,
            Some(false) => Upsert::Updated,
            None => Upsert::Fixed,
        }
    });
    Ok(became.collect())
}
