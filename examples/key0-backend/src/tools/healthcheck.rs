use std::{net::IpAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use http::StatusCode;
use key0_auth::error::ConfigError;

use crate::{
    call::Call,
    config::{Config, ServeOptions},
    conformance::Target,
    logging::Chain,
};

/// Which backend is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct HealthcheckOptions {
    /// Where it is reached (default: where HOST and PORT say)
    #[arg(long)]
    url: Option<Target>,
    /// How long the answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout_seconds: u64,
    /// File with further variables (default: .env, where it is there)
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

/// Asks a running backend whether it is ready: exit code 0 where it is, 1 where it is not, 2 where
/// nobody can tell whom to ask.
pub(crate) fn run(options: &HealthcheckOptions) -> ExitCode {
    let target = match options.url.clone().map_or_else(|| configured(options), Ok) {
        Ok(target) => target,
        Err(error) => return crate::refuse(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::fail(&[format!("the runtime did not start: {error}")], false);
            return ExitCode::FAILURE;
        }
    };
    let patience = Duration::from_secs(options.timeout_seconds);
    let call = Call::get(&target.path("/ready"));
    match runtime.block_on(call.send(target.authority(), patience)) {
        Ok(answer) if answer.status == StatusCode::OK => ExitCode::SUCCESS,
        Ok(answer) => {
            crate::fail(&[format!("{target} is not ready: {}", answer.status)], false);
            ExitCode::FAILURE
        }
        Err(error) => {
            crate::fail(&[Chain(&error).to_string()], false);
            ExitCode::FAILURE
        }
    }
}

/// The backend that this configuration would start.
fn configured(options: &HealthcheckOptions) -> Result<Target, ConfigError> {
    let settings = ServeOptions { env_file: options.env_file.clone(), ..ServeOptions::default() };
    let mut address = Config::load_address(&settings)?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        });
    }
    Ok(Target::of(address))
}
