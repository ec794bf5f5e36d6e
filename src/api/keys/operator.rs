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
    reads_only: bool,
}

impl Operator {
    /// The holder of a master key.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions) for everybody else.
    pub fn of(identity: &Identity) -> Result<Self, Rejection> {
        KeysApi::policy().check(identity).map_err(|_| denied())?;
        let actor = identity.key_id().map(Actor::from).ok_or_else(denied)?;
        Ok(Self { actor, on_host: false, reads_only: false })
    }

    /// The holder of a master key, or of one for support, which may read alone.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions) for everybody else.
    pub fn reader(identity: &Identity) -> Result<Self, Rejection> {
        let actor = identity.key_id().map(Actor::from).ok_or_else(denied)?;
        KeysApi::readers_policy().check(identity).map_err(|_| denied())?;
        let reads_only = KeysApi::policy().check(identity).is_err();
        Ok(Self { actor, on_host: false, reads_only })
    }

    /// Whoever can run a program on the host: may make master keys, too. For programs that are run
    /// there by hand, never for a request.
    pub fn host() -> Self {
        Self { actor: Actor::host(), on_host: true, reads_only: false }
    }

    /// Anybody. For closed networks alone.
    pub fn dangerous_unchecked() -> Self {
        Self { actor: Actor::unchecked(), on_host: false, reads_only: false }
    }

    pub(in crate::api) fn actor(&self) -> &Actor {
        &self.actor
    }

    pub(in crate::api) fn check_may_change(&self) -> Result<(), Rejection> {
        if self.reads_only { Err(denied()) } else { Ok(()) }
    }

    /// Whether it may hand out keys of this role. Nobody makes one that manages over HTTP.
    pub(super) fn may_grant(&self, role: Role) -> bool {
        match role {
            Role::Read | Role::Minter => true,
            Role::Support | Role::Master => self.on_host,
        }
    }
}

fn denied() -> Rejection {
    Rejection::new(RejectionKind::InsufficientPermissions).detail(MASTERS_ONLY)
}
