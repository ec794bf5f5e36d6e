use std::{collections::HashMap, str::FromStr};

use async_trait::async_trait;
use key0_auth::store::spi::{Contents, CopyProgress, Record, RecordPage, Value};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{
    Redis,
    passports::{name, read_content},
    scripts,
};
use crate::partner::store::{
    Fault,
    copying::{ACCOUNTS, Copied, IMPORTS, KEYS, ORDERS, PASSPORTS, TIERS, record},
};

/// How many names Redis looks through at a time.
const LOOKED_THROUGH_AT_ONCE: u32 = 200;

type Fields = HashMap<String, Vec<u8>>;

/// Where the next page begins. There is no list of all accounts, nor of all passports: the names of the
/// keys are looked through.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cursor {
    /// Where to look on; nothing once all names were looked through.
    scan: Option<u64>,
    /// Accounts whose orders are to be read before.
    accounts: Vec<String>,
    /// Behind which order of the last of them.
    arrival: i64,
}

#[async_trait]
impl Copied for Redis {
    async fn contents(&self) -> Result<Contents, Fault> {
        let state: String = self.write(&self.call(&scripts::CONTENTS)).await?;
        Ok(Contents { is_empty: state.starts_with("0 "), records: None, state })
    }

    async fn export(&self, after: Option<&str>, limit: u32) -> Result<RecordPage, Fault> {
        let unreadable = |_| Fault::Unreadable("cursor");
        let mut cursor = match after {
            None => Cursor { scan: Some(0), ..Cursor::default() },
            Some(after) => serde_json::from_str(after).map_err(unreadable)?,
        };
        let mut records = Vec::new();
        if let Some(account) = cursor.accounts.last().cloned() {
            let mut call = self.call(&scripts::ORDERS);
            call.arg(&account).arg(cursor.arrival).arg(limit);
            let found: Vec<(i64, Fields, String)> = self.write(&call).await?;
            if found.len() < limit as usize {
                cursor.accounts.pop();
                cursor.arrival = 0;
            } else if let Some((last, ..)) = found.last() {
                cursor.arrival = *last;
            }
            for (arrival, fields, due_at) in found {
                records.push(order(&account, arrival, &fields, &due_at)?);
            }
        } else if let Some(at) = cursor.scan {
            let (next, names) = self.scan(at).await?;
            cursor.scan = (next != 0).then_some(next);
            let (orders, others): (Vec<_>, Vec<_>) =
                names.into_iter().partition(|name| name.starts_with("orders:"));
            let accounts = orders.iter().filter_map(|name| name.strip_prefix("orders:"));
            cursor.accounts = accounts.map(str::to_owned).collect();
            records = self.named(&others).await?;
        }
        let more = cursor.scan.is_some() || !cursor.accounts.is_empty();
        let next = more.then(|| serde_json::to_string(&cursor)).transpose().map_err(unreadable)?;
        Ok(RecordPage { records, next })
    }

    async fn unfinished(&self) -> Result<Option<CopyProgress>, Fault> {
        let kept: (Option<String>, Option<String>, Option<String>, Option<u64>) =
            self.write(&self.call(&scripts::UNFINISHED_COPY)).await?;
        match kept {
            (Some(source), Some(state), after, Some(copied)) => {
                Ok(Some(CopyProgress { source, state, after, copied }))
            }
            _ => Ok(None),
        }
    }

    async fn begin(&self, progress: &CopyProgress) -> Result<bool, Fault> {
        let mut call = self.call(&scripts::BEGIN_COPY);
        self.write(call.arg(&progress.source).arg(&progress.state)).await
    }

    async fn import(
        &self,
        records: Vec<Record>,
        had: u64,
        progress: &CopyProgress,
    ) -> Result<bool, Fault> {
        let mut call = self.call(&scripts::IMPORT_RECORDS);
        call.arg("").arg("").arg(0).arg(0);
        call.arg(had).arg(progress.after.as_deref().unwrap_or_default()).arg(progress.copied);
        for record in &records {
            let more = added(record)?;
            call.arg(record.table().name).arg(2 * (record.present().count() + more.len()));
            for (name, value) in record.present() {
                call.arg(name);
                match value {
                    Value::Null => {}
                    Value::Text(text) => drop(call.arg(text)),
                    Value::Bytes(bytes) => drop(call.arg(bytes)),
                    Value::Integer(number) => drop(call.arg(number)),
                }
            }
            for (name, value) in more {
                call.arg(name).arg(value);
            }
        }
        self.write(&call).await
    }

    async fn end(&self) -> Result<(), Fault> {
        self.write(&self.call(&scripts::END_COPY)).await
    }
}

impl Redis {
    /// Some names below the prefix, without it, and where to look on.
    async fn scan(&self, cursor: u64) -> Result<(u64, Vec<String>), Fault> {
        let prefix = format!("{}partner:", self.version_key.trim_end_matches("version"));
        let pattern: String = prefix
            .chars()
            .flat_map(|letter| match letter {
                '*' | '?' | '[' | ']' | '\\' => vec!['\\', letter],
                letter => vec![letter],
            })
            .collect();
        let mut scan = ::redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern + "*").arg("COUNT").arg(LOOKED_THROUGH_AT_ONCE);
        let (next, names): (u64, Vec<String>) = self.link.query(&scan, self.write_deadline).await?;
        let names = names.iter().filter_map(|name| name.strip_prefix(&prefix));
        Ok((next, names.map(str::to_owned).collect()))
    }

    /// The records that stand under these names.
    async fn named(&self, names: &[String]) -> Result<Vec<Record>, Fault> {
        let kinds = ["passport:", "import:", "tier:", "balance:", "key:"];
        let names: Vec<_> =
            names.iter().filter(|name| kinds.iter().any(|kind| name.starts_with(kind))).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = self.call(&scripts::EXPORT);
        call.arg(&names);
        let found: Vec<(String, Fields, String, String)> = self.write(&call).await?;
        let mut records = Vec::with_capacity(found.len());
        for (name, fields, due_at, more) in &found {
            let (kind, id) = name.split_once(':').ok_or(Fault::Unreadable("name"))?;
            records.push(match kind {
                "passport" => passport(id, fields, due_at)?,
                "import" => import(id, fields)?,
                "tier" => tier(id, fields)?,
                "balance" => record(&ACCOUNTS, vec![text(id), number(more, "balance")?])?,
                _ => key(id, fields)?,
            });
        }
        Ok(records)
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(text: &str, field: &'static str) -> Result<Value, Fault> {
    parsed(text, field).map(Value::Integer)
}

fn parsed<T: FromStr>(text: &str, field: &'static str) -> Result<T, Fault> {
    text.parse().map_err(|_| Fault::Unreadable(field))
}

/// What Redis shows of a score, or nothing.
fn score(text: &str) -> Result<Value, Fault> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    // All instants of these centuries are whole numbers in it.
    #[allow(clippy::cast_possible_truncation)]
    Ok(Value::Integer(parsed::<f64>(text, "due_at")? as i64))
}

fn field<'a>(fields: &'a Fields, name: &'static str) -> Result<Option<&'a str>, Fault> {
    let bytes = fields.get(name);
    bytes.map(|bytes| str::from_utf8(bytes).map_err(|_| Fault::Unreadable(name))).transpose()
}

fn text_of(fields: &Fields, name: &'static str) -> Result<Value, Fault> {
    Ok(field(fields, name)?.filter(|found| !found.is_empty()).map_or(Value::Null, text))
}

fn number_of(fields: &Fields, name: &'static str) -> Result<Value, Fault> {
    field(fields, name)?.map_or(Ok(Value::Null), |found| number(found, name))
}

fn order(account: &str, arrival: i64, fields: &Fields, due_at: &str) -> Result<Record, Fault> {
    let values = vec![
        Value::Integer(arrival),
        text_of(fields, "id")?,
        text(account),
        number_of(fields, "amount")?,
        text_of(fields, "status")?,
        score(due_at)?,
        number_of(fields, "created_at")?,
    ];
    record(&ORDERS, values)
}

fn passport(id: &str, fields: &Fields, due_at: &str) -> Result<Record, Fault> {
    let content = field(fields, "content")?.ok_or(Fault::Unreadable("content"))?;
    let new = read_content(content)?;
    let certification = field(fields, "certification")?.unwrap_or_default();
    let status = if certification == "certified" { "published" } else { "draft" };
    let values = vec![
        text(id),
        Value::Text(new.granularity),
        Value::Text(new.application),
        new.network.map_or(Value::Null, Value::Text),
        Value::Text(new.model_number),
        Value::Text(new.name),
        new.description.map_or(Value::Null, |text| Value::Bytes(text.into_bytes())),
        text(status),
        text(certification),
        score(due_at)?,
        number_of(fields, "created_at")?,
        number_of(fields, "updated_at")?,
    ];
    record(&PASSPORTS, values)
}

/// When it was queued is not kept here, and is not told anywhere.
fn import(arrival: &str, fields: &Fields) -> Result<Record, Fault> {
    let due_at = number_of(fields, "due_at")?;
    let created_at = if due_at == Value::Null { Value::Integer(0) } else { due_at.clone() };
    let values = vec![
        number(arrival, "arrival")?,
        text_of(fields, "id")?,
        text_of(fields, "owner")?,
        number_of(fields, "bytes")?,
        text_of(fields, "rows")?,
        text_of(fields, "outcome")?,
        due_at,
        created_at,
    ];
    record(&IMPORTS, values)
}

fn tier(arrival: &str, fields: &Fields) -> Result<Record, Fault> {
    let values = vec![
        number(arrival, "arrival")?,
        text_of(fields, "id")?,
        text_of(fields, "name")?,
        number_of(fields, "threshold")?,
        number_of(fields, "created_at")?,
    ];
    record(&TIERS, values)
}

/// The length tells where the caller ends.
fn key(slot: &str, fields: &Fields) -> Result<Record, Fault> {
    let unreadable = || Fault::Unreadable("key");
    let (length, rest) = slot.split_once(':').ok_or_else(unreadable)?;
    let (caller, rest) = rest.split_at_checked(parsed(length, "key")?).ok_or_else(unreadable)?;
    let key = rest.strip_prefix(':').ok_or_else(unreadable)?;
    let values = vec![
        text(caller),
        text(key),
        fields.get("fingerprint").map_or(Value::Null, |bytes| Value::Bytes(bytes.clone())),
        text_of(fields, "answer")?,
        number_of(fields, "created_at")?,
    ];
    record(&KEYS, values)
}

/// What the script is told of a record besides.
fn added(record: &Record) -> Result<Vec<(&'static str, String)>, Fault> {
    let text = |name| match record.get(name) {
        Value::Text(text) => Ok(text.as_str()),
        _ => Err(Fault::Unreadable("record")),
    };
    if *record.table() == KEYS {
        let caller = text("caller")?;
        let slot = format!("{}:{caller}:{}", caller.len(), text("idempotency_key")?);
        return Ok(vec![("slot", slot)]);
    }
    if *record.table() != PASSPORTS {
        return Ok(Vec::new());
    }
    let (application, model) = (text("application")?, text("model_number")?);
    let mut content = serde_json::Map::new();
    for (member, column) in [
        ("granularity", "granularity"),
        ("application", "application"),
        ("network", "network"),
        ("modelNumber", "model_number"),
        ("name", "name"),
    ] {
        if let Value::Text(text) = record.get(column) {
            content.insert(member.to_owned(), Json::from(text.as_str()));
        }
    }
    if let Value::Bytes(bytes) = record.get("description") {
        let text = str::from_utf8(bytes).map_err(|_| Fault::Unreadable("description"))?;
        content.insert("description".to_owned(), Json::from(text));
    }
    Ok(vec![("model", name(application, model)), ("content", Json::from(content).to_string())])
}
