//! The servers that are compared, each a process of its own: this program again, with other
//! arguments, or the sample backend.
//!
//! All of them run as their frameworks start them by default, with a thread for every core that they
//! may run on: those that they share with the load, or one of their own.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use actix_web::{App, HttpServer};
use clap::ValueEnum;
use key0_auth::Validator;
use tempfile::TempDir;

use crate::{
    by_actix, by_axum,
    photo::Verifier,
    store::{self, Counting},
    support,
};

/// The keys that are all in the cache.
const CACHED_KEYS: usize = 1_000;
/// The keys that are as many as a cache holds by default.
const HOT_KEYS: usize = 100_000;
const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Axum,
    Actix,
    Backend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Guard {
    /// None.
    Open,
    /// A layer that does nothing: what the framework itself asks for any layer.
    EmptyLayer,
    Ours,
    /// Ours around the handler alone, in place of a layer around its route: for axum.
    AroundHandler,
    /// Ours, with as many keys as a cache holds by default, and SQLite behind it.
    HotKeys,
    /// A middleware around `jsonwebtoken::decode`.
    ByHand,
}

/// A running server, which ends with this value.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
    /// The keys that it knows.
    pub keys: Vec<String>,
    _directory: TempDir,
}

impl Server {
    pub fn start(kind: Kind, guard: Guard) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["--serve", &name(kind), "--guard", &name(guard)]);
        Self::run(command)
    }

    /// Runs a server that prints the keys it knows, if any, and then its address.
    pub fn run(mut command: Command) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        command.current_dir(directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        // From here on, it is ended whatever happens.
        let mut server =
            Self { process, address: ANY_PORT.into(), keys: Vec::new(), _directory: directory };
        for line in lines {
            let line = line?;
            if let Some((_, address)) = line.split_once("http://") {
                server.address = address.parse().map_err(io::Error::other)?;
                return Ok(server);
            }
            server.keys.push(line);
        }
        Err(io::Error::other("a server did not start"))
    }

    /// How long its threads have computed up to now; unknown where the system is not Linux.
    pub fn computed(&self) -> Option<Duration> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).ok()?;
        let of_thread = |thread: io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            stat.split(' ').next()?.parse::<u64>().ok()
        };
        Some(Duration::from_nanos(threads.filter_map(of_thread).sum()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What a child does: serves until its standard input ends, as it does when its parent is gone.
pub fn serve(kind: Kind, guard: Guard) -> io::Result<()> {
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match kind {
        Kind::Axum => serve_axum(guard),
        Kind::Actix => serve_actix(guard),
        Kind::Backend => Err(io::Error::other("the backend is a program of its own")),
    }
}

fn serve_axum(guard: Guard) -> io::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let (parts, keys) = Parts::of(guard).await;
        let listener = tokio::net::TcpListener::bind(ANY_PORT).await?;
        announce(listener.local_addr()?, &keys)?;
        axum::serve(listener, by_axum::app(parts)).await
    })
}

fn serve_actix(guard: Guard) -> io::Result<()> {
    actix_web::rt::System::new().block_on(async {
        let (parts, keys) = Parts::of(guard).await;
        let app = move || App::new().configure(|config| by_actix::configure(config, &parts));
        let server = HttpServer::new(app).bind(ANY_PORT)?;
        announce(server.addrs()[0], &keys)?;
        server.run().await
    })
}

/// What an app is made of.
#[derive(Clone)]
pub enum Parts {
    Open,
    EmptyLayer,
    ByHand(Arc<Verifier>),
    Ours { validator: Validator, store: Option<Arc<Counting>> },
    AroundHandler(Validator),
}

impl Parts {
    /// And the keys that open it.
    async fn of(guard: Guard) -> (Self, Vec<String>) {
        match guard {
            Guard::Open => (Self::Open, Vec::new()),
            Guard::EmptyLayer => (Self::EmptyLayer, Vec::new()),
            Guard::ByHand => (Self::ByHand(Arc::new(Verifier::new())), Vec::new()),
            Guard::Ours => {
                let (validator, keys) = support::validator(CACHED_KEYS).await;
                (Self::Ours { validator, store: None }, keys)
            }
            Guard::AroundHandler => {
                let (validator, keys) = support::validator(CACHED_KEYS).await;
                (Self::AroundHandler(validator), keys)
            }
            Guard::HotKeys => {
                let (validator, store, keys) = store::hot_keys(HOT_KEYS).await;
                (Self::Ours { validator, store: Some(store) }, keys)
            }
        }
    }
}

/// Tells the parent.
fn announce(address: SocketAddr, keys: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for key in keys {
        writeln!(out, "{key}")?;
    }
    writeln!(out, "http://{address}")
}
