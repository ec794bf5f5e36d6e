use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::DemoError;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// One request, as it is told and sent.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: http::StatusCode,
    pub(super) text: String,
    body: Value,
}

impl Call {
    pub(super) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), headers: Vec::new(), body: None }
    }

    pub(super) fn post(path: &str, body: &Value) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self { method: "POST", path: path.to_owned(), headers, body: Some(body.clone()) }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn bearer(self, credential: &str) -> Self {
        self.header("Authorization", format!("Bearer {credential}"))
    }

    /// Sends it on a connection of its own.
    pub(super) async fn send(&self, authority: &str) -> Result<Answer, DemoError> {
        let stream = TcpStream::connect(authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header("host", authority)
            .header("connection", "close");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        let response = sender.send_request(request.body(Full::<Bytes>::from(body))?).await?;
        let answer = Answer::read(response).await;
        connection.abort();
        answer
    }
}

impl Answer {
    async fn read(response: Response<hyper::body::Incoming>) -> Result<Self, DemoError> {
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
        let body = body.collect().await?.to_bytes();
        let text = String::from_utf8(body.to_vec())?;
        Ok(Self { status, body: serde_json::from_str(&text)?, text })
    }

    /// A member of the body; nothing where it is no text.
    pub(super) fn member(&self, member: &str) -> &str {
        self.body.get(member).and_then(Value::as_str).unwrap_or_default()
    }
}
