//! `DATABASE_URL`.

use std::{collections::HashSet, path::PathBuf};

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
    check_form(url)?;
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

/// Checks that nobody can have meant another place by it.
fn check_form(url: &str) -> Result<(), String> {
    if ["${", "$(", "{{", "<", ">"].iter().any(|mark| url.contains(mark)) {
        return Err("it holds a placeholder, and nothing in it is expanded".to_owned());
    }
    match url.split_once("://") {
        Some(("sqlite", path)) => check_path(path),
        Some(("postgres" | "postgresql" | "redis" | "rediss", rest)) => check_server(rest),
        _ => Ok(()),
    }
}

/// A name that holds a colon can be that of a file only behind `./` or from the root on.
fn check_path(path: &str) -> Result<(), String> {
    let bare = path.trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    let of_root = bare.split('/').next().unwrap_or_default();
    let drive = of_root.split_once(':').is_some_and(|(letter, _)| letter.len() == 1);
    let is_windows = cfg!(windows) && drive;
    let why = if bare.eq_ignore_ascii_case("memory") || bare.contains(":memory:") {
        "the form that it takes is memory://"
    } else if bare.starts_with("file:") {
        "its path stands without file:, as sqlite://key0-backend.db"
    } else if path.trim() != path || first.trim() != first {
        "its path begins or ends with a space"
    } else if path.contains(';') {
        "sqlite:// takes a path and no options"
    } else if path.contains('\\') && !cfg!(windows) {
        "its path holds a backslash; folders stand between slashes, as sqlite:///data/key0.db"
    } else if drive && !cfg!(windows) {
        "its path has the letter of a drive, which this host has not; \
         sqlite:///data/key0.db is a file from the root on"
    } else if !is_windows && (first.contains([':', '@']) || first == "localhost") {
        "a file has no host, port or user; sqlite:///data/key0.db is one from the root on, and \
         sqlite://./a:b.db one whose name holds such a sign"
    } else {
        return Ok(());
    };
    Err(why.to_owned())
}

/// What stands behind `postgres://` or `redis://`.
fn check_server(rest: &str) -> Result<(), String> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let hosts = place.split('/').next().unwrap_or_default();
    let hosts = hosts.rsplit_once('@').map_or(hosts, |(_, hosts)| hosts);
    if hosts.contains(',') {
        return Err("it takes one host".to_owned());
    }
    if hosts.contains('$') {
        return Err("it holds a placeholder, and nothing in it is expanded".to_owned());
    }
    let mut names = HashSet::new();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut names_of = pairs.map(|pair| pair.split('=').next().unwrap_or_default());
    match names_of.all(|name| names.insert(name)) {
        true => Ok(()),
        false => Err("a parameter stands twice in it; one is enough".to_owned()),
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
            ("sqlite://./a:b@c.db", "SQLite, ./a:b@c.db"),
            ("sqlite://data/a b:c.db", "SQLite, data/a b:c.db"),
            ("postgres://someone:hush@db/key0", "PostgreSQL, db:5432/key0"),
            ("postgresql://db", "PostgreSQL, db:5432/"),
            ("redis://:hush@cache", "Redis, redis://cache:6379/0"),
            ("rediss://:hush@cache/3?prefix=a:", "Redis, rediss://cache:6379/3?prefix=a:"),
        ] {
            assert_eq!(parse(url).map(|database| database.to_string()), Ok(shown.to_owned()));
        }
        assert!(parse("postgres:///key0?host=/var/run/postgresql").is_ok());
    }

    #[cfg(not(windows))]
    #[test]
    fn what_is_meant_for_another_system_is_refused() {
        assert!(refused(r"sqlite://C:\data\k.db").contains("a backslash"));
        for url in ["sqlite://C:/data/k.db", "sqlite:///C:/data/k.db"] {
            assert!(refused(url).contains("a drive"), "{url}");
        }
    }

    #[test]
    fn what_means_another_store_is_refused() {
        for (url, meant) in [
            ("sqlite:key0.db", "sqlite://key0.db"),
            ("sqlite://my%20keys.db", "as it stands"),
            ("sqlite://memory", "memory://"),
            ("sqlite://file::memory:", "memory://"),
            ("sqlite://file::memory:?cache=shared", "memory://"),
            ("sqlite://file:k.db", "without file:"),
            ("sqlite:///file:/data/k.db", "without file:"),
            ("sqlite://localhost", "no host"),
            ("sqlite://localhost:5432/k.db", "no host"),
            ("sqlite://user:hush@host", "no host"),
            ("sqlite://hush@host/k.db", "no host"),
            ("sqlite:// k.db", "a space"),
            ("sqlite://k.db ", "a space"),
            ("sqlite://k.db;mode=ro", "no options"),
            ("sqlite://${DATA}/k.db", "a placeholder"),
            ("postgres://${DB_HOST}/db", "a placeholder"),
            ("postgres://a:$(hush)@db/key0", "a placeholder"),
            ("postgres://a:<hush>@db/key0", "a placeholder"),
            ("postgres://{{ host }}/db", "a placeholder"),
            ("postgres://$DB_HOST/db", "a placeholder"),
            ("redis://${H}", "a placeholder"),
            ("redis://a,b", "one host"),
            ("redis://:hush@a:1,b:2/0", "one host"),
            ("postgres://a:hush@one,two/key0", "one host"),
            ("redis://a?prefix=a&prefix=b", "twice"),
            ("postgres://a/b?sslmode=disable&sslmode=require", "twice"),
            ("mysql://a:hush@db", "it begins with"),
            ("hush", "it begins with"),
        ] {
            let reason = refused(url);
            assert!(reason.contains(meant), "{url}: {reason}");
        }
    }
}
