use super::KeysApi;
use crate::{
    Identity, Rejection, RejectionKind,
    domain::{Actor, Role},
};

pub(super) const MASTERS_ONLY: &str = "Only a master API key can access key management";

/// Proof that whoever asks may manage keys, and who it is.
#[derive(Debug, Clone)]
pub struct Operator {
    actor: Actor,
    on_host: bool,
}

impl Operator {
    /// The holder of a master key.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions) for everybody else.
    pub fn of(identity: &Identity) -> Result<Self, Rejection> {
        let denied = || Rejection::new(RejectionKind::InsufficientPermissions).detail(MASTERS_ONLY);
        KeysApi::policy().check(identity).map_err(|_| denied())?;
        let actor = identity.key_id().map(Actor::from).ok_or_else(denied)?;
        Ok(Self { actor, on_host: false })
    }

    /// Whoever can run a program on the host: may make master keys, too. For programs that are run
    /// there by hand, never for a request.
    pub fn host() -> Self {
        Self { actor: Actor::host(), on_host: true }
    }

    /// Anybody. For closed networks alone.
    pub fn dangerous_unchecked() -> Self {
        Self { actor: Actor::unchecked(), on_host: false }
    }

    pub(super) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Whether it may hand out keys of this role. Nobody makes a master over HTTP.
    pub(super) fn may_grant(&self, role: Role) -> bool {
        match role {
            Role::Read | Role::Minter => true,
            Role::Master => self.on_host,
        }
    }
}
