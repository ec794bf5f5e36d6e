//! A server that answers as it is told, well or badly, and remembers what it was sent.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

/// What becomes of one request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// 200 and these bytes of JSON, on a connection that takes the next request.
    Kept(&'static str),
    /// What is made of the request.
    Made(fn(&Seen) -> Vec<u8>),
    /// No answer, on a connection that stays.
    Hang,
    /// These bytes, then no more, on a connection that stays.
    HangAfter(Vec<u8>),
    /// These bytes, then one more every now and then, without an end.
    Drip(Vec<u8>),
    /// These bytes, then as many more as are taken.
    Flood(Vec<u8>),
    /// The end of the connection.
    Drop,
}

/// A request as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands more than once: {self:?}");
        value
    }
}

pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Gives these replies, one to each request; the last of them also to all that follow.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let replies = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        let (sink, connections) = (Arc::clone(&seen), Arc::new(AtomicUsize::new(0)));
        let accepted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&sink), Arc::clone(&replies)));
            }
        });
        Self { address, seen, connections, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that it was sent, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    sink: Arc<Mutex<Vec<Seen>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
) {
    loop {
        let Ok(seen) = read(&mut stream).await else { return };
        let reply = {
            let mut replies = replies.lock().unwrap();
            if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
        };
        sink.lock().unwrap().push(seen.clone());
        // A client that has gone is no fault of this server.
        match reply.unwrap() {
            Reply::Kept(body) => {
                let head = head(200, body.len());
                if stream.write_all(&[&head, body.as_bytes()].concat()).await.is_err() {
                    return;
                }
            }
            reply => {
                let _ = answer(stream, &seen, reply).await;
                return;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, seen: &Seen, reply: Reply) -> io::Result<()> {
    match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
        Reply::Kept(_) => unreachable!("its connection stays with `serve`"),
        Reply::Made(make) => stream.write_all(&make(seen)).await?,
        Reply::Hang => std::future::pending().await,
        Reply::HangAfter(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            std::future::pending().await
        }
        Reply::Drip(bytes) => {
            stream.write_all(&bytes).await?;
            loop {
                stream.write_all(b" ").await?;
                sleep(Duration::from_millis(10)).await;
            }
        }
        Reply::Flood(bytes) => {
            stream.write_all(&bytes).await?;
            loop {
                stream.write_all(&[b' '; 4_096]).await?;
            }
        }
        Reply::Drop => {}
    }
    stream.shutdown().await
}

async fn read(stream: &mut TcpStream) -> io::Result<Seen> {
    let mut bytes = Vec::new();
    let head = loop {
        let mut chunk = [0; 4_096];
        match stream.read(&mut chunk).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => bytes.extend_from_slice(&chunk[..length]),
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
        }
    };
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < length {
        let mut chunk = [0; 4_096];
        match stream.read(&mut chunk).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
    Ok(Seen { line, headers, body: bytes })
}

/// A whole answer.
pub(crate) fn answer_with(
    status: u16,
    content_type: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status} Said\r\nConnection: close\r\n");
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    if status != 204 {
        answer.push_str(&format!("Content-Type: {content_type}\r\n"));
        answer.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    format!("{answer}\r\n{body}").into_bytes()
}

/// 200 and JSON.
pub(crate) fn ok(body: Value) -> Reply {
    Reply::Bytes(answer_with(200, "application/json", &[], &body.to_string()))
}

/// A status alone, and these headers.
pub(crate) fn status(status: u16, headers: &[(&str, &str)]) -> Reply {
    Reply::Bytes(answer_with(status, "text/plain", headers, ""))
}

/// A refusal as our servers give it.
pub(crate) fn refusal(status: u16, code: &str, headers: &[(&str, &str)]) -> Reply {
    let body = json!({
        "type": "about:blank", "title": "Refused", "status": status, "detail": "In detail",
        "code": code, "error": "Refused", "message": "In detail",
    });
    let mut all = vec![("X-Request-Id", "request-7")];
    all.extend_from_slice(headers);
    Reply::Bytes(answer_with(status, "application/problem+json", &all, &body.to_string()))
}

/// The head of an answer whose body is longer than what comes.
pub(crate) fn head(status: u16, length: usize) -> Vec<u8> {
    format!("HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
        .into_bytes()
}
