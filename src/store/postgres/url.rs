use std::{fmt, str::FromStr};

use sqlx::{ConnectOptions, postgres::PgConnectOptions};

use crate::error::ConfigFault;

/// The parameters that have a meaning. Any other is refused: it may be a misspelt `sslmode`.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Where a PostgreSQL database is and how to log in there. Never shows the password, nor the user.
///
/// ```
/// use key0_auth::store::PostgresUrl;
///
/// let url = PostgresUrl::new("postgres://shop:a-password@db.example.com/shop")?;
/// assert!(!format!("{url} {url:?}").contains("a-password"));
/// # Ok::<(), key0_auth::error::ConfigFault>(())
/// ```
#[derive(Clone)]
pub struct PostgresUrl {
    options: PgConnectOptions,
}

impl PostgresUrl {
    /// Checks a URL such as `postgres://user:password@host:5432/database?sslmode=verify-full`.
    /// What it leaves out comes from the variables of libpq, as `PGHOST`.
    ///
    /// # Errors
    ///
    /// Fails on another scheme, an unknown parameter, and whatever can't be understood. The fault
    /// shows nothing of the URL.
    pub fn new(url: &str) -> Result<Self, ConfigFault> {
        let invalid = |reason| ConfigFault::invalid("the PostgreSQL URL", reason);
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(invalid("it begins with postgres:// or postgresql://"));
        }
        let form = "it has not the form postgres://user:password@host/database?sslmode=require";
        // A password with one of these, not escaped, would be taken for a database, and shown.
        let address = url.split('?').next().and_then(|rest| rest.split("://").nth(1));
        let database = address.and_then(|rest| rest.split_once('/')).map_or("", |(_, name)| name);
        if database.contains(['@', '/']) || url.contains('#') {
            return Err(invalid(form));
        }
        let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
        let known = |parameter: &str| {
            let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
            PARAMETERS.contains(&name) || (name.starts_with("options[") && name.ends_with(']'))
        };
        if !parameters.split('&').filter(|parameter| !parameter.is_empty()).all(known) {
            return Err(invalid("it has a parameter that is not known, as sslmode is"));
        }
        // The parser's own words can show a part of the URL.
        let options = PgConnectOptions::from_str(url).map_err(|_| invalid(form))?;
        Ok(Self { options: options.disable_statement_logging() })
    }

    /// The same for connections of the application's own, as to tables beside the store's. Unlike
    /// the URL, they show the password in their `Debug`.
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }
}

/// Host, port and database, as operators may see them.
pub(super) fn address(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    // The server takes the user's name where none is given.
    let database = options.get_database().unwrap_or_default();
    format!("{host}/{database}")
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&address(&self.options))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresUrl").field(&address(&self.options)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_where_and_never_how_to_log_in() {
        let url = PostgresUrl::new("postgres://someone:hush@db.example:6543/key0?sslmode=require");
        let url = url.expect("it is one");
        assert_eq!(url.to_string(), "db.example:6543/key0");
        assert_eq!(format!("{url:?}"), r#"PostgresUrl("db.example:6543/key0")"#);
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_shown() {
        for url in [
            "mysql://someone:hush@db/key0",
            "postgres://someone:hush@db:port/key0",
            "postgres://someone:hush@db/key0?sslmode=hush",
            "postgres://someone:hush@db/key0?sslmod=require",
            "postgres://db/key0?pasword=hush",
            "postgres://db/key0?sslmode=require&hush",
            "postgres://db/key0?port=hush",
            "postgres://someone:12/hush@db/key0",
            "postgres://someone:12/hush/key0",
            "postgres://someone:12?hush@db/key0",
            "postgres://someone:12#hush@db/key0",
            "postgres://db/hush@other?host=other",
        ] {
            let fault = PostgresUrl::new(url).expect_err(url);
            assert!(!format!("{fault} {fault:?}").contains("hush"), "{fault:?}");
        }
        for url in [
            "postgres://",
            "postgresql://db",
            "postgres://db/key0?options[statement_timeout]=5s&sslmode=verify-full",
            "postgres:///key0?host=/var/run/postgresql",
        ] {
            PostgresUrl::new(url).expect(url);
        }
    }
}
