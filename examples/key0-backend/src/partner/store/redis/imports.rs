use async_trait::async_trait;
use key0_auth::domain::Timestamp;
use serde_json::value::RawValue;

use super::{Redis, passports::add_passport, scripts};
use crate::partner::{
    imports::{Rows, Upsert, not_found},
    store::{Answer, Asked, Fault, Imports, new_id, terms},
};

#[async_trait]
impl Imports for Redis {
    async fn queue_import(
        &self,
        asked: Option<Asked>,
        owner: Option<String>,
        rows: Box<RawValue>,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        let mut call = self.effect(&scripts::QUEUE_IMPORT, asked.as_ref(), now);
        call.arg(new_id()).arg(owner.unwrap_or_default()).arg(rows.get().len()).arg(rows.get());
        call.arg(terms::MAX_WAITING).arg(terms::MAX_WAITING_BYTES);
        self.once(&call, asked.as_ref()).await?.answer(
            |id| Ok(terms::queued(&id)),
            |why, _| (why == "many").then(terms::too_many_imports),
        )
    }

    async fn import(&self, id: String) -> Result<String, Fault> {
        let mut call = self.call(&scripts::IMPORT);
        match self.read::<Option<String>>(call.arg(&id)).await? {
            None => Err(not_found().into()),
            Some(outcome) if outcome.is_empty() => Ok(terms::queued(&id)),
            Some(outcome) => Ok(outcome),
        }
    }

    async fn next_import(&self, now: Timestamp) -> Result<Option<i64>, Fault> {
        let mut call = self.call(&scripts::NEXT_IMPORT);
        self.read(call.arg(now.as_micros())).await
    }

    async fn carry_out_import(&self, arrival: i64, now: Timestamp) -> Result<bool, Fault> {
        let mut call = self.call(&scripts::WAITING_IMPORT);
        let waiting: Option<(String, String)> =
            self.read(call.arg(arrival).arg(now.as_micros())).await?;
        let Some((id, rows)) = waiting else { return Ok(false) };
        let rows = Rows::read(&rows);
        let mut call = self.call(&scripts::CARRY_OUT_IMPORT);
        call.arg(arrival).arg(now.as_micros());
        rows.passports().for_each(|new| add_passport(&mut call, &new_id(), new));
        // Nothing where another instance has come to the end meanwhile.
        let Some(became) = self.write::<Option<String>>(&call).await? else { return Ok(false) };
        let became = became.chars().map(upsert).collect::<Result<Vec<_>, _>>()?;
        let mut call = self.call(&scripts::END_IMPORT);
        self.write(call.arg(arrival).arg(rows.outcome(id, became).to_json())).await
    }

    async fn put_off_import(&self, arrival: i64, until: Timestamp) -> Result<(), Fault> {
        let mut call = self.call(&scripts::PUT_OFF_IMPORT);
        self.write(call.arg(arrival).arg(until.as_micros())).await
    }
}

fn upsert(became: char) -> Result<Upsert, Fault> {
    match became {
        'c' => Ok(Upsert::Created),
        'u' => Ok(Upsert::Updated),
        'f' => Ok(Upsert::Fixed),
        _ => Err(Fault::Unreadable("became")),
    }
}
