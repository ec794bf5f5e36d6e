use key0_auth::{
    apikey::{BootstrapKeys, IssuanceSecrets},
    domain::{Role, Secret, SecretSet, check_secrets_differ},
    error::ConfigFault,
};

use super::{
    Strategies,
    variables::{Variables, invalid, missing},
};

/// Every secret that was read.
pub(super) struct Secrets {
    pub(super) tokens: Vec<Secret>,
    pub(super) internal: Option<SecretSet>,
    pub(super) gateway: Option<SecretSet>,
    pub(super) verify: Option<SecretSet>,
    issuance: Option<SecretSet>,
    pub(super) bootstrap: BootstrapKeys,
    bootstrap_secrets: Vec<Secret>,
}

impl Secrets {
    pub(super) fn read(variables: &Variables, faults: &mut Vec<ConfigFault>) -> Self {
        let set = |current: &str, previous: &str, faults: &mut Vec<ConfigFault>| {
            let first = variables.secret(current, faults);
            let previous_secrets = variables.secrets(previous, faults);
            if !variables.is_given(current) && !previous_secrets.is_empty() {
                faults.push(missing(current, &format!("{previous} needs a current one")));
            }
            first.map(|first| {
                previous_secrets.into_iter().fold(SecretSet::new(first), SecretSet::previous)
            })
        };
        let internal = set("INTERNAL_AUTH_SECRET", "INTERNAL_AUTH_PREVIOUS_SECRETS", faults);
        let gateway = set("GATEWAY_SECRET", "GATEWAY_PREVIOUS_SECRETS", faults);
        let verify = set("VERIFY_SECRET", "VERIFY_PREVIOUS_SECRETS", faults);
        let issuance = set("ISSUANCE_SECRET", "ISSUANCE_PREVIOUS_SECRETS", faults);
        let mut tokens: Vec<Secret> =
            variables.secret("KEY0_ACCESS_TOKEN_SECRET", faults).into_iter().collect();
        tokens.extend(variables.secrets("KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS", faults));
        let (bootstrap, bootstrap_secrets) = bootstrap(variables, faults);

        let sent = [&internal, &gateway, &verify];
        for secret in sent.into_iter().flatten().flat_map(SecretSet::iter) {
            if !secret.expose_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')) {
                let why = "it can't be sent in a header: it holds other than printable ASCII";
                faults.push(invalid(secret.name(), why));
            }
        }
        for key in &bootstrap_secrets {
            if !key.expose_bytes().iter().all(u8::is_ascii_graphic) {
                let why = "it can't be sent as a key: it holds other than visible ASCII";
                faults.push(invalid(key.name(), why));
            }
        }
        let secrets =
            Self { tokens, internal, gateway, verify, issuance, bootstrap, bootstrap_secrets };
        if let Err(error) = check_secrets_differ(secrets.all()) {
            faults.extend(error.into_faults());
        }
        secrets
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Secret> {
        let sets = [&self.internal, &self.gateway, &self.verify, &self.issuance];
        let sets = sets.into_iter().flatten().flat_map(SecretSet::iter);
        self.tokens.iter().chain(sets).chain(&self.bootstrap_secrets)
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        self.all()
            .filter(|secret| secret.is_published_example())
            .map(|secret| {
                format!("{} is printed in public examples: everybody knows it", secret.name())
            })
            .collect()
    }

    pub(super) fn issuance(
        &self,
        variables: &Variables,
        strategies: &Strategies,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<IssuanceSecrets> {
        match (&self.issuance, &self.internal) {
            (Some(secrets), _) => Some(IssuanceSecrets::new(secrets)),
            (None, Some(internal)) => Some(IssuanceSecrets::derived_from(internal)),
            (None, None) => {
                let names = ["ISSUANCE_SECRET", "INTERNAL_AUTH_SECRET"];
                let told = strategies.shared_secret;
                if told || names.iter().any(|name| variables.is_given(name)) {
                    return None;
                }
                let why = "issued keys are derived from it, or from INTERNAL_AUTH_SECRET";
                faults.push(missing("ISSUANCE_SECRET", why));
                None
            }
        }
    }
}

/// The keys of the configuration, and their secrets.
fn bootstrap(variables: &Variables, faults: &mut Vec<ConfigFault>) -> (BootstrapKeys, Vec<Secret>) {
    let (mut keys, mut secrets) = (BootstrapKeys::new(), Vec::new());
    for (role, setting) in [
        (Role::Master, "MASTER_API_KEYS"),
        (Role::Support, "SUPPORT_API_KEYS"),
        (Role::Minter, "MINTER_API_KEYS"),
        (Role::Read, "READ_API_KEYS"),
    ] {
        for (name, secret) in variables.keys(setting, faults) {
            keys = match &name {
                None => keys.key(role, secret.clone()),
                Some(name) => match keys.clone().named(role, name, secret.clone()) {
                    Ok(keys) => keys,
                    Err(fault) => {
                        faults.push(fault);
                        keys
                    }
                },
            };
            secrets.push(secret);
        }
    }
    (keys, secrets)
}
