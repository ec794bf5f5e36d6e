use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row, postgres::PgRow};

use super::{PostgresStore, row::Fault};
use crate::{
    error::{StoreError, StoreErrorKind},
    store::{
        copying::{
            ColumnType, Contents, CopyProgress, CopyStore, Record, RecordPage, Table, Value,
        },
        records::{
            CONTENTS, DENIALS, EVENTS, ISSUANCES, KEYS, PAYMENTS, Section, UNKNOWN_REVOCATIONS,
            columns, from_row, to_row,
        },
        stored::bad,
    },
};

const SECTIONS: &[Section] = &[
    Section { table: &KEYS, key: "id", after: "id > $1", order: "id", only: "true" },
    Section {
        table: &ISSUANCES,
        key: "namespace || ' ' || id",
        after: "(namespace, id) > (split_part($1, ' ', 1), split_part($1, ' ', 2))",
        order: "namespace, id",
        only: "issued_at IS NOT NULL AND namespace <> 'spent'",
    },
    Section {
        table: &PAYMENTS,
        key: "arrival::text",
        after: "arrival > $1::text::bigint",
        order: "arrival",
        only: "true",
    },
    Section {
        table: &DENIALS,
        key: "encode(digest, 'hex')",
        after: "digest > decode($1, 'hex')",
        order: "digest",
        only: "true",
    },
    Section {
        table: &EVENTS,
        key: "xid::text || ' ' || event",
        after: "(xid, event)
            > (split_part($1, ' ', 1)::xid8, split_part($1, ' ', 2)::bigint)",
        order: "xid, event",
        only: "true",
    },
    Section {
        table: &UNKNOWN_REVOCATIONS,
        key: "day::text",
        after: "day > $1::text::bigint",
        order: "day",
        only: "true",
    },
];

#[async_trait]
impl CopyStore for PostgresStore {
    async fn contents(&self) -> Result<Contents, StoreError> {
        self.write(async {
            let mut tx = self.snapshot().await?;
            let (records, state, answers): (i64, String, i64) =
                sqlx::query_as(CONTENTS).fetch_one(&mut *tx).await?;
            tx.end().await?;
            let is_empty = records == 0 && answers == 0;
            Ok(Contents { is_empty, records: u64::try_from(records).ok(), state })
        })
        .await
    }

    async fn export(&self, after: Option<&str>, limit: u32) -> Result<RecordPage, StoreError> {
        let (place, after) = match after {
            None => (0, None),
            Some(after) => {
                let (place, key) = after.split_once(' ').unwrap_or((after, ""));
                let place: usize = place.parse().map_err(|_| bad("cursor"))?;
                (place, (!key.is_empty()).then_some(key))
            }
        };
        let section = SECTIONS.get(place).ok_or_else(|| bad("cursor"))?;
        let rows = self
            .write(async {
                let mut tx = self.snapshot().await?;
                let select = AssertSqlSafe(section.select(after.is_none(), limit));
                let mut statement = sqlx::query(select);
                if let Some(after) = after {
                    statement = statement.bind(after);
                }
                let rows = statement.fetch_all(&mut *tx).await?;
                tx.end().await?;
                Ok(rows)
            })
            .await?;
        let read = |row| record(section.table, row).map_err(|Fault(error)| error);
        let records = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let next = match rows.last() {
            Some(last) if records.len() == limit as usize => {
                let key: &str =
                    last.try_get(section.table.columns.len()).map_err(|_| bad("cursor"))?;
                Some(format!("{place} {key}"))
            }
            _ => (place + 1 < SECTIONS.len()).then(|| (place + 1).to_string()),
        };
        Ok(RecordPage { records, next })
    }

    async fn unfinished_copy(&self) -> Result<Option<CopyProgress>, StoreError> {
        self.write(async {
            let mut tx = self.snapshot().await?;
            let made: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables
                 WHERE schemaname = $1 AND tablename = 'unfinished_copy')",
            )
            .bind(&self.shared.schema)
            .fetch_one(&mut *tx)
            .await?;
            let found: Option<(String, String, Option<String>, i64)> = match made {
                true => {
                    let sql = "SELECT source, state, position, copied FROM unfinished_copy";
                    sqlx::query_as(sql).fetch_optional(&mut *tx).await?
                }
                false => None,
            };
            tx.end().await?;
            Ok(found.map(|(source, state, after, copied)| CopyProgress {
                source,
                state,
                after,
                copied: copied.cast_unsigned(),
            }))
        })
        .await
    }

    async fn begin_copy(&self, progress: &CopyProgress) -> Result<(), StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            // Of two copies the second waits here, and finds the first.
            sqlx::raw_sql(
                "LOCK TABLE keys, issuances, payments IN SHARE ROW EXCLUSIVE MODE;
                 CREATE TABLE IF NOT EXISTS unfinished_copy (
                     only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
                     source   text NOT NULL,
                     state    text NOT NULL,
                     position text,
                     copied   bigint NOT NULL
                 )",
            )
            .execute(&mut *tx)
            .await?;
            let (records, _, answers): (i64, String, i64) =
                sqlx::query_as(CONTENTS).fetch_one(&mut *tx).await?;
            let begun = sqlx::query(
                "INSERT INTO unfinished_copy (source, state, copied) SELECT $1, $2, 0 WHERE $3
                 ON CONFLICT DO NOTHING",
            )
            .bind(&progress.source)
            .bind(&progress.state)
            .bind(records == 0 && answers == 0)
            .execute(&mut *tx)
            .await?;
            if begun.rows_affected() == 0 {
                return Err(StoreError::new(StoreErrorKind::Conflict).into());
            }
            tx.end().await
        })
        .await
    }

    async fn import(
        &self,
        records: Vec<Record>,
        had: u64,
        progress: &CopyProgress,
    ) -> Result<(), StoreError> {
        let records: Vec<_> = records.into_iter().map(to_row).collect::<Result<_, _>>()?;
        self.write(async {
            let mut tx = self.begin().await?;
            // Nobody has asked for these keys before, so nobody need be told.
            sqlx::raw_sql("SET LOCAL key0_auth.issuing = 'on'").execute(&mut *tx).await?;
            let kept = sqlx::query(
                "UPDATE unfinished_copy SET position = $2, copied = $3 WHERE copied = $1",
            )
            .bind(had.cast_signed())
            .bind(&progress.after)
            .bind(progress.copied.cast_signed())
            .execute(&mut *tx)
            .await?;
            if kept.rows_affected() != 1 {
                return Err(StoreError::new(StoreErrorKind::Conflict).into());
            }
            for records in records.chunk_by(|one, next| one.table() == next.table()) {
                insert(&mut tx, records).await?;
            }
            tx.end().await
        })
        .await
    }

    async fn end_copy(&self) -> Result<(), StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            // What is paid next arrives behind what is there.
            sqlx::raw_sql(
                "SELECT setval(pg_get_serial_sequence('payments', 'arrival'), max(arrival))
                 FROM payments HAVING max(arrival) IS NOT NULL;
                 DROP TABLE IF EXISTS unfinished_copy",
            )
            .execute(&mut *tx)
            .await?;
            tx.end().await
        })
        .await
    }
}

fn record(table: &'static Table, row: &PgRow) -> Result<Record, Fault> {
    let columns = table.columns.iter().enumerate();
    let values = columns.map(|(place, (_, kind))| {
        let value = match kind {
            ColumnType::Text => row.try_get::<Option<String>, _>(place)?.map(Value::Text),
            ColumnType::Bytes => row.try_get::<Option<Vec<u8>>, _>(place)?.map(Value::Bytes),
            ColumnType::Integer => match row.try_get::<Option<i64>, _>(place) {
                Ok(number) => number,
                Err(_) => row.try_get::<Option<i32>, _>(place)?.map(i64::from),
            }
            .map(Value::Integer),
        };
        Ok::<_, Fault>(value.unwrap_or(Value::Null))
    });
    Ok(from_row(table, values.collect::<Result<_, _>>()?)?)
}

/// Adds records of one table by one statement, in their order.
async fn insert(tx: &mut sqlx::PgConnection, records: &[Record]) -> Result<(), Fault> {
    let Some(table) = records.first().map(Record::table) else { return Ok(()) };
    let arrays = table.columns.iter().enumerate().map(|(place, (_, kind))| {
        let kind = match kind {
            ColumnType::Text => "text",
            ColumnType::Bytes => "bytea",
            ColumnType::Integer => "bigint",
        };
        format!("${}::{kind}[]", place + 1)
    });
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    let (name, columns) = (table.name, columns(table));
    let overriding = if *table == PAYMENTS { "OVERRIDING SYSTEM VALUE" } else { "" };
    let sql = format!(
        "INSERT INTO {name} ({columns}) {overriding}
         SELECT {columns} FROM unnest({arrays}) WITH ORDINALITY AS added ({columns}, place)
         ORDER BY place"
    );
    let mut statement = sqlx::query(AssertSqlSafe(sql));
    for (place, (_, kind)) in table.columns.iter().enumerate() {
        let values = records.iter().map(|record| &record.values()[place]);
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
