//! Servers that refuse connections are not waited for.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::time::{Instant, sleep, timeout};

use super::{
    lane::MAKING,
    row::{Fault, TOO_MANY, is},
};
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

    /// Ends when the server lets nobody in, with the reason. Where others share the pool, those may hold
    /// all that the server has to give: it `may_be_full`.
    pub(super) async fn comes(&self, pool: &PgPool, may_be_full: bool) -> StoreError {
        loop {
            sleep(PATIENCE).await;
            let _alone = self.asking.lock().await;
            if let Some(reason) = self.recent() {
                return reason;
            }
            if matches!(self.said(CONTENT), Some(None)) {
                continue;
            }
            let asked = timeout(MAKING, knock(&pool.connect_options(), may_be_full)).await;
            // One that says nothing does not refuse: it hangs.
            let reason = asked.ok().and_then(Result::err).map(|Fault(reason)| reason);
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

/// Whether the server lets anybody in. Otherwise its reason, where it has one that the pool does not
/// tell.
async fn knock(target: &PgConnectOptions, may_be_full: bool) -> Result<(), Fault> {
    match PgConnection::connect_with(target).await {
        Ok(connection) => {
            tokio::spawn(timeout(MAKING, connection.close()));
            Ok(())
        }
        Err(error) if may_be_full && is(&error, TOO_MANY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
