use std::{sync::Arc, time::Duration};

#[cfg(feature = "jwks")]
use super::providers;
use super::{
    gateway::gateway,
    variables::{Variables, file_of, renamed},
};
use crate::{
    AccessTokens, InternalAuth,
    apikey::{BootstrapKeys, IssuanceSecrets, KeyFormat},
    auth::{Gateway, InternalAuthBuilder, Seller},
    domain::{ResourceId, Role, SecretSet, check_secrets_differ, name_meant},
    error::ConfigError,
    token::VerifyingKey,
};

/// The secrets and keys of a backend.
///
/// | variable | |
/// |---|---|
/// | `KEY0_ACCESS_TOKEN_SECRET` | required, unless a public key or a JWK set is given |
/// | `KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS` | with commas or line ends between them, as all lists |
/// | `KEY0_PUBLIC_KEY` | PEM, one or more blocks |
/// | `KEY0_JWKS_URL` | a JWK set, in place of the above or beside them; feature `jwks` |
/// | `KEY0_ACCESS_TOKEN_ISSUER`, `KEY0_ACCESS_TOKEN_AUDIENCE` | checked when set |
/// | `KEY0_URL` | the shop that refusals name |
/// | `INTERNAL_AUTH_STRATEGY` | `shared-secret` (default), `signed-jwt`, `oauth` (feature `jwks`), or several with commas |
/// | `INTERNAL_AUTH_SECRET`, `INTERNAL_AUTH_PREVIOUS_SECRETS` | required for `shared-secret` |
/// | `INTERNAL_AUTH_AUDIENCE`, `INTERNAL_AUTH_MAX_LIFETIME_SECONDS` | `backend-service`, 300 |
/// | `INTERNAL_OAUTH_ISSUER`, `_JWKS_URL`, `_AUDIENCE`, `_CLIENT_IDS`, `_SCOPE` | for `oauth`, see [`OAuthTokens`](crate::token) |
/// | `GATEWAY_SECRET`, `GATEWAY_PREVIOUS_SECRETS`, `GATEWAY_ROUTES`, `GATEWAY_PAYMENT_HEADERS` | what Key0's [gateway](Gateway) proxies; the routes as `photo=GET /api/photos/{id}`, the headers `ignored` or `trusted` |
/// | `ISSUANCE_SECRET`, `ISSUANCE_PREVIOUS_SECRETS` | else derived from `INTERNAL_AUTH_SECRET` |
/// | `MASTER_API_KEYS`, `SUPPORT_API_KEYS`, `MINTER_API_KEYS`, `READ_API_KEYS` | bootstrap keys, each `name=key` or bare |
/// | `FOREIGN_API_KEYS` | `true`: keys that another service made are looked up, too |
///
/// A secret, the public key, the JWK set's URL and a list of keys can stand in a file, too, which
/// `NAME_FILE` names.
/// Secrets have at least 32 bytes, and differ.
///
/// ```
/// use key0_auth::backend::Secrets;
///
/// // In a program: Secrets::from_env()?
/// let secrets = Secrets::read(|name| match name {
///     "KEY0_ACCESS_TOKEN_SECRET" => Some("a secret that Key0 shares with this backend".to_owned()),
///     "INTERNAL_AUTH_SECRET" => Some("a secret for Key0's own calls alone".to_owned()),
///     _ => None,
/// })?;
/// # let _ = secrets;
/// let nothing = Secrets::read(|_| None).expect_err("two are required");
/// assert_eq!(nothing.faults().len(), 2);
/// # Ok::<(), key0_auth::error::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Secrets {
    pub(super) tokens: Arc<AccessTokens>,
    pub(super) internal: InternalAuthBuilder,
    pub(super) issuance: IssuanceSecrets,
    pub(super) bootstrap: BootstrapKeys,
    pub(super) format: KeyFormat,
    pub(super) gateway: Option<Gateway>,
    pub(super) seller: Option<Seller>,
}

/// What is about identity providers, as is `KEY0_JWKS_URL`.
const PROVIDERS: [&str; 5] = [
    "INTERNAL_OAUTH_AUDIENCE",
    "INTERNAL_OAUTH_CLIENT_IDS",
    "INTERNAL_OAUTH_ISSUER",
    "INTERNAL_OAUTH_JWKS_URL",
    "INTERNAL_OAUTH_SCOPE",
];
/// A protection that the sample backend has and this does not: it is refused, never ignored.
const ELSEWHERE: &str = "ISSUE_TOKEN_AUTH";

impl Secrets {
    /// Reads them from the environment.
    ///
    /// # Errors
    ///
    /// Fails with everything that is missing, unusable or contradictory, and with variables whose
    /// names are close to one of these, each by the name of its variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        // What is no text would otherwise count as not set.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_str().is_some())));
        Self::read_with(&|name| std::env::var(name).ok(), variables)
    }

    /// Reads them from wherever `look_up` finds the value of a variable.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn read(look_up: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::read_with(&look_up, [])
    }

    /// `given` are all variables that are there, each with whether it is a text.
    fn read_with(
        look_up: &dyn Fn(&str) -> Option<String>,
        given: impl IntoIterator<Item = (String, bool)>,
    ) -> Result<Self, ConfigError> {
        let mut variables = Variables::new(look_up);
        let plain = || PLAIN.into_iter().chain(PROVIDERS);
        let known = || IN_FILES.into_iter().chain(plain()).chain([ELSEWHERE]);
        for (name, is_text) in given {
            // A secret's file can be named in place of the secret.
            let ours = name.strip_suffix("_FILE").unwrap_or(&name);
            if known().any(|known| known == ours) {
                if !is_text {
                    variables.invalid(&name, "it is not UTF-8");
                }
            } else if let Some(meant) = name_meant(ours, known()) {
                let why = format!("there is no such variable; {meant} was meant, most likely");
                variables.invalid(&name, &why);
            }
        }
        for name in plain() {
            let file = file_of(name);
            if variables.get(&file).is_some() {
                variables.invalid(&file, &format!("only secrets come from files; set {name}"));
            }
        }
        if variables.is_given(ELSEWHERE) {
            variables.invalid(ELSEWHERE, "Secrets does not read it; build that part yourself");
        }
        if cfg!(not(feature = "jwks")) {
            for name in PROVIDERS.into_iter().chain(["KEY0_JWKS_URL"]) {
                if variables.is_given(name) {
                    variables.invalid(name, "it needs the feature jwks of key0-auth");
                }
            }
        }
        let read = Self::parts(&mut variables);
        let faults = variables.faults;
        ConfigError::check(faults)?;
        match read {
            Some(secrets) => Ok(secrets),
            None => unreachable!("what is missing has its fault"),
        }
    }

    fn parts(variables: &mut Variables<'_>) -> Option<Self> {
        let mut token_secrets: Vec<_> =
            variables.secret("KEY0_ACCESS_TOKEN_SECRET").into_iter().collect();
        token_secrets.extend(variables.secrets("KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS"));
        let internal = variables.set("INTERNAL_AUTH_SECRET", "INTERNAL_AUTH_PREVIOUS_SECRETS");
        let by_gateway = variables.set("GATEWAY_SECRET", "GATEWAY_PREVIOUS_SECRETS");
        let issuance = variables.set("ISSUANCE_SECRET", "ISSUANCE_PREVIOUS_SECRETS");
        let mut bootstrap = Vec::new();
        for (role, name) in [
            (Role::Master, "MASTER_API_KEYS"),
            (Role::Support, "SUPPORT_API_KEYS"),
            (Role::Minter, "MINTER_API_KEYS"),
            (Role::Read, "READ_API_KEYS"),
        ] {
            let keys = variables.keys(name).into_iter();
            bootstrap.extend(keys.map(|(name, key)| (role, name, key)));
        }
        for (_, _, key) in &bootstrap {
            if !key.expose_bytes().iter().all(u8::is_ascii_graphic) {
                variables
                    .invalid(key.name(), "it can't be sent: it holds other than visible ASCII");
            }
        }
        for secret in internal.iter().chain(&by_gateway).flat_map(SecretSet::iter) {
            if !secret.expose_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')) {
                variables.invalid(secret.name(), "it can't be sent in a header");
            }
        }
        let all = token_secrets.iter().chain(internal.iter().flat_map(SecretSet::iter));
        let all = all.chain(issuance.iter().chain(&by_gateway).flat_map(SecretSet::iter));
        let all = all.chain(bootstrap.iter().map(|(_, _, key)| key));
        if let Err(error) = check_secrets_differ(all) {
            variables.faults.extend(error.into_faults());
        }
        let tokens = tokens(variables, &token_secrets);
        let seller = variables.get("KEY0_URL").and_then(|url| {
            let seller = Seller::at(url.trim());
            variables.keep(seller.map_err(|fault| renamed(fault, "KEY0_URL")))
        });
        let auth = internal_auth(variables, internal.as_ref(), tokens.as_ref());
        let gateway = gateway(variables, by_gateway.as_ref());
        let format = match variables.flag("FOREIGN_API_KEYS") {
            true => KeyFormat::default().allow_foreign(),
            false => KeyFormat::default(),
        };
        let issuance = match (&issuance, &internal) {
            (Some(own), _) => Some(IssuanceSecrets::new(own)),
            (None, Some(internal)) => Some(IssuanceSecrets::derived_from(internal)),
            (None, None) => {
                let told = ["ISSUANCE_SECRET", "INTERNAL_AUTH_SECRET"];
                if auth.is_some() && !told.iter().any(|name| variables.is_given(name)) {
                    let why = "issued keys are derived from it, or from INTERNAL_AUTH_SECRET";
                    variables.missing("ISSUANCE_SECRET", why);
                }
                None
            }
        };
        let mut keys = BootstrapKeys::new();
        for (role, name, key) in bootstrap {
            keys = match name {
                None => keys.key(role, key),
                Some(name) => variables.keep(keys.named(role, &name, key))?,
            };
        }
        Some(Self {
            tokens: tokens?,
            internal: auth?,
            issuance: issuance?,
            bootstrap: keys,
            format,
            gateway,
            seller,
        })
    }
}

/// What can stand in a file.
const IN_FILES: [&str; 14] = [
    "GATEWAY_PREVIOUS_SECRETS",
    "GATEWAY_SECRET",
    "INTERNAL_AUTH_PREVIOUS_SECRETS",
    "INTERNAL_AUTH_SECRET",
    "ISSUANCE_PREVIOUS_SECRETS",
    "ISSUANCE_SECRET",
    "KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS",
    "KEY0_ACCESS_TOKEN_SECRET",
    "KEY0_JWKS_URL",
    "KEY0_PUBLIC_KEY",
    "MASTER_API_KEYS",
    "MINTER_API_KEYS",
    "READ_API_KEYS",
    "SUPPORT_API_KEYS",
];
const PLAIN: [&str; 9] = [
    "FOREIGN_API_KEYS",
    "GATEWAY_PAYMENT_HEADERS",
    "GATEWAY_ROUTES",
    "INTERNAL_AUTH_AUDIENCE",
    "INTERNAL_AUTH_MAX_LIFETIME_SECONDS",
    "INTERNAL_AUTH_STRATEGY",
    "KEY0_ACCESS_TOKEN_AUDIENCE",
    "KEY0_ACCESS_TOKEN_ISSUER",
    "KEY0_URL",
];

fn tokens(
    variables: &mut Variables<'_>,
    secrets: &[crate::domain::Secret],
) -> Option<Arc<AccessTokens>> {
    let mut tokens = AccessTokens::builder();
    for secret in secrets {
        tokens = tokens.key(VerifyingKey::hs256(secret));
    }
    let pem = variables.text("KEY0_PUBLIC_KEY");
    if let Some(pem) = &pem {
        let keys = VerifyingKey::all_from_pem("KEY0_PUBLIC_KEY", pem);
        tokens = tokens.keys(variables.keep(keys)?);
    }
    #[cfg(feature = "jwks")]
    let remote = providers::access_token_keys(variables);
    #[cfg(not(feature = "jwks"))]
    let remote: Option<()> = None;
    // Previous secrets alone are a way out of HS256, but no way to start with it.
    let current = ["KEY0_ACCESS_TOKEN_SECRET", "KEY0_PUBLIC_KEY", "KEY0_JWKS_URL"];
    if !current.iter().any(|name| variables.is_given(name)) {
        let why = "it verifies access tokens, unless KEY0_PUBLIC_KEY or KEY0_JWKS_URL is given";
        variables.missing("KEY0_ACCESS_TOKEN_SECRET", why);
        return None;
    }
    if secrets.is_empty() && pem.is_none() && remote.is_none() {
        return None;
    }
    #[cfg(feature = "jwks")]
    if let Some(keys) = remote {
        tokens = tokens.remote_keys(keys);
    }
    if let Some(issuer) = variables.get("KEY0_ACCESS_TOKEN_ISSUER") {
        tokens = tokens.issuer(issuer.trim());
    }
    if let Some(audience) = variables.get("KEY0_ACCESS_TOKEN_AUDIENCE") {
        tokens = tokens.audience(audience.trim());
    }
    match tokens.build() {
        Ok(tokens) => Some(Arc::new(tokens)),
        Err(error) => {
            variables.faults.extend(error.into_faults());
            None
        }
    }
}

fn internal_auth(
    variables: &mut Variables<'_>,
    secrets: Option<&SecretSet>,
    tokens: Option<&Arc<AccessTokens>>,
) -> Option<InternalAuthBuilder> {
    const STRATEGY: &str = "INTERNAL_AUTH_STRATEGY";
    const LIFETIME: &str = "INTERNAL_AUTH_MAX_LIFETIME_SECONDS";
    const AUDIENCE: &str = "INTERNAL_AUTH_AUDIENCE";
    let mut auth = Some(InternalAuth::builder());
    let lifetime = variables.get(LIFETIME).map_or(Ok(300), |text| text.trim().parse::<u64>());
    match lifetime {
        Ok(seconds @ 1..=86_400) => {
            auth = auth.map(|auth| auth.max_lifetime(Duration::from_secs(seconds)));
        }
        _ => variables.invalid(LIFETIME, "it is a number from 1 to 86400"),
    }
    let audience = variables.get(AUDIENCE).unwrap_or_else(|| "backend-service".to_owned());
    if ResourceId::new(audience.trim()).is_err() {
        variables.invalid(AUDIENCE, "it is 1 to 256 visible ASCII characters");
    }
    let strategies = variables.get(STRATEGY).unwrap_or_else(|| "shared-secret".to_owned());
    for strategy in strategies.split(',').map(str::trim) {
        match (strategy, secrets, tokens) {
            ("shared-secret", Some(secrets), _) => {
                auth = auth.map(|auth| auth.shared_secret(secrets.clone()));
            }
            ("shared-secret", None, _) => {
                if !variables.is_given("INTERNAL_AUTH_SECRET") {
                    let why = "the strategy shared-secret compares with it";
                    variables.missing("INTERNAL_AUTH_SECRET", why);
                }
                auth = None;
            }
            ("signed-jwt", _, Some(tokens)) => {
                auth = auth.map(|auth| auth.signed_jwt(tokens.clone(), audience.trim()));
            }
            ("signed-jwt", _, None) => auth = None,
            #[cfg(feature = "jwks")]
            ("oauth", ..) => match providers::oauth(variables) {
                Some(tokens) => auth = auth.map(|auth| auth.oauth(tokens)),
                None => auth = None,
            },
            #[cfg(not(feature = "jwks"))]
            ("oauth", ..) => variables.invalid(STRATEGY, "oauth needs the feature jwks"),
            _ => variables.invalid(STRATEGY, "it takes shared-secret, signed-jwt and oauth here"),
        }
    }
    auth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_misspelt_or_no_text_is_told() {
        let value = |name: &str| match name {
            "KEY0_ACCESS_TOKEN_SECRET" => Some("the access token secret of these tests".to_owned()),
            "INTERNAL_AUTH_SECRET" => Some("the internal auth secret of these tests".to_owned()),
            _ => None,
        };
        let faults =
            |name: &str, is_text| match Secrets::read_with(&value, [(name.to_owned(), is_text)]) {
                Ok(_) => Vec::new(),
                Err(error) => error.faults().iter().map(ToString::to_string).collect(),
            };
        for (name, is_text, why) in [
            ("MASTER_API_KEY", true, "MASTER_API_KEYS was meant"),
            ("INTERNL_AUTH_SECRET_FILE", true, "INTERNAL_AUTH_SECRET was meant"),
            ("KEY0_JWKS_URI", true, "KEY0_JWKS_URL was meant"),
            ("MASTER_API_KEYS", false, "it is not UTF-8"),
        ] {
            let told = faults(name, is_text);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains(name) && told[0].contains(why), "{told:?}");
        }
        for name in ["MASTER_API_KEYS", "READ_API_KEYS_FILE", "API_KEY", "KEY0_WALLET_ADDRESS"] {
            assert_eq!(faults(name, true), [""; 0], "{name}");
        }
        assert_eq!(faults("LANG", false), [""; 0]);
    }
}
