use key0_auth::{domain::Secret, error::ConfigError};

use super::options::ConformanceOptions;
use crate::config::{ServeOptions, Variables, audience};

/// What is known of a backend that is judged from outside.
#[derive(Debug)]
pub(crate) struct ConformanceSecrets {
    pub(crate) tokens: Option<Secret>,
    pub(crate) internal: Option<Secret>,
    pub(crate) master: Option<Secret>,
    pub(crate) gateway: Option<Secret>,
    pub(crate) verify: Option<Secret>,
    /// What system tokens must be meant for.
    pub(crate) audience: String,
}

impl ConformanceSecrets {
    /// Reads them as the backend itself would; files on the command line win.
    pub(crate) fn load(options: &ConformanceOptions) -> Result<Self, ConfigError> {
        const TOKENS: &str = "KEY0_ACCESS_TOKEN_SECRET";
        const INTERNAL: &str = "INTERNAL_AUTH_SECRET";
        const MASTERS: &str = "MASTER_API_KEYS";
        const GATEWAY: &str = "GATEWAY_SECRET";
        const VERIFY: &str = "VERIFY_SECRET";
        let mut faults = Vec::new();
        let settings =
            ServeOptions { env_file: options.env_file.clone(), ..ServeOptions::default() };
        let mut variables = Variables::load(&settings, &mut faults);
        for (name, file) in [
            (TOKENS, &options.secret_file),
            (INTERNAL, &options.internal_secret_file),
            (MASTERS, &options.master_key_file),
            (GATEWAY, &options.gateway_secret_file),
            (VERIFY, &options.verify_secret_file),
        ] {
            if let Some(file) = file {
                variables.take_from_file(name, file);
            }
        }
        let masters = variables.keys(MASTERS, &mut faults);
        let known = Self {
            tokens: variables.secret(TOKENS, &mut faults),
            internal: variables.secret(INTERNAL, &mut faults),
            master: masters.into_iter().next().map(|(_, key)| key),
            gateway: variables.secret(GATEWAY, &mut faults),
            verify: variables.secret(VERIFY, &mut faults),
            audience: audience(&variables, &mut faults),
        };
        variables.locate(&mut faults);
        ConfigError::check(faults)?;
        Ok(known)
    }
}
