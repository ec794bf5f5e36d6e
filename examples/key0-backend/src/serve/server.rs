//! Listening, limits on connections, draining.

use std::{io, io::Write, net::SocketAddr, sync::Arc, thread, time::Duration};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Runtime,
    sync::watch,
    task::JoinSet,
    time::MissedTickBehavior,
};

use super::{
    connections::{Activity, Connections, HEAD_TIMEOUT, LOOK},
    error::StartError,
    files::Capacity,
    metrics, notify,
    rarely::Rarely,
    reload::Reload,
    requests::{Listener, RequestService},
    routes::App,
    secret_uses,
    signals::{self, HangUps},
    socket::Socket,
    sockets::GivenSockets,
    timer::ConnectionTimer,
};
use crate::{
    config::{Config, ServeOptions},
    logging::{self, Chain},
};

/// The most that the head of a request may be, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How many connections may wait to be taken.
const BACKLOG: u32 = 1_024;
/// How long requests may go on after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a client may take then to send what is missing of a head.
const DRAIN_HEADS: Duration = Duration::from_secs(2);
/// How long to wait when the system gives no more connections, as when it is out of files.
const BREATH: Duration = Duration::from_millis(100);

/// What the server runs on. It comes before the configuration is read: from then on the signal to read
/// it again ends nothing.
pub(crate) struct Running {
    runtime: Runtime,
    hang_ups: HangUps,
}

impl Running {
    pub(crate) fn start() -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let hang_ups = runtime.block_on(async { HangUps::listen() });
        Ok(Self { runtime, hang_ups: hang_ups.map_err(StartError::Signal)? })
    }

    /// Serves until the signal to stop, then drains.
    pub(crate) fn serve(
        self,
        config: Config,
        options: ServeOptions,
        sockets: GivenSockets,
    ) -> Result<(), StartError> {
        let _logging = logging::start(&config.log).map_err(StartError::Log)?;
        self.runtime.block_on(run(config, options, sockets, self.hang_ups))
    }
}

async fn run(
    config: Config,
    options: ServeOptions,
    sockets: GivenSockets,
    hang_ups: HangUps,
) -> Result<(), StartError> {
    let capacity = Capacity::raise();
    let counted = metrics::start()?;
    secret_uses::configured(&[], &config.secrets);
    // A port in use must leave no database behind, and nobody may connect before all is well: so
    // the addresses are taken first, and listened on last.
    let (public, internal) = sockets.split();
    let public = Bound::given_or(public, config.public)?;
    let internal = config.internal.map(|address| Bound::given_or(internal, address)).transpose()?;
    let app = App::open(&config, counted.clone()).await?;
    let routes = if internal.is_some() { app.public() } else { app.everything() };
    let internal_routes = internal.is_some().then(|| app.internal());
    let config = Arc::new(config);
    let (serving, ready) = (&config.serving, app.ready());
    let services = (routes.clone(), internal_routes.clone());
    let reload = Reload::new(options, config.clone(), app.clone(), services.0, services.1);
    let delay = serving.shutdown_delay;
    let stop = signals::listen(ready.clone(), delay, hang_ups, move || reload.now())
        .map_err(StartError::Signal)?;
    let public = public.listen()?;
    let internal = internal.map(Bound::listen).transpose()?;
    announce(&config, app.warnings(), &public, internal.as_ref());
    notify::tell(notify::READY);

    let housekeeping = app.housekeeping();
    let rounds = tokio::spawn(housekeeping.clone().run());
    tokio::spawn(metrics::keep_up(counted));
    let partner = tokio::spawn(app.partner().work());
    let stop_partner = partner.abort_handle();
    let partner_over = tokio::spawn(async move {
        if partner.await.is_err_and(|error| error.is_panic()) {
            tracing::error!("the partner worker panicked; imports and the chain stand still");
        }
    });
    let mut listeners = JoinSet::new();
    let listener = |name, limit| {
        let connections = Connections::new(name, limit, serving.proxies.clone());
        let (serving, ready) = (serving.clone(), ready.clone());
        let refusals = app.refusals().clone();
        Arc::new(Listener { name, connections, serving, ready, refusals })
    };
    let of = listener("public", capacity.public);
    listeners.spawn(accept(public, routes, of, stop.clone()));
    if let Some((internal, routes)) = internal.zip(internal_routes) {
        let of = listener("internal", capacity.internal);
        listeners.spawn(accept(internal, routes, of, stop));
    }
    listeners.join_all().await;
    rounds.abort();
    stop_partner.abort();
    let _ = partner_over.await;
    // What is committed after the store was closed would be in the log of the file alone.
    app.partner().end().await;
    housekeeping.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// An address that is taken and, but for a service manager's, not listened on yet.
struct Bound {
    address: SocketAddr,
    socket: Taken,
}

enum Taken {
    Ours(TcpSocket),
    /// The service manager listens on it (`sd_listen_fds(3)`).
    Given(std::net::TcpListener),
}

impl Bound {
    /// The socket that the service manager gave, else one of our own.
    fn given_or(
        given: Option<std::net::TcpListener>,
        address: SocketAddr,
    ) -> Result<Self, StartError> {
        match given {
            Some(given) => Ok(Self { address, socket: Taken::Given(given) }),
            None => Self::to(address),
        }
    }

    fn to(address: SocketAddr) -> Result<Self, StartError> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let bind = |socket: TcpSocket| {
            // A restart need not wait for the connections of the run before.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        match socket.and_then(bind) {
            Ok(socket) => Ok(Self { address, socket: Taken::Ours(socket) }),
            Err(source) => Err(StartError::Listen { address, source }),
        }
    }

    fn listen(self) -> Result<TcpListener, StartError> {
        let Self { address, socket } = self;
        let listening = match socket {
            Taken::Ours(socket) => socket.listen(BACKLOG),
            Taken::Given(listener) => {
                listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener))
            }
        };
        listening.map_err(|source| StartError::Listen { address, source })
    }
}

/// Takes connections until the signal to stop, then waits for the open ones.
async fn accept(
    listener: TcpListener,
    routes: RequestService,
    of: Arc<Listener>,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let connections = of.connections.clone();
    let routes = routes.of(of);
    let troubles = Rarely::default();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = looks.tick() => {
                connections.close_idle();
                continue;
            }
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(times) = troubles.happened(1) {
                    let error = Chain(&error).to_string();
                    tracing::warn!(error, times, "the system gives no more connections");
                }
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        connections.start(peer.ip(), |activity, place| {
            let routes = routes.from(peer.ip(), activity.clone());
            let connection = connection(stream, activity, routes);
            let connection = graceful.watch(connection);
            let task = tokio::spawn(async move {
                // A client that breaks off, or sends what is not HTTP, is its own business.
                let _ = connection.await;
                drop(place);
            });
            task.abort_handle()
        });
    }
    drop(listener);
    let heads = async {
        tokio::time::sleep(DRAIN_HEADS).await;
        connections.close_waiting();
        std::future::pending().await
    };
    let drained = async {
        tokio::select! {
            () = graceful.shutdown() => {}
            () = heads => {}
        }
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some requests were cut off after {DRAIN:?}");
    }
}

fn connection(
    stream: TcpStream,
    activity: Activity,
    routes: RequestService,
) -> http1::Connection<TokioIo<Socket>, TowerToHyperService<RequestService>> {
    let socket = Socket::new(stream, activity.clone());
    http1::Builder::new()
        .timer(ConnectionTimer::new(activity))
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(routes))
}

/// Says what is served where, and loudly what is open.
fn announce(
    config: &Config,
    of_store: &[String],
    public: &TcpListener,
    internal: Option<&TcpListener>,
) {
    let address = |listener: &TcpListener| {
        listener.local_addr().map_or_else(|_| "?".to_owned(), |address| format!("http://{address}"))
    };
    let mut lines = vec![
        format!("key0-backend {}", env!("CARGO_PKG_VERSION")),
        format!("listening on    {}", address(public)),
    ];
    lines.extend(internal.map(|internal| format!("internal on     {}", address(internal))));
    lines.extend([
        "protected       /api/photos/{id}  /api/data/{id}  /api/{id}".to_owned(),
        "internal paths  /internal/issue-token  /internal/payment-received".to_owned(),
        "operator paths  /keys  /purchases  /audit  /refusals  /metrics  /console".to_owned(),
        "partner paths   /v1/dpp  /v1/imports  /v1/loyalty (the chain is simulated)".to_owned(),
        format!("store           {}", config.database),
    ]);
    let warnings = || config.warnings.iter().chain(of_store);
    lines.extend(warnings().map(|warning| format!("WARNING         {warning}")));
    // In one piece, for whoever waits for it; and from a thread of its own, since the server does not
    // wait for a reader.
    let text = lines.join("\n") + "\n";
    let tell = move || drop(io::stdout().write_all(text.as_bytes()));
    let _ = thread::Builder::new().name("announce".to_owned()).spawn(tell);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        public = address(public),
        internal = internal.map(address),
        store = %config.database,
        "started"
    );
    for warning in warnings() {
        tracing::warn!("{warning}");
    }
}
