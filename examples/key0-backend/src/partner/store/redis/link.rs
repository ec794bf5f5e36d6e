use std::{fmt, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, RedisError, RedisResult,
    ScriptInvocation, aio::MultiplexedConnection,
};
use tokio::{sync::Mutex, time::timeout};

use crate::partner::store::Fault;

/// How long one attempt to connect may take: the next one may find that the server is back.
const CONNECTING: Duration = Duration::from_secs(1);

/// One connection that all calls share, made again when it is of no use any more.
pub(super) struct Link {
    client: Client,
    /// Held by whoever connects, while the others wait.
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    /// Not connected yet: that is done by the first call.
    pub(super) fn new(target: impl IntoConnectionInfo) -> Result<Self, Fault> {
        Ok(Self { client: Client::open(target).map_err(discreet)?, connection: Mutex::default() })
    }

    /// Runs a script. What is not answered in time is given up.
    pub(super) async fn invoke<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        deadline: Duration,
    ) -> Result<T, Fault> {
        let answer = async { call.invoke_async(&mut self.connection().await?).await };
        let fault = match timeout(deadline, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => discreet(error).into(),
            Err(_) => Fault::TooSlow(deadline),
        };
        // It broke, or leads to a server that is of no use: whatever is wrong, the next may be right.
        *self.connection.lock().await = None;
        Err(fault)
    }

    /// Runs a command that is no script.
    pub(super) async fn query<T: FromRedisValue>(
        &self,
        command: &redis::Cmd,
        deadline: Duration,
    ) -> Result<T, Fault> {
        let answer = async { command.query_async(&mut self.connection().await?).await };
        match timeout(deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(discreet(error).into()),
            Err(_) => Err(Fault::TooSlow(deadline)),
        }
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = &*connection {
            return Ok(open.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(None);
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(connection.insert(made).clone())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// The error without the server's words, which may repeat what it was sent, the password too.
fn discreet(error: RedisError) -> RedisError {
    if error.is_io_error() {
        return error;
    }
    let code = error.code().unwrap_or("no code").to_owned();
    RedisError::from((error.kind(), "the server refuses", code))
}
