//! What the commands share by which an operator works with the store, on the host itself.

mod duration;
mod print;

use std::{error::Error, io, path::Path, process::ExitCode};

use key0_auth::{Rejection, api::Reply, apikey::KeyFormat, error::ConfigError};
use serde_json::Value;

pub(crate) use self::{
    duration::duration,
    print::{List, Table, done, harmless, line, member, one},
};
use crate::{
    config::{Config, ServeOptions},
    database::{Database, DatabaseError, Opened, Opening},
    logging::Chain,
};

/// Why a command did nothing, or not all it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("memory:// keeps nothing that another process could see")]
    Memory,
    #[error("the runtime did not start")]
    Runtime(#[source] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("{0:?} can't be read")]
    File(std::path::PathBuf, #[source] io::Error),
    #[error("the result can't be read")]
    Answer(#[source] serde_json::Error),
    #[error("the result can't be printed")]
    Print(#[from] io::Error),
}

impl CommandError {
    /// 2 for what the operator can mend in the configuration, else 1.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Database(_) | Self::Memory => 2,
            _ => 1,
        }
    }
}

impl From<Rejection> for CommandError {
    fn from(rejection: Rejection) -> Self {
        // The caller is shown the meaning alone; whoever is on the host may see the cause.
        let cause = rejection.source().map(|cause| format!(": {}", Chain(cause)));
        Self::Refused(format!("{}{}", rejection.message(), cause.unwrap_or_default()))
    }
}

/// Runs a command to its end, and says what went wrong.
pub(crate) fn finish(
    command: impl Future<Output = Result<ExitCode, CommandError>>,
    json: bool,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(CommandError::Runtime).and_then(|runtime| runtime.block_on(command));
    match done {
        Ok(code) => code,
        // Whoever read it has read enough, as head does.
        Err(CommandError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let texts = match &error {
                CommandError::Config(error) => {
                    error.faults().iter().map(ToString::to_string).collect()
                }
                error => vec![Chain(error).to_string()],
            };
            crate::fail(&texts, json);
            ExitCode::from(error.exit_code())
        }
    }
}

/// The store of the configuration.
pub(crate) async fn open(env_file: Option<&Path>) -> Result<(Opened, KeyFormat), CommandError> {
    let env_file = env_file.map(Path::to_owned);
    let settings = ServeOptions { env_file, ..ServeOptions::default() };
    let (database, format) = Config::load_store(&settings)?;
    if matches!(database, Database::Memory) {
        return Err(CommandError::Memory);
    }
    // A typing error must neither look like a store without keys, nor make one somewhere.
    Ok((database.open(Opening::Existing).await?, format))
}

/// A value as it stands in a URL's query.
pub(crate) fn query_value(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// The JSON of a good answer.
pub(crate) fn value(reply: &Reply) -> Result<Value, CommandError> {
    serde_json::from_slice(&reply.body).map_err(CommandError::Answer)
}
