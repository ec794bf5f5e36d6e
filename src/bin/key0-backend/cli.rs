use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::conformance::Target;

/// A sample backend that sells to AI agents through Key0.
///
/// Secrets come from the environment, from a `.env` file, or from files named by NAME_FILE; never
/// from the command line, which other users of the machine can see.
#[derive(Debug, Parser)]
#[command(name = "key0-backend", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until SIGTERM or Ctrl-C, then drain.
    Serve(ServeOptions),
    /// Check the configuration and say every fault, without listening or touching a store.
    CheckConfig(ServeOptions),
    /// Make, list, show, revoke, rotate and import API keys, also while the server runs.
    Keys(KeysOptions),
    /// Judge a running backend, in whatever language, by the contract.
    Conformance(ConformanceOptions),
    /// Play the whole story over real HTTP, on throw-away secrets and a throw-away store.
    Demo(DemoOptions),
}

/// What can be said on the command line; it wins over the environment.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeOptions {
    /// Address to listen on (HOST, default 127.0.0.1)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Option<String>,
    /// Port to listen on; 0 picks a free one and prints it (PORT, default 3000)
    #[arg(long)]
    pub(crate) port: Option<String>,
    /// Address of the internal listener (INTERNAL_HOST, default 127.0.0.1)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) internal_host: Option<String>,
    /// Port of a listener for the internal endpoints alone (INTERNAL_PORT)
    #[arg(long, value_name = "PORT")]
    pub(crate) internal_port: Option<String>,
    /// How Key0 proves itself: shared-secret, signed-jwt, none; comma-separated
    /// (INTERNAL_AUTH_STRATEGY)
    #[arg(long, value_name = "STRATEGIES")]
    pub(crate) internal_auth_strategy: Option<String>,
    /// Life of an issued key in seconds (API_KEY_TTL_SECONDS, default 3600)
    #[arg(long, value_name = "SECONDS")]
    pub(crate) api_key_ttl_seconds: Option<String>,
    /// Life of a cached key in seconds (CACHE_TTL_SECONDS, default 5)
    #[arg(long, value_name = "SECONDS")]
    pub(crate) cache_ttl_seconds: Option<String>,
    /// pretty or json (LOG_FORMAT, default pretty)
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// File with further variables (default: .env, where it is there)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}

/// How the demo runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoOptions {
    /// End after the story instead of staying up
    #[arg(long)]
    pub(crate) exit: bool,
}

/// Which backend is judged, and what is known of it.
///
/// What is not known is not judged: its cases are skipped, and named.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConformanceOptions {
    /// Where agents reach it, as http://127.0.0.1:3000
    #[arg(long)]
    pub(crate) url: Target,
    /// Where Key0 and the operator reach it, if that is elsewhere
    #[arg(long, value_name = "URL")]
    pub(crate) internal_url: Option<Target>,
    /// File with the secret of access tokens (KEY0_ACCESS_TOKEN_SECRET)
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// File with the secret of Key0's own calls (INTERNAL_AUTH_SECRET)
    #[arg(long, value_name = "FILE")]
    pub(crate) internal_secret_file: Option<PathBuf>,
    /// File with a master key (MASTER_API_KEYS, the first of them)
    #[arg(long, value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
    /// A key that the store can't look up, as one on a shard that was stopped
    #[arg(long, value_name = "KEY")]
    pub(crate) unreachable_key: Option<String>,
    /// The strategy signed-jwt is on: a system token must open the internal endpoints
    #[arg(long)]
    pub(crate) signed_jwt: bool,
    /// How long an answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) timeout_seconds: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// File with further variables (default: .env, where it is there)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}

/// What is done with keys, in the store that `DATABASE_URL` names.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeysOptions {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// File with further variables (default: .env, where it is there)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and show it, this once.
    Create {
        /// What it stands for; a master manages keys
        #[arg(long)]
        role: RoleName,
        /// A name to tell it by
        #[arg(long)]
        label: Option<String>,
        /// What it may do, in place of what its role implies; as dpp:create, any number of times
        #[arg(long = "permission", value_name = "RESOURCE:ACTION")]
        permissions: Vec<String>,
        /// From when on it is expired, as 2027-01-31T12:00:00Z
        #[arg(long, value_name = "INSTANT")]
        expires_at: Option<String>,
    },
    /// List keys, the newest first.
    List {
        /// Of which kind
        #[arg(long, default_value = "integrator")]
        kind: KindName,
        /// Also those that are expired or revoked
        #[arg(long)]
        all: bool,
    },
    /// Show one key and what was done to it.
    Show {
        /// Its id
        id: String,
    },
    /// Revoke a key, at once.
    Revoke {
        /// Its id
        id: String,
    },
    /// Give a key another secret and show it, this once; the old one dies at once.
    Rotate {
        /// Its id
        id: String,
    },
    /// Take over keys that were issued elsewhere, one on each line of a file: the plain text of
    /// one, or its SHA-256 in hexadecimal, or a JSON object with "key" or "digest", "role", and
    /// optionally "label", "permissions", "expiresAt" and "metadata".
    Import {
        /// The file; - for standard input
        file: PathBuf,
        /// The role of those on lines that are not JSON
        #[arg(long)]
        role: Option<RoleName>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    Master,
    Minter,
    Read,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KindName {
    Integrator,
    Payment,
}

impl RoleName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Minter => "minter",
            Self::Read => "read",
        }
    }
}

impl KindName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Integrator => "integrator",
            Self::Payment => "payment",
        }
    }
}
