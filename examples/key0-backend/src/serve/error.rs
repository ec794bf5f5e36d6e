use std::{io, net::SocketAddr};

use key0_auth::error::StoreError;

use super::metrics::MetricsError;
use crate::{database::DatabaseError, partner::OpenError};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Partner(#[from] OpenError),
    #[error("the database does not tell which access tokens were revoked")]
    DeniedTokens(#[source] StoreError),
    #[error("can't listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("socket {place} of the service manager is none to listen on")]
    Given { place: usize, source: io::Error },
    #[error("the thread that writes the log did not start")]
    Log(#[source] io::Error),
    #[error("the runtime did not start")]
    Runtime(#[source] io::Error),
    #[error("the metrics can't be counted")]
    Metrics(#[from] MetricsError),
    #[error("can't listen for signals")]
    Signal(#[source] io::Error),
}

impl StartError {
    /// 2 for what the operator can mend in the configuration, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Database(_)
            | Self::Partner(_)
            | Self::DeniedTokens(_)
            | Self::Listen { .. }
            | Self::Given { .. } => 2,
            Self::Log(_) | Self::Metrics(_) | Self::Runtime(_) | Self::Signal(_) => 1,
        }
    }
}
