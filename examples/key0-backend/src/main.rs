//! The sample backend: sells photos and data to agents that pay through Key0.

mod audit;
mod call;
mod cli;
mod confidential;
mod config;
mod conformance;
mod database;
mod demo;
mod keys;
mod logging;
mod operator;
mod output;
mod partner;
mod purchases;
mod query;
mod serve;
mod signals;
mod store;
mod tools;

use std::{io::Write, process::ExitCode};

use mimalloc::MiMalloc;

/// Takes less time than the system's allocator for the many small pieces that a request asks for.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::read();
    match cli.command {
        cli::Command::Serve(options) => start(options),
        cli::Command::CheckConfig(options) => match config::Config::load(&options) {
            Ok(config) => {
                for warning in &config.warnings {
                    eprintln!("warning: {warning}");
                }
                told("the configuration is fine\n")
            }
            Err(error) => refuse(&error),
        },
        cli::Command::Doctor(options) => tools::doctor(&options),
        cli::Command::Healthcheck(options) => tools::healthcheck(&options),
        cli::Command::Keys(options) => keys::run(&options),
        cli::Command::Purchases(options) => purchases::run(&options),
        cli::Command::Audit(options) => audit::run(&options),
        cli::Command::Store(options) => store::run(&options),
        cli::Command::Secrets(options) => tools::secrets(&options),
        cli::Command::Token(options) => tools::token(&options),
        cli::Command::Completions(options) => tools::completions(&options),
        cli::Command::Man => tools::man(),
        cli::Command::Conformance(options) => conformance::run(&options),
        cli::Command::Demo(options) => demo::run(&options),
    }
}

/// Loads the configuration, then runs the server on it.
fn start(mut options: config::ServeOptions) -> ExitCode {
    let sockets = match given(&mut options) {
        Ok(sockets) => sockets,
        Err(error) => return not_started(&error),
    };
    let running = match serve::Running::start() {
        Ok(running) => running,
        Err(error) => return not_started(&error),
    };
    let config = match config::Config::load(&options) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    match running.serve(config, options, sockets) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => not_started(&error),
    }
}

/// Takes the sockets of the service manager, and tells the configuration where they listen.
fn given(options: &mut config::ServeOptions) -> Result<serve::GivenSockets, serve::StartError> {
    let sockets = serve::GivenSockets::take()?;
    options.given = sockets.addresses()?;
    Ok(sockets)
}

fn not_started(error: &serve::StartError) -> ExitCode {
    fail(&[logging::Chain(error).to_string()], false);
    ExitCode::from(error.exit_code())
}

/// Prints what a command has made: it has failed where nobody can have got it.
fn told(text: &str) -> ExitCode {
    match output::print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(&[format!("the result can't be printed: {error}")], false);
            ExitCode::FAILURE
        }
    }
}

/// Says what went wrong: each text on a line of standard error, or all of them as JSON on standard
/// output.
fn fail(texts: &[String], json: bool) {
    if json {
        let told = serde_json::json!({ "error": texts.join("; "), "errors": texts });
        let _ = writeln!(std::io::stdout(), "{}", output::harmless_json(&told.to_string()));
        return;
    }
    for text in texts {
        let _ = writeln!(std::io::stderr(), "error: {text}");
    }
}

/// One line for each fault, and the exit code for a wrong configuration.
fn refuse(error: &key0_auth::error::ConfigError) -> ExitCode {
    let faults: Vec<_> = error.faults().iter().map(ToString::to_string).collect();
    fail(&faults, false);
    ExitCode::from(2)
}
