use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::import::ImportOptions;
use crate::operator::duration;

/// What is done with keys, in the store that `DATABASE_URL` names.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeysOptions {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
    /// Print JSON, errors too
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
        /// What it stands for; a master manages keys, support looks at them and at purchases
        #[arg(long)]
        role: RoleName,
        /// A name to tell it by
        #[arg(long)]
        label: Option<String>,
        /// What it may do, in place of what its role implies; as dpp:create, any number of times
        #[arg(long = "permission", value_name = "RESOURCE:ACTION")]
        permissions: Vec<String>,
        /// From when on it is expired: as 2027-01-31T12:00:00Z, or as 30d from now
        #[arg(long, value_name = "INSTANT", conflicts_with = "expires_in")]
        expires_at: Option<String>,
        /// After how long it is expired: a number and s, m, h, d or w, as 30d
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires_in: Option<Duration>,
    },
    /// List keys, the newest first.
    List {
        /// Of which kind
        #[arg(long, default_value = "integrator")]
        kind: KindName,
        /// Also those that are expired, revoked or suspended
        #[arg(long)]
        all: bool,
        /// Only those with exactly this label
        #[arg(long)]
        label: Option<String>,
        /// Only those that are shown with this beginning, as ak_1a
        #[arg(long)]
        prefix: Option<String>,
        /// Only those that were bought with this plan
        #[arg(long)]
        plan: Option<String>,
        /// Only those that were bought for this resource
        #[arg(long)]
        resource: Option<String>,
        /// Only those that were not used for so many days
        #[arg(long, value_name = "DAYS")]
        idle: Option<u32>,
    },
    /// Find the key that somebody holds, by its plain text on standard input, its SHA-256 in
    /// hexadecimal, or the form in which lists show it.
    Find {
        /// - for the plain text on standard input; else a digest, or as ak_1a2B
        key: String,
    },
    /// Change what is said of a key. An empty value clears.
    Edit {
        /// Its id
        id: String,
        /// A name to tell it by
        #[arg(long)]
        label: Option<String>,
        /// What it stands for
        #[arg(long)]
        role: Option<RoleName>,
        /// What it may do, in place of what its role implies; as dpp:create, any number of times,
        /// or empty for what the role implies
        #[arg(long = "permission", value_name = "RESOURCE:ACTION")]
        permissions: Vec<String>,
        /// From when on it is expired: as 2027-01-31T12:00:00Z, or as 30d from now
        #[arg(long, value_name = "INSTANT")]
        expires_at: Option<String>,
        /// What is kept with it, as a JSON object
        #[arg(long, value_name = "JSON")]
        metadata: Option<String>,
    },
    /// Suspend a key: it opens nothing until it is resumed.
    Suspend {
        /// Its id
        id: String,
    },
    /// Resume a key that is suspended.
    Resume {
        /// Its id
        id: String,
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
        /// Why, for its record and its history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Give a key another secret and show it, this once.
    Rotate {
        /// Its id
        id: String,
        /// How long the old one goes on working, as 24h; at most 30d, by default not at all
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        grace: Option<Duration>,
    },
    /// Take over keys that were issued elsewhere, one on each line of a file: the plain text of
    /// one, or its SHA-256 in hexadecimal, or a JSON object with "key" or "digest", "role", and
    /// optionally "label", "permissions", "expiresAt" and "metadata".
    Import(ImportOptions),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    Master,
    Support,
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
            Self::Support => "support",
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
