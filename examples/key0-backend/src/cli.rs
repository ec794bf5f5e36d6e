use clap::{Parser, Subcommand};

use crate::{
    config::ServeOptions, conformance::ConformanceOptions, demo::DemoOptions, keys::KeysOptions,
};

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
