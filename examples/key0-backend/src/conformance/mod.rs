//! `key0-backend conformance`: checks any running backend by the contract, from outside.

mod options;
mod report;
mod run;
mod secrets;
#[allow(dead_code, unused_imports, reason = "the tests of the adapters use the rest of it")]
mod table;
mod target;

use std::{io, process::ExitCode};

pub(crate) use self::{options::ConformanceOptions, target::Target};
use self::{
    run::Run,
    table::{Group, Known, TableError, Values},
};
use crate::{call::CallError, logging::Chain, signals::interrupted};

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
enum ConformanceError {
    #[error(transparent)]
    Unreachable(#[from] CallError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the runtime did not start")]
    Runtime(#[source] io::Error),
    #[error("the result can't be printed")]
    Print(#[source] io::Error),
}

/// Checks a backend: exit code 0 when everything that was checked passed, 1 when a case failed, 2
/// when nothing could be checked.
pub(crate) fn run(options: &ConformanceOptions) -> ExitCode {
    let known = match Known::load(options) {
        Ok(known) => known,
        Err(error) => return crate::refuse(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let passed = runtime
        .map_err(ConformanceError::Runtime)
        .and_then(|runtime| runtime.block_on(check(options, known)));
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", Chain(&error));
            ExitCode::from(2)
        }
    }
}

/// Whether nothing failed.
async fn check(options: &ConformanceOptions, known: Known) -> Result<bool, ConformanceError> {
    let groups = Group::all().map_err(TableError::from)?;
    let mut run = Run::new(options, Values::new(known)?);
    run.reach().await?;
    tokio::select! {
        () = run.check(&groups) => {}
        () = interrupted() => run.interrupted(),
    }
    run.clear_up().await;
    let report = run.report();
    report.print(options.json).map_err(ConformanceError::Print)?;
    Ok(report.failed() == 0)
}

#[cfg(test)]
mod tests;
