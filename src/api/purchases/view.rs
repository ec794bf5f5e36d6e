use std::time::Duration;

use serde::Serialize;

use crate::{
    domain::{KeyId, PlanId, RequestId, ResourceId, Timestamp, TxHash},
    store::{
        IssuanceKey, Purchase,
        spi::{Confirmed, Issued},
    },
};

/// How long after its issuance a purchase may still be confirmed without anything being amiss.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10 * 60);

/// What has become of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Issued a moment ago, or without a challenge by which it could be confirmed.
    Issued,
    Confirmed,
    IssuedUnconfirmed,
    ConfirmedUnissued,
    /// Its payment's handler has not succeeded.
    Waiting,
    Revoked,
}

impl State {
    pub(super) fn of(purchase: &Purchase, now: Timestamp) -> Self {
        let key_is_revoked = purchase.issued_key.as_ref().is_some_and(|key| key.revoked.is_some());
        match (&purchase.confirmed, &purchase.issued) {
            _ if purchase.revoked.is_some() || key_is_revoked => Self::Revoked,
            (Some(Confirmed { waits: true, .. }), _) => Self::Waiting,
            (Some(_), Some(_)) => Self::Confirmed,
            (Some(_), None) => Self::ConfirmedUnissued,
            (None, Some(Issued { at, .. })) => match purchase.key {
                IssuanceKey::Challenge(_) if now.since(*at) >= CONFIRMED_WITHIN => {
                    Self::IssuedUnconfirmed
                }
                _ => Self::Issued,
            },
            // Nothing but a revocation is known then.
            (None, None) => Self::Revoked,
        }
    }
}

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
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
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
            state: State::of(purchase, now),
            issued_at: issued.map(|issued| issued.at),
            confirmed_at: confirmed.map(|confirmed| confirmed.at),
            attempts: confirmed.map(|confirmed| confirmed.attempts),
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
