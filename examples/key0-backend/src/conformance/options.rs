use std::path::PathBuf;

use clap::Args;

use super::target::Target;

/// Which backend is checked, and what is known of it.
///
/// Cases that need what is not known are skipped, and named.
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
    /// File with the secret of Key0's gateway (GATEWAY_SECRET); GET /api/photos/{id} must be sold per
    /// call, as photo
    #[arg(long, value_name = "FILE")]
    pub(crate) gateway_secret_file: Option<PathBuf>,
    /// File with the secret of proxies (VERIFY_SECRET)
    #[arg(long, value_name = "FILE")]
    pub(crate) verify_secret_file: Option<PathBuf>,
    /// A key that the store can't look up, as one on a shard that was stopped
    #[arg(long, value_name = "KEY")]
    pub(crate) unreachable_key: Option<String>,
    /// The strategy signed-jwt is on: a system token must open the internal endpoints
    #[arg(long)]
    pub(crate) signed_jwt: bool,
    /// There is /introspect
    #[arg(long)]
    pub(crate) introspect: bool,
    /// There is /verify
    #[arg(long)]
    pub(crate) verify: bool,
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
