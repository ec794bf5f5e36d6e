use std::{error::Error, time::Duration};

use key0_auth::{Rejection, RejectionKind, error::StoreError};

use super::{postgres, redis, sqlite};

/// Why some work came to nothing. Then nothing was written, unless it was
/// [too slow](Fault::TooSlow) or the connection broke: what had begun by then may go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The database was deleted or replaced.
    #[error(transparent)]
    Lost(#[from] StoreError),
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// No connection was made, whatever the server said of it.
    #[error(transparent)]
    Unconnected(sqlx::Error),
    #[error(transparent)]
    Redis(#[from] ::redis::RedisError),
    #[error("{0} of what is kept for partners can't be read")]
    Unreadable(&'static str),
    #[error("the partner tables did not answer within {0:?}")]
    TooSlow(Duration),
    #[error("some work on the partner tables broke off")]
    BrokenOff,
    #[error(transparent)]
    Refused(#[from] Rejection),
}

/// Why the state of the partner API can't be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("can't use the partner tables in {place}")]
    Unusable { place: String, source: Box<dyn Error + Send + Sync> },
    #[error("the partner tables in {place} are of version {found}, newer than this program")]
    Newer { place: String, found: i64 },
    #[error(
        "the partner tables in {place} are of version {found}, older than this program, and have to be \
         brought to its own first"
    )]
    Older { place: String, found: i64 },
}

impl Fault {
    /// Whether it may be over by itself: the engine is locked, full, out of reach, or slow. Another
    /// one comes again with the next try.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::TooSlow(_) | Self::Lost(_) | Self::Unconnected(_) => true,
            Self::BrokenOff | Self::Unreadable(_) | Self::Refused(_) => false,
            Self::Sqlite(error) => sqlite::is_outage(error),
            Self::Postgres(error) => postgres::is_outage(error),
            Self::Redis(error) => redis::is_outage(error),
        }
    }
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(rejection) => rejection,
            outage if outage.is_outage() => Self::new(RejectionKind::StoreUnavailable)
                .detail("The store can't be reached")
                .cause(outage),
            bug => Self::new(RejectionKind::Internal).cause(bug),
        }
    }
}
