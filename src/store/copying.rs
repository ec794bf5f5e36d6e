use std::fmt;

use async_trait::async_trait;

use crate::error::{StoreError, StoreErrorKind};

/// How many records are read and written at a time, unless it is said.
const PAGE: u32 = 500;

/// A store whose records can be read page by page, and taken over by another one, of whatever engine.
/// [`Copying`] does it.
///
/// What goes over is whatever has to outlive the store: keys, issuances, payments, denied tokens, the
/// audit log, and how many purchases were revoked of which nothing was known. What is passing stays
/// behind: the answers that are kept under an `Idempotency-Key`, claims of issuances without an
/// outcome, leases, and what was told to the caches of other instances.
///
/// A store that takes records over holds how far that is, in the same transaction as the records. So
/// a copy that was interrupted goes on where it ended.
#[async_trait]
pub trait CopyStore: fmt::Debug + Send + Sync + 'static {
    /// What is in the store now.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn contents(&self) -> Result<Contents, StoreError>;

    /// Some records, from the beginning or from where a page has ended.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell, or does not understand `after`.
    async fn export(&self, after: Option<&str>, limit: u32) -> Result<RecordPage, StoreError>;

    /// The copy into this store that was begun and has not ended. Such a store lacks records: it must
    /// not be served from.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn unfinished_copy(&self) -> Result<Option<CopyProgress>, StoreError>;

    /// Begins a copy, where the store is empty and no other was begun. Else nothing is changed.
    ///
    /// # Errors
    ///
    /// A [`StoreErrorKind::Conflict`] where it is not so; and fails when the store can't tell.
    async fn begin_copy(&self, progress: &CopyProgress) -> Result<(), StoreError>;

    /// Adds records, and keeps how far the copy is by that: both or nothing. `had` is how many records
    /// there were before.
    ///
    /// # Errors
    ///
    /// A [`StoreErrorKind::Conflict`] where the copy is not so far any more, or one of the records is
    /// there; and fails when the store can't tell whether they are kept.
    async fn import(
        &self,
        records: Vec<Record>,
        had: u64,
        progress: &CopyProgress,
    ) -> Result<(), StoreError>;

    /// Ends the copy: from now on the store is one like any other.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    async fn end_copy(&self) -> Result<(), StoreError>;
}

/// What is in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Whether nothing is in it.
    pub is_empty: bool,
    /// About how many records will be read, where that can be told.
    pub records: Option<u64>,
    /// Is another one as soon as something that is copied has changed. When a key was last used does
    /// not count.
    pub state: String,
}

/// How far a copy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyProgress {
    /// What is copied, as it may be shown.
    pub source: String,
    /// Its state at the beginning: see [`Contents::state`].
    pub state: String,
    /// Where the next page begins; `None` at the beginning.
    pub after: Option<String>,
    /// How many records are there.
    pub copied: u64,
}

impl CopyProgress {
    /// Whether every record is there, and the copy has only to be ended.
    pub fn is_complete(&self) -> bool {
        self.after.as_deref() == Some(END)
    }
}

/// Some records of a store.
#[derive(Debug)]
pub struct RecordPage {
    /// The records. None is no sign of the end.
    pub records: Vec<Record>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
}

/// One record: a row of a table, whatever the store has in place of tables.
#[derive(PartialEq, Eq)]
pub struct Record {
    table: &'static Table,
    values: Vec<Value>,
}

/// A kind of records.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What each of its records has, in this order.
    pub columns: &'static [(&'static str, ColumnType)],
}

/// What stands in a column, where anything does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// A text.
    Text,
    /// Bytes.
    Bytes,
    /// A whole number; instants are microseconds since 1970.
    Integer,
}

/// What stands in a column of a record. It has no `Debug`, since it may be nobody's business.
#[allow(missing_debug_implementations)]
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A whole number.
    Integer(i64),
}

impl Record {
    /// A record, where the values are those of the table's columns.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Corrupt`] where they are not.
    pub fn new(table: &'static Table, values: Vec<Value>) -> Result<Self, StoreError> {
        let fits = values.len() == table.columns.len()
            && values.iter().zip(table.columns).all(|(value, (_, kind))| value.is(*kind));
        match fits {
            true => Ok(Self { table, values }),
            false => Err(StoreError::new(StoreErrorKind::Corrupt)),
        }
    }

    /// The kind of the record.
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// What stands in the columns, in their order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// What stands in a column; nothing where there is no such.
    pub fn get(&self, column: &str) -> &Value {
        self.position(column).and_then(|place| self.values.get(place)).unwrap_or(&Value::Null)
    }

    /// The names of the columns in which something stands, and what.
    pub fn present(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        let named = self.table.columns.iter().zip(&self.values);
        named.map(|((name, _), value)| (*name, value)).filter(|(_, value)| **value != Value::Null)
    }

    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn put(&mut self, column: &str, value: Value) {
        let place = self.position(column);
        if let Some(known) = place.and_then(|place| self.values.get_mut(place)) {
            *known = value;
        }
    }

    fn position(&self, column: &str) -> Option<usize> {
        self.table.columns.iter().position(|(name, _)| *name == column)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("table", &self.table.name).finish_non_exhaustive()
    }
}

impl Value {
    fn is(&self, kind: ColumnType) -> bool {
        matches!(
            (self, kind),
            (Self::Null, _)
                | (Self::Text(_), ColumnType::Text)
                | (Self::Bytes(_), ColumnType::Bytes)
                | (Self::Integer(_), ColumnType::Integer)
        )
    }
}

/// Why a copy was not begun, or not ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The target is not empty, and no copy into it was begun.
    #[error("the target holds data already: nothing was copied")]
    Occupied,
    /// A copy of something else into the target was begun.
    #[error(
        "the target holds a part of a copy of {source_name}: end that one, or empty the target"
    )]
    OfAnother {
        /// What was copied then.
        source_name: String,
    },
    /// What was written to the source since the copy began is not in the target, or not all of it.
    #[error(
        "the source has changed since the copy began: stop whatever writes to it, empty the target, \
         and begin anew"
    )]
    Changed,
    /// The source can't be read.
    #[error("the source can't be read")]
    Source(#[source] StoreError),
    /// The target can't be written. What was copied by then is kept, and the next copy goes on there.
    #[error("the target can't be written")]
    Target(#[source] StoreError),
}

/// A copy of all records of a store into an empty one.
///
/// Nothing is written to the source. Nobody else may write to it meanwhile: what changes after the copy
/// began is not in the target, or not all of it, and [`check`](Self::check) fails. Nobody may use the
/// target before the [`end`](Self::end).
///
/// A copy that was interrupted is gone on with by the same calls: what is there is not copied again.
///
/// ```
/// # #[cfg(all(feature = "redis", feature = "sqlite"))]
/// # async fn copy() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{RedisStore, SqliteStore, store::Copying};
///
/// let from = SqliteStore::open("key0.db")?;
/// let to = RedisStore::open("redis://localhost/0").await?;
/// let mut copy = Copying::begin(&from, &to, "key0.db").await?;
/// while copy.step().await? {
///     eprintln!("{} records", copy.copied());
/// }
/// copy.check().await?;
/// copy.end().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Copying<'a> {
    from: &'a dyn CopyStore,
    to: &'a dyn CopyStore,
    progress: CopyProgress,
    total: Option<u64>,
    at_a_time: u32,
}

impl<'a> Copying<'a> {
    /// Begins a copy of what is shown as `source`, or goes on with one.
    ///
    /// # Errors
    ///
    /// [`CopyError`], and nothing is changed: where the target holds anything else, where the source is
    /// not as it was when the copy began, and where one of the stores fails.
    pub async fn begin(
        from: &'a dyn CopyStore,
        to: &'a dyn CopyStore,
        source: &str,
    ) -> Result<Self, CopyError> {
        let contents = from.contents().await.map_err(CopyError::Source)?;
        let new = CopyProgress {
            source: source.to_owned(),
            state: contents.state,
            after: None,
            copied: 0,
        };
        let progress = match Self::resumed(to, source).await? {
            Some(begun) if begun.state == new.state => begun,
            Some(_) => return Err(CopyError::Changed),
            None => {
                to.begin_copy(&new).await.map_err(|error| match error.kind() {
                    StoreErrorKind::Conflict => CopyError::Occupied,
                    _ => CopyError::Target(error),
                })?;
                new
            }
        };
        Ok(Self { from, to, progress, total: contents.records, at_a_time: PAGE })
    }

    /// The copy of that source which was begun, or nothing where one can be begun.
    ///
    /// # Errors
    ///
    /// [`CopyError`] where the target holds anything else, and where it fails.
    pub async fn resumed(
        to: &dyn CopyStore,
        source: &str,
    ) -> Result<Option<CopyProgress>, CopyError> {
        match to.unfinished_copy().await.map_err(CopyError::Target)? {
            Some(begun) if begun.source == source => Ok(Some(begun)),
            Some(begun) => Err(CopyError::OfAnother { source_name: begun.source }),
            None if to.contents().await.map_err(CopyError::Target)?.is_empty => Ok(None),
            None => Err(CopyError::Occupied),
        }
    }

    /// How many records are in memory at a time: about 500.
    #[must_use]
    pub fn at_a_time(mut self, records: u32) -> Self {
        self.at_a_time = records.max(1);
        self
    }

    /// How many records are there.
    pub fn copied(&self) -> u64 {
        self.progress.copied
    }

    /// How many there will be, where the source can tell.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Copies some more; `false` where there are none.
    ///
    /// # Errors
    ///
    /// [`CopyError`]; then the copy is gone on with by [`begin`](Self::begin).
    pub async fn step(&mut self) -> Result<bool, CopyError> {
        if self.progress.is_complete() {
            return Ok(false);
        }
        let after = self.progress.after.as_deref();
        let page = self.from.export(after, self.at_a_time).await.map_err(CopyError::Source)?;
        let (had, count) = (self.progress.copied, page.records.len());
        let progress = CopyProgress {
            after: Some(page.next.unwrap_or_else(|| END.to_owned())),
            copied: had + count as u64,
            ..self.progress.clone()
        };
        self.to.import(page.records, had, &progress).await.map_err(CopyError::Target)?;
        self.progress = progress;
        Ok(true)
    }

    /// Whether the source is as it was when the copy began.
    ///
    /// # Errors
    ///
    /// [`CopyError::Changed`] where it is not, and fails when the source can't tell.
    pub async fn check(&self) -> Result<(), CopyError> {
        let contents = self.from.contents().await.map_err(CopyError::Source)?;
        if contents.state == self.progress.state { Ok(()) } else { Err(CopyError::Changed) }
    }

    /// Ends the copy, whose every record is there.
    ///
    /// # Errors
    ///
    /// [`CopyError`] where the target fails.
    pub async fn end(mut self) -> Result<(), CopyError> {
        while self.step().await? {}
        self.to.end_copy().await.map_err(CopyError::Target)
    }
}

/// In place of where the next page begins, where there is none. No engine begins one so.
const END: &str = "end";
