//! The configuration: read as a whole, checked as a whole, every fault reported at once.

mod database_url;
mod env_file;
mod exposure;
mod gateway;
mod listeners;
mod names;
mod options;
mod providers;
mod secrets;
mod serving;
mod settings;
mod variables;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use key0_auth::{
    AccessTokens, InternalAuth,
    api::VerifyRules,
    apikey::{BootstrapKeys, IssuanceSecrets, KeyFormat},
    auth::{Gateway, Seller},
    domain::{ResourceId, Secret},
    error::{ConfigError, ConfigFault},
    token::VerifyingKey,
};

use self::{
    exposure::Exposure,
    listeners::listeners,
    secrets::Secrets,
    variables::{invalid, missing},
};
pub(crate) use self::{
    names::VARIABLES,
    options::{GivenAddresses, ServeOptions},
    providers::Providers,
    serving::{AccessLog, Proxies, Serving},
    settings::Setting,
    variables::Variables,
};
use crate::{confidential::Confidential, database::Database};

/// A configuration that was found right.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) public: SocketAddr,
    /// Where the internal endpoints are served, if not with the others.
    pub(crate) internal: Option<SocketAddr>,
    pub(crate) tokens: Arc<AccessTokens>,
    pub(crate) internal_auth: Arc<InternalAuth>,
    /// The keys of identity providers, to be fetched.
    pub(crate) providers: Providers,
    /// What Key0's gateway opens.
    pub(crate) gateway: Option<Gateway>,
    /// What proxies may ask at `/verify`, where they may.
    pub(crate) verify: Option<VerifyRules>,
    /// Where a refusal that a purchase cures sends its caller.
    pub(crate) seller: Option<Seller>,
    pub(crate) issue_token_auth: IssueTokenAuth,
    pub(crate) issuance: IssuanceSecrets,
    pub(crate) bootstrap: BootstrapKeys,
    /// Every secret, to tell which is in use.
    pub(crate) secrets: Vec<Secret>,
    /// What no log may show.
    pub(crate) confidential: Confidential,
    /// Which shapes of keys are taken.
    pub(crate) key_format: KeyFormat,
    /// Whether `/keys` asks for a master key, and `/v1` for any.
    pub(crate) key_checks: bool,
    pub(crate) database: Database,
    pub(crate) key_ttl: Duration,
    pub(crate) cache_ttl: Duration,
    pub(crate) log: Log,
    pub(crate) serving: Serving,
    /// What the operator must be told loudly.
    pub(crate) warnings: Vec<String>,
}

/// Whom `issue-token` trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IssueTokenAuth {
    Internal,
    /// Whoever can reach it.
    Body,
}

/// How and what is logged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) json: bool,
    pub(crate) filter: String,
}

/// The strategies of INTERNAL_AUTH_STRATEGY.
#[derive(Debug, Default)]
struct Strategies {
    shared_secret: bool,
    signed_jwt: bool,
    oauth: bool,
    none: bool,
}

impl Config {
    /// Reads and checks it, before anything is opened.
    pub(crate) fn load(options: &ServeOptions) -> Result<Self, ConfigError> {
        Self::examine(options).1
    }

    /// The same once more, while requests go on by the configuration whose providers these are.
    pub(crate) fn load_again(
        options: &ServeOptions,
        before: &Providers,
    ) -> Result<Self, ConfigError> {
        load_part(options, |variables, faults| ((), Self::read(variables, before, faults))).1
    }

    /// As it is read at the start, and what every variable is.
    pub(crate) fn examine(options: &ServeOptions) -> (Vec<Setting>, Result<Self, ConfigError>) {
        load_part(options, |variables, faults| {
            (variables.settings(), Self::read(variables, &Providers::default(), faults))
        })
    }

    /// Reads no more than how access tokens are verified.
    pub(crate) fn load_tokens(options: &ServeOptions) -> Result<AccessTokens, ConfigError> {
        load_part(options, |variables, faults| {
            let secrets = Secrets::read(variables, faults);
            ((), access_tokens(variables, &secrets, &mut Providers::default(), faults))
        })
        .1
    }

    /// Reads no more than where the public listener is.
    pub(crate) fn load_address(options: &ServeOptions) -> Result<SocketAddr, ConfigError> {
        load_part(options, |variables, faults| ((), listeners(variables, faults).0)).1
    }

    /// The variables in which another configuration differs and that count at the start alone.
    pub(crate) fn fixed_differences(&self, other: &Self) -> Vec<&'static str> {
        let (mine, others) = (&self.serving, &other.serving);
        let database = |config: &Self| config.database.to_string();
        [
            ("HOST or PORT", self.public == other.public),
            ("INTERNAL_HOST or INTERNAL_PORT", self.internal == other.internal),
            ("DATABASE_URL", database(self) == database(other)),
            ("CACHE_TTL_SECONDS", self.cache_ttl == other.cache_ttl),
            ("LOG_FORMAT or RUST_LOG", self.log == other.log),
            ("TRUSTED_PROXIES", mine.proxies == others.proxies),
            ("ACCESS_LOG", mine.access_log == others.access_log),
            ("READY_IGNORES_STORE", mine.ready_ignores_store == others.ready_ignores_store),
            ("SHUTDOWN_DELAY_SECONDS", mine.shutdown_delay == others.shutdown_delay),
        ]
        .into_iter()
        .filter_map(|(name, same)| (!same).then_some(name))
        .collect()
    }

    /// Reads no more than where keys are kept, and which shapes of them are taken.
    pub(crate) fn load_store(options: &ServeOptions) -> Result<(Database, KeyFormat), ConfigError> {
        load_part(options, |variables, faults| {
            let format = key_format(variables, faults);
            ((), database(variables, faults).map(|database| (database, format)))
        })
        .1
    }

    fn read(
        variables: &Variables,
        before: &Providers,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Self> {
        let strategies = Strategies::read(variables, faults);
        let secrets = Secrets::read(variables, faults);
        let mut providers = Providers::after(before);
        let tokens = access_tokens(variables, &secrets, &mut providers, faults).map(Arc::new);
        let internal_auth =
            internal_auth(variables, &strategies, &secrets, &tokens, &mut providers, faults);
        let issuance = secrets.issuance(variables, &strategies, faults);
        let seller = gateway::seller(variables, faults);
        let issue_token_auth = issue_token_auth(variables, faults);
        let (public, internal) = listeners(variables, faults);
        let gateway = gateway::gateway(variables, secrets.gateway.as_ref(), faults);
        let has_internal = variables.is_set("INTERNAL_PORT");
        let verify = gateway::verify(variables, secrets.verify.as_ref(), has_internal, faults);
        let key_checks = !variables.flag("DANGEROUS_DISABLE_KEY_CHECKS", faults);
        let mut warnings = secrets.warnings();
        let mut exposure = Exposure { public, internal, open: Vec::new() };
        exposure.note(&strategies, issue_token_auth, key_checks);
        exposure.guard(variables, &mut warnings, faults);
        let year = 365 * 24 * 60 * 60;
        let key_ttl = variables.number("API_KEY_TTL_SECONDS", 3600, 1..=10 * year, faults);
        let cache_ttl = variables.number("CACHE_TTL_SECONDS", 5, 1..=3600, faults);
        let database = database(variables, faults);
        let log = log(variables, faults);
        let serving = Serving::read(variables, faults);
        let key_format = key_format(variables, faults);
        // From here on nothing is checked any more: whatever is missing has its fault.
        Some(Self {
            public: public?,
            internal,
            tokens: tokens?,
            internal_auth: internal_auth?,
            providers: providers.finish(),
            gateway,
            verify,
            seller,
            issue_token_auth,
            issuance: issuance?,
            secrets: secrets.all().cloned().collect(),
            confidential: Confidential::new(secrets.all(), key_format.allows_foreign()),
            bootstrap: secrets.bootstrap,
            key_format,
            key_checks,
            database: database?,
            key_ttl: Duration::from_secs(key_ttl),
            cache_ttl: Duration::from_secs(cache_ttl),
            log,
            serving,
            warnings,
        })
    }
}

/// Reads the variables and makes something of them, which is whole where there is no fault.
fn load_part<A, T>(
    options: &ServeOptions,
    read: impl FnOnce(&Variables, &mut Vec<ConfigFault>) -> (A, Option<T>),
) -> (A, Result<T, ConfigError>) {
    let mut faults = Vec::new();
    let variables = Variables::load(options, &mut faults);
    let (aside, part) = read(&variables, &mut faults);
    variables.locate(&mut faults);
    let part = ConfigError::check(faults).map(|()| match part {
        Some(part) => part,
        None => unreachable!("what is read without a fault is whole"),
    });
    (aside, part)
}

impl Strategies {
    fn read(variables: &Variables, faults: &mut Vec<ConfigFault>) -> Self {
        const NAME: &str = "INTERNAL_AUTH_STRATEGY";
        let mut strategies = Self::default();
        let value = variables.get(NAME).unwrap_or("shared-secret");
        for strategy in value.split(',').map(str::trim) {
            match strategy {
                "shared-secret" => strategies.shared_secret = true,
                "signed-jwt" => strategies.signed_jwt = true,
                "none" => strategies.none = true,
                "oauth" => strategies.oauth = true,
                _ => {
                    let what = "it takes shared-secret, signed-jwt, oauth and none";
                    faults.push(invalid(NAME, what));
                }
            }
        }
        let some = strategies.shared_secret || strategies.signed_jwt || strategies.oauth;
        if strategies.none && some {
            faults.push(invalid(NAME, "none lets everybody in and goes with no other strategy"));
        }
        strategies
    }
}

fn access_tokens(
    variables: &Variables,
    secrets: &Secrets,
    providers: &mut Providers,
    faults: &mut Vec<ConfigFault>,
) -> Option<AccessTokens> {
    let mut builder = AccessTokens::builder();
    for secret in &secrets.tokens {
        builder = builder.key(VerifyingKey::hs256(secret));
    }
    let pem = variables.secret_text("KEY0_PUBLIC_KEY", faults);
    if let Some(pem) = &pem {
        match VerifyingKey::all_from_pem("KEY0_PUBLIC_KEY", pem) {
            Ok(keys) => builder = builder.keys(keys),
            Err(fault) => {
                faults.push(fault);
                return None;
            }
        }
    }
    let jwks = providers::access_token_keys(variables, providers, faults);
    if let Some(keys) = &jwks {
        builder = builder.remote_keys(keys.clone());
    }
    if let Some(issuer) = variables.get("KEY0_ACCESS_TOKEN_ISSUER") {
        builder = builder.issuer(issuer);
    }
    if let Some(audience) = variables.get("KEY0_ACCESS_TOKEN_AUDIENCE") {
        builder = builder.audience(audience);
    }
    // Previous secrets alone are a way out of HS256, but no way to start with it.
    let current = ["KEY0_ACCESS_TOKEN_SECRET", "KEY0_PUBLIC_KEY", "KEY0_JWKS_URL"];
    if !current.iter().any(|name| variables.is_given(name)) {
        let why = "it verifies access tokens, unless KEY0_PUBLIC_KEY or KEY0_JWKS_URL is given";
        faults.push(missing("KEY0_ACCESS_TOKEN_SECRET", why));
        return None;
    }
    if secrets.tokens.is_empty() && pem.is_none() && jwks.is_none() {
        return None;
    }
    builder.build().map_err(|error| faults.extend(error.into_faults())).ok()
}

fn internal_auth(
    variables: &Variables,
    strategies: &Strategies,
    secrets: &Secrets,
    tokens: &Option<Arc<AccessTokens>>,
    providers: &mut Providers,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<InternalAuth>> {
    const LIFETIME: &str = "INTERNAL_AUTH_MAX_LIFETIME_SECONDS";
    let lifetime = variables.number(LIFETIME, 300, 1..=86_400, faults);
    let audience = audience(variables, faults);
    let mut builder = InternalAuth::builder().max_lifetime(Duration::from_secs(lifetime));
    if strategies.oauth {
        builder = builder.oauth(providers::oauth(variables, providers, faults)?);
    }
    if strategies.shared_secret {
        match &secrets.internal {
            Some(secrets) => builder = builder.shared_secret(secrets.clone()),
            None => {
                if !variables.is_given("INTERNAL_AUTH_SECRET") {
                    let why = "the strategy shared-secret compares with it";
                    faults.push(missing("INTERNAL_AUTH_SECRET", why));
                }
                return None;
            }
        }
    }
    if strategies.signed_jwt {
        builder = builder.signed_jwt(tokens.clone()?, audience);
    }
    if strategies.none {
        builder = builder.dangerous_allow_anyone();
    }
    // Whatever is wrong with the strategies was told where they were read.
    builder.build().ok().map(Arc::new)
}

/// The audience of INTERNAL_AUTH_AUDIENCE.
pub(crate) fn audience(variables: &Variables, faults: &mut Vec<ConfigFault>) -> String {
    const AUDIENCE: &str = "INTERNAL_AUTH_AUDIENCE";
    let audience = variables.get(AUDIENCE).unwrap_or("backend-service");
    if ResourceId::new(audience).is_err() {
        faults.push(invalid(AUDIENCE, "it is 1 to 256 visible ASCII characters"));
    }
    audience.to_owned()
}

fn issue_token_auth(variables: &Variables, faults: &mut Vec<ConfigFault>) -> IssueTokenAuth {
    match variables.get("ISSUE_TOKEN_AUTH") {
        None | Some("internal") => IssueTokenAuth::Internal,
        Some("body") => IssueTokenAuth::Body,
        Some(_) => {
            faults.push(invalid("ISSUE_TOKEN_AUTH", "it is internal or body"));
            IssueTokenAuth::Internal
        }
    }
}

fn database(variables: &Variables, faults: &mut Vec<ConfigFault>) -> Option<Database> {
    const NAME: &str = "DATABASE_URL";
    let url = match variables.is_given(NAME) {
        true => variables.exact_text(NAME, faults)?,
        false => "sqlite://key0-backend.db".to_owned(),
    };
    database_url::parse(&url).map_err(|reason| faults.push(invalid(NAME, &reason))).ok()
}

fn key_format(variables: &Variables, faults: &mut Vec<ConfigFault>) -> KeyFormat {
    match variables.flag("FOREIGN_API_KEYS", faults) {
        true => KeyFormat::default().allow_foreign(),
        false => KeyFormat::default(),
    }
}

fn log(variables: &Variables, faults: &mut Vec<ConfigFault>) -> Log {
    let json = match variables.get("LOG_FORMAT") {
        None | Some("pretty") => false,
        Some("json") => true,
        Some(_) => {
            faults.push(invalid("LOG_FORMAT", "it is pretty or json"));
            false
        }
    };
    let filter = variables.get("RUST_LOG").unwrap_or("info").to_owned();
    if tracing_subscriber::EnvFilter::try_new(&filter).is_err() {
        faults.push(invalid("RUST_LOG", "it is a list of filters, as info,key0_auth=debug"));
    }
    Log { json, filter }
}
