//! As much of HTTP/1.1 as the tests need, written out so that they can break its rules.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use serde_json::Value;

/// How long a test waits for an answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a request is sent again to a store that is too slow just now, and the pause between.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, headers: Vec::new(), body: Vec::new(), chunked: false }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: &str, body: &Value) -> Self {
        Self::new("POST", path).header("Content-Type", "application/json").body(body.to_string())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, credential: &str) -> Self {
        self.header("Authorization", &format!("Bearer {credential}"))
    }

    pub(crate) fn internal(self, secret: &str) -> Self {
        self.header("X-Internal-Auth", secret)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the body in chunks, without saying how long it is.
    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// The bytes of its head.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let has =
            |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !has("host") {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !has("connection") {
            head.push_str("Connection: close\r\n");
        }
        if self.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if !self.body.is_empty() && !has("content-length") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// All its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        if self.chunked {
            for chunk in self.body.chunks(4_000) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }

    /// Sends it, and again while the store is too slow: on a busy machine that is an honest answer.
    pub(crate) fn send(&self, address: SocketAddr) -> Answer {
        let mut answer = self.send_once(address);
        for _ in 0..TRIES {
            if !answer.is_passing() {
                break;
            }
            thread::sleep(PAUSE);
            answer = self.send_once(address);
        }
        answer
    }

    /// Sends it on a connection of its own. Every answer has a request id.
    pub(crate) fn send_once(&self, address: SocketAddr) -> Answer {
        let answer = self.try_send(address).unwrap();
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
        answer
    }

    pub(crate) fn try_send(&self, address: SocketAddr) -> io::Result<Answer> {
        let mut stream = connect(address)?;
        stream.write_all(&self.bytes())?;
        read_answer(&mut stream, self.method == "HEAD")
    }
}

pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header that stands once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "{name} stands more than once: {self:?}");
        values.first().copied()
    }

    /// The values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(known, _)| known == name);
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// A store that did not answer in time, or another request that is still at the same work.
    pub(crate) fn is_passing(&self) -> bool {
        let body = String::from_utf8_lossy(&self.body);
        self.status == 503
            && ["store_unavailable", "issuance_in_progress"].iter().any(|code| body.contains(code))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// A text in the body.
    pub(crate) fn member(&self, name: &str) -> String {
        let json = self.json();
        let text = json.get(name).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("no {name}: {self:?}")).to_owned()
    }

    /// It is this success, to the byte.
    #[track_caller]
    pub(crate) fn assert_ok(&self, body: &str) {
        assert_eq!((self.status, self.text()), (200, body), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
    }

    /// A JSON object without a text that must be one of its members.
    #[track_caller]
    fn without_member(&self, name: &str, body: &str) -> String {
        let start = format!(r#""{name}":""#);
        let parts = body.split_once(&start).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        let (_, rest) = parts.1.split_once("\",").unwrap_or_else(|| panic!("{self:?}"));
        format!("{}{rest}", parts.0)
    }

    /// It is this refusal, to the byte but for the path and for what helps.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str, detail: &str) {
        let title = match status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            409 => "Conflict",
            413 => "Content Too Large",
            415 => "Unsupported Media Type",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            _ => panic!("{status} is no refusal of the contract: {self:?}"),
        };
        let body = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}","code":"{code}","error":"{title}","message":"{detail}"}}"#
        );
        let text = self.without_member("instance", self.text());
        let text = self.without_member("retry", &text);
        assert_eq!((self.status, &*text), (status, &*body), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        let later = matches!(status, 408 | 503);
        assert_eq!(later, self.header("retry-after") == Some("1"), "{self:?}");
        let challenged = matches!(status, 401 | 403)
            || (status == 400 && !self.all("www-authenticate").is_empty());
        assert_eq!(!self.all("www-authenticate").is_empty(), challenged, "{self:?}");
        assert_eq!(status == 405, self.header("allow").is_some(), "{self:?}");
    }
}

/// Reads one answer, and nothing after it.
pub(crate) fn read_answer(stream: &mut impl Read, to_head: bool) -> io::Result<Answer> {
    let mut reader = BufReader::with_capacity(1, stream);
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let status = line(&mut reader)?;
    let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status: u16 = status.ok_or_else(|| broken("no status line"))?;
    let mut headers = Vec::new();
    loop {
        let line = line(&mut reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken("no header"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if to_head {
        // Whatever follows would be a body that must not be there.
        if answer.header("connection") == Some("close") {
            reader.read_to_end(&mut answer.body)?;
        }
    } else if status == 204 {
        // Has no body, and says nothing of its length (RFC 9110, section 15.3.5).
        if answer.header("content-length").is_some() {
            return Err(broken("a length without a body"));
        }
    } else if let Some(length) = answer.header("content-length") {
        let length = length.parse().map_err(|_| broken("no length"))?;
        answer.body = vec![0; length];
        reader.read_exact(&mut answer.body)?;
    } else {
        return Err(broken("the answers of this server have a length"));
    }
    Ok(answer)
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
