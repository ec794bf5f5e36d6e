//! As much of an HTTP/1.1 client as the demo and the conformance run need: one connection for each
//! call, any method, and headers in any number.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// One request, as it is told and sent.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    /// In this order; a name may stand twice, a value may hold any bytes that a header can.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body, what is no UTF-8 in it replaced.
    pub(crate) text: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{0} can't be reached")]
    Connect(String, #[source] std::io::Error),
    #[error("there was no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the call can't be sent")]
    Call(#[from] http::Error),
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
    #[error("the answer can't be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Call {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, headers: Vec::new(), body: String::new() }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: &str, body: &Value) -> Self {
        let call = Self::new("POST", path).header("Content-Type", "application/json");
        Self { body: body.to_string(), ..call }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn bearer(self, credential: &str) -> Self {
        self.header("Authorization", format!("Bearer {credential}"))
    }

    /// Sends it on a connection of its own, and waits so long for the whole answer.
    pub(crate) async fn send(
        &self,
        authority: &str,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        let answer = tokio::time::timeout(patience, self.exchange(authority)).await;
        answer.unwrap_or(Err(CallError::TimedOut(patience)))
    }

    async fn exchange(&self, authority: &str) -> Result<Answer, CallError> {
        let stream = connect(authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(&self.path)
            .header("host", authority)
            .header("connection", "close");
        for (name, value) in &self.headers {
            request = request.header(name, value.as_bytes());
        }
        let request = request.body(Full::<Bytes>::from(self.body.clone()))?;
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(CallError::Unreadable)?.to_bytes();
        connection.abort();
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: parts.status, headers: parts.headers, text })
    }
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A member of the body; nothing where it is no text.
    pub(crate) fn member(&self, member: &str) -> String {
        self.json().get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }
}

/// A connection to a host and port.
pub(crate) async fn connect(authority: &str) -> Result<TcpStream, CallError> {
    let connected = TcpStream::connect(authority).await;
    connected.map_err(|error| CallError::Connect(authority.to_owned(), error))
}
