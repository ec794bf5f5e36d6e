use super::require::{Policy, Rule};
use crate::{Identity, Rejection, RejectionKind};

impl Policy {
    /// Every one of these. An empty list does not compile.
    ///
    /// ```
    /// # use key0_auth::Policy;
    /// let policy = Policy::all([Policy::plan("gold")]);
    /// # let _ = policy;
    /// ```
    ///
    /// ```compile_fail,E0080
    /// # use key0_auth::Policy;
    /// let policy = Policy::all([]);
    /// # let _ = policy;
    /// ```
    pub fn all<const N: usize>(policies: [Self; N]) -> Self {
        const { assert!(N > 0, "a policy of nothing would let everybody in") }
        Self(Rule::All(policies.into()))
    }

    /// At least one of these. An empty list does not compile.
    ///
    /// ```
    /// # use key0_auth::Policy;
    /// let policy = Policy::any([Policy::plan("gold")]);
    /// # let _ = policy;
    /// ```
    ///
    /// ```compile_fail,E0080
    /// # use key0_auth::Policy;
    /// let policy = Policy::any([]);
    /// # let _ = policy;
    /// ```
    pub fn any<const N: usize>(policies: [Self; N]) -> Self {
        const { assert!(N > 0, "a policy of nothing would let nobody in") }
        Self(Rule::Any(policies.into()))
    }

    /// This and the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::all([self, other])
    }

    /// This or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::any([self, other])
    }

    pub(super) fn check_all(policies: &[Self], identity: &Identity) -> Result<(), Rejection> {
        policies.iter().try_for_each(|policy| policy.check(identity))
    }

    /// Refuses with the first policy's words: what the others ask for is not told.
    pub(super) fn check_any(policies: &[Self], identity: &Identity) -> Result<(), Rejection> {
        let mut refusal = None;
        for policy in policies {
            match policy.check(identity) {
                Ok(()) => return Ok(()),
                Err(rejection) => refusal = refusal.or(Some(rejection)),
            }
        }
        Err(refusal.unwrap_or_else(|| RejectionKind::InsufficientPermissions.into()))
    }
}
