use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    OpenError, RedisStore, RedisUrl, Shared,
    feed::Channel,
    link::Link,
    older,
    open::{Address, Found},
};
use crate::store::{
    feed::{Feed, Pace, kept},
    listeners::Listeners,
};

/// How a [`RedisStore`](crate::RedisStore) is opened. Times under a millisecond are taken for one,
/// those over an hour for an hour.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::store::RedisOptions;
///
/// let url = "rediss://cache.example.com/0";
/// let store = RedisOptions::new().prefix("photos:").wait_for_server(false).open(url).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RedisOptions {
    pub(super) prefix: String,
    pub(super) root_certificate: Option<Vec<u8>>,
    pub(super) must_exist: bool,
    pub(super) wait_for_server: bool,
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
            must_exist: false,
            wait_for_server: true,
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

    /// What the names of the store's keys begin with: `key0:`. A `prefix` in the URL wins. Of two
    /// databases in one place, no prefix may be the beginning of the other's.
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

    /// Whether to refuse, rather than to make an empty database where there is none: `false`.
    #[must_use]
    pub fn must_exist(mut self, must_exist: bool) -> Self {
        self.must_exist = must_exist;
        self
    }

    /// Whether the opening waits for a server that lets nobody in, as it may be starting: `true`. With
    /// `false` it fails at once, with the server's reason.
    #[must_use]
    pub fn wait_for_server(mut self, wait: bool) -> Self {
        self.wait_for_server = wait;
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
    /// [`RedisOpenError`](crate::store::RedisOpenError).
    pub async fn open(&self, url: &str) -> Result<RedisStore, OpenError> {
        self.open_url(&RedisUrl::new(url).map_err(OpenError::Url)?).await
    }

    /// The same for a URL that was checked before.
    ///
    /// # Errors
    ///
    /// [`RedisOpenError`](crate::store::RedisOpenError).
    pub async fn open_url(&self, url: &RedisUrl) -> Result<RedisStore, OpenError> {
        let address = Address::new(url, self)?;
        let deadline = Instant::now() + self.open_timeout;
        let Found { version, made, durability } = address.open(deadline).await?;
        let version_key = address.version_key();
        let [reads, writes] = [(); 2].map(|()| Arc::new(Link::new(address.client.clone())));
        let links = [Arc::clone(&reads), Arc::clone(&writes)];
        let channel =
            Channel::new(address.client.clone(), links, &address.prefix, &version_key, &version);
        let listeners = Arc::new(Listeners::default());
        let pace = Pace { look_every: self.poll_interval, patience: self.read_timeout };
        let feed = Feed::start(
            "redis",
            channel,
            Arc::clone(&listeners),
            pace,
            deadline,
            self.wait_for_server,
        )
        .await
        .map_err(|error| address.unusable(error))?;
        let shared = Shared {
            version_key,
            version,
            made,
            durability,
            reads,
            writes,
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
            listeners,
            feed,
            shown: address.shown,
            prefix: address.prefix,
        };
        let shared = Arc::new(shared);
        older::start(Arc::downgrade(&shared));
        Ok(RedisStore { shared })
    }
}
