//! Values that the cases are made of, and a listener that records changes.
//!
//! The tests of this crate's engines include this file too: what `crate` has here, their root has.

use std::{
    fmt,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use crate::{
    KeyStore,
    apikey::{Grant, IssuanceSecrets, KeyDigest, KeyFormat, KeyRecord, Nonce, SecretFingerprint},
    domain::{
        ChallengeId, KeyId, PlanId, RequestId, ResourceId, Role, Secret, SecretSet, Timestamp,
        TxHash,
    },
    store::spi::{
        Change, ChangeListener, Issuance, IssuanceClaim, IssuanceKey, Lease, Order,
        RequestFingerprint,
    },
};

/// So many seconds after some moment.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_795_000_000 + seconds)
}

pub(super) fn after(seconds: i64, micros: u64) -> Timestamp {
    at(seconds).plus(Duration::from_micros(micros))
}

pub(super) fn lease(until: i64) -> Lease {
    Lease::new(at(until))
}

pub(super) fn fingerprint(text: &str) -> RequestFingerprint {
    RequestFingerprint::of([text.as_bytes()])
}

pub(super) fn challenge(id: &str) -> IssuanceKey {
    IssuanceKey::Challenge(ChallengeId::new(id).unwrap())
}

pub(super) fn request(id: &str) -> IssuanceKey {
    IssuanceKey::Request(RequestId::new(id).unwrap())
}

pub(super) fn hash(text: &str) -> TxHash {
    TxHash::new(text).unwrap()
}

/// A claim of `key` for the payment `tx_hash`, whose lease ends at 100.
pub(super) fn claim(key: IssuanceKey, tx_hash: &str) -> IssuanceClaim {
    IssuanceClaim {
        key,
        fingerprint: fingerprint("body"),
        tx_hash: hash(tx_hash),
        order: order(),
        lease: lease(100),
    }
}

pub(super) fn order() -> Order {
    Order {
        request_id: RequestId::new("request-1").unwrap(),
        resource_id: ResourceId::new("photo-1").unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
    }
}

pub(super) fn payment_key() -> KeyRecord {
    let grant = Grant::Payment {
        resource_id: ResourceId::new("photo-1").unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        permissions: None,
    };
    KeyRecord::new(KeyId::generate(), &KeyFormat::default().generate().unwrap(), grant, at(0))
}

pub(super) fn partner_key() -> KeyRecord {
    let grant = Grant::Integrator { role: Role::Minter, permissions: None };
    KeyRecord::new(KeyId::generate(), &KeyFormat::default().generate().unwrap(), grant, at(0))
}

pub(super) fn new_digest() -> KeyDigest {
    KeyFormat::default().generate().unwrap().digest()
}

/// What is issued together with `record`, at 0.
pub(super) fn issuance(record: &KeyRecord) -> Issuance {
    let secret = Secret::new("T", vec![7; 32]).unwrap();
    let secrets = IssuanceSecrets::new(&SecretSet::new(secret));
    Issuance {
        key_id: Some(record.id.clone()),
        digest: record.digest,
        nonce: Some(Nonce::generate().unwrap()),
        secret: Some(secrets.current()),
        issued_at: at(0),
        expires_at: Some(after(3600, 1)),
    }
}

/// A credential of the application's own.
pub(super) fn foreign_issuance() -> Issuance {
    Issuance {
        key_id: None,
        digest: new_digest(),
        nonce: None,
        secret: None,
        issued_at: at(0),
        expires_at: None,
    }
}

pub(super) fn other_secret() -> SecretFingerprint {
    SecretFingerprint::from_bytes([9; 16])
}

/// Records the changes that it is told of.
#[derive(Default)]
pub(super) struct ChangeRecorder(Mutex<Vec<Change>>);

impl fmt::Debug for ChangeRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangeRecorder")
    }
}

impl ChangeListener for ChangeRecorder {
    fn changed(&self, change: Change) {
        self.0.lock().unwrap().push(change);
    }
}

impl ChangeRecorder {
    pub(super) fn on(keys: &dyn KeyStore) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        let listener: Arc<dyn ChangeListener> = recorder.clone();
        let listener: Weak<dyn ChangeListener> = Arc::downgrade(&listener);
        keys.subscribe(listener);
        recorder
    }

    pub(super) fn heard(&self, change: Change) -> bool {
        self.0.lock().unwrap().contains(&change)
    }

    pub(super) fn heard_of(&self, digest: KeyDigest) -> bool {
        self.heard(Change::Key(digest))
    }

    pub(super) fn forget(&self) {
        self.0.lock().unwrap().clear();
    }
}
