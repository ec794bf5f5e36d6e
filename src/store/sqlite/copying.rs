use async_trait::async_trait;
use rusqlite::{
    Connection, OptionalExtension, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::{SqliteStore, row::Fault};
use crate::{
    error::{StoreError, StoreErrorKind},
    store::{
        copying::{ColumnType, Contents, CopyProgress, CopyStore, Record, RecordPage, Value},
        records::{
            CONTENTS, DENIALS, EVENTS, ISSUANCES, KEYS, PAYMENTS, Section, UNKNOWN_REVOCATIONS,
            columns, from_row, to_row,
        },
        stored::bad,
    },
};

const SECTIONS: &[Section] = &[
    Section { table: &KEYS, key: "id", after: "id > ?1", order: "id", only: "true" },
    Section {
        table: &ISSUANCES,
        key: "namespace || ' ' || id",
        after: "(namespace, id)
            > (substr(?1, 1, instr(?1, ' ') - 1), substr(?1, instr(?1, ' ') + 1))",
        order: "namespace, id",
        only: "issued_at IS NOT NULL",
    },
    Section {
        table: &PAYMENTS,
        key: "CAST(arrival AS TEXT)",
        after: "arrival > CAST(?1 AS INTEGER)",
        order: "arrival",
        only: "true",
    },
    Section {
        table: &DENIALS,
        key: "hex(digest)",
        after: "digest > unhex(?1)",
        order: "digest",
        only: "true",
    },
    Section {
        table: &EVENTS,
        key: "CAST(event AS TEXT)",
        after: "event > CAST(?1 AS INTEGER)",
        order: "event",
        only: "true",
    },
    Section {
        table: &UNKNOWN_REVOCATIONS,
        key: "CAST(day AS TEXT)",
        after: "day > CAST(?1 AS INTEGER)",
        order: "day",
        only: "true",
    },
];

#[async_trait]
impl CopyStore for SqliteStore {
    async fn contents(&self) -> Result<Contents, StoreError> {
        self.read(|conn| {
            let (records, state, answers): (i64, String, i64) =
                conn.query_row(CONTENTS, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
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
                let place = place.parse().map_err(|_| bad("cursor"))?;
                (place, (!key.is_empty()).then(|| key.to_owned()))
            }
        };
        self.read(move |conn| page(conn, place, after.as_deref(), limit)).await
    }

    async fn unfinished_copy(&self) -> Result<Option<CopyProgress>, StoreError> {
        self.read(|conn| {
            let made: bool = conn.query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name = 'unfinished_copy'",
                (),
                |row| row.get(0),
            )?;
            if made { unfinished(conn) } else { Ok(None) }
        })
        .await
    }

    async fn begin_copy(&self, progress: &CopyProgress) -> Result<(), StoreError> {
        let progress = progress.clone();
        self.write(move |tx| {
            let (records, answers): (i64, i64) =
                tx.conn.query_row(CONTENTS, (), |row| Ok((row.get(0)?, row.get(2)?)))?;
            if records > 0 || answers > 0 {
                return Err(StoreError::new(StoreErrorKind::Conflict).into());
            }
            tx.conn.execute_batch(
                "CREATE TABLE IF NOT EXISTS unfinished_copy (
                     only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
                     source   TEXT NOT NULL,
                     state    TEXT NOT NULL,
                     position TEXT,
                     copied   INTEGER NOT NULL
                 ) STRICT",
            )?;
            tx.conn.execute(
                "INSERT INTO unfinished_copy (only_row, source, state, copied)
                 VALUES (1, ?1, ?2, 0)",
                (&progress.source, &progress.state),
            )?;
            Ok(())
        })
        .await
    }

    async fn import(
        &self,
        records: Vec<Record>,
        had: u64,
        progress: &CopyProgress,
    ) -> Result<(), StoreError> {
        let progress = progress.clone();
        self.write(move |tx| {
            for record in records {
                insert(tx.conn, &to_row(record)?)?;
            }
            let kept = tx.conn.execute(
                "UPDATE unfinished_copy SET position = ?2, copied = ?3 WHERE copied = ?1",
                (had.cast_signed(), &progress.after, progress.copied.cast_signed()),
            )?;
            if kept == 1 { Ok(()) } else { Err(StoreError::new(StoreErrorKind::Conflict).into()) }
        })
        .await
    }

    async fn end_copy(&self) -> Result<(), StoreError> {
        self.write(|tx| Ok(tx.conn.execute_batch("DROP TABLE IF EXISTS unfinished_copy")?)).await
    }
}

fn unfinished(conn: &Connection) -> Result<Option<CopyProgress>, Fault> {
    let sql = "SELECT source, state, position, copied FROM unfinished_copy";
    let found = conn.query_row(sql, (), |row| {
        let copied: i64 = row.get(3)?;
        Ok(CopyProgress {
            source: row.get(0)?,
            state: row.get(1)?,
            after: row.get(2)?,
            copied: copied.cast_unsigned(),
        })
    });
    Ok(found.optional()?)
}

fn page(
    conn: &Connection,
    place: usize,
    after: Option<&str>,
    limit: u32,
) -> Result<RecordPage, Fault> {
    let section = SECTIONS.get(place).ok_or_else(|| bad("cursor"))?;
    let mut statement = conn.prepare_cached(&section.select(after.is_none(), limit))?;
    let mut rows = statement.query(params_from_iter(after))?;
    let (mut records, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        let columns = section.table.columns.iter().enumerate();
        let values = columns.map(|(place, (name, kind))| value(row.get_ref(place)?, *kind, name));
        records.push(from_row(section.table, values.collect::<Result<_, _>>()?)?);
        last = Some(row.get::<_, String>(section.table.columns.len())?);
    }
    let next = match last {
        Some(last) if records.len() == limit as usize => Some(format!("{place} {last}")),
        _ => (place + 1 < SECTIONS.len()).then(|| (place + 1).to_string()),
    };
    Ok(RecordPage { records, next })
}

fn value(found: ValueRef<'_>, kind: ColumnType, column: &'static str) -> Result<Value, Fault> {
    Ok(match (found, kind) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(number), ColumnType::Integer) => Value::Integer(number),
        (ValueRef::Blob(bytes), ColumnType::Bytes) => Value::Bytes(bytes.to_owned()),
        (ValueRef::Text(text), ColumnType::Text) => {
            Value::Text(str::from_utf8(text).map_err(|_| bad(column))?.to_owned())
        }
        _ => return Err(bad(column).into()),
    })
}

fn insert(conn: &Connection, record: &Record) -> Result<(), Fault> {
    let table = record.table();
    let marks = vec!["?"; table.columns.len()].join(", ");
    let sql = format!("INSERT INTO {} ({}) VALUES ({marks})", table.name, columns(table));
    let values = record.values().iter().map(Bound);
    conn.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(())
}

struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            Value::Integer(number) => ValueRef::Integer(*number),
        }))
    }
}
