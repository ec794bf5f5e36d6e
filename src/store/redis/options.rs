use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{OpenError, RedisStore, RedisUrl, Shared, feed::Channel, link::Link, open::Address};
use crate::store::{
    feed::{Feed, Pace, kept},
    listeners::Listeners,
};

/// How a [`RedisStore`](crate::RedisStore) is opened. Times under a millisecond are taken for one,
/// those over an hour for an hour.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    pub(super) prefix: String,
    pub(super) root_certificate: Option<Vec<u8>>,
    open_timeout: Duration,
    read_timeout: Duration,
    write_timeout: Duration,
    poll_interval: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "key0:".to_owned(),
            root_certificate: None,
            open_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_millis(500),
            write_timeout: Duration::from_secs(5),
            poll_interval: Duration::from_secs(1),
        }
    }
}

impl RedisOptions {
    /// The defaults of every setting.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the names of the store's keys begin with: `key0:`. A `prefix` in the URL wins.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The authority that a `rediss://` server must be certified by, as PEM; else those that the
    /// operating system trusts.
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
        self
    }

    /// How long the opening waits for the server, also while that still reads its files: 5 s.
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.open_timeout = kept(timeout);
        self
    }

    /// How long the read of one key or payment may take before it fails: 500 ms.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = kept(timeout);
        self
    }

    /// How long a write or a listing may take before it fails: 5 s. The write may have happened all
    /// the same.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = kept(timeout);
        self
    }

    /// How often to look for changes of others that were not heard of: every second.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = kept(interval);
        self
    }

    /// Opens the database of a URL such as `redis://user:password@host:6379/0`, or makes it.
    ///
    /// # Errors
    ///
    /// [`RedisOpenError`](crate::store::RedisOpenError); then nothing on the server was changed.
    pub async fn open(&self, url: &str) -> Result<RedisStore, OpenError> {
        self.open_url(&RedisUrl::new(url).map_err(OpenError::Url)?).await
    }

    /// The same for a URL that was judged before.
    ///
    /// # Errors
    ///
    /// [`RedisOpenError`](crate::store::RedisOpenError); then nothing on the server was changed.
    pub async fn open_url(&self, url: &RedisUrl) -> Result<RedisStore, OpenError> {
        let address = Address::new(url, self)?;
        let deadline = Instant::now() + self.open_timeout;
        let (version, durability) = address.open(deadline).await?;
        let version_key = address.version_key();
        let channel = Channel::new(address.client.clone(), &address.prefix, &version_key, &version);
        let listeners = Arc::new(Listeners::default());
        let pace = Pace { look_every: self.poll_interval, patience: self.read_timeout };
        let feed = Feed::start(channel, Arc::clone(&listeners), pace, deadline)
            .await
            .map_err(|error| address.unusable(error))?;
        let shared = Shared {
            version_key,
            version,
            durability,
            reads: Link::new(address.client.clone()),
            writes: Link::new(address.client),
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
            listeners,
            _feed: feed,
            shown: address.shown,
            prefix: address.prefix,
        };
        Ok(RedisStore { shared: Arc::new(shared) })
    }
}
