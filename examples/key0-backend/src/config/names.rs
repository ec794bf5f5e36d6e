//! The variables that have a meaning here.

use key0_auth::domain::name_meant;

/// A variable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// It is never shown, and `NAME_FILE` can name a file that holds it.
    pub(crate) is_secret: bool,
    /// What counts where it is not given.
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
}

const fn plain(name: &'static str, default: &'static str, about: &'static str) -> Variable {
    Variable { name, is_secret: false, default, about }
}

const fn secret(name: &'static str, default: &'static str, about: &'static str) -> Variable {
    Variable { name, is_secret: true, default, about }
}

/// All of them, in the order in which they are explained.
pub(crate) const VARIABLES: &[Variable] = &[
    secret(
        "KEY0_ACCESS_TOKEN_SECRET",
        "",
        "Verifies access tokens (HS256). At least 32 bytes. Required without a public key.",
    ),
    secret(
        "KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS",
        "",
        "Secrets that were current before; comma-separated.",
    ),
    secret("KEY0_PUBLIC_KEY", "", "Verifies access tokens: one or more PEM blocks."),
    secret("KEY0_JWKS_URL", "", "A JWK set that verifies access tokens."),
    plain("KEY0_ACCESS_TOKEN_ISSUER", "", "What iss must be."),
    plain("KEY0_ACCESS_TOKEN_AUDIENCE", "", "What aud must hold."),
    plain("KEY0_URL", "", "The seller's shop, for refusals that a purchase cures."),
    plain(
        "INTERNAL_AUTH_STRATEGY",
        "shared-secret",
        "How Key0 proves itself: shared-secret, signed-jwt, oauth, none; comma-separated.",
    ),
    secret("INTERNAL_AUTH_SECRET", "", "Required for shared-secret. At least 32 bytes."),
    secret("INTERNAL_AUTH_PREVIOUS_SECRETS", "", "Those that were current before."),
    plain("INTERNAL_AUTH_AUDIENCE", "backend-service", "For signed-jwt."),
    plain("INTERNAL_AUTH_MAX_LIFETIME_SECONDS", "300", "For signed-jwt."),
    plain("INTERNAL_OAUTH_ISSUER", "", "For oauth: what iss must be."),
    plain("INTERNAL_OAUTH_JWKS_URL", "found through the issuer", "For oauth: its JWK set."),
    plain("INTERNAL_OAUTH_AUDIENCE", "", "For oauth: what aud must hold; it or the clients."),
    plain("INTERNAL_OAUTH_CLIENT_IDS", "", "For oauth: who may call; comma-separated."),
    plain("INTERNAL_OAUTH_SCOPE", "", "For oauth: what scope, scp or roles must hold."),
    secret("GATEWAY_SECRET", "", "What Key0's gateway proves itself with. At least 32 bytes."),
    secret("GATEWAY_PREVIOUS_SECRETS", "", "Those that were current before."),
    plain(
        "GATEWAY_ROUTES",
        "",
        "What is sold per call, as photo=GET /api/photos/{id}, data=GET /api/data/{id}.",
    ),
    plain("GATEWAY_PAYMENT_HEADERS", "ignored", "trusted reads X-Key0-Plan-Id and the like."),
    secret("VERIFY_SECRET", "", "What proxies that ask /verify prove themselves with."),
    secret("VERIFY_PREVIOUS_SECRETS", "", "Those that were current before."),
    plain("VERIFY_ROUTES", "", "What /verify asks for at which path."),
    plain("VERIFY_HEADERS", "", "How the headers are named in which /verify tells who called."),
    plain("ISSUE_TOKEN_AUTH", "internal", "body trusts whoever can reach it."),
    secret(
        "ISSUANCE_SECRET",
        "derived from INTERNAL_AUTH_SECRET",
        "What issued keys are derived from.",
    ),
    secret("ISSUANCE_PREVIOUS_SECRETS", "", "Those that were current before."),
    secret("MASTER_API_KEYS", "", "Keys of operators; name=key or bare, comma-separated."),
    secret("SUPPORT_API_KEYS", "", "Keys that look at keys and purchases, and change nothing."),
    secret("MINTER_API_KEYS", "", "Keys of partners that may create, read and update."),
    secret("READ_API_KEYS", "", "Keys of partners that may read."),
    plain("FOREIGN_API_KEYS", "false", "Whether imported keys of other shapes open, too."),
    secret(
        "DATABASE_URL",
        "sqlite://key0-backend.db",
        "Where keys and payments are kept; also postgres://, redis:// or memory://.",
    ),
    plain("API_KEY_TTL_SECONDS", "3600", "Life of an issued key."),
    plain("CACHE_TTL_SECONDS", "5", "For how long a change by another instance may stay unseen."),
    plain("HOST", "127.0.0.1", "Address to listen on."),
    plain("PORT", "3000", "Port to listen on; 0 picks one and prints it."),
    plain("INTERNAL_HOST", "127.0.0.1", "Address of the internal listener."),
    plain("INTERNAL_PORT", "", "Port of a listener of its own for /internal and /keys."),
    plain("DANGEROUS_DISABLE_KEY_CHECKS", "false", "Lets everybody manage keys and use /v1."),
    plain("DANGEROUS_ALLOW_PUBLIC", "false", "Allows open doors on addresses others can reach."),
    plain("READY_IGNORES_STORE", "false", "Whether /ready succeeds without the store."),
    plain("SHUTDOWN_DELAY_SECONDS", "0", "How long /ready says 503 before the port closes."),
    plain("TRUSTED_PROXIES", "", "Whose X-Forwarded-For is believed for the log; CIDR list."),
    plain("LOG_FORMAT", "pretty", "pretty or json."),
    plain("ACCESS_LOG", "all", "Which requests are logged: all, refused or off."),
    plain("RUST_LOG", "info", "What is logged, as info,key0_auth=debug."),
];

/// What a variable of this name means here.
pub(super) enum Meaning {
    Ours,
    /// The file of one of ours that is no secret.
    FileOfNoSecret(&'static str),
    /// One of ours, most likely.
    Misspelt(String),
    SomebodyElses,
}

impl Meaning {
    pub(super) fn of(name: &str) -> Self {
        let known = |name: &str| VARIABLES.iter().find(|variable| variable.name == name);
        if known(name).is_some() {
            return Self::Ours;
        }
        let bare = name.strip_suffix("_FILE");
        if let Some(variable) = bare.and_then(known) {
            let is_ours = variable.is_secret;
            return if is_ours { Self::Ours } else { Self::FileOfNoSecret(variable.name) };
        }
        let names = VARIABLES.iter().map(|variable| variable.name);
        let files = VARIABLES.iter().filter(|variable| variable.is_secret);
        let files: Vec<_> = files.map(|variable| format!("{}_FILE", variable.name)).collect();
        match name_meant(name, names.chain(files.iter().map(String::as_str))) {
            Some(meant) => Self::Misspelt(meant.to_owned()),
            None => Self::SomebodyElses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_for_two() {
        let mut names: Vec<_> = VARIABLES.iter().map(|variable| variable.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn the_example_names_every_variable_and_no_other() {
        let text = include_str!("../../deploy/.env.example");
        let lines = text.lines().map(|line| line.strip_prefix('#').unwrap_or(line));
        let named = lines.filter_map(|line| line.split_once('='));
        let mut named: Vec<_> =
            named.map(|(name, _)| name).filter(|name| !name.contains(' ')).collect();
        let mut wanted: Vec<_> = VARIABLES.iter().map(|variable| variable.name).collect();
        named.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(named, wanted);
    }

    #[test]
    fn what_a_host_and_its_tools_set_is_theirs() {
        for name in [
            "PATH",
            "HOME",
            "USER",
            "LANG",
            "TERM",
            "SHELL",
            "PWD",
            "HOSTNAME",
            "TMPDIR",
            "RUST_BACKTRACE",
            "RUST_LIB_BACKTRACE",
            "CARGO_HOME",
            "NO_COLOR",
            "CI",
            "PGHOST",
            "PGPASSWORD",
            "POSTGRES_PASSWORD",
            "REDIS_URL",
            "LISTEN_FDS",
            "NOTIFY_SOCKET",
            "INVOCATION_ID",
            "KUBERNETES_SERVICE_HOST",
            "KEY0_BACKEND_SERVICE_PORT",
            "KEY0_BACKEND_PORT_3000_TCP_ADDR",
            "KEY0_WALLET_ADDRESS",
            "KEY0_API_KEY",
            "KEY0_NETWORK",
            "LOG_LEVEL",
            "NODE_ENV",
            "SSL_CERT_FILE",
            "LD_LIBRARY_PATH",
            "DATABASE_HOST",
            "API_KEY",
            "API_KEYS",
            "SERVICE_HOST",
        ] {
            assert!(matches!(Meaning::of(name), Meaning::SomebodyElses), "{name}");
        }
    }
}
