use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
