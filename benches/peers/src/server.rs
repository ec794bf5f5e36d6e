//! The servers: this program again, each with other arguments.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    thread,
};

use actix_web::{App, HttpServer};
use clap::ValueEnum;

use crate::{actix_peers, axum_peers};

const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Who guards the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    AxumOpen,
    AxumLayer,
    AxumGuard,
    AxumRemembering,
    AxumByHand,
    Aliri,
    AxumGate,
    AxumJwtAuth,
    TowerOauth2,
    ActixOpen,
    ActixMiddleware,
    ActixRemembering,
    ActixByHand,
    ActixJwt,
    ActixHttpauth,
}

impl Peer {
    pub fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::AxumOpen | Self::ActixOpen => "open",
            Self::AxumLayer => "key0-auth, `AuthLayer`",
            Self::AxumGuard => "key0-auth, `AuthLayer::guard`",
            Self::AxumRemembering | Self::ActixRemembering => "key0-auth, tokens in use",
            Self::AxumByHand | Self::ActixByHand => "by hand, jsonwebtoken 12",
            Self::Aliri => "aliri_tower 0.6",
            Self::AxumGate => "axum-gate 1.1",
            Self::AxumJwtAuth => "axum-jwt-auth 0.7",
            Self::TowerOauth2 => "tower-oauth2-resource-server 0.12",
            Self::ActixMiddleware => "key0-auth, `AuthMiddleware`",
            Self::ActixJwt => "actix-jwt 0.1",
            Self::ActixHttpauth => "actix-web-httpauth 0.8, jsonwebtoken 12",
        }
    }

    pub fn framework(self) -> &'static str {
        if self.is_on_axum() { "axum" } else { "actix" }
    }

    pub fn is_open(self) -> bool {
        matches!(self, Self::AxumOpen | Self::ActixOpen)
    }

    fn is_on_axum(self) -> bool {
        !matches!(
            self,
            Self::ActixOpen
                | Self::ActixMiddleware
                | Self::ActixRemembering
                | Self::ActixByHand
                | Self::ActixJwt
                | Self::ActixHttpauth
        )
    }
}

/// A running server, which ends with this value.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(peer: Peer) -> io::Result<Self> {
        let name = peer.to_possible_value().expect("it is not hidden");
        let mut command = Command::new(env::current_exe()?);
        command.args(["--serve", name.get_name()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let out = process.stdout.take().expect("it is piped");
        // From here on, it is ended whatever happens.
        let mut server = Self { process, address: ANY_PORT.into() };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        server.address = line.trim().parse().map_err(io::Error::other)?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a child does: serves until its standard input ends, as it does when its parent is gone.
pub fn serve(peer: Peer) -> io::Result<()> {
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    if peer.is_on_axum() {
        tokio::runtime::Runtime::new()?.block_on(async {
            let app = axum_peers::app(peer).await;
            let listener = tokio::net::TcpListener::bind(ANY_PORT).await?;
            announce(listener.local_addr()?)?;
            axum::serve(listener, app).await
        })
    } else {
        actix_web::rt::System::new().block_on(async {
            let parts = actix_peers::Parts::of(peer);
            let app = move || App::new().configure(|config| parts.configure(config));
            let server = HttpServer::new(app).bind(ANY_PORT)?;
            announce(server.addrs()[0])?;
            server.run().await
        })
    }
}

/// Tells the parent.
fn announce(address: SocketAddr) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{address}")
}
