//! Redis: keys under the prefix of the backend's own store, for any number of instances.
//!
//! One connection of its own. Every operation is one script, but for imports, whose script keeps what
//! became of each passport until that is told.

mod copying;
mod imports;
mod link;
mod loyalty;
mod once;
mod passports;
mod scripts;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use key0_auth::{domain::Timestamp, store::RedisUrl};
use redis::{ErrorKind, FromRedisValue, Script, ScriptInvocation};

use self::link::Link;
use super::{Due, Fault, OpenError, READ_DEADLINE, Store, WRITE_DEADLINE};

/// What the version says of state that this program understands.
const VERSION: i64 = 1;
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The state. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Redis {
    link: Arc<Link>,
    /// Names the version of the backend's own store.
    version_key: Arc<str>,
    /// What must stand there: else the database was emptied or replaced, which is an outage.
    version: Arc<str>,
    read_deadline: Duration,
    write_deadline: Duration,
}

impl Redis {
    /// Opens the state beside that of a store which has been opened.
    pub(super) async fn open(url: &RedisUrl, prefix: &str) -> Result<Self, OpenError> {
        let redis = Self::connect(url, prefix).await?;
        match redis.version(url, &scripts::OPEN).await? {
            VERSION => Ok(redis),
            found => Err(OpenError::Newer { place: url.to_string(), found }),
        }
    }

    /// Opens the state as it is; nothing where there is none.
    pub(super) async fn open_existing(
        url: &RedisUrl,
        prefix: &str,
    ) -> Result<Option<Self>, OpenError> {
        let redis = Self::connect(url, prefix).await?;
        match redis.version(url, &scripts::FOUND).await? {
            0 => Ok(None),
            VERSION => Ok(Some(redis)),
            found => Err(OpenError::Newer { place: url.to_string(), found }),
        }
    }

    /// The version of what is there, as this script tells it.
    async fn version(&self, url: &RedisUrl, script: &'static Script) -> Result<i64, OpenError> {
        let mut call = self.call(script);
        let found = self.link.invoke(call.arg(VERSION), OPEN_TIMEOUT).await;
        found.map_err(|fault: Fault| OpenError::Unusable {
            place: url.to_string(),
            source: fault.into(),
        })
    }

    async fn connect(url: &RedisUrl, prefix: &str) -> Result<Self, OpenError> {
        let unusable =
            |fault: Fault| OpenError::Unusable { place: url.to_string(), source: fault.into() };
        let link = Link::new(url.connection_info().clone()).map_err(unusable)?;
        let version_key = format!("{prefix}version");
        let get = Script::new("return redis.call('GET', KEYS[1]) or ''");
        let version: String =
            link.invoke(&get.key(&version_key), OPEN_TIMEOUT).await.map_err(unusable)?;
        Ok(Self {
            link: Arc::new(link),
            version_key: version_key.into(),
            version: version.into(),
            read_deadline: READ_DEADLINE,
            write_deadline: WRITE_DEADLINE,
        })
    }

    /// With time for a server that is busy with other tests.
    #[cfg(test)]
    pub(super) fn patient(self, deadline: Duration) -> Self {
        Self { read_deadline: deadline, write_deadline: deadline, ..self }
    }

    /// A call of this script, with what every script takes.
    fn call(&self, script: &'static Script) -> ScriptInvocation<'static> {
        let mut call = script.key(&*self.version_key);
        call.arg(&*self.version);
        call
    }

    async fn read<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Fault> {
        self.link.invoke(call, self.read_deadline).await
    }

    async fn write<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, Fault> {
        self.link.invoke(call, self.write_deadline).await
    }

    /// Runs a script that does what is due at some time, so much of it at most, and says how much.
    async fn some<T: FromRedisValue>(
        &self,
        script: &'static Script,
        now: Timestamp,
        limit: u32,
    ) -> Result<T, Fault> {
        let mut call = self.call(script);
        self.write(call.arg(now.as_micros()).arg(limit)).await
    }
}

#[async_trait]
impl Store for Redis {
    async fn due(&self, now: Timestamp) -> Result<Due, Fault> {
        let mut call = self.call(&scripts::DUE);
        let (imports, passports, orders) = self.read(call.arg(now.as_micros())).await?;
        Ok(Due { imports, passports, orders })
    }
}

/// Whatever the server says; only an answer that can't be read is a bug.
pub(super) fn is_outage(error: &redis::RedisError) -> bool {
    !matches!(error.kind(), ErrorKind::UnexpectedReturnType | ErrorKind::Parse)
}
