//! A purchase as it stands in a database, joined from its issuance, its payment and its key.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use super::TokenDigest;
use super::{
    IssuanceKey, Purchase,
    purchase_listing::Listed,
    spi::{Confirmed, Issued, PurchasedKey, Revoked},
    stored::{bad, instant, instant_if_any, parsed},
};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::domain::ChallengeId;
use crate::{
    domain::{Timestamp, TxHash},
    error::{StoreError, StoreErrorKind},
};

/// Columns, or fields of hashes; times in microseconds.
#[derive(Debug, Default)]
pub(crate) struct StoredPurchase {
    pub(crate) issuance: Option<StoredIssuance>,
    pub(crate) payment: Option<StoredConfirmation>,
    pub(crate) key: Option<StoredKey>,
}

/// The columns of all parts; what follows says where they come from.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
macro_rules! select_purchases {
    () => {
        "SELECT issuances.tx_hash, issuances.digest IS NOT NULL, issuances.issued_at,
             issuances.expires_at, issuances.revoked_at, issuances.revoked_reason,
             payments.request_id, payments.resource_id, payments.plan_id, payments.tx_hash,
             payments.received_at, payments.due_at IS NOT NULL,
             CAST(payments.attempts AS bigint),
             keys.id, keys.display, keys.resource_id, keys.plan_id, keys.expires_at,
             keys.last_used_at, keys.revoked_at, keys.revoked_reason,
             issuances.request_id, issuances.resource_id, issuances.plan_id,
             payments.handled_at, payments.last_error, payments.given_up, keys.first_used_at "
    };
}
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use select_purchases;

/// An issuance, or what a revocation has left in its place.
#[derive(Debug, Default)]
pub(crate) struct StoredIssuance {
    /// Or what stands in its place: see [`no_hash`].
    pub(crate) tx_hash: Option<String>,
    /// Whether there is a digest of what was issued.
    pub(crate) is_issued: bool,
    pub(crate) issued_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) revoked_reason: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) resource_id: Option<String>,
    pub(crate) plan_id: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct StoredConfirmation {
    pub(crate) request_id: String,
    pub(crate) resource_id: String,
    pub(crate) plan_id: String,
    pub(crate) tx_hash: String,
    pub(crate) received_at: i64,
    pub(crate) waits: bool,
    pub(crate) attempts: i64,
    pub(crate) handled_at: Option<i64>,
    pub(crate) last_error: Option<String>,
    pub(crate) given_up: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct StoredKey {
    pub(crate) id: String,
    pub(crate) display: String,
    pub(crate) resource_id: Option<String>,
    pub(crate) plan_id: Option<String>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) first_used_at: Option<i64>,
    pub(crate) last_used_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) revoked_reason: Option<String>,
}

/// What stands in place of a hash where a purchase was revoked that nobody has paid for yet: no hash
/// has a blank, and two ids that differ in case alone are two.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn no_hash(key: &IssuanceKey) -> Result<String, StoreError> {
    let id = ChallengeId::new(key.id()).map_err(StoreError::corrupt)?;
    let digest = TokenDigest::of(&id).as_bytes().map(|byte| format!("{byte:02x}")).concat();
    Ok(format!(" {} {digest}", key.namespace()))
}

/// What a purchase stands under.
pub(crate) fn issuance_key(namespace: &str, id: &str) -> Result<IssuanceKey, StoreError> {
    match namespace {
        "challenge" => Ok(IssuanceKey::Challenge(parsed(id, "id")?)),
        "request" => Ok(IssuanceKey::Request(parsed(id, "id")?)),
        _ => Err(bad("namespace")),
    }
}

impl StoredPurchase {
    /// When it was first seen, also where the rest can't be read.
    fn seen_at(&self) -> Option<Timestamp> {
        let issued = self.issuance.as_ref().map(|issuance| issuance.issued_at);
        let paid = self.payment.as_ref().map(|payment| payment.received_at);
        issued.into_iter().chain(paid).min().map(Timestamp::from_micros)
    }

    /// All of it; `None` where there is neither an issuance nor a payment.
    pub(crate) fn understood(self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError> {
        let Self { issuance, payment, key: record } = self;
        if issuance.is_none() && payment.is_none() {
            return Ok(None);
        }
        let bought = |from_payment: fn(&StoredConfirmation) -> &str,
                      from_issuance: fn(&StoredIssuance) -> Option<&str>,
                      from_key: fn(&StoredKey) -> Option<&str>| {
            let kept = payment.as_ref().map(from_payment);
            let kept = kept.or_else(|| issuance.as_ref().and_then(from_issuance));
            kept.or_else(|| record.as_ref().and_then(from_key)).map(str::to_owned)
        };
        let request = bought(|it| &it.request_id, |it| it.request_id.as_deref(), |_| None);
        let resource = bought(
            |it| &it.resource_id,
            |it| it.resource_id.as_deref(),
            |it| it.resource_id.as_deref(),
        );
        let plan = bought(|it| &it.plan_id, |it| it.plan_id.as_deref(), |it| it.plan_id.as_deref());
        let request = match key {
            IssuanceKey::Request(id) => Some(id.clone()),
            IssuanceKey::Challenge(_) => {
                request.map(|text| parsed(&text, "request_id")).transpose()?
            }
        };
        let kept = issuance.as_ref().and_then(|it| it.tx_hash.as_deref());
        let kept = kept.filter(|text| !text.starts_with(' '));
        let tx_hash = payment.as_ref().map(|it| &*it.tx_hash).or(kept);
        let tx_hash: Option<TxHash> = tx_hash.map(|text| parsed(text, "tx_hash")).transpose()?;
        let issued = issuance.as_ref().filter(|it| it.is_issued).map(|it| {
            let at = instant(it.issued_at, "issued_at")?;
            Ok::<_, StoreError>(Issued {
                at,
                expires_at: instant_if_any(it.expires_at, "expires_at")?,
            })
        });
        let revoked = issuance.map(|it| revoked(it.revoked_at, it.revoked_reason)).transpose()?;
        let confirmed = payment.map(|it| {
            Ok::<_, StoreError>(Confirmed {
                at: instant(it.received_at, "received_at")?,
                waits: it.waits,
                attempts: u32::try_from(it.attempts).map_err(|_| bad("attempts"))?,
                handled_at: instant_if_any(it.handled_at, "handled_at")?,
                last_error: it.last_error,
                given_up: it.given_up,
            })
        });
        Ok(Some(Purchase {
            key: key.clone(),
            request_id: request,
            resource_id: resource.map(|text| parsed(&text, "resource_id")).transpose()?,
            plan_id: plan.map(|text| parsed(&text, "plan_id")).transpose()?,
            tx_hash,
            issued: issued.transpose()?,
            confirmed: confirmed.transpose()?,
            revoked: revoked.flatten(),
            issued_key: record.map(StoredKey::understood).transpose()?,
        }))
    }
}

/// What is known of a purchase that is listed. One that can't be read must hide no other.
pub(crate) fn listed(
    stored: Result<StoredPurchase, StoreError>,
    key: &IssuanceKey,
) -> Result<Option<Listed>, StoreError> {
    let seen_at = stored.as_ref().ok().and_then(StoredPurchase::seen_at);
    match stored.and_then(|stored| stored.understood(key)) {
        Err(error) if error.kind() == StoreErrorKind::Corrupt => {
            #[cfg(feature = "tracing")]
            tracing::error!(
                namespace = key.namespace(),
                id = key.id(),
                error = crate::error::chain(&error),
                "a purchase can't be read"
            );
            Ok(Some(Listed::Unreadable(seen_at)))
        }
        read => Ok(read?.map(|purchase| Listed::Purchase(Box::new(purchase)))),
    }
}

impl StoredKey {
    fn understood(self) -> Result<PurchasedKey, StoreError> {
        Ok(PurchasedKey {
            id: parsed(&self.id, "id")?,
            display: self.display,
            expires_at: instant_if_any(self.expires_at, "expires_at")?,
            first_used_at: instant_if_any(self.first_used_at, "first_used_at")?,
            last_used_at: instant_if_any(self.last_used_at, "last_used_at")?,
            revoked: revoked(self.revoked_at, self.revoked_reason)?,
        })
    }
}

fn revoked(at: Option<i64>, reason: Option<String>) -> Result<Option<Revoked>, StoreError> {
    let at = instant_if_any(at, "revoked_at")?;
    Ok(at.map(|at| Revoked { at, reason }))
}
