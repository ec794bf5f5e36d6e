//! One connection to Redis, made again when it breaks. Every call has a deadline, and no more
//! calls wait than [`QUEUE`].

use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult,
    ScriptInvocation, ServerErrorKind, aio::MultiplexedConnection,
};
use tokio::{
    sync::Semaphore,
    time::{Duration, Instant, timeout, timeout_at},
};

use super::row::{discreet, fault};
use crate::{
    error::{StoreError, StoreErrorKind},
    store::backoff::Backoff,
};

/// How many calls may be under way; beyond that the store is unavailable, and nothing piles up.
pub(super) const QUEUE: usize = 1024;
/// How long one attempt to connect may take, however patient the call is: the next one may find
/// that the server is back, or that its name leads to another.
const CONNECTING: Duration = Duration::from_secs(1);

pub(super) struct Link {
    client: Client,
    permits: Semaphore,
    state: Mutex<State>,
    /// Held by the one who connects, while the others wait.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Tells each connection from the ones before.
    generation: u64,
    /// Whether it has ever answered.
    works: bool,
    backoff: Backoff,
    /// Until then calls fail at once, since the server could not be reached, with the reason.
    resting: Option<(Instant, StoreError)>,
}

enum Failure {
    Redis(RedisError),
    /// What came of the last try.
    Resting(StoreError),
    TimedOut,
}

impl Link {
    /// Not connected yet: that is done by the first call.
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            permits: Semaphore::new(QUEUE),
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    pub(super) async fn invoke<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        deadline: Instant,
    ) -> Result<T, StoreError> {
        self.call(deadline, async |mut connection| call.invoke_async(&mut connection).await).await
    }

    pub(super) async fn query<T: FromRedisValue>(
        &self,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<T, StoreError> {
        self.call(deadline, async |mut connection| command.query_async(&mut connection).await).await
    }

    async fn call<T>(
        &self,
        deadline: Instant,
        send: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(StoreError::unavailable("too many requests wait for the store"));
        };
        let mut used = None;
        let attempt = async {
            let (connection, generation) = self.connection().await?;
            used = Some(generation);
            send(connection).await.map_err(Failure::Redis)
        };
        match timeout_at(deadline, attempt).await {
            Ok(Ok(answer)) => {
                self.state().answered(used);
                Ok(answer)
            }
            Ok(Err(Failure::Redis(error))) => {
                let fatal = is_fatal(&error);
                let error = fault(error);
                if fatal {
                    self.state().lost(used, &error);
                }
                Err(error)
            }
            Ok(Err(Failure::Resting(error))) => Err(error),
            Ok(Err(Failure::TimedOut)) => Err(StoreError::new(StoreErrorKind::TimedOut)),
            Err(_) => {
                let error = StoreError::new(StoreErrorKind::TimedOut);
                self.state().lost(used, &error);
                Err(error)
            }
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), Failure> {
        if let Some(open) = self.state().open()? {
            return Ok(open);
        }
        let _alone = self.connecting.lock().await;
        if let Some(open) = self.state().open()? {
            return Ok(open);
        }
        let connected =
            timeout(CONNECTING, connect(&self.client, AsyncConnectionConfig::new())).await;
        let connected = connected.map_err(|_elapsed| Failure::TimedOut);
        match connected.and_then(|connected| connected.map_err(Failure::Redis)) {
            Ok(connection) => Ok(self.state().opened(connection)),
            Err(Failure::Redis(error)) => {
                let error = fault(error);
                self.state().failed(&error);
                Err(Failure::Resting(error))
            }
            Err(failure) => {
                self.state().failed(&StoreError::new(StoreErrorKind::TimedOut));
                Err(failure)
            }
        }
    }

    /// The connection may lead to the wrong server, or nowhere: the next call makes another.
    pub(super) fn give_up(&self) {
        self.state().connection = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects without a deadline: whoever calls this has one. Its errors tell nothing of the login.
pub(super) async fn connect(
    client: &Client,
    config: AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    let config = config
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE);
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(discreet)
}

/// Whether the connection is of no use any more: it broke, or it leads to a server that has
/// become a replica, or has another database.
fn is_fatal(error: &RedisError) -> bool {
    let kind = error.kind();
    error.is_unrecoverable_error()
        || error.is_io_error()
        || kind == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || kind == ErrorKind::Server(ServerErrorKind::MasterDown)
        || error.code() == Some("KEY0LOST")
}

impl State {
    /// The connection; `None` where it is time to make one.
    fn open(&self) -> Result<Option<(MultiplexedConnection, u64)>, Failure> {
        match &self.connection {
            Some(connection) => Ok(Some((connection.clone(), self.generation))),
            None => match self.resting() {
                Some(error) => Err(Failure::Resting(error.clone())),
                None => Ok(None),
            },
        }
    }

    fn opened(&mut self, connection: MultiplexedConnection) -> (MultiplexedConnection, u64) {
        self.generation += 1;
        self.works = false;
        self.resting = None;
        self.connection = Some(connection.clone());
        (connection, self.generation)
    }

    fn answered(&mut self, generation: Option<u64>) {
        if generation == Some(self.generation) && !self.works {
            self.works = true;
            self.backoff.reset();
        }
    }

    /// This connection failed; none where it was not even made. One that has never answered is no
    /// reason to try at once again: its server may drop them all, or be the wrong one.
    fn lost(&mut self, generation: Option<u64>, error: &StoreError) {
        if generation.is_some_and(|generation| generation != self.generation) {
            return;
        }
        self.connection = None;
        if generation.is_none() || !self.works {
            self.failed(error);
        }
    }

    fn failed(&mut self, error: &StoreError) {
        if self.connection.is_none() && self.resting().is_none() {
            self.resting = Some((Instant::now() + self.backoff.pause(), error.clone()));
        }
    }

    fn resting(&self) -> Option<&StoreError> {
        self.resting.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, error)| error)
    }
}
