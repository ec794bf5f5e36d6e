//! Servers that refuse connections are not waited for.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::lane::MAKING;
use crate::error::StoreError;

/// How long a connection is waited for until it is asked what is the matter: the pool takes a
/// server that refuses for one that is starting, and tells nothing until the deadline.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long what the server said is told to others who want a connection.
const RESTING: Duration = Duration::from_millis(100);
/// How long it is not asked again after it took a connection: then it is slow, or the pool is
/// exhausted.
const CONTENT: Duration = Duration::from_millis(100);

/// What came of knocking at the server's door, past the pool.
#[derive(Default)]
pub(super) struct Refusal {
    /// Held by the one who asks.
    asking: tokio::sync::Mutex<()>,
    said: Mutex<Option<(Instant, Option<StoreError>)>>,
}

impl Refusal {
    /// The reason for which the server let nobody in a moment ago.
    pub(super) fn recent(&self) -> Option<StoreError> {
        self.said(RESTING).flatten()
    }

    /// Ends when the server lets nobody in, with the reason.
    pub(super) async fn comes(&self, pool: &PgPool) -> StoreError {
        loop {
            sleep(PATIENCE).await;
            let _alone = self.asking.lock().await;
            if let Some(reason) = self.recent() {
                return reason;
            }
            if matches!(self.said(CONTENT), Some(None)) {
                continue;
            }
            let asked = timeout(MAKING, knock(&pool.connect_options())).await;
            // One that says nothing does not refuse: it hangs.
            let reason = asked.ok().and_then(Result::err).map(StoreError::unavailable);
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            *said = Some((Instant::now(), reason.clone()));
            if let Some(reason) = reason {
                return reason;
            }
        }
    }

    fn said(&self, within: Duration) -> Option<Option<StoreError>> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.as_ref().filter(|(at, _)| at.elapsed() < within).map(|(_, said)| said.clone())
    }
}

/// Whether anybody listens.
async fn knock(target: &PgConnectOptions) -> io::Result<()> {
    let (host, port) = (target.get_host(), target.get_port());
    #[cfg(unix)]
    {
        let folder = target.get_socket().map(std::path::PathBuf::as_path);
        let folder = folder.or_else(|| host.starts_with('/').then(|| host.as_ref()));
        if let Some(folder) = folder {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            return tokio::net::UnixStream::connect(socket).await.map(drop);
        }
    }
    TcpStream::connect((host, port)).await.map(drop)
}
