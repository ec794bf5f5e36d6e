use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::import::ImportOptions;

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
        #[arg(long, value_name = "INSTANT", conflicts_with = "expires_in")]
        expires_at: Option<String>,
        /// After how long it is expired: a number and s, m, h, d or w, as 30d
        #[arg(long, value_name = "DURATION", value_parser = seconds)]
        expires_in: Option<u64>,
    },
    /// List keys, the newest first.
    List {
        /// Of which kind
        #[arg(long, default_value = "integrator")]
        kind: KindName,
        /// Also those that are expired or revoked
        #[arg(long)]
        all: bool,
        /// Only those with this label
        #[arg(long)]
        label: Option<String>,
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
    Import(ImportOptions),
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

/// The seconds of a duration such as `30d`.
fn seconds(text: &str) -> Result<u64, String> {
    let invalid = || "a number and s, m, h, d or w, as 30d".to_owned();
    let unit = text.chars().next_back().ok_or_else(invalid)?;
    let each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return Err(invalid()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| invalid())?;
    number.checked_mul(each).filter(|seconds| *seconds > 0).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn durations() {
        for (text, expected) in
            [("1s", 1), ("90m", 5_400), ("2h", 7_200), ("30d", 2_592_000), ("1w", 604_800)]
        {
            assert_eq!(seconds(text), Ok(expected));
        }
        for bad in ["", "30", "d", "0d", "-1d", "1.5h", "1y", "30 d", "99999999999999999999d", "1é"]
        {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
