//! A line to the backend that breaks at the worst moment.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, copy, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::Outcome;

pub(crate) struct Line {
    pub(crate) url: String,
    lost: JoinHandle<std::io::Result<String>>,
}

/// A line that passes on the first request, keeps the answer to itself and hangs up. Afterwards it
/// works.
pub(crate) async fn that_breaks_once(backend: SocketAddr) -> Outcome<Line> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let lost = tokio::spawn(async move {
        let (mut caller, _) = listener.accept().await?;
        let mut server = TcpStream::connect(backend).await?;
        let answer = swallow(&mut caller, &mut server).await?;
        drop(caller);
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(backend).await?;
                    copy_bidirectional(&mut caller, &mut server).await
                });
            }
        });
        Ok(answer)
    });
    Ok(Line { url, lost })
}

impl Line {
    /// The answer that did not arrive.
    pub(crate) async fn lost(self) -> Outcome<String> {
        Ok(self.lost.await??)
    }
}

/// Passes on one request; returns the answer, which is small and comes in one piece.
async fn swallow(caller: &mut TcpStream, server: &mut TcpStream) -> std::io::Result<String> {
    let mut answer = vec![0; 64 * 1024];
    let (mut from_server, mut to_server) = server.split();
    tokio::select! {
        passed = copy(caller, &mut to_server) => {
            passed?;
            Err(std::io::ErrorKind::UnexpectedEof.into())
        }
        length = from_server.read(&mut answer) => {
            Ok(String::from_utf8_lossy(&answer[..length?]).into_owned())
        }
    }
}
