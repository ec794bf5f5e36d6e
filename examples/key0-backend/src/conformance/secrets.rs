use key0_auth::error::ConfigError;

use super::{options::ConformanceOptions, table::Known};
use crate::config::{ServeOptions, Variables, audience};

impl Known {
    /// Reads them as the backend itself would; files on the command line win.
    pub(super) fn load(options: &ConformanceOptions) -> Result<Self, ConfigError> {
        const TOKENS: &str = "KEY0_ACCESS_TOKEN_SECRET";
        const PREVIOUS_TOKENS: &str = "KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS";
        const PREVIOUS_INTERNAL: &str = "INTERNAL_AUTH_PREVIOUS_SECRETS";
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
            previous_tokens: variables.secrets(PREVIOUS_TOKENS, &mut faults).into_iter().next(),
            internal: variables.secret(INTERNAL, &mut faults),
            previous_internal: variables.secrets(PREVIOUS_INTERNAL, &mut faults).into_iter().next(),
            master: masters.into_iter().next().map(|(_, key)| key),
            gateway: variables.secret(GATEWAY, &mut faults),
            verify: variables.secret(VERIFY, &mut faults),
            audience: audience(&variables, &mut faults),
            unreachable: options.unreachable_key.clone(),
        };
        variables.locate(&mut faults);
        ConfigError::check(faults)?;
        Ok(known)
    }
}
