use std::fmt;

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use crate::error::ConfigFault;

/// Where a Redis database is and how to log in there. Never shows the password, nor the user.
///
/// ```
/// use key0_auth::store::RedisUrl;
///
/// let url = RedisUrl::new("rediss://shop:a-password@cache.example.com/0?prefix=key0:")?;
/// assert!(!format!("{url} {url:?}").contains("a-password"));
/// # Ok::<(), key0_auth::error::ConfigFault>(())
/// ```
#[derive(Clone)]
pub struct RedisUrl {
    pub(super) info: ConnectionInfo,
    pub(super) encrypted: bool,
    /// What the names of the store's keys begin with, where the URL says so.
    pub(super) prefix: Option<String>,
}

impl RedisUrl {
    /// Checks a URL such as `rediss://user:password@host:6379/0?prefix=key0:`. With `rediss://`
    /// the connection is encrypted; the last part is the number of the database.
    ///
    /// # Errors
    ///
    /// Fails on another scheme, a fragment, an unknown parameter, and whatever can't be
    /// understood. The fault shows nothing of the URL.
    pub fn new(url: &str) -> Result<Self, ConfigFault> {
        let invalid = |reason| ConfigFault::invalid("the Redis URL", reason);
        // The scheme is checked first: the parser would take sockets of the file system as well.
        let encrypted = url.starts_with("rediss://");
        if !encrypted && !url.starts_with("redis://") {
            return Err(invalid("it begins with redis:// or rediss://"));
        }
        let malformed =
            || invalid("it has not the form redis://user:password@host:6379/0?prefix=key0:");
        let parsed = redis::parse_redis_url(url).ok_or_else(malformed)?;
        if parsed.fragment().is_some() {
            return Err(invalid("it has a fragment, and none is known"));
        }
        let mut prefix = None;
        for (name, value) in parsed.query_pairs() {
            if name != "prefix" {
                return Err(invalid("it has a parameter that is not known, as prefix is"));
            }
            if value.is_empty() {
                return Err(invalid("its prefix is empty"));
            }
            prefix = Some(value.into_owned());
        }
        let info = parsed.into_connection_info().map_err(|_| malformed())?;
        let settings = info.redis_settings().clone();
        let settings = settings
            .set_protocol(ProtocolVersion::RESP3)
            // Its right would be one more to ask for.
            .set_skip_set_lib_name();
        Ok(Self { info: info.set_redis_settings(settings), encrypted, prefix })
    }

    /// The same for connections of the application's own, as to keys beside the store's.
    pub fn connection_info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// What the names of the store's keys begin with, where the URL says so.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}/{}", self.info.addr(), self.info.redis_settings().db())?;
        match &self.prefix {
            Some(prefix) => write!(f, "?prefix={prefix}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisUrl").field(&format_args!("{self}")).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_where_and_never_how_to_log_in() {
        for (url, shown) in [
            ("redis://someone:hush@cache", "redis://cache:6379/0"),
            ("rediss://:hush@cache:7000/3", "rediss://cache:7000/3"),
            ("redis://:hush@10.0.0.1/?prefix=a:", "redis://10.0.0.1:6379/0?prefix=a:"),
        ] {
            let url = RedisUrl::new(url).expect("it is one");
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("RedisUrl({shown})"));
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_shown() {
        for url in [
            "",
            "hush",
            "redis:",
            "http://:hush@cache",
            "unix:///hush.sock",
            "redis+unix:///hush.sock",
            "valkey://:hush@cache",
            "redis://:hush@",
            "redis://:hush@cache/x",
            "redis://:hush@cache:99999/",
            "redis://:hush@0.0.0.0/",
            "redis://:hush@cache/0?protocol=resp2",
            "redis://:hush@cache/0?hush=1",
            "redis://:hush@cache/0?prefix=",
            "rediss://:hush@cache/#insecure",
        ] {
            let fault = RedisUrl::new(url).expect_err(url);
            assert!(!format!("{fault} {fault:?}").contains("hush"), "{fault:?}");
        }
    }
}
