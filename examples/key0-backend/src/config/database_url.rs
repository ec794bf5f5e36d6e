//! `DATABASE_URL`.

use std::path::PathBuf;

use key0_auth::{
    error::{ConfigError, ConfigFault},
    store::{PostgresUrl, RedisUrl, check_url},
};

use super::{Config, variables::invalid};
use crate::database::Database;

impl Config {
    /// What a URL names that stands in this option.
    pub(crate) fn database_of(option: &str, url: &str) -> Result<Database, ConfigError> {
        parse(url).map_err(|reason| invalid(option, &reason).into())
    }
}

/// What a URL says, or why it is none. The reason shows no part that could be secret.
pub(super) fn parse(url: &str) -> Result<Database, String> {
    let reason = |fault| match fault {
        ConfigFault::Invalid { reason, .. } => reason,
        fault => fault.to_string(),
    };
    check_url(url).map_err(reason)?;
    match url.split_once("://") {
        Some(("memory", "")) => Ok(Database::Memory),
        Some(("postgres" | "postgresql", _)) => {
            PostgresUrl::new(url).map(Database::Postgres).map_err(reason)
        }
        Some(("redis" | "rediss", _)) => RedisUrl::new(url).map(Database::Redis).map_err(reason),
        Some(("sqlite", path)) => Ok(Database::Sqlite(PathBuf::from(path))),
        _ => Err("it begins with sqlite://, postgres:// or redis://, or is memory://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        match parse(url) {
            Ok(database) => panic!("{url} is taken as {database}"),
            Err(reason) => {
                assert!(!reason.contains("hush"), "{reason}");
                reason
            }
        }
    }

    #[test]
    fn urls_that_mean_one_thing_alone() {
        for (url, shown) in [
            ("memory://", "memory: everything is forgotten at exit"),
            ("sqlite://key0.db", "SQLite, key0.db"),
            ("sqlite://data/key0.db", "SQLite, data/key0.db"),
            ("sqlite://./key0.db", "SQLite, ./key0.db"),
            ("sqlite:///data/key0.db", "SQLite, /data/key0.db"),
            ("sqlite://a%b.db", "SQLite, a%b.db"),
            ("postgres://someone:hush@db/key0", "PostgreSQL, db:5432/key0"),
            ("postgresql://db", "PostgreSQL, db:5432/"),
            ("redis://:hush@cache", "Redis, redis://cache:6379/0"),
            ("rediss://:hush@cache/3?prefix=a:", "Redis, rediss://cache:6379/3?prefix=a:"),
        ] {
            assert_eq!(parse(url).map(|database| database.to_string()), Ok(shown.to_owned()));
        }
        assert!(parse("postgres:///key0?host=/var/run/postgresql").is_ok());
    }

    #[test]
    fn what_means_another_store_is_refused() {
        for (url, meant) in [
            ("sqlite:key0.db", "sqlite://key0.db"),
            ("sqlite://my%20keys.db", "as it stands"),
            ("mysql://a:hush@db", "it begins with"),
            ("hush", "it begins with"),
        ] {
            let reason = refused(url);
            assert!(reason.contains(meant), "{url}: {reason}");
        }
    }
}
