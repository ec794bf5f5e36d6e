//! The sockets that a service manager listens on and hands over (`sd_listen_fds(3)`).

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;

use super::StartError;
use crate::config::GivenAddresses;

/// The first is for the public listener, the second for the internal one.
#[derive(Debug, Default)]
pub(crate) struct GivenSockets {
    public: Option<TcpListener>,
    internal: Option<TcpListener>,
    count: usize,
}

impl GivenSockets {
    /// Takes them over; nobody else gets them after that.
    pub(crate) fn take() -> Result<Self, StartError> {
        let mut given = ListenFd::from_env();
        let mut at = |place| {
            given.take_tcp_listener(place).map_err(|source| StartError::Given { place, source })
        };
        let (public, internal) = (at(0)?, at(1)?);
        Ok(Self { public, internal, count: given.len() })
    }

    /// Where they listen: the configuration is checked against it.
    pub(crate) fn addresses(&self) -> Result<GivenAddresses, StartError> {
        let of = |place, socket: &Option<TcpListener>| {
            let address = socket.as_ref().map(TcpListener::local_addr).transpose();
            address.map_err(|source: io::Error| StartError::Given { place, source })
        };
        let (public, internal): (Option<SocketAddr>, _) =
            (of(0, &self.public)?, of(1, &self.internal)?);
        Ok(GivenAddresses { public, internal, count: self.count })
    }

    /// The public one and the internal one.
    pub(super) fn split(self) -> (Option<TcpListener>, Option<TcpListener>) {
        (self.public, self.internal)
    }
}
