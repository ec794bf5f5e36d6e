//! Limits on size and time.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::{
    pool::Pool,
    serve::{
        ISSUE_TOKEN, PHOTO, PHOTO_1, access_token, issue, order,
        process::{INTERNAL_SECRET, Request, Setup, connect, read_answer},
    },
};

const MAX_TOKEN: usize = 8 * 1024;

#[test]
fn a_token_may_have_8_kib() {
    let backend = Setup::new().start();
    // The padding that makes it just as long as allowed: four characters for three bytes.
    let bare = access_token("photo-1", 1).len();
    let mut pad = (MAX_TOKEN - bare) * 3 / 4;
    while access_token("photo-1", pad + 1).len() <= MAX_TOKEN {
        pad += 1;
    }
    let longest = access_token("photo-1", pad);
    assert!(longest.len() <= MAX_TOKEN && longest.len() > MAX_TOKEN - 4, "{}", longest.len());
    Request::get(PHOTO).bearer(&longest).send(backend.public).assert_ok(PHOTO_1);
    for over in [pad + 2, pad + 1_000, 3 * MAX_TOKEN] {
        let refused = Request::get(PHOTO).bearer(&access_token("photo-1", over));
        let refused = refused.send(backend.public);
        refused.assert_problem(401, "invalid_token", "The access token is too long");
    }
    // A head of 40 KiB is read; the credential in it is what is refused.
    let refused = Request::get(PHOTO).header("X-Api-Key", &"k".repeat(40 * 1024));
    refused.send(backend.public).assert_problem(401, "invalid_api_key", "Invalid API key");
    let padded = Request::get(PHOTO).header("X-Other", &"x".repeat(40 * 1024)).bearer(&longest);
    padded.send(backend.public).assert_ok(PHOTO_1);
    // Beyond all limits there still is an answer.
    let head = Request::get(PHOTO).header("X-Other", &"x".repeat(200 * 1024));
    assert_eq!(head.try_send(backend.public).unwrap().status, 431);
    let mut many = Request::get(PHOTO);
    for n in 0..500 {
        many = many.header(&format!("X-{n}"), "x");
    }
    assert_eq!(many.try_send(backend.public).unwrap().status, 431);
    assert_eq!(Request::get("/health").send(backend.public).status, 200);
}

#[test]
fn what_is_no_http_hurts_nobody() {
    let backend = Setup::new().start();
    let kept = "Host: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n";
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"POST /internal/issue-token HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        format!("POST {ISSUE_TOKEN} HTTP/1.1\r\n{kept}").as_bytes(),
    ] {
        let mut stream = connect(backend.public).unwrap();
        stream.write_all(bytes).unwrap();
        let answer = read_answer(&mut stream, false).unwrap();
        assert_eq!(answer.status, 400, "{:?}", String::from_utf8_lossy(bytes));
    }
    // A body that breaks off, or whose chunks are none.
    let cut_off = issue(1).header("Content-Length", "1000").bytes();
    let mut stream = connect(backend.public).unwrap();
    stream.write_all(&cut_off).unwrap();
    drop(stream);
    let chunks = issue(1).body("").chunked().head();
    let mut stream = connect(backend.public).unwrap();
    stream.write_all(&[chunks, b"zz\r\n".to_vec()].concat()).unwrap();
    let refused = read_answer(&mut stream, false).unwrap();
    let detail = "The request body could not be read to its end";
    refused.assert_problem(400, "invalid_request", detail);
    // Chunks in which there is something else than JSON.
    let packed = format!(
        "POST {ISSUE_TOKEN} HTTP/1.1\r\nHost: a\r\nX-Internal-Auth: {INTERNAL_SECRET}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
         2\r\n{{}}\r\n0\r\n\r\n"
    );
    let mut stream = connect(backend.public).unwrap();
    stream.write_all(packed.as_bytes()).unwrap();
    let detail = "The request body must have no Transfer-Encoding but chunked";
    let refused = read_answer(&mut stream, false).unwrap();
    refused.assert_problem(415, "unsupported_media_type", detail);
    assert_eq!(issue(1).send(backend.public).status, 200);
}

/// Routes that look at no body, also where nothing guards them.
#[tokio::test]
async fn a_body_that_nobody_reads_costs_no_request() {
    let master = "hush-a-master-key-of-these-tests-32";
    let backend = Setup::new().set("MASTER_API_KEYS", master).start();
    let mut pool = Pool::new(backend.public);
    let master = format!("x-api-key: {master}\r\n");
    for path in ["/", "/health", "/ready", "/metrics", "/openapi.json", "/docs", "/llms.txt"] {
        for length in [200, 20_000, 100_000] {
            for method in ["GET", "POST"] {
                let head = format!("{method} {path} HTTP/1.1\r\n{master}");
                let case = format!("{method} {path} {length}");
                for _ in 0..3 {
                    let answer = pool.send(&head, &vec![b'x'; length]).await;
                    let status = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
                    assert_eq!(status, if method == "POST" { 405 } else { 200 }, "{case}");
                    assert!(pool.is_kept(), "{case}");
                }
            }
        }
    }
}

/// Reads until the other side closes, and says what came.
pub(crate) fn until_closed(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end, too; a time-out of this side is not.
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    bytes
}

/// Sends a byte now and then until nobody takes it any more, or for a minute.
pub(crate) fn trickle(stream: &TcpStream, bytes: &[u8]) {
    for byte in bytes.iter().cycle().take(600) {
        if (&*stream).write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

pub(crate) fn begun(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(address).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// Half a request is nobody's request.
#[test]
fn a_body_that_ends_early_is_not_acted_on() {
    let backend = Setup::new().start();
    let body = order(1).to_string();
    let length = (body.len() + 1).to_string();
    let request = Request::new("POST", ISSUE_TOKEN)
        .internal(INTERNAL_SECRET)
        .header("Content-Type", "application/json")
        .header("content-length", &length)
        .body(body);
    let stream = begun(backend.public, &request.bytes());
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let bytes = until_closed(stream);
    assert!(!String::from_utf8_lossy(&bytes).contains("200 OK"));
    let mut other = order(1);
    other["planId"] = "gold".into();
    let answer = Request::post(ISSUE_TOKEN, &other).internal(INTERNAL_SECRET).send(backend.public);
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The soft limit is raised to the hard one, and from three quarters of the places on no connection is
/// kept.
#[test]
fn where_connections_are_many_none_is_kept() {
    let backend = Setup::new().files_at_most(64, 512).start();
    let kept = Request::get("/health").header("connection", "keep-alive");
    let answered = || {
        let mut stream = connect(backend.public).unwrap();
        stream.write_all(&kept.bytes()).unwrap();
        let answer = read_answer(&mut stream, false).unwrap();
        assert_eq!(answer.status, 200);
        (answer.header("connection").map(str::to_owned), stream)
    };
    let mut open = Vec::new();
    // Of 512 files the listener has 288.
    while open.len() < 260 {
        let (told, stream) = answered();
        if told.is_some() {
            assert_eq!(told.as_deref(), Some("close"));
            assert!(open.len() > 100, "{} of 288 places are taken", open.len());
            return;
        }
        open.push(stream);
    }
    panic!("260 connections are kept");
}

/// However many connections one client holds open, others are served, and Key0 on its own listener.
#[test]
fn idle_connections_keep_nobody_out() {
    let setup = Setup::new().set("INTERNAL_PORT", "0").files_at_most(64, 256);
    let backend = setup.start();
    let listeners = [backend.public, backend.internal.unwrap()];
    let kept = Request::get("/health").header("connection", "keep-alive");
    let mut idle = Vec::new();
    for address in listeners {
        let answer = kept.send(address);
        assert_eq!((answer.status, answer.header("connection")), (200, None));
        for n in 0..400 {
            // Some without a byte, some with half a head, some after a whole request.
            let mut stream = connect(address).unwrap();
            let bytes = kept.bytes();
            let sent = [0, 10, bytes.len()][n % 3];
            // It may be over already.
            if stream.write_all(&bytes[..sent]).is_ok() && sent == bytes.len() {
                let _ = read_answer(&mut stream, false);
            }
            idle.push(stream);
        }
    }
    for n in 0..50 {
        for address in listeners {
            // On a slow machine some of the idle ones have been let go for their time by then.
            assert_eq!(kept.send(address).status, 200);
        }
        Request::get(PHOTO)
            .bearer(&access_token("photo-1", 0))
            .send(listeners[0])
            .assert_ok(PHOTO_1);
        assert_eq!(issue(n).send(listeners[1]).status, 200);
    }
    backend.wait_for_log("idle connections were closed for others", 2);
    // Not for each of them.
    assert!(backend.kill().stderr.matches("idle connections were closed").count() < 50);
}

/// Nor do requests whose bodies come byte by byte, or not at all: they make room as idle ones do.
#[test]
fn bodies_that_trickle_keep_nobody_out() {
    let backend = Setup::new().set("INTERNAL_PORT", "0").files_at_most(64, 256).start();
    let head = "POST /credential/revoke HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken=";
    let trickling: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = connect(backend.public).unwrap();
            // It may be over already.
            let _ = stream.write_all(head.as_bytes());
            stream
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    for _ in 0..20 {
        while Request::get("/health").try_send(backend.public).map_or(0, |it| it.status) != 200 {
            assert!(Instant::now() < deadline, "nobody else is served");
            trickling.iter().for_each(|mut stream| drop(stream.write_all(b"x")));
        }
    }
    // Without that they would have been served after half a minute, when the bodies are given up.
    backend.wait_for_log("idle connections were closed for others", 1);
    assert!(!backend.kill().stderr.contains("status=408"));
}
