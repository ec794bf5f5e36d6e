//! `key0-backend conformance`: judges any running backend by the contract, from outside.
//!
//! The cases are data: `cases/*.json` holds requests and what must come back, `bent_tokens.json`
//! the tokens that nobody may accept. What stands in them as `${name}` is filled in by [`Values`].

mod case;
mod expect;
mod options;
mod report;
mod run;
mod secrets;
mod target;
mod tokens;
mod values;

use std::{io, process::ExitCode};

use self::{case::Group, run::Run, secrets::ConformanceSecrets, values::Values};
pub(crate) use self::{options::ConformanceOptions, target::Target};
use crate::{call::CallError, logging::Chain, signals::interrupted};

/// Why there was nothing to judge.
#[derive(Debug, thiserror::Error)]
enum ConformanceError {
    #[error(transparent)]
    Unreachable(#[from] CallError),
    #[error("the table of cases is not right")]
    Table(#[from] serde_json::Error),
    #[error("the system gives no random bytes")]
    Random(#[from] getrandom::Error),
    #[error("no key can be made")]
    Key(#[from] key0_auth::error::RandomError),
    #[error("the runtime did not start")]
    Runtime(#[source] io::Error),
    #[error("the result can't be printed")]
    Print(#[source] io::Error),
}

/// Judges a backend: exit code 0 when all that was judged passed, 1 when a case failed, 2 when
/// there was nothing to judge.
pub(crate) fn run(options: &ConformanceOptions) -> ExitCode {
    let known = match ConformanceSecrets::load(options) {
        Ok(known) => known,
        Err(error) => return crate::refuse(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let judged = runtime
        .map_err(ConformanceError::Runtime)
        .and_then(|runtime| runtime.block_on(judge(options, &known)));
    match judged {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", Chain(&error));
            ExitCode::from(2)
        }
    }
}

/// Whether nothing failed.
async fn judge(
    options: &ConformanceOptions,
    known: &ConformanceSecrets,
) -> Result<bool, ConformanceError> {
    let groups = Group::all()?;
    let mut run = Run::new(options, Values::new(options, known)?);
    run.reach().await?;
    tokio::select! {
        () = run.judge(&groups) => {}
        () = interrupted() => run.interrupted(),
    }
    run.clear_up().await;
    let verdict = run.verdict();
    verdict.print(options.json).map_err(ConformanceError::Print)?;
    Ok(verdict.failed() == 0)
}

#[cfg(test)]
mod tests;
