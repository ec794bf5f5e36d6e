use async_trait::async_trait;
use key0_auth::domain::Timestamp;
use redis::ScriptInvocation;

use super::{Redis, scripts};
use crate::partner::{
    passports::{Filter, NewPassport, Passport, Wanted, not_found},
    store::{
        Answer, Asked, Fault, Passports,
        terms::{self, CERTIFICATION, Published},
    },
};

#[async_trait]
impl Passports for Redis {
    async fn create_passport(
        &self,
        asked: Option<Asked>,
        new: NewPassport,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        let mut call = self.effect(&scripts::CREATE_PASSPORT, asked.as_ref(), now);
        let passport = Passport::draft(new.clone(), now);
        add_passport(&mut call, &passport.id, &new);
        call.arg(passport.to_json());
        let effect = self.once(&call, asked.as_ref()).await?;
        effect.answer(Ok, |why, _| (why == "taken").then(terms::is_taken))
    }

    async fn passport(&self, id: String) -> Result<Passport, Fault> {
        let mut call = self.call(&scripts::PASSPORT);
        let found: (Option<String>, Option<String>, Option<i64>, Option<i64>) =
            self.read(call.arg(&id)).await?;
        let (Some(content), Some(certification), Some(created_at), Some(updated_at)) = found else {
            return Err(not_found().into());
        };
        let new = read_content(&content)?;
        let mut passport = Passport::draft(new, Timestamp::from_micros(created_at));
        passport.id = id;
        passport.updated_at = Timestamp::from_micros(updated_at);
        if certification == "certified" {
            "published".clone_into(&mut passport.status);
        }
        passport.certification_status = certification;
        Ok(passport)
    }

    async fn publish(
        &self,
        asked: Option<Asked>,
        wanted: Wanted,
        limit: u32,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        let mut call = self.effect(&scripts::PUBLISH, asked.as_ref(), now);
        call.arg(now.plus(CERTIFICATION).as_micros()).arg(limit);
        match &wanted {
            Wanted::Ids(ids) => drop(call.arg("ids").arg(ids)),
            Wanted::Those(filter) => add_filter(&mut call, filter),
        }
        let published = |text: String| {
            let accepted = text.parse().map_err(|_| Fault::Unreadable("accepted"))?;
            let published = match wanted {
                Wanted::Ids(_) => Published { accepted, more: false },
                Wanted::Those(_) => Published::by_filter(accepted, limit),
            };
            Ok(published.to_json())
        };
        let unknown = |why: &str, place: &str| {
            (why == "unknown").then(|| place.parse().ok().map(terms::is_unknown)).flatten()
        };
        self.once(&call, asked.as_ref()).await?.answer(published, unknown)
    }

    async fn certify(&self, now: Timestamp, limit: u32) -> Result<usize, Fault> {
        self.some(&scripts::CERTIFY, now, limit).await
    }
}

/// What a script is told of a passport that it may make under this id.
pub(super) fn add_passport(call: &mut ScriptInvocation<'_>, id: &str, new: &NewPassport) {
    let NewPassport { application, model_number, .. } = new;
    call.arg(id).arg(name(application, model_number)).arg(application).arg(model_number);
    call.arg(serde_json::to_string(new).unwrap_or_default());
}

fn add_filter(call: &mut ScriptInvocation<'_>, filter: &Filter) {
    if terms::is_for_no_draft(filter) {
        call.arg("none");
        return;
    }
    match (&filter.application, &filter.model_number) {
        (Some(application), Some(model)) => call.arg("model").arg(name(application, model)),
        (Some(application), None) => {
            call.arg("set").arg(format!("drafts:application:{application}"))
        }
        (None, Some(model)) => call.arg("set").arg(format!("drafts:model:{model}")),
        (None, None) => call.arg("set").arg("drafts"),
    };
}

/// What a passport was made from.
pub(super) fn read_content(content: &str) -> Result<NewPassport, Fault> {
    NewPassport::read(content.as_bytes()).map_err(|_| Fault::Unreadable("content"))
}

/// What one passport alone has. The length tells where the application ends.
pub(super) fn name(application: &str, model_number: &str) -> String {
    format!("{}:{application}:{model_number}", application.len())
}
