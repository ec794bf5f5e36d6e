//! The load: requests over kept connections, one at a time on each, all driven by one thread.
//!
//! It is cheap next to any server: the requests are bytes made before, and of a response no more is
//! read than its status and its length. That the server is what limits, and not the load, shows in
//! how busy the server was, which is measured, too.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    task::JoinSet,
};

/// As many as keep a server of one thread busy.
const CONNECTIONS: u64 = 32;
/// No response of these servers is longer, in bytes.
const MAX_RESPONSE: usize = 4 * 1024;
/// How long one response may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests of which one after another is picked at random.
pub type Requests = Arc<Vec<Vec<u8>>>;

/// Connections to one server.
pub struct Load<'a> {
    runtime: &'a Runtime,
    connections: Vec<Connection>,
}

/// What a stretch of load came to.
pub struct Outcome {
    pub elapsed: Duration,
    /// How long each response took, in no order.
    pub latencies: Vec<Duration>,
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8; MAX_RESPONSE]>,
    /// Picks what is asked next.
    random: u64,
}

impl<'a> Load<'a> {
    /// Opens the connections. The runtime is one of a single thread.
    pub fn open(runtime: &'a Runtime, server: SocketAddr) -> io::Result<Self> {
        let open = |seed| runtime.block_on(Connection::open(server, seed));
        let connections = (1..=CONNECTIONS).map(open).collect::<io::Result<_>>()?;
        Ok(Self { runtime, connections })
    }

    /// Sends requests for so long. All of them must be answered with 200.
    pub fn run(&mut self, requests: &Requests, length: Duration) -> io::Result<Outcome> {
        let connections = std::mem::take(&mut self.connections);
        self.runtime.block_on(async {
            let began = Instant::now();
            let mut running = JoinSet::new();
            for connection in connections {
                running.spawn(keep_asking(connection, requests.clone(), began + length));
            }
            let mut latencies = Vec::new();
            while let Some(ended) = running.join_next().await {
                let (connection, more) = ended.map_err(io::Error::other)??;
                self.connections.push(connection);
                latencies.extend(more);
            }
            Ok(Outcome { elapsed: began.elapsed(), latencies })
        })
    }
}

/// The status and the body of one response, on a connection of its own.
pub fn call(runtime: &Runtime, server: SocketAddr, request: &[u8]) -> io::Result<(u16, String)> {
    runtime.block_on(async {
        let mut connection = Connection::open(server, 1).await?;
        let asked = tokio::time::timeout(PATIENCE, connection.ask(request));
        let (status, body) = asked.await.map_err(io::Error::other)??;
        Ok((status, String::from_utf8_lossy(body).into_owned()))
    })
}

/// Something is always to be done, so that the runtime looks at its connections without waiting.
/// For a load that has a core of its own.
pub async fn never_sleep() {
    loop {
        tokio::task::yield_now().await;
    }
}

async fn keep_asking(
    mut connection: Connection,
    requests: Requests,
    end: Instant,
) -> io::Result<(Connection, Vec<Duration>)> {
    let mut latencies = Vec::with_capacity(8 * 1024);
    let mut began = Instant::now();
    while began < end {
        let request = &requests[connection.random() as usize % requests.len()];
        let (status, body) = connection.ask(request).await?;
        if status != 200 {
            let body = String::from_utf8_lossy(body);
            return Err(io::Error::other(format!("answered with {status}: {body}")));
        }
        let ended = Instant::now();
        latencies.push(ended - began);
        began = ended;
    }
    Ok((connection, latencies))
}

impl Connection {
    async fn open(server: SocketAddr, seed: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Box::new([0; MAX_RESPONSE]), random: seed })
    }

    /// SplitMix64: the same row of numbers for every server.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    async fn ask(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => filled += more,
            }
            if let Some((status, body)) = whole(&self.buffer[..filled])? {
                return Ok((status, &self.buffer[body..filled]));
            }
        }
    }
}

/// The status of a response and where its body begins, once all of it is there.
fn whole(bytes: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = str::from_utf8(&bytes[..end]).map_err(io::Error::other)?;
    // Both frameworks write names in lower case, and a length with every body that is at hand.
    let length = head.split_once("content-length: ").map(|(_, length)| {
        let length = length.split_once("\r\n").map_or(length, |(length, _)| length);
        length.parse::<usize>()
    });
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)?.parse().ok());
    let (Some(Ok(length)), Some(status)) = (length, status) else {
        return Err(io::Error::other(format!("no response that is understood: {head}")));
    };
    let body = end + 4;
    Ok((bytes.len() >= body + length).then_some((status, body)))
}
