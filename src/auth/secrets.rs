use super::{api_keys::ApiKeys, internal::InternalAuth};
use crate::{
    AccessTokens,
    domain::Secret,
    error::{ConfigError, ConfigFault},
};

/// Checks at start-up that access token secrets, internal secrets and bootstrap keys differ
/// pairwise, so that knowing one never opens another door.
///
/// # Errors
///
/// [`ConfigFault::SameSecret`] for each pair that is equal.
pub fn check_secrets_differ(
    tokens: Option<&AccessTokens>,
    internal: Option<&InternalAuth>,
    keys: Option<&ApiKeys>,
) -> Result<(), ConfigError> {
    let secrets: Vec<&Secret> = tokens
        .into_iter()
        .flat_map(AccessTokens::secrets)
        .chain(internal.and_then(InternalAuth::secrets).into_iter().flat_map(|set| set.iter()))
        .chain(keys.into_iter().flat_map(ApiKeys::secrets))
        .collect();
    let mut faults = Vec::new();
    for (i, first) in secrets.iter().enumerate() {
        for second in &secrets[i + 1..] {
            if first.digest() == second.digest() {
                faults.push(ConfigFault::SameSecret {
                    first: first.name().to_owned(),
                    second: second.name().to_owned(),
                });
            }
        }
    }
    ConfigError::check(faults)
}
