use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    RedisStore, audit,
    issuances::{answer, slot},
    keys::{digest_of, event_text, instant_text, read_cursor},
    row::{Fields, needed},
    scripts,
};
use crate::{
    apikey::{KeyAction, KeyEvent},
    domain::{Actor, ChallengeId, Timestamp},
    error::StoreError,
    store::{
        AuditEvent, DenialStore, IssuanceKey, Purchase, PurchaseCursor, PurchasePage,
        PurchaseQuery, PurchaseRevocation, PurchaseStore, RevocationOutcome, TokenDigest,
        purchase_listing::{Find, Listed, MOST_FOUND, Nameless, Paging},
        stored::bad,
        stored_purchase::{
            StoredConfirmation, StoredIssuance, StoredKey, StoredPurchase, issuance_key, listed,
        },
    },
};

/// How many purchases are joined by one script: Redis does nothing else meanwhile.
const JOINED_AT_ONCE: usize = 200;

/// The fields of an issuance, of a payment and of a key, and whether the payment waits.
type Parts = (Vec<Vec<u8>>, Vec<Vec<u8>>, bool, Vec<Vec<u8>>);

/// The digests that are dead by a revocation, and the slots that are marked.
type Ended = (Vec<Vec<u8>>, Vec<String>);

#[async_trait]
impl PurchaseStore for RedisStore {
    async fn purchase(&self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError> {
        let mut call = self.call(&scripts::PURCHASES);
        call.arg(slot(key));
        let parts: Vec<Parts> = self.read(&call).await?;
        let Some(parts) = parts.into_iter().next() else { return Ok(None) };
        stored(parts)?.understood(key)
    }

    // Pages go with the writes, so that none stands in front of a lookup.
    async fn purchases(&self, query: &PurchaseQuery) -> Result<PurchasePage, StoreError> {
        let deadline = self.write_deadline();
        let mut paging = Paging::new(query);
        if let Some(find) = query.filter.find() {
            let keys = self.found(&find, deadline).await?;
            let found = self.joined(&keys, deadline).await?;
            paging.take_found(keys, found);
            return Ok(paging.page());
        }
        while let Some((count, after)) = paging.wants() {
            let mut call = self.call(&scripts::SEEN_PURCHASES);
            call.arg(after.map_or_else(|| "+".to_owned(), |it| format!("({}", cursor_text(it))));
            call.arg(count);
            let seen: Vec<String> = self.write_until(&call, deadline).await?;
            let (mut cursors, mut nameless) = (Vec::new(), Vec::new());
            for text in &seen {
                let (seen_at, slot) = read_cursor(text, "purchase")?;
                match key_of(slot) {
                    Ok(key) => cursors.push(PurchaseCursor { seen_at, key }),
                    Err(_) => {
                        let (namespace, id) = slot.split_once(':').unwrap_or(("", slot));
                        nameless.push(Nameless::new(seen_at, namespace, id));
                    }
                }
            }
            let end = cursors.last().filter(|_| seen.len() == count).cloned();
            let keys: Vec<_> = cursors.iter().map(|cursor| cursor.key.clone()).collect();
            let purchases = self.joined(&keys, deadline).await?;
            paging.take(cursors.into_iter().zip(purchases).collect(), end);
            paging.take_nameless(nameless);
        }
        Ok(paging.page())
    }

    async fn retry_handler(
        &self,
        challenge_id: &ChallengeId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut call = self.call(&scripts::RETRY_HANDLER);
        let event = AuditEvent::of_purchase(challenge_id, "retried", by, now, None);
        call.arg(challenge_id.as_str()).arg(now.as_micros()).arg(audit::event_text(&event));
        self.write(&call).await
    }

    async fn give_up_handler(
        &self,
        challenge_id: &ChallengeId,
        reason: &str,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut call = self.call(&scripts::GIVE_UP_HANDLER);
        let event = AuditEvent::of_purchase(challenge_id, "settled", by, at, Some(reason));
        call.arg(challenge_id.as_str()).arg(reason).arg(audit::event_text(&event));
        self.write(&call).await
    }

    async fn revoke_purchase(
        &self,
        revocation: &PurchaseRevocation,
    ) -> Result<RevocationOutcome, StoreError> {
        let PurchaseRevocation { id, reason, by, at, tokens_until, unknown_a_day } = revocation;
        let event = KeyEvent::new(KeyAction::Revoked, by, *at).because(reason.as_deref());
        let mut call = self.call(&scripts::REVOKE_PURCHASE);
        call.arg(id.as_str()).arg(at.as_micros()).arg(instant_text(*at)).arg(event_text(&event));
        call.arg(TokenDigest::of(id).as_bytes()).arg(tokens_until.as_micros());
        call.arg(revocation.day()).arg(*unknown_a_day);
        if let Some(reason) = reason {
            call.arg(reason);
        }
        let (word, ended): (String, Option<Ended>) = answer(self.write(&call).await?)?;
        let (challenge, request) = match &*word {
            "too many" => return Ok(RevocationOutcome::TooMany),
            "challenge" => (true, false),
            "request" => (false, true),
            _ => return Err(bad("answer")),
        };
        let mut keys = revocation.keys(challenge, request).into_iter();
        let key = keys.next().ok_or_else(|| bad("id"))?;
        let (digests, slots) = ended.ok_or_else(|| bad("answer"))?;
        let digests = digests.iter().map(|bytes| digest_of(bytes)).collect::<Result<_, _>>()?;
        let ended = slots.iter().map(|slot| key_of(slot)).collect::<Result<Vec<_>, _>>()?;
        let denials = revocation.denials(&ended);
        // A script can't tell the digest of what it finds.
        for denial in denials.iter().filter(|denial| denial.token != TokenDigest::of(id)) {
            self.deny(denial).await?;
        }
        let outcome = RevocationOutcome::Revoked { key, digests, denials };
        self.shared.listeners.tell(&PurchaseRevocation::changes(&outcome));
        Ok(outcome)
    }
}

impl RedisStore {
    /// What is known by that.
    async fn found(
        &self,
        find: &Find<'_>,
        deadline: Instant,
    ) -> Result<Vec<IssuanceKey>, StoreError> {
        let mut call = self.call(&scripts::FIND_PURCHASES);
        match find {
            Find::Challenge(id) => {
                let by_request = issuance_key("request", id.as_str())?;
                return Ok(vec![IssuanceKey::Challenge((*id).clone()), by_request]);
            }
            Find::Hash(hash) => call.arg("h").arg(hash.normalized()).arg(hash.without_0x()),
            Find::Key(id) => call.arg(format!("k{id}")).arg(MOST_FOUND),
            Find::Request(id) => call.arg(format!("q{id}")).arg(MOST_FOUND),
        };
        let slots: Vec<String> = self.write_until(&call, deadline).await?;
        // What has no name is found by nothing.
        let mut keys: Vec<_> = slots.iter().filter_map(|slot| key_of(slot).ok()).collect();
        if let Find::Request(id) = find {
            let own = IssuanceKey::Request((*id).clone());
            if !keys.contains(&own) {
                keys.push(own);
            }
        }
        Ok(keys)
    }

    /// The purchases of these keys, in their order.
    async fn joined(
        &self,
        keys: &[IssuanceKey],
        deadline: Instant,
    ) -> Result<Vec<Option<Listed>>, StoreError> {
        let mut purchases = Vec::new();
        for keys in keys.chunks(JOINED_AT_ONCE) {
            let mut call = self.call(&scripts::PURCHASES);
            for key in keys {
                call.arg(slot(key));
            }
            let parts: Vec<Parts> = self.write_until(&call, deadline).await?;
            for (key, parts) in keys.iter().zip(parts) {
                purchases.push(listed(stored(parts), key)?);
            }
        }
        Ok(purchases)
    }
}

fn cursor_text(cursor: &PurchaseCursor) -> String {
    format!("{}{}", instant_text(cursor.seen_at), slot(&cursor.key))
}

fn key_of(slot: &str) -> Result<IssuanceKey, StoreError> {
    let (namespace, id) = slot.split_once(':').ok_or_else(|| bad("slot"))?;
    issuance_key(namespace, id)
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
        request_id: text(fields, "request_id")?,
        resource_id: text(fields, "resource_id")?,
        plan_id: text(fields, "plan_id")?,
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
        handled_at: fields.parsed("handled_at")?,
        last_error: text(fields, "last_error")?,
        given_up: text(fields, "given_up")?,
    })
}

fn issued_key(fields: &Fields) -> Result<StoredKey, StoreError> {
    Ok(StoredKey {
        id: needed(text(fields, "id")?, "id")?,
        display: needed(text(fields, "display")?, "display")?,
        resource_id: text(fields, "resource_id")?,
        plan_id: text(fields, "plan_id")?,
        expires_at: fields.parsed("expires_at")?,
        first_used_at: fields.parsed("first_used_at")?,
        last_used_at: fields.parsed("last_used_at")?,
        revoked_at: fields.parsed("revoked_at")?,
        revoked_reason: text(fields, "revoked_reason")?,
    })
}
