//! The forms of a store's URL that other tools read otherwise.

use crate::error::ConfigFault;

/// Refuses forms of `DATABASE_URL` that [`open`](super::open) would take for another store than other
/// tools do, and says which form was meant. Whether an engine takes the URL is not looked at.
///
/// ```
/// use key0_auth::store::check_url;
///
/// assert!(check_url("sqlite://backend.db").is_ok());
/// let refused = check_url("sqlite:backend.db").expect_err("it lacks its slashes");
/// assert!(refused.to_string().contains("sqlite://backend.db"));
/// ```
///
/// # Errors
///
/// [`ConfigFault::Invalid`] of `DATABASE_URL`. It shows no part that could be secret.
pub fn check_url(url: &str) -> Result<(), ConfigFault> {
    let checked = match (other_form(url), url.strip_prefix("sqlite://")) {
        (Some(meant), _) => Err(meant),
        (None, Some(path)) => check_path(path),
        (None, None) => Ok(()),
    };
    checked.map_err(|reason| ConfigFault::invalid("DATABASE_URL", reason))
}

/// Everything behind `sqlite://` is the path, from the working folder or from the root.
fn check_path(path: &str) -> Result<(), String> {
    let is_memory = path.trim_start_matches('/').starts_with(":memory:");
    if is_memory || path.contains("mode=memory") {
        return Err("it is memory:// for a store that forgets everything at exit".to_owned());
    }
    if path.is_empty() {
        return Err("sqlite:// needs a path, as sqlite://backend.db".to_owned());
    }
    if path.contains(['?', '#']) {
        return Err("sqlite:// takes a path and no options".to_owned());
    }
    if let Some(path) = path.strip_prefix("//") {
        let path = path.trim_start_matches('/');
        return Err(format!("the file /{path} is sqlite:///{path}"));
    }
    if let Some(name) = path.strip_prefix('/') {
        // Where three slashes are followed by what can only be meant from the working folder.
        let first = name.split('/').next().unwrap_or_default();
        if first == name || first == "." || first == ".." {
            let relative = name.strip_prefix("./").unwrap_or(name);
            return Err(format!(
                "sqlite:///{name} is a file in the root of the host; the one in the working \
                 folder is sqlite://{relative}"
            ));
        }
    }
    if path.starts_with("localhost/") || path.starts_with("127.0.0.1/") {
        return Err("a file has no host; sqlite:///folder/file.db is one from the root on".into());
    }
    if path.starts_with('~') || path.contains("${") || path.starts_with('$') {
        return Err("nothing in it is expanded; it takes the path itself".to_owned());
    }
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = path.as_bytes();
    let escaped = (0..bytes.len())
        .any(|at| bytes[at] == b'%' && is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)));
    if escaped {
        return Err("its path is taken as it stands; write what %20 and the like stand for".into());
    }
    if path.ends_with('/') {
        return Err("its path is that of a folder; sqlite:// takes a file".to_owned());
    }
    Ok(())
}

/// The form that was meant, where this is the form of another tool.
fn other_form(url: &str) -> Option<String> {
    const POSTGRES: &str = "postgres://user:password@host:5432/database";
    const REDIS: &str = "redis://user:password@host:6379/0?prefix=key0:";
    let meant = |form: &str| Some(format!("the form that it takes is {form}"));
    if matches!(url, "memory" | "memory:" | "memory:///" | ":memory:" | "sqlite::memory:") {
        return meant("memory://");
    }
    let Some((scheme, rest)) = url.split_once(':') else {
        let lower = url.to_ascii_lowercase();
        return match () {
            () if lower.contains("dbname=") || lower.starts_with("host=") => meant(POSTGRES),
            () if [".db", ".sqlite", ".sqlite3"].iter().any(|end| lower.ends_with(end)) => {
                Some(format!("a file is sqlite://{url}"))
            }
            () => None,
        };
    };
    let lower = scheme.to_ascii_lowercase();
    let (name, driver) = lower.split_once('+').unwrap_or((&lower, ""));
    match name {
        "sqlite" | "sqlite3" | "file" => {
            if name == "sqlite" && driver.is_empty() && scheme == lower && rest.starts_with("//") {
                return None;
            }
            // As these have it, the third slash belongs to the path or does not.
            let path = rest.trim_start_matches('/');
            Some(match rest.len() - path.len() {
                _ if path.starts_with(":memory:") => "the form that it takes is memory://".into(),
                0 | 2 => format!("the file {path} is sqlite://{path}"),
                _ => format!(
                    "the file /{path} is sqlite:///{path}, and {path} in the working folder \
                     sqlite://{path}"
                ),
            })
        }
        "jdbc" => match rest.split(':').next() {
            Some("sqlite") => meant("sqlite://backend.db"),
            Some("postgresql") => meant(POSTGRES),
            _ => None,
        },
        "postgres" | "postgresql" | "pg" | "psql" | "pgsql" | "postgis" => {
            let plain = driver.is_empty() && scheme == lower && rest.starts_with("//");
            if !plain || !name.starts_with("postgres") {
                return meant(POSTGRES);
            }
            // libpq looks for a socket then; a container has none.
            let place = rest[2..].split('?').next().unwrap_or_default();
            let has_host = rest.contains("host=") || rest.contains("hostaddr=");
            if (place.is_empty() || place.starts_with('/')) && !has_host {
                return Some(format!("it names no host; the form that it takes is {POSTGRES}"));
            }
            if place.split('/').next().is_some_and(|hosts| hosts.contains(',')) {
                return Some(format!("it takes one host; the form is {POSTGRES}"));
            }
            None
        }
        "redis" | "rediss" | "valkey" | "valkeys" | "keydb" | "unix" => {
            let plain = driver.is_empty() && scheme == lower && rest.starts_with("//");
            if driver.contains("sentinel") || driver.contains("cluster") {
                return Some(format!("it takes one server; the form is {REDIS}"));
            }
            if !plain || !name.starts_with("redis") {
                return meant(REDIS);
            }
            let place = rest[2..].split(['?', '#']).next().unwrap_or_default();
            let database = place.split_once('/').map_or("", |(_, database)| database);
            if !database.bytes().all(|byte| byte.is_ascii_digit()) {
                return Some(format!(
                    "what follows the host is a number; a prefix stands in its parameter: {REDIS}"
                ));
            }
            None
        }
        "redis-sentinel" | "redis-cluster" => {
            Some(format!("it takes one server; the form is {REDIS}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_that_was_meant_is_named() {
        let (postgres, redis) = ("postgres://user:password@host", "redis://user:password@host");
        for (url, meant) in [
            ("sqlite:key0.db", "sqlite://key0.db"),
            ("sqlite:data/key0.db", "sqlite://data/key0.db"),
            ("sqlite:/data/key0.db", "sqlite:///data/key0.db"),
            ("sqlite:///key0.db", "sqlite://key0.db"),
            ("sqlite:///./key0.db", "sqlite://key0.db"),
            ("sqlite:////data/key0.db", "sqlite:///data/key0.db"),
            ("sqlite://localhost/key0.db", "sqlite:///folder/file.db"),
            ("sqlite+aiosqlite:///key0.db", "sqlite://key0.db"),
            ("sqlite3://key0.db", "sqlite://key0.db"),
            ("SQLite://key0.db", "sqlite://key0.db"),
            ("file:key0.db", "sqlite://key0.db"),
            ("file:///data/key0.db", "sqlite:///data/key0.db"),
            ("key0.db", "sqlite://key0.db"),
            ("/data/key0.sqlite", "sqlite:///data/key0.sqlite"),
            ("sqlite://~/key0.db", "expanded"),
            ("sqlite://${DATA}/key0.db", "expanded"),
            ("sqlite://my%20keys.db", "as it stands"),
            ("sqlite://key0.db?mode=rwc", "no options"),
            ("sqlite://data/", "a folder"),
            ("sqlite::memory:", "memory://"),
            ("sqlite://:memory:", "memory://"),
            ("sqlite:///:memory:", "memory://"),
            ("sqlite://file.db?mode=memory", "memory://"),
            (":memory:", "memory://"),
            ("memory", "memory://"),
            ("memory:", "memory://"),
            ("jdbc:sqlite:key0.db", "sqlite://"),
            ("jdbc:postgresql://db/key0?user=a&password=hush", postgres),
            ("postgres:key0", postgres),
            ("postgres:///key0", "names no host"),
            ("postgres://", "names no host"),
            ("postgresql+asyncpg://a:hush@db/key0", postgres),
            ("Postgres://a:hush@db/key0", postgres),
            ("pgsql://a:hush@db/key0", postgres),
            ("postgres://a:hush@one,two/key0", "one host"),
            ("host=db dbname=key0 password=hush", postgres),
            ("redis:cache", redis),
            ("REDIS://:hush@cache", redis),
            ("valkey://:hush@cache", redis),
            ("redis://:hush@cache/key0", "?prefix="),
            ("redis://:hush@cache/0/key0", "?prefix="),
            ("unix:///run/hush.sock", redis),
            ("redis+unix:///run/hush.sock", redis),
            ("redis+sentinel://:hush@cache/0", "one server"),
            ("redis-sentinel://:hush@cache/0", "one server"),
        ] {
            let reason = check_url(url).expect_err(url).to_string();
            assert!(!reason.contains("hush"), "{reason}");
            assert!(reason.contains(meant), "{url}: {reason}");
        }
    }
}
