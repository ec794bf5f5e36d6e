use async_trait::async_trait;
use key0_auth::store::spi::{ColumnType, Contents, CopyProgress, Record, RecordPage, Table, Value};
use rusqlite::{
    Connection, OptionalExtension, params_from_iter,
    types::{Value as Sql, ValueRef},
};

use super::{Sqlite, schema::EFFECTS};
use crate::partner::store::{
    Fault,
    copying::{ALIKE, CONTENTS, Copied, KEYS, columns, cursor, key, next, record},
};

#[async_trait]
impl Copied for Sqlite {
    async fn contents(&self) -> Result<Contents, Fault> {
        self.read(|conn| {
            let (records, state): (i64, String) =
                conn.query_row(CONTENTS, (), |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(Contents { is_empty: records == 0, records: u64::try_from(records).ok(), state })
        })
        .await
    }

    async fn export(&self, after: Option<&str>, limit: u32) -> Result<RecordPage, Fault> {
        let (place, after) = cursor(after)?;
        let after = after.map(str::to_owned);
        self.read(move |conn| page(conn, place, after.as_deref(), limit)).await
    }

    async fn unfinished(&self) -> Result<Option<CopyProgress>, Fault> {
        self.read(|conn| {
            let made = "SELECT count(*) FROM sqlite_schema WHERE name = 'partner_unfinished_copy'";
            if conn.query_row(made, (), |row| row.get::<_, i64>(0))? == 0 {
                return Ok(None);
            }
            let sql = "SELECT source, state, position, copied FROM partner_unfinished_copy";
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
        })
        .await
    }

    async fn begin(&self, progress: &CopyProgress) -> Result<bool, Fault> {
        let progress = progress.clone();
        self.write(move |tx| {
            let records: i64 = tx.query_row(CONTENTS, (), |row| row.get(0))?;
            if records > 0 {
                return Ok(false);
            }
            tx.execute_batch(
                "CREATE TABLE IF NOT EXISTS partner_unfinished_copy (
                     only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
                     source   TEXT NOT NULL,
                     state    TEXT NOT NULL,
                     position TEXT,
                     copied   INTEGER NOT NULL
                 ) STRICT",
            )?;
            let begun = tx.execute(
                "INSERT INTO partner_unfinished_copy (only_row, source, state, copied)
                 VALUES (1, ?1, ?2, 0) ON CONFLICT DO NOTHING",
                (&progress.source, &progress.state),
            )?;
            Ok(begun == 1)
        })
        .await
    }

    async fn import(
        &self,
        records: Vec<Record>,
        had: u64,
        progress: &CopyProgress,
    ) -> Result<bool, Fault> {
        let progress = progress.clone();
        self.write(move |tx| {
            let kept = tx.execute(
                "UPDATE partner_unfinished_copy SET position = ?2, copied = ?3 WHERE copied = ?1",
                (had.cast_signed(), &progress.after, progress.copied.cast_signed()),
            )?;
            if kept == 0 {
                return Ok(false);
            }
            for record in &records {
                insert(tx, record)?;
            }
            Ok(true)
        })
        .await
    }

    async fn end(&self) -> Result<(), Fault> {
        self.write(|tx| Ok(tx.execute_batch("DROP TABLE IF EXISTS partner_unfinished_copy")?)).await
    }
}

/// The columns as they are read: a description may hold what no other engine takes for a text.
fn read_columns(table: &Table) -> String {
    columns(table).replace("description", "CAST(description AS BLOB)")
}

fn page(
    conn: &Connection,
    place: usize,
    after: Option<&str>,
    limit: u32,
) -> Result<RecordPage, Fault> {
    // The keys stand in the rows of their effects.
    let (table, name, order) =
        match (ALIKE.get(place), EFFECTS.get(place.wrapping_sub(ALIKE.len()))) {
            (Some((table, order)), _) => (*table, table.name, *order),
            (None, Some(effects)) => (&KEYS, *effects, "arrival"),
            (None, None) => return Err(Fault::Unreadable("cursor")),
        };
    let only = if *table == KEYS { "caller IS NOT NULL" } else { "true" };
    let after_it = match (after, order) {
        (None, _) => "true",
        (_, "id") => "id > ?1",
        _ => "arrival > CAST(?1 AS INTEGER)",
    };
    let columns = read_columns(table);
    let sql = format!(
        "SELECT {columns}, CAST({order} AS TEXT) FROM {name} WHERE {only} AND {after_it}
         ORDER BY {order} LIMIT {limit}"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(after))?;
    let (mut records, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        let mut values = Vec::with_capacity(table.columns.len());
        for (place, (name, kind)) in table.columns.iter().enumerate() {
            values.push(value(row.get_ref(place)?, *kind, name)?);
        }
        records.push(record(table, values)?);
        last = Some(row.get::<_, String>(table.columns.len())?);
    }
    let last = last.filter(|_| records.len() == limit as usize);
    Ok(RecordPage { records, next: next(place, last, ALIKE.len() + EFFECTS.len()) })
}

fn value(found: ValueRef<'_>, kind: ColumnType, column: &'static str) -> Result<Value, Fault> {
    Ok(match (found, kind) {
        (ValueRef::Null, _) => Value::Null,
        (ValueRef::Integer(number), ColumnType::Integer) => Value::Integer(number),
        (ValueRef::Blob(bytes), ColumnType::Bytes) => Value::Bytes(bytes.to_owned()),
        (ValueRef::Text(text), ColumnType::Text) => {
            let text = str::from_utf8(text).map_err(|_| Fault::Unreadable(column))?;
            Value::Text(text.to_owned())
        }
        _ => return Err(Fault::Unreadable(column)),
    })
}

/// Some engines show a record twice: it is added once.
fn insert(conn: &Connection, record: &Record) -> Result<(), Fault> {
    let table = record.table();
    // In place of the row of its effect, which nobody can tell, a row that is there for the key alone.
    let (name, columns, first) = match *table == KEYS {
        true => ("partner_publications", format!("accepted, {}", columns(table)), "0, "),
        false => (table.name, columns(table), ""),
    };
    let marks = table.columns.iter().map(|(name, _)| match *name {
        "description" => "CAST(? AS TEXT)",
        _ => "?",
    });
    let marks = marks.collect::<Vec<_>>().join(", ");
    let sql = format!(
        "INSERT INTO {name} ({columns}) VALUES ({first}{marks})
         ON CONFLICT ({key}) {only} DO NOTHING",
        key = key(table),
        only = if *table == KEYS { "WHERE caller IS NOT NULL" } else { "" },
    );
    let values = record.values().iter().map(|value| match value {
        Value::Null => Sql::Null,
        Value::Text(text) => Sql::Text(text.clone()),
        Value::Bytes(bytes) => Sql::Blob(bytes.clone()),
        Value::Integer(number) => Sql::Integer(*number),
    });
    conn.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(())
}
