use async_trait::async_trait;

use super::{
    RedisStore,
    audit::split,
    keys::cursor_text,
    row::{Fields, needed},
    scripts,
};
use crate::{
    domain::{KeyId, Timestamp},
    error::StoreError,
    store::{
        KeyCursor,
        copying::{
            ColumnType, Contents, CopyProgress, CopyStore, Record, RecordPage, Table, Value,
        },
        records::{DENIALS, EVENTS, ISSUANCES, KEYS, PAYMENTS, UNKNOWN_REVOCATIONS},
        stored::{bad, parsed},
    },
};

/// The sorted sets that are walked, in this order; behind them come the revocations of what was not
/// known.
const WALKS: [&str; 5] = ["keys:integrator", "keys:payment", "purchases", "denied", "events"];

/// How long an instant is in a cursor.
const INSTANT: usize = 16;

/// A member of a sorted set, its record, its payment, and one more text.
type Found = (Vec<u8>, Vec<Vec<u8>>, Vec<Vec<u8>>, String);

#[async_trait]
impl CopyStore for RedisStore {
    async fn contents(&self) -> Result<Contents, StoreError> {
        let call = self.call(&scripts::CONTENTS);
        let (word, count, state): (String, i64, String) = self.write(&call).await?;
        if word == "unlisted" {
            let why = "what an older version has kept is not listed yet";
            return Err(StoreError::unavailable(why));
        }
        let records = u64::try_from(count).ok();
        Ok(Contents { is_empty: word == "empty", records, state })
    }

    async fn export(&self, after: Option<&str>, limit: u32) -> Result<RecordPage, StoreError> {
        let (walk, after) = match after {
            None => (0, None),
            Some(after) => {
                let (walk, member) = after.split_once(' ').unwrap_or((after, ""));
                (parsed(walk, "cursor")?, Some(member).filter(|member| !member.is_empty()))
            }
        };
        let Some(set) = WALKS.get(walk) else {
            let counts = self.write(&self.call(&scripts::UNKNOWN_REVOCATIONS)).await?;
            return Ok(RecordPage { records: unknown_revocations(counts)?, next: None });
        };
        let begin = match after {
            None => b"-".to_vec(),
            Some(member) => [b"(".to_vec(), from_hex(member)?].concat(),
        };
        let mut call = self.call(&scripts::EXPORT);
        call.arg(*set).arg(begin).arg(limit);
        let found: Vec<Found> = self.write(&call).await?;
        let next = match found.last() {
            Some((member, ..)) if found.len() == limit as usize => {
                format!("{walk} {}", to_hex(member))
            }
            _ => (walk + 1).to_string(),
        };
        let mut records = Vec::with_capacity(found.len());
        for found in found {
            match *set {
                "purchases" => purchase(found, &mut records)?,
                "denied" => records.push(denial(found)?),
                "events" => records.push(event(&found)?),
                _ => records.push(of_fields(&KEYS, &Fields::new(found.1))?),
            }
        }
        Ok(RecordPage { records, next: Some(next) })
    }

    async fn unfinished_copy(&self) -> Result<Option<CopyProgress>, StoreError> {
        let call = self.call(&scripts::UNFINISHED_COPY);
        let (source, state, after, copied): (
            Option<String>,
            Option<String>,
            Option<String>,
            Option<u64>,
        ) = self.write(&call).await?;
        let Some(source) = source else { return Ok(None) };
        let (state, copied) = (needed(state, "state")?, needed(copied, "copied")?);
        Ok(Some(CopyProgress { source, state, after, copied }))
    }

    async fn begin_copy(&self, progress: &CopyProgress) -> Result<(), StoreError> {
        let mut call = self.call(&scripts::BEGIN_COPY);
        call.arg(&progress.source).arg(&progress.state);
        self.write(&call).await
    }

    async fn import(
        &self,
        records: Vec<Record>,
        had: u64,
        progress: &CopyProgress,
    ) -> Result<(), StoreError> {
        let mut call = self.call(&scripts::IMPORT);
        call.arg(had).arg(progress.after.as_deref().unwrap_or_default()).arg(progress.copied);
        for record in &records {
            let place = if *record.table() == KEYS { Some(cursor(record)?) } else { None };
            let count = record.present().count() + usize::from(place.is_some());
            call.arg(record.table().name).arg(2 * count);
            if let Some(place) = place {
                call.arg("place").arg(place);
            }
            for (name, value) in record.present() {
                call.arg(name);
                match value {
                    Value::Null => {}
                    Value::Text(text) => drop(call.arg(text)),
                    Value::Bytes(bytes) => drop(call.arg(bytes)),
                    Value::Integer(number) => drop(call.arg(number)),
                }
            }
        }
        self.write(&call).await
    }

    async fn end_copy(&self) -> Result<(), StoreError> {
        self.write(&self.call(&scripts::END_COPY)).await
    }
}

/// Where a key stands in listings.
fn cursor(key: &Record) -> Result<String, StoreError> {
    let (Value::Text(id), Value::Integer(at)) = (key.get("id"), key.get("created_at")) else {
        return Err(bad("id"));
    };
    let id: KeyId = parsed(id, "id")?;
    Ok(cursor_text(&KeyCursor { created_at: Timestamp::from_micros(*at), id }))
}

fn of_fields(table: &'static Table, fields: &Fields) -> Result<Record, StoreError> {
    let values = table.columns.iter().map(|(name, kind)| {
        let value = match kind {
            ColumnType::Text => fields.text(name)?.map(|text| Value::Text(text.to_owned())),
            ColumnType::Bytes => fields.bytes(name).map(|bytes| Value::Bytes(bytes.to_owned())),
            ColumnType::Integer => fields.parsed(name)?.map(Value::Integer),
        };
        Ok::<_, StoreError>(value.unwrap_or(Value::Null))
    });
    Record::new(table, values.collect::<Result<_, _>>()?)
}

fn purchase(
    (member, issuance, payment, due_at): Found,
    records: &mut Vec<Record>,
) -> Result<(), StoreError> {
    let slot = member.get(INSTANT..).and_then(|slot| str::from_utf8(slot).ok());
    let (namespace, id) = slot.and_then(|slot| slot.split_once(':')).ok_or_else(|| bad("slot"))?;
    let fields = Fields::new(issuance);
    // A claim is nothing yet.
    if fields.bytes("issued_at").or(fields.bytes("revoked_at")).is_some() {
        let mut record = of_fields(&ISSUANCES, &fields)?;
        record.put("namespace", Value::Text(namespace.to_owned()));
        record.put("id", Value::Text(id.to_owned()));
        if *record.get("digest") == Value::Null {
            record.put("issued_at", Value::Null);
            record.put("fingerprint", Value::Null);
        }
        records.push(record);
    }
    if !payment.is_empty() {
        let mut record = of_fields(&PAYMENTS, &Fields::new(payment))?;
        record.put("due_at", score(&due_at)?);
        records.push(record);
    }
    Ok(())
}

/// One whose end can't be read has none.
fn denial((member, _, _, end): Found) -> Result<Record, StoreError> {
    let until = end.parse().unwrap_or(i64::MAX);
    Record::new(&DENIALS, vec![Value::Bytes(member), Value::Integer(until)])
}

fn event((member, shown, _, over_at): &Found) -> Result<Record, StoreError> {
    let event = str::from_utf8(member).map_err(|_| bad("event"))?;
    let mut parts = split(event).1.splitn(5, ' ');
    let mut part = || parts.next().ok_or_else(|| bad("event"));
    let (subject, action, at, actor) = (part()?, part()?, part()?, part()?);
    let reason = parts.next();
    let text = |text: &str| Value::Text(text.to_owned());
    let at = Value::Integer(parsed(at, "at")?);
    let (kind, id, over_at) = match subject.split_at_checked(1) {
        Some(("k", id)) => (Value::Null, id, score(over_at)?),
        Some(("p", id)) => (text("purchase"), id, at.clone()),
        Some(("r", id)) => (text("administration"), id, at.clone()),
        _ => return Err(bad("event")),
    };
    let shown = Fields::new(shown.clone());
    let shown = |name| {
        let found = shown.text(name)?.filter(|found| !found.is_empty());
        Ok::<_, StoreError>(found.map_or(Value::Null, text))
    };
    let values = vec![
        kind,
        text(id),
        text(action),
        text(actor),
        at,
        reason.map_or(Value::Null, text),
        shown("display")?,
        shown("label")?,
        over_at,
    ];
    Record::new(&EVENTS, values)
}

fn unknown_revocations(counts: Vec<Vec<u8>>) -> Result<Vec<Record>, StoreError> {
    let number = |bytes: &[u8]| {
        let text = str::from_utf8(bytes).map_err(|_| bad("day"))?;
        Ok::<_, StoreError>(Value::Integer(parsed(text, "day")?))
    };
    let pairs = counts.chunks_exact(2);
    pairs
        .map(|pair| Record::new(&UNKNOWN_REVOCATIONS, vec![number(&pair[0])?, number(&pair[1])?]))
        .collect()
}

/// What Redis shows of a score, which is a number of microseconds, or nothing.
fn score(text: &str) -> Result<Value, StoreError> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let number: f64 = parsed(text, "score")?;
    // All instants of these centuries are whole numbers in it.
    #[allow(clippy::cast_possible_truncation)]
    Ok(Value::Integer(number as i64))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>, StoreError> {
    let digits = text.as_bytes().chunks(2);
    let bytes = digits.map(|pair| {
        let pair = str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    bytes.collect::<Option<_>>().ok_or_else(|| bad("cursor"))
}
