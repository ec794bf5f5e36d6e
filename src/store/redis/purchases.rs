use async_trait::async_trait;

use super::{
    RedisStore,
    issuances::answer,
    keys::{digest_of, event_text},
    row::{Fields, needed},
    scripts,
};
use crate::{
    apikey::{KeyAction, KeyEvent},
    error::StoreError,
    store::{
        IssuanceKey, Purchase, PurchaseRevocation, PurchaseStore, RevocationOutcome, TokenDigest,
        stored::bad,
        stored_purchase::{StoredConfirmation, StoredIssuance, StoredKey, StoredPurchase},
    },
};

/// The fields of an issuance, of a payment and of a key, and whether the payment waits.
type Parts = (Vec<Vec<u8>>, Vec<Vec<u8>>, bool, Vec<Vec<u8>>);

#[async_trait]
impl PurchaseStore for RedisStore {
    async fn purchase(&self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError> {
        let mut call = self.call(&scripts::PURCHASE);
        call.arg(key.namespace()).arg(key.id());
        let parts: Parts = self.read(&call).await?;
        stored(parts)?.understood(key)
    }

    async fn revoke_purchase(
        &self,
        revocation: &PurchaseRevocation,
    ) -> Result<RevocationOutcome, StoreError> {
        let PurchaseRevocation { id, reason, by, at, tokens_until, unknown_a_day } = revocation;
        let event = KeyEvent::new(KeyAction::Revoked, by, *at).because(reason.as_deref());
        let mut call = self.call(&scripts::REVOKE_PURCHASE);
        call.arg(id.as_str()).arg(at.as_micros()).arg(event_text(&event));
        call.arg(TokenDigest::of(id).as_bytes()).arg(tokens_until.as_micros());
        call.arg(revocation.day()).arg(*unknown_a_day);
        if let Some(reason) = reason {
            call.arg(reason);
        }
        let (word, digests): (String, Option<Vec<Vec<u8>>>) = answer(self.write(&call).await?)?;
        let (challenge, request) = match &*word {
            "too many" => return Ok(RevocationOutcome::TooMany),
            "challenge" => (true, false),
            "request" => (false, true),
            _ => return Err(bad("answer")),
        };
        let key = revocation.keys(challenge, request).pop().ok_or_else(|| bad("id"))?;
        let digests = digests.iter().flatten().map(|bytes| digest_of(bytes));
        let outcome =
            RevocationOutcome::Revoked { key, digests: digests.collect::<Result<_, _>>()? };
        self.shared.listeners.tell(&revocation.changes(&outcome));
        Ok(outcome)
    }
}

fn stored((issuance, payment, waits, key): Parts) -> Result<StoredPurchase, StoreError> {
    let there = |fields: Vec<Vec<u8>>| (!fields.is_empty()).then(|| Fields::new(fields));
    // A claim is nothing yet.
    let issuance = there(issuance).filter(|fields| fields.bytes("lease_token").is_none());
    Ok(StoredPurchase {
        issuance: issuance.map(|fields| issued(&fields)).transpose()?,
        payment: there(payment).map(|fields| confirmed(&fields, waits)).transpose()?,
        key: there(key).map(|fields| issued_key(&fields)).transpose()?,
    })
}

fn text(fields: &Fields, name: &'static str) -> Result<Option<String>, StoreError> {
    Ok(fields.text(name)?.map(str::to_owned))
}

fn issued(fields: &Fields) -> Result<StoredIssuance, StoreError> {
    let revoked_at = fields.parsed("revoked_at")?;
    let issued_at: Option<i64> = fields.parsed("issued_at")?;
    Ok(StoredIssuance {
        tx_hash: text(fields, "tx_hash")?,
        is_issued: fields.bytes("digest").is_some(),
        issued_at: needed(issued_at.or(revoked_at), "issued_at")?,
        expires_at: fields.parsed("expires_at")?,
        revoked_at,
        revoked_reason: text(fields, "revoked_reason")?,
    })
}

fn confirmed(fields: &Fields, waits: bool) -> Result<StoredConfirmation, StoreError> {
    Ok(StoredConfirmation {
        request_id: needed(text(fields, "request_id")?, "request_id")?,
        resource_id: needed(text(fields, "resource_id")?, "resource_id")?,
        plan_id: needed(text(fields, "plan_id")?, "plan_id")?,
        tx_hash: needed(text(fields, "tx_hash")?, "tx_hash")?,
        received_at: needed(fields.parsed("received_at")?, "received_at")?,
        waits,
        attempts: needed(fields.parsed("attempts")?, "attempts")?,
    })
}

fn issued_key(fields: &Fields) -> Result<StoredKey, StoreError> {
    Ok(StoredKey {
        id: needed(text(fields, "id")?, "id")?,
        display: needed(text(fields, "display")?, "display")?,
        resource_id: text(fields, "resource_id")?,
        plan_id: text(fields, "plan_id")?,
        expires_at: fields.parsed("expires_at")?,
        last_used_at: fields.parsed("last_used_at")?,
        revoked_at: fields.parsed("revoked_at")?,
        revoked_reason: text(fields, "revoked_reason")?,
    })
}
