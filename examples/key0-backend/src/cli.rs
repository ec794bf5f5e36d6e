use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    audit::AuditOptions,
    config::{ServeOptions, VARIABLES},
    conformance::ConformanceOptions,
    demo::DemoOptions,
    keys::KeysOptions,
    purchases::PurchasesOptions,
    store::StoreOptions,
    tools::{CompletionsOptions, DoctorOptions, HealthcheckOptions, SecretsOptions, TokenOptions},
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
    /// Say how the configuration is understood, and whether a server could work with it.
    Doctor(DoctorOptions),
    /// Ask a running backend whether it is ready.
    Healthcheck(HealthcheckOptions),
    /// Make, list, show, revoke, rotate and import API keys, also while the server runs.
    Keys(KeysOptions),
    /// List, show and revoke purchases, and retry or settle their handlers, also while the server runs.
    Purchases(PurchasesOptions),
    /// Tell what was done to keys and purchases, by whom and why, also while the server runs.
    Audit(AuditOptions),
    /// Check a running backend, in whatever language, against the contract.
    Conformance(ConformanceOptions),
    /// Play the whole story over real HTTP, on throw-away secrets and a throw-away store.
    Demo(DemoOptions),
    /// Back up and check the store, and copy it into another one.
    Store(StoreOptions),
    /// Make secrets.
    Secrets(SecretsOptions),
    /// Look into an access token.
    Token(TokenOptions),
    /// Print a script that completes this command line in a shell.
    Completions(CompletionsOptions),
    /// Print the manual page.
    Man,
}

/// The variables that a command reads beside its options, and an example.
enum Reads {
    All,
    Nothing,
    These(&'static [&'static str]),
}

const HELP: &[(&str, Reads, &str)] = &[
    (
        "serve",
        Reads::All,
        "KEY0_ACCESS_TOKEN_SECRET_FILE=token.txt INTERNAL_AUTH_SECRET_FILE=internal.txt \\\n    \
         key0-backend serve --port 3000",
    ),
    ("check-config", Reads::All, "key0-backend check-config --env-file production.env"),
    (
        "keys",
        Reads::These(&["DATABASE_URL", "FOREIGN_API_KEYS"]),
        "key0-backend keys create --role read --label \"Ada's shop\" --json",
    ),
    (
        "purchases",
        Reads::These(&["DATABASE_URL"]),
        "key0-backend purchases revoke challenge-1 --reason refunded",
    ),
    ("audit", Reads::These(&["DATABASE_URL"]), "key0-backend audit --since 30d --json"),
    (
        "conformance",
        Reads::These(&[
            "KEY0_ACCESS_TOKEN_SECRET",
            "INTERNAL_AUTH_SECRET",
            "INTERNAL_AUTH_AUDIENCE",
            "MASTER_API_KEYS",
        ]),
        "key0-backend conformance --url http://127.0.0.1:3000",
    ),
    ("demo", Reads::Nothing, "key0-backend demo --exit"),
    ("doctor", Reads::All, "key0-backend doctor --env-file production.env"),
    (
        "healthcheck",
        Reads::These(&["HOST", "PORT"]),
        "key0-backend healthcheck --timeout-seconds 2",
    ),
    ("secrets", Reads::Nothing, "key0-backend secrets generate"),
    ("store", Reads::These(&["DATABASE_URL"]), "key0-backend store backup backup.db"),
    (
        "token",
        Reads::These(&[
            "KEY0_ACCESS_TOKEN_SECRET",
            "KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS",
            "KEY0_PUBLIC_KEY",
            "KEY0_ACCESS_TOKEN_ISSUER",
            "KEY0_ACCESS_TOKEN_AUDIENCE",
        ]),
        "key0-backend token inspect -",
    ),
    ("completions", Reads::Nothing, "key0-backend completions bash"),
    ("man", Reads::Nothing, "key0-backend man"),
];

impl Cli {
    /// Reads the command line; ends the process where it is wrong, or asks for help.
    pub(crate) fn read() -> Self {
        let matches = Self::whole().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The command line with everything that its help says.
    pub(crate) fn whole() -> clap::Command {
        HELP.iter().fold(Self::command(), |command, (name, reads, example)| {
            let mut text = format!("Example:\n  {example}\n");
            let wanted = |name: &str| match reads {
                Reads::All => true,
                Reads::Nothing => false,
                Reads::These(names) => names.contains(&name),
            };
            let variables: Vec<_> =
                VARIABLES.iter().filter(|variable| wanted(variable.name)).collect();
            if !variables.is_empty() {
                text.push_str("\nVariables (secrets also as NAME_FILE, which names a file):\n");
            }
            for variable in variables {
                text.push_str(&format!("  {}\n        {}", variable.name, variable.about));
                if !variable.default.is_empty() {
                    text.push_str(&format!(" [default: {}]", variable.default));
                }
                text.push('\n');
            }
            command.mut_subcommand(name, |command| command.after_long_help(text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_an_example_that_is_one() {
        Cli::whole().debug_assert();
        for command in Cli::whole().get_subcommands() {
            let name = command.get_name();
            let help = HELP.iter().find(|(of, _, _)| *of == name);
            let (_, _, example) = help.unwrap_or_else(|| panic!("{name} has no example"));
            let line = example.rsplit("\\\n").next().expect("there is a last line");
            let words = line.replace("\"Ada's shop\"", "shop");
            let parsed = Cli::whole().try_get_matches_from(words.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
    }
}
