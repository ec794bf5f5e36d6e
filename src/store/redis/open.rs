use std::{collections::HashMap, error::Error, time::Duration};

use redis::{
    Client, ErrorKind, RedisError, ServerErrorKind, TlsCertificates, Value,
    aio::MultiplexedConnection,
};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{Durability, RedisOptions, RedisUrl, link::connect, row::discreet, scripts};
use crate::error::ConfigFault;

/// What the version says of a database that this program understands.
const VERSION: u32 = 6;
const APPLICATION: &str = "key0-auth";
/// The oldest Redis that can tell whether a user has all the rights that are needed.
const OLDEST: u32 = 7;
/// How long to wait before the next try while Redis is still starting.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Why a Redis server can't be used as a store.
///
/// Only [`Unusable`](Self::Unusable) may come after an empty database was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is none.
    #[error("{0}")]
    Url(ConfigFault),
    /// The server can't be reached, or refuses.
    #[error("can't use the redis at {address}")]
    Unusable {
        /// Where it is; without the password.
        address: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server is not of a kind that can be used.
    #[error("the redis at {address} {why}")]
    Unfit {
        /// Where it is; without the password.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The user lacks rights.
    #[error("the user at {address} may not use on the keys or the channel of the store: {missing}")]
    Rights {
        /// Where it is; without the password.
        address: String,
        /// The commands, with spaces between.
        missing: String,
    },
    /// Nothing stands under the prefix, and
    /// [`must_exist`](crate::store::RedisOptions::must_exist) was asked for.
    #[error("the redis at {address} holds no database of key0-auth under {prefix:?}")]
    Missing {
        /// Where it is; without the password.
        address: String,
        /// What the names of the store's keys begin with.
        prefix: String,
    },
    /// What stands under the prefix was not written by this crate, or has lost its version.
    #[error("what the redis at {address} holds under {prefix:?} is not of key0-auth")]
    Foreign {
        /// Where it is; without the password.
        address: String,
        /// What the names of the store's keys begin with.
        prefix: String,
    },
    /// An older version of this crate has written it, and
    /// [`must_exist`](crate::store::RedisOptions::must_exist) was asked for, with which nothing is
    /// changed.
    #[error(
        "what the redis at {address} holds under {prefix:?} has version {found}, \
         older than {VERSION} of this program, and has to be brought to that first"
    )]
    Older {
        /// Where it is; without the password.
        address: String,
        /// What the names of the store's keys begin with.
        prefix: String,
        /// The version that was found.
        found: u32,
    },
    /// A newer version of this crate has written it.
    #[error(
        "what the redis at {address} holds under {prefix:?} has version {found}, \
         newer than {VERSION} of this program"
    )]
    Newer {
        /// Where it is; without the password.
        address: String,
        /// What the names of the store's keys begin with.
        prefix: String,
        /// The version that was found.
        found: u32,
    },
}

/// A database that was found or made.
pub(super) struct Found {
    /// What its version must be from now on.
    pub(super) version: String,
    pub(super) made: bool,
    pub(super) durability: Durability,
}

/// Where a database is, and how to get there.
pub(super) struct Address {
    pub(super) client: Client,
    must_exist: bool,
    wait_for_server: bool,
    /// What can be shown of it.
    pub(super) shown: String,
    pub(super) prefix: String,
}

impl Address {
    pub(super) fn new(url: &RedisUrl, options: &RedisOptions) -> Result<Self, OpenError> {
        let address = url.to_string();
        match client(url, options.root_certificate.as_deref()) {
            Ok(client) => {
                let prefix = url.prefix.as_ref().unwrap_or(&options.prefix).clone();
                let RedisOptions { must_exist, wait_for_server, .. } = *options;
                Ok(Self { client, must_exist, wait_for_server, shown: address, prefix })
            }
            Err(error) => Err(OpenError::Unusable { address, source: error.into() }),
        }
    }

    pub(super) fn version_key(&self) -> String {
        format!("{}version", self.prefix)
    }

    /// Looks at the server, and finds or makes the database.
    pub(super) async fn open(&self, deadline: Instant) -> Result<Found, OpenError> {
        let mut is_told = false;
        loop {
            match timeout_at(deadline, self.try_open()).await {
                Ok(Ok(found)) => return found,
                Ok(Err(e))
                    if self.wait_for_server
                        && is_not_up(&e)
                        && Instant::now() + RETRY_PAUSE < deadline =>
                {
                    if !std::mem::replace(&mut is_told, true) {
                        tell_of_waiting(&self.shown, discreet(e));
                    }
                    sleep(RETRY_PAUSE).await;
                }
                Ok(Err(e)) => return Err(self.unusable(discreet(e))),
                Err(elapsed) => return Err(self.unusable(elapsed)),
            }
        }
    }

    async fn try_open(&self) -> Result<Result<Found, OpenError>, RedisError> {
        let mut connection = connect(&self.client, redis::AsyncConnectionConfig::new()).await?;
        if let Some(why) = unfit(&hello(&mut connection).await?) {
            return Ok(Err(self.unfit(why)));
        }
        let durability = durability(&mut connection).await;
        if durability.evicts == Some(true) {
            let why = "throws keys out when its memory is full; its maxmemory-policy has to be \
                       noeviction";
            return Ok(Err(self.unfit(why.to_owned())));
        }
        let candidate = format!("{APPLICATION} {VERSION} {}", Uuid::new_v4());
        let (state, text): (String, String) = scripts::OPEN
            .key(self.version_key())
            .arg(candidate)
            .arg(u8::from(self.must_exist))
            .invoke_async(&mut connection)
            .await?;
        let (address, prefix) = (self.shown.clone(), self.prefix.clone());
        let made = state == "made";
        let refusal = match (&*state, version(&text)) {
            ("rights", _) => OpenError::Rights { address, missing: text },
            ("missing", _) => OpenError::Missing { address, prefix },
            ("found", Some(found)) if found > VERSION => {
                OpenError::Newer { address, prefix, found }
            }
            ("found", Some(found)) if found < VERSION && self.must_exist => {
                OpenError::Older { address, prefix, found }
            }
            ("found" | "made", Some(found)) => {
                let version = match found {
                    VERSION => text,
                    _ => self.update(&mut connection, &text).await?,
                };
                let () = scripts::PROBE
                    .key(self.version_key())
                    .arg(&version)
                    .invoke_async(&mut connection)
                    .await?;
                return Ok(Ok(Found { version, made, durability }));
            }
            _ => OpenError::Foreign { address, prefix },
        };
        Ok(Err(refusal))
    }

    /// Takes a database of an older version over, and says what its version is from now on. What
    /// was added since is absent from its records, and means nothing there. Instances of the older
    /// version that have it open know it no more, and answer 503.
    async fn update(
        &self,
        connection: &mut MultiplexedConnection,
        older: &str,
    ) -> Result<String, RedisError> {
        let id = older.rsplit(' ').next().unwrap_or_default();
        scripts::UPDATE
            .key(self.version_key())
            .arg(older)
            .arg(format!("{APPLICATION} {VERSION} {id}"))
            .invoke_async(connection)
            .await
    }

    fn unfit(&self, why: String) -> OpenError {
        OpenError::Unfit { address: self.shown.clone(), why }
    }

    pub(super) fn unusable(&self, source: impl Error + Send + Sync + 'static) -> OpenError {
        OpenError::Unusable { address: self.shown.clone(), source: source.into() }
    }
}

fn client(url: &RedisUrl, root_certificate: Option<&[u8]>) -> Result<Client, RedisError> {
    let info = url.info.clone();
    if !url.encrypted {
        return Client::open(info);
    }
    // TLS panics where a program's crates bring two providers and nobody has chosen one.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let Some(root) = root_certificate else { return Client::open(info) };
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(root.to_owned()) };
    Client::build_with_tls(info, certificates)
}

/// What the server says of itself; every user may ask.
pub(super) fn hello_command() -> redis::Cmd {
    redis::cmd("HELLO")
}

async fn hello(
    connection: &mut MultiplexedConnection,
) -> Result<HashMap<String, Value>, RedisError> {
    hello_command().query_async(connection).await
}

/// Why a server can't be used, if so.
pub(super) fn unfit(hello: &HashMap<String, Value>) -> Option<String> {
    let told = |name| match hello.get(name) {
        Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(Value::SimpleString(text)) => text.clone(),
        _ => String::new(),
    };
    let version = told("version");
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major| major < OLDEST) {
        return Some(format!("has version {version}; it takes {OLDEST}.0 or newer"));
    }
    if told("mode") == "cluster" {
        return Some("is a cluster; it takes a standalone server".to_owned());
    }
    (told("role") != "master").then(|| "is a replica; it takes the primary".to_owned())
}

/// The number in a version that has exactly our form.
fn version(text: &str) -> Option<u32> {
    let mut parts = text.split(' ');
    let (name, number, id) = (parts.next()?, parts.next()?, parts.next()?);
    let parsed: u32 = number.parse().ok()?;
    let ours = name == APPLICATION
        && parts.next().is_none()
        && parsed > 0
        && parsed.to_string() == number
        && id.parse::<Uuid>().is_ok();
    ours.then_some(parsed)
}

async fn durability(connection: &mut MultiplexedConnection) -> Durability {
    let mut ask = async |section| -> Option<String> {
        redis::cmd("INFO").arg(section).query_async(connection).await.ok()
    };
    let persistence = ask("persistence").await;
    let memory = ask("memory").await;
    Durability {
        append_only: told(persistence.as_deref(), "aof_enabled:").map(|value| value == "1"),
        evicts: told(memory.as_deref(), "maxmemory_policy:")
            // The others pass over keys without a time to live, which ours all are.
            .map(|policy| policy != "noeviction" && !policy.starts_with("volatile-")),
    }
}

fn told<'a>(info: Option<&'a str>, name: &str) -> Option<&'a str> {
    info?.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_end)
}

fn tell_of_waiting(_address: &str, _error: impl Error) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        error = crate::error::chain(&_error),
        address = _address,
        "Redis lets nobody in; waiting for it"
    );
}

/// Whether the server may still be starting.
fn is_not_up(error: &RedisError) -> bool {
    error.is_connection_refusal() || error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading)
}
