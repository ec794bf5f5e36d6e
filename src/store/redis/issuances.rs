//! Issuances as their scripts take and give them.

use super::{
    RedisStore, keys,
    keys::{event_text, instant_text, micros_if_any},
    row::{Fields, needed},
    scripts,
};
use crate::{
    apikey::{KeyAction, KeyDigest, KeyEvent, KeyRecord, Nonce, SecretFingerprint},
    domain::{Actor, Timestamp},
    error::StoreError,
    store::{Issuance, IssuanceClaim, IssuanceKey, IssuanceState, LONGEST_WAIT, stored::bad},
};

impl RedisStore {
    pub(super) async fn begin(
        &self,
        claim: &IssuanceClaim,
        now: Timestamp,
    ) -> Result<IssuanceState, StoreError> {
        let mut call = self.call(&scripts::BEGIN_ISSUANCE);
        call.arg(slot(&claim.key)).arg(claim.fingerprint.as_bytes());
        call.arg(claim.tx_hash.normalized()).arg(claim.lease.token.as_bytes());
        call.arg(claim.lease.until.as_micros());
        call.arg(now.as_micros()).arg(now.plus(LONGEST_WAIT).as_micros());
        call.arg(claim.tx_hash.without_0x());
        call.arg(claim.order.request_id.as_str()).arg(claim.order.resource_id.as_str());
        call.arg(claim.order.plan_id.as_str());
        let (state, fields): (String, Option<Vec<Vec<u8>>>) = answer(self.write(&call).await?)?;
        match (&*state, fields) {
            ("started", None) => Ok(IssuanceState::Started),
            ("in progress", None) => Ok(IssuanceState::InProgress),
            ("conflict", None) => Ok(IssuanceState::Conflict),
            ("revoked", None) => Ok(IssuanceState::Revoked),
            ("redeemed", None) => Ok(IssuanceState::Redeemed),
            ("issued", Some(fields)) => Ok(IssuanceState::Issued(issuance(&Fields::new(fields))?)),
            _ => Err(bad("state")),
        }
    }

    pub(super) async fn complete(
        &self,
        claim: &IssuanceClaim,
        issuance: &Issuance,
        record: Option<&KeyRecord>,
    ) -> Result<bool, StoreError> {
        let mut call = self.call(&scripts::COMPLETE_ISSUANCE);
        call.arg(slot(&claim.key)).arg(claim.lease.token.as_bytes());
        let values = values(issuance);
        let present = || NAMES.iter().zip(&values).filter(|(_, value)| !value.is_empty());
        call.arg(&*values[NONCE]).arg(issuance.issued_at.as_micros());
        call.arg(instant_text(issuance.issued_at)).arg(2 * present().count());
        for (name, value) in present() {
            call.arg(*name).arg(&**value);
        }
        if let Some(record) = record {
            keys::add_arguments(&mut call, record, &Actor::key0())?;
        }
        let kept: bool = self.write(&call).await?;
        if kept && let Some(record) = record {
            self.tell(&[record.digest]);
        }
        Ok(kept)
    }

    pub(super) async fn abandon(&self, claim: &IssuanceClaim) -> Result<(), StoreError> {
        let mut call = self.call(&scripts::ABANDON_ISSUANCE);
        call.arg(slot(&claim.key)).arg(claim.lease.token.as_bytes());
        self.write(&call).await
    }

    pub(super) async fn replace(
        &self,
        key: &IssuanceKey,
        old: &Issuance,
        new: &Issuance,
        display: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut call = self.call(&scripts::REPLACE_ISSUANCE);
        call.arg(slot(key)).arg(display);
        call.arg(event_text(&KeyEvent::new(KeyAction::Rotated, &Actor::key0(), at)));
        for value in values(old).iter().chain(&values(new)) {
            call.arg(&**value);
        }
        let replaced: bool = self.write(&call).await?;
        if replaced {
            self.tell(&[old.digest, new.digest]);
        }
        Ok(replaced)
    }
}

/// The fields of an issuance, in the order of the script that replaces one.
const NAMES: [&str; 6] = ["key_id", "digest", "nonce", "secret", "issued_at", "expires_at"];
const NONCE: usize = 2;

/// What stands in these fields; nothing for what is not there.
fn values(issuance: &Issuance) -> [Vec<u8>; 6] {
    [
        issuance.key_id.as_ref().map_or_else(Vec::new, |id| id.as_str().into()),
        issuance.digest.as_bytes().into(),
        issuance.nonce.as_ref().map_or_else(Vec::new, |nonce| nonce.as_bytes().into()),
        issuance.secret.as_ref().map_or_else(Vec::new, |secret| secret.as_bytes().into()),
        issuance.issued_at.as_micros().to_string().into(),
        micros_if_any(issuance.expires_at).into(),
    ]
}

fn issuance(fields: &Fields) -> Result<Issuance, StoreError> {
    Ok(Issuance {
        key_id: fields.parsed("key_id")?,
        digest: KeyDigest::from_bytes(needed(fields.array("digest")?, "digest")?),
        nonce: fields.array("nonce")?.map(Nonce::from_bytes),
        secret: fields.array("secret")?.map(SecretFingerprint::from_bytes),
        issued_at: needed(fields.instant("issued_at")?, "issued_at")?,
        expires_at: fields.instant("expires_at")?,
    })
}

pub(super) fn slot(key: &IssuanceKey) -> String {
    format!("{}:{}", key.namespace(), key.id())
}

/// A script's answer: a word, and mostly nothing more.
pub(super) fn answer<T: redis::FromRedisValue>(
    values: Vec<redis::Value>,
) -> Result<(String, Option<T>), StoreError> {
    let mut values = values.into_iter();
    let word = values.next().ok_or_else(|| bad("answer"))?;
    let word = redis::from_redis_value(word).map_err(StoreError::corrupt)?;
    let more = values.next().map(redis::from_redis_value).transpose();
    Ok((word, more.map_err(StoreError::corrupt)?))
}
