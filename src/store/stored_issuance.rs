//! What stands under an id in a table of issuances.

use super::{Issuance, IssuanceClaim, IssuanceState, RequestFingerprint};

/// What is kept under an id, and for which body.
pub(crate) struct Known {
    fingerprint: RequestFingerprint,
    kept: Kept,
}

enum Kept {
    Claim,
    Issuance(Issuance),
    /// Its revocation, whatever was there before.
    Revocation,
}

impl Known {
    /// From columns; `issuance` reads the others where they are needed.
    pub(crate) fn read<E>(
        fingerprint: [u8; 32],
        issued_at: Option<i64>,
        revoked_at: Option<i64>,
        issuance: impl FnOnce(i64) -> Result<Issuance, E>,
    ) -> Result<Self, E> {
        let fingerprint = RequestFingerprint::from_bytes(fingerprint);
        let kept = match (issued_at, revoked_at) {
            (_, Some(_)) => Kept::Revocation,
            (None, None) => Kept::Claim,
            (Some(at), None) => Kept::Issuance(issuance(at)?),
        };
        Ok(Self { fingerprint, kept })
    }

    /// What it means to another claim of the id.
    pub(crate) fn state(self, claim: &IssuanceClaim) -> IssuanceState {
        match self.kept {
            Kept::Revocation => IssuanceState::Revoked,
            Kept::Claim => IssuanceState::InProgress,
            _ if self.fingerprint != claim.fingerprint => IssuanceState::Conflict,
            Kept::Issuance(issuance) => IssuanceState::Issued(issuance),
        }
    }

    /// The issuance, unless it was revoked.
    pub(crate) fn issuance(self) -> Option<Issuance> {
        match self.kept {
            Kept::Issuance(issuance) => Some(issuance),
            Kept::Claim | Kept::Revocation => None,
        }
    }
}
