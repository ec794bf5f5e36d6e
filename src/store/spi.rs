//! For whoever writes a store: the values that the traits of [`store`](super) speak of. An
//! application that uses a store of this crate needs none of them. `testing::StoreKit` (feature
//! `testing`) holds the cases that every store must pass, and shows a complete small store.
//!
//! | trait | its values |
//! |---|---|
//! | [`KeyStore`](crate::KeyStore) | [`Change`], [`ChangeListener`] |
//! | [`KeyRegistry`](super::KeyRegistry) | [`KeyQuery`], [`KeyFilter`], [`KeyCursor`], [`KeyPage`], [`Rotation`], [`KeyEdit`] |
//! | [`PaymentStore`](super::PaymentStore) | [`Issuance`], [`IssuanceKey`], [`IssuanceClaim`], [`Order`], [`IssuanceState`], [`RequestFingerprint`], [`PaymentOutcome`], [`LeasedPayment`], [`WaitingPayments`] |
//! | [`PurchaseStore`](super::PurchaseStore) | [`Purchase`], [`Issued`], [`Confirmed`], [`Revoked`], [`PurchasedKey`], [`PurchaseState`], [`PurchaseQuery`], [`PurchaseFilter`], [`PurchaseCursor`], [`PurchasePage`], [`PurchaseRevocation`], [`RevocationOutcome`] |
//! | [`AuditLog`](super::AuditLog) | [`AuditQuery`], [`AuditCursor`], [`AuditPage`], [`AuditEvent`], [`AuditSubject`] |
//! | [`DenialStore`](super::DenialStore) | [`Denial`], [`TokenDigest`] |
//! | [`CopyStore`](super::CopyStore) | [`Contents`], [`CopyProgress`], [`RecordPage`], [`Record`], [`Table`], [`ColumnType`], [`Value`] |
//! | [`IdempotencyStore`](super::IdempotencyStore) | [`Slot`], [`RequestFingerprint`], [`IdempotencyState`], [`StoredResponse`] |
//! | [`PaymentStore`](super::PaymentStore), [`IdempotencyStore`](super::IdempotencyStore) | [`Lease`], [`LeaseToken`], [`LONGEST_WAIT`] |
//!
//! Whoever purges what is past its time goes by a [`SteadyClock`].

pub use super::{
    audit::{AuditCursor, AuditEvent, AuditPage, AuditQuery, AuditSubject, UnreadableEvent},
    copying::{ColumnType, Contents, CopyProgress, Record, RecordPage, Table, Value},
    denials::{Denial, TokenDigest},
    idempotency::{IdempotencyState, Slot, StoredResponse},
    keys::{Change, ChangeListener},
    lease::{LONGEST_WAIT, Lease, LeaseToken},
    payments::{
        Issuance, IssuanceClaim, IssuanceKey, IssuanceState, LeasedPayment, Order, PaymentOutcome,
        RequestFingerprint, WaitingPayments,
    },
    purchase_revocation::{PurchaseRevocation, RevocationOutcome},
    purchases::{
        Confirmed, Issued, Purchase, PurchaseCursor, PurchaseFilter, PurchasePage, PurchaseQuery,
        PurchaseState, PurchasedKey, Revoked, UnreadablePurchase,
    },
    registry::{KeyCursor, KeyEdit, KeyFilter, KeyPage, KeyQuery, Rotation},
    steady::SteadyClock,
};
