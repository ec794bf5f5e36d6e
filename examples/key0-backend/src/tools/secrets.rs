use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

/// The variables that hold nothing but random characters.
const RANDOM: [&str; 8] = [
    "KEY0_ACCESS_TOKEN_SECRET",
    "INTERNAL_AUTH_SECRET",
    "ISSUANCE_SECRET",
    "GATEWAY_SECRET",
    "MASTER_API_KEYS",
    "SUPPORT_API_KEYS",
    "MINTER_API_KEYS",
    "READ_API_KEYS",
];
/// Those that every backend needs, or should have.
const USUAL: [&str; 4] =
    ["KEY0_ACCESS_TOKEN_SECRET", "INTERNAL_AUTH_SECRET", "ISSUANCE_SECRET", "MASTER_API_KEYS"];
/// How much chance is in each, in bytes.
const BYTES: usize = 32;

/// What is done with secrets.
#[derive(Debug, Clone, Args)]
pub(crate) struct SecretsOptions {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum SecretsCommand {
    /// Print new random secrets, as lines of a .env file. Nothing is written anywhere.
    Generate {
        /// For which variables (default: those that every backend should have)
        #[arg(value_parser = RANDOM)]
        names: Vec<String>,
        /// Print the secrets alone, without the names
        #[arg(long, conflicts_with = "json")]
        bare: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(options: &SecretsOptions) -> ExitCode {
    let SecretsCommand::Generate { names, bare, json } = &options.command;
    let names: Vec<&str> = match &names[..] {
        [] => USUAL.to_vec(),
        names => names.iter().map(String::as_str).collect(),
    };
    let mut made = Vec::with_capacity(names.len());
    for name in names {
        match random() {
            Ok(secret) => made.push((name, secret)),
            Err(error) => {
                crate::fail(&[format!("the system gives no random bytes: {error}")], *json);
                return ExitCode::FAILURE;
            }
        }
    }
    let text = if *json {
        let members = made.into_iter().map(|(name, secret)| (name.to_owned(), secret.into()));
        format!("{}\n", Value::Object(members.collect::<Map<_, _>>()))
    } else {
        let lines = made.into_iter().map(|(name, secret)| match bare {
            true => format!("{secret}\n"),
            false => format!("{name}={secret}\n"),
        });
        lines.collect()
    };
    crate::told(&text)
}

fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
