use std::borrow::Cow;

use serde::Serialize;

use crate::{
    domain::{KeyId, PlanId, RequestId, ResourceId, Timestamp, TxHash},
    store::{
        Purchase,
        spi::{Confirmed, PurchasePage, UnreadablePurchase},
    },
};

/// A purchase as operators are shown it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PurchaseView<'a> {
    challenge_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a ResourceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_id: Option<&'a PlanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_hash: Option<&'a TxHash>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_used_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Key<'a>>,
}

#[derive(Serialize)]
struct Key<'a> {
    id: &'a KeyId,
    display: &'a str,
}

impl<'a> PurchaseView<'a> {
    pub(super) fn new(purchase: &'a Purchase, now: Timestamp) -> Self {
        let key = purchase.issued_key.as_ref();
        let revoked = purchase.revoked.as_ref().or_else(|| key?.revoked.as_ref());
        let issued = purchase.issued.as_ref();
        let confirmed = purchase.confirmed.as_ref();
        Self {
            challenge_id: purchase.key.id(),
            request_id: purchase.request_id.as_ref(),
            resource_id: purchase.resource_id.as_ref(),
            plan_id: purchase.plan_id.as_ref(),
            tx_hash: purchase.tx_hash.as_ref(),
            state: purchase.state_at(now).as_str(),
            issued_at: issued.map(|issued| issued.at),
            confirmed_at: confirmed.map(|confirmed| confirmed.at),
            handled_at: confirmed.and_then(|confirmed| confirmed.handled_at),
            attempts: confirmed.map(|confirmed| confirmed.attempts),
            last_error: confirmed.and_then(last_error),
            first_used_at: key.and_then(|key| key.first_used_at),
            last_used_at: key.and_then(|key| key.last_used_at),
            // The record of the key can have been changed since.
            expires_at: match key {
                Some(key) => key.expires_at,
                None => issued.and_then(|issued| issued.expires_at),
            },
            revoked_at: revoked.map(|revoked| revoked.at),
            revoked_reason: revoked.and_then(|revoked| revoked.reason.as_deref()),
            key: key.map(|key| Key { id: &key.id, display: &key.display }),
        }
    }
}

/// What the handler failed with last, and why it was given up.
fn last_error(confirmed: &Confirmed) -> Option<Cow<'_, str>> {
    let error = confirmed.last_error.as_deref();
    match (error, &confirmed.given_up) {
        (error, None) => error.map(Cow::Borrowed),
        (None, Some(reason)) => Some(format!("given up: {reason}").into()),
        (Some(error), Some(reason)) => Some(format!("{error} (given up: {reason})").into()),
    }
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Listed<'a> {
    Purchase(Box<PurchaseView<'a>>),
    /// One that this version can't read.
    Unreadable {
        challenge_id: &'a str,
        first_seen_at: Timestamp,
        unreadable: bool,
    },
}

/// A page of a listing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<'a> {
    purchases: Vec<Listed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl<'a> Page<'a> {
    pub(super) fn new(page: &'a PurchasePage, next_cursor: Option<String>, now: Timestamp) -> Self {
        let view = |purchase| Listed::Purchase(Box::new(PurchaseView::new(purchase, now)));
        let mut purchases: Vec<_> = page.purchases.iter().map(view).collect();
        for UnreadablePurchase { id, seen_at, place } in page.unreadable.iter().rev() {
            let unreadable =
                Listed::Unreadable { challenge_id: id, first_seen_at: *seen_at, unreadable: true };
            purchases.insert((*place).min(purchases.len()), unreadable);
        }
        Self { purchases, next_cursor }
    }
}
