use std::{path::PathBuf, time::Duration};

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
        #[arg(long, value_name = "INSTANT")]
        expires_at: Option<String>,
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

/// Reads a duration such as `90s`, `30m`, `24h` or `30d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let read = || {
        let number = text.get(..text.len().checked_sub(1)?)?;
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| digits)?;
        let unit = match text.as_bytes().last()? {
            b's' => 1,
            b'm' => 60,
            b'h' => 60 * 60,
            b'd' => 24 * 60 * 60,
            _ => return None,
        };
        number.checked_mul(unit).map(Duration::from_secs)
    };
    read().ok_or_else(|| "a duration is a number with s, m, h or d, as 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1_800)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(2_592_000)));
        for bad in ["", "h", "1", "1w", "-1h", "+1h", "1.5h", "é", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(duration("999999999999999999d").is_err());
    }
}
