use serde_json::Value;

use super::{KeyView, KeysApi, Operator, Parts, key_id, new_key, not_found};
use crate::{
    Rejection, RejectionKind,
    api::body::{self, Members, Reply, invalid, outage},
    apikey::{Grant, KeyRecord},
    domain::{KeyId, Timestamp},
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
        read: impl FnOnce(Value) -> Result<T, Rejection>,
    ) -> Result<Option<Option<T>>, Rejection> {
        match value {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => Ok(Some(Some(read(value)?))),
        }
    }
    let role = members.take_as_it_is("role");
    let suspended = match members.take_as_it_is("suspended") {
        None => None,
        Some(Value::Null) => Some(false),
        Some(Value::Bool(suspended)) => Some(suspended),
        Some(_) => return Err(invalid("suspended must be true or false")),
    };
    let edit = KeyEdit {
        role: role.map(|role| new_key::role(Some(role), operator)).transpose()?,
        permissions: cleared(members.take_as_it_is("permissions"), new_key::permissions)?,
        label: cleared(members.take_as_it_is("label"), new_key::label)?,
        expires_at: cleared(members.take_as_it_is("expiresAt"), |it| new_key::expiry(&it, now))?,
        metadata: cleared(members.take_as_it_is("metadata"), new_key::metadata)?
            .map(|metadata| metadata.unwrap_or_default().into()),
        suspended,
    };
    if members.is_empty() {
        return Ok(edit);
    }
    Err(invalid(
        "An edit takes label, role, permissions, expiresAt, metadata and suspended, and nothing \
         else",
    ))
}

fn check(operator: &Operator, record: &KeyRecord, edit: &KeyEdit) -> Result<(), Rejection> {
    if record.revoked_at.is_some() {
        return Err(conflict("A revoked key can't be changed"));
    }
    match &record.grant {
        Grant::Payment { .. } if edit.role.is_some() || edit.permissions.is_some() => {
            Err(invalid("A payment key takes neither role nor permissions"))
        }
        Grant::Payment { .. } => Ok(()),
        Grant::Integrator { role, .. } if !operator.may_grant(*role) => {
            Err(conflict("The key of a master or of support is changed on the host alone"))
        }
        Grant::Integrator { role, permissions } => {
            let permissions = edit.permissions.as_ref().unwrap_or(permissions);
            new_key::check_permissions(edit.role.unwrap_or(*role), permissions.as_ref())
        }
    }
}

fn conflict(detail: &'static str) -> Rejection {
    Rejection::new(RejectionKind::RequestConflict).detail(detail)
}
