use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

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
    /// How Key0 proves itself: shared-secret, signed-jwt, oauth, none; comma-separated
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
    /// What a service manager listens on for us
    #[arg(skip)]
    pub(crate) given: GivenAddresses,
}

/// Where the sockets listen that a service manager hands over.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GivenAddresses {
    pub(crate) public: Option<SocketAddr>,
    pub(crate) internal: Option<SocketAddr>,
    /// How many there are.
    pub(crate) count: usize,
}

impl ServeOptions {
    /// The variables that are said on the command line.
    pub(super) fn flags(&self) -> [(&'static str, &Option<String>); 8] {
        [
            ("HOST", &self.host),
            ("PORT", &self.port),
            ("INTERNAL_HOST", &self.internal_host),
            ("INTERNAL_PORT", &self.internal_port),
            ("INTERNAL_AUTH_STRATEGY", &self.internal_auth_strategy),
            ("API_KEY_TTL_SECONDS", &self.api_key_ttl_seconds),
            ("CACHE_TTL_SECONDS", &self.cache_ttl_seconds),
            ("LOG_FORMAT", &self.log_format),
        ]
    }
}
