use async_trait::async_trait;
use key0_auth::store::spi::{ColumnType, Contents, CopyProgress, Record, RecordPage, Table, Value};
use sqlx::{AssertSqlSafe, PgConnection, Row, postgres::PgRow};

use super::Postgres;
use crate::partner::store::{
    Fault,
    copying::{ALIKE, CONTENTS, Copied, IMPORTS, KEYS, columns, cursor, key, next, record},
};

#[async_trait]
impl Copied for Postgres {
    async fn contents(&self) -> Result<Contents, Fault> {
        self.write(async {
            let mut tx = self.begin().await?;
            let (records, state): (i64, String) =
                sqlx::query_as(CONTENTS).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            Ok(Contents { is_empty: records == 0, records: u64::try_from(records).ok(), state })
        })
        .await
    }

    async fn export(&self, after: Option<&str>, limit: u32) -> Result<RecordPage, Fault> {
        let (place, after) = cursor(after)?;
        let (table, key, after_it, order) = match ALIKE.get(place) {
            Some((table, "id")) => (*table, "id", "id > $1", "id"),
            Some((table, _)) => (*table, "arrival::text", "arrival > $1::text::bigint", "arrival"),
            None => (
                &KEYS,
                "length(caller) || ' ' || caller || idempotency_key",
                "(caller, idempotency_key) > (
                     substr($1, strpos($1, ' ') + 1, split_part($1, ' ', 1)::integer),
                     substr($1, strpos($1, ' ') + 1 + split_part($1, ' ', 1)::integer))",
                "caller, idempotency_key",
            ),
        };
        let after_it = if after.is_some() { after_it } else { "true" };
        let (columns, name) = (columns(table), table.name);
        let sql = format!(
            "SELECT {columns}, {key} AS behind FROM {name} WHERE {after_it} ORDER BY {order} LIMIT {limit}"
        );
        self.write(async {
            let mut tx = self.begin().await?;
            let mut statement = sqlx::query(AssertSqlSafe(sql));
            if let Some(after) = after {
                statement = statement.bind(after);
            }
            let rows = statement.fetch_all(&mut *tx).await?;
            tx.commit().await?;
            let records = rows.iter().map(|row| read(table, row)).collect::<Result<Vec<_>, _>>()?;
            let last = rows.last().filter(|_| rows.len() == limit as usize);
            let last = last.map(|row| row.try_get(table.columns.len())).transpose()?;
            Ok(RecordPage { records, next: next(place, last, ALIKE.len() + 1) })
        })
        .await
    }

    async fn unfinished(&self) -> Result<Option<CopyProgress>, Fault> {
        self.write(async {
            let mut tx = self.begin().await?;
            let made: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE tablename =
                     'partner_unfinished_copy' AND schemaname = current_schema())",
            )
            .fetch_one(&mut *tx)
            .await?;
            let found: Option<(String, String, Option<String>, i64)> = match made {
                true => {
                    let sql = "SELECT source, state, position, copied FROM partner_unfinished_copy";
                    sqlx::query_as(sql).fetch_optional(&mut *tx).await?
                }
                false => None,
            };
            tx.commit().await?;
            Ok(found.map(|(source, state, after, copied)| CopyProgress {
                source,
                state,
                after,
                copied: copied.cast_unsigned(),
            }))
        })
        .await
    }

    async fn begin(&self, progress: &CopyProgress) -> Result<bool, Fault> {
        self.write(async {
            let mut tx = Self::begin(self).await?;
            sqlx::raw_sql(
                "CREATE TABLE IF NOT EXISTS partner_unfinished_copy (
                     only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
                     source   text NOT NULL,
                     state    text NOT NULL,
                     position text,
                     copied   bigint NOT NULL
                 )",
            )
            .execute(&mut *tx)
            .await?;
            let (records, _): (i64, String) = sqlx::query_as(CONTENTS).fetch_one(&mut *tx).await?;
            let begun = sqlx::query(
                "INSERT INTO partner_unfinished_copy (source, state, copied)
                 SELECT $1, $2, 0 WHERE $3 ON CONFLICT DO NOTHING",
            )
            .bind(&progress.source)
            .bind(&progress.state)
            .bind(records == 0)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(begun.rows_affected() == 1)
        })
        .await
    }

    async fn import(
        &self,
        records: Vec<Record>,
        had: u64,
        progress: &CopyProgress,
    ) -> Result<bool, Fault> {
        self.write(async {
            let mut tx = Self::begin(self).await?;
            let kept = sqlx::query(
                "UPDATE partner_unfinished_copy SET position = $2, copied = $3 WHERE copied = $1",
            )
            .bind(had.cast_signed())
            .bind(&progress.after)
            .bind(progress.copied.cast_signed())
            .execute(&mut *tx)
            .await?;
            for records in records.chunk_by(|one, next| one.table() == next.table()) {
                if kept.rows_affected() == 1 {
                    insert(&mut tx, records).await?;
                }
            }
            tx.commit().await?;
            Ok(kept.rows_affected() == 1)
        })
        .await
    }

    async fn end(&self) -> Result<(), Fault> {
        self.write(async {
            let mut tx = Self::begin(self).await?;
            // What comes next arrives behind what is there.
            for (table, order) in ALIKE {
                if order == "arrival" {
                    let name = table.name;
                    let sql = format!(
                        "SELECT setval(pg_get_serial_sequence('{name}', 'arrival'), max(arrival))
                         FROM {name} HAVING max(arrival) IS NOT NULL"
                    );
                    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
                }
            }
            let gone = "DROP TABLE IF EXISTS partner_unfinished_copy";
            sqlx::raw_sql(gone).execute(&mut *tx).await?;
            tx.commit().await
        })
        .await
    }
}

fn read(table: &'static Table, row: &PgRow) -> Result<Record, Fault> {
    let mut values = Vec::with_capacity(table.columns.len());
    for (place, (_, kind)) in table.columns.iter().enumerate() {
        let value = match kind {
            ColumnType::Text => row.try_get::<Option<String>, _>(place)?.map(Value::Text),
            ColumnType::Bytes => row.try_get::<Option<Vec<u8>>, _>(place)?.map(Value::Bytes),
            ColumnType::Integer => row.try_get::<Option<i64>, _>(place)?.map(Value::Integer),
        };
        values.push(value.unwrap_or(Value::Null));
    }
    record(table, values)
}

/// Adds records of one table. Some engines show one twice: it is added once.
async fn insert(tx: &mut PgConnection, records: &[Record]) -> Result<(), Fault> {
    let Some(table) = records.first().map(Record::table) else { return Ok(()) };
    let types = table.columns.iter().enumerate().map(|(place, (_, kind))| {
        let kind = match kind {
            ColumnType::Text => "text",
            ColumnType::Bytes => "bytea",
            ColumnType::Integer => "bigint",
        };
        format!("${}::{kind}[]", place + 1)
    });
    let (arrays, columns) = (types.collect::<Vec<_>>().join(", "), columns(table));
    let selected = match *table == IMPORTS {
        true => columns.replace("bytes", "coalesce(bytes, 0)"),
        false => columns.clone(),
    };
    let overriding = match table.columns.first() {
        Some(("arrival", _)) => "OVERRIDING SYSTEM VALUE",
        _ => "",
    };
    let (name, key) = (table.name, key(table));
    let sql = format!(
        "INSERT INTO {name} ({columns}) {overriding}
         SELECT {selected} FROM unnest({arrays}) WITH ORDINALITY AS added ({columns}, place)
         ORDER BY place ON CONFLICT ({key}) DO NOTHING"
    );
    let mut statement = sqlx::query(AssertSqlSafe(sql));
    for (place, (_, kind)) in table.columns.iter().enumerate() {
        let values = records.iter().filter_map(|record| record.values().get(place));
        statement = match kind {
            ColumnType::Text => statement.bind(
                values
                    .map(|value| match value {
                        Value::Text(text) => Some(text.as_str()),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            ),
            ColumnType::Bytes => statement.bind(
                values
                    .map(|value| match value {
                        Value::Bytes(bytes) => Some(bytes.as_slice()),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            ),
            ColumnType::Integer => statement.bind(
                values
                    .map(|value| match value {
                        Value::Integer(number) => Some(*number),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            ),
        };
    }
    statement.execute(tx).await?;
    Ok(())
}
