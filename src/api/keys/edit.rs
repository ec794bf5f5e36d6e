use serde_json::Value;

use super::{KeyView, KeysApi, Operator, Parts, key_id, new_key, not_found};
use crate::{
    Rejection, RejectionKind,
    api::body::{self, FieldErrors, Members, Reply, outage},
    apikey::{Grant, KeyRecord},
    domain::{KeyId, Timestamp},
    error::FieldError,
    store::KeyEdit,
};

impl KeysApi {
    /// `PATCH /keys/{id}`: changes what is said of a key. The body holds some of `label`, `role`,
    /// `permissions`, `expiresAt`, `metadata` and `suspended`; a member that is `null` clears, and
    /// one that is absent stays. From the return on, it counts for every request that starts on
    /// this instance.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request; [`RequestConflict`](RejectionKind::RequestConflict) for a
    /// revoked key, one that comes from the configuration as well, and a master's key unless the
    /// operator is on the host.
    pub async fn edit(
        &self,
        operator: &Operator,
        id: &str,
        body: &[u8],
    ) -> Result<Reply, Rejection> {
        operator.check_may_change()?;
        let edit = read(Members::parse(body)?, operator, self.0.clock.now())?;
        let id = key_id(id)?;
        let (parts, operator) = (self.0.clone(), operator.clone());
        body::carry_out(async move { parts.edit(&operator, &id, &edit).await }).await
    }
}

impl Parts {
    async fn edit(
        &self,
        operator: &Operator,
        id: &KeyId,
        edit: &KeyEdit,
    ) -> Result<Reply, Rejection> {
        let record = self.registry.get(id).await.map_err(outage)?.ok_or_else(not_found)?;
        check(operator, &record, edit)?;
        self.check_no_bootstrap(&record.digest)?;
        let (actor, now) = (operator.actor(), self.clock.now());
        let edited = self.registry.edit(id, edit, actor, now).await.map_err(outage)?;
        let edited = edited.ok_or_else(|| conflict("A revoked key can't be changed"))?;
        edited.digests().for_each(|digest| self.keys.store().forget(&digest));
        Ok(Reply::json(200, &KeyView::new(&edited)))
    }
}

/// Takes every member; one that is left over is a fault.
fn read(mut members: Members, operator: &Operator, now: Timestamp) -> Result<KeyEdit, Rejection> {
    fn cleared<T>(
        value: Option<Value>,
        read: impl FnOnce(Value) -> Result<T, FieldError>,
    ) -> Result<Option<Option<T>>, FieldError> {
        match value {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => Ok(Some(Some(read(value)?))),
        }
    }
    let mut errors = FieldErrors::default();
    let suspended = match members.take_as_it_is("suspended") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(false)),
        Some(Value::Bool(suspended)) => Ok(Some(suspended)),
        Some(_) => Err(FieldError::invalid("suspended", "suspended must be true or false")),
    };
    let suspended = errors.keep(suspended);
    let role = members.take_as_it_is("role").map(|role| new_key::role(Some(role), operator));
    let role = errors.keep(role.transpose());
    let permissions = cleared(members.take_as_it_is("permissions"), new_key::permissions);
    let permissions = errors.keep(permissions);
    let label = errors.keep(cleared(members.take_as_it_is("label"), new_key::label));
    let expires_at = members.take_as_it_is("expiresAt");
    let expires_at = errors.keep(cleared(expires_at, |value| new_key::expiry(&value, now)));
    let metadata = errors.keep(cleared(members.take_as_it_is("metadata"), new_key::metadata));
    let edit = || {
        Some(KeyEdit {
            role: role?,
            permissions: permissions?,
            label: label?,
            expires_at: expires_at?,
            metadata: metadata?.map(|metadata| metadata.unwrap_or_default().into()),
            suspended: suspended?,
        })
    };
    let nothing_else = "An edit takes label, role, permissions, expiresAt, metadata and \
                        suspended, and nothing else";
    members.finish(edit(), errors, nothing_else)
}

fn check(operator: &Operator, record: &KeyRecord, edit: &KeyEdit) -> Result<(), Rejection> {
    if record.revoked_at.is_some() {
        return Err(conflict("A revoked key can't be changed"));
    }
    match &record.grant {
        Grant::Payment { .. } if edit.role.is_some() || edit.permissions.is_some() => {
            let path = if edit.role.is_some() { "role" } else { "permissions" };
            let neither = "A payment key takes neither role nor permissions";
            Err(FieldError::invalid(path, neither).into())
        }
        Grant::Payment { .. } => Ok(()),
        Grant::Integrator { role, .. } if !operator.may_grant(*role) => {
            Err(conflict("The key of a master or of support is changed on the host alone"))
        }
        Grant::Integrator { role, permissions } => {
            let permissions = edit.permissions.as_ref().unwrap_or(permissions);
            let role = edit.role.unwrap_or(*role);
            Ok(new_key::check_permissions(role, permissions.as_ref())?)
        }
    }
}

fn conflict(detail: &'static str) -> Rejection {
    Rejection::new(RejectionKind::RequestConflict).detail(detail)
}
