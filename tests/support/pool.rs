//! A client that keeps its connection for as long as the server does not say that it will close it.

use std::{
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) struct Pool {
    address: SocketAddr,
    kept: Option<TcpStream>,
}

impl Pool {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, kept: None }
    }

    /// Whether the server keeps the connection as well.
    #[allow(dead_code)]
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Sends a head without its last line and a body, and reads the status of the answer. Fails
    /// where the request or its answer is lost.
    pub(crate) async fn send(&mut self, head: &str, body: &[u8]) -> Result<u16> {
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await?,
        };
        let head = format!("{head}host: a\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut read = Vec::new();
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let text = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let header = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.map(str::to_owned)
        };
        let length: usize =
            header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while read.len() < end + length {
            if stream.read_buf(&mut read).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        if header("connection").as_deref() != Some("close") {
            self.kept = Some(stream);
        }
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| Error::other("no status"))
    }
}
