use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What is done with keys, in the store that `DATABASE_URL` names.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeysOptions {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// File with further variables (default: .env, where it is there)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and show it, this once.
    Create {
        /// What it stands for; a master manages keys
        #[arg(long)]
        role: RoleName,
        /// A name to tell it by
        #[arg(long)]
        label: Option<String>,
        /// What it may do, in place of what its role implies; as dpp:create, any number of times
        #[arg(long = "permission", value_name = "RESOURCE:ACTION")]
        permissions: Vec<String>,
        /// From when on it is expired, as 2027-01-31T12:00:00Z
        #[arg(long, value_name = "INSTANT")]
        expires_at: Option<String>,
    },
    /// List keys, the newest first.
    List {
        /// Of which kind
        #[arg(long, default_value = "integrator")]
        kind: KindName,
        /// Also those that are expired or revoked
        #[arg(long)]
        all: bool,
    },
    /// Show one key and what was done to it.
    Show {
        /// Its id
        id: String,
    },
    /// Revoke a key, at once.
    Revoke {
        /// Its id
        id: String,
    },
    /// Give a key another secret and show it, this once; the old one dies at once.
    Rotate {
        /// Its id
        id: String,
    },
    /// Take over keys that were issued elsewhere, one on each line of a file: the plain text of
    /// one, or its SHA-256 in hexadecimal, or a JSON object with "key" or "digest", "role", and
    /// optionally "label", "permissions", "expiresAt" and "metadata".
    Import {
        /// The file; - for standard input
        file: PathBuf,
        /// The role of those on lines that are not JSON
        #[arg(long)]
        role: Option<RoleName>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    Master,
    Minter,
    Read,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KindName {
    Integrator,
    Payment,
}

impl RoleName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Minter => "minter",
            Self::Read => "read",
        }
    }
}

impl KindName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Integrator => "integrator",
            Self::Payment => "payment",
        }
    }
}
