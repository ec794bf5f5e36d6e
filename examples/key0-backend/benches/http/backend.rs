//! The sample backend, whole as it is: its own binary, SQLite, its defaults.

use std::{
    io,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    load::call,
    server::Server,
    support::{PHOTO, PLAN, SECRET},
};

const INTERNAL_SECRET: &str = "what Key0 and this backend share, 32 bytes+";
/// How many keys it issues.
const KEYS: usize = 1_000;

/// Starts it and has it issue its keys.
pub fn start(runtime: &Runtime) -> io::Result<Server> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_key0-backend"));
    command
        .arg("serve")
        .env_clear()
        .env("PORT", "0")
        .env("KEY0_ACCESS_TOKEN_SECRET", SECRET)
        .env("INTERNAL_AUTH_SECRET", INTERNAL_SECRET)
        .env("RUST_LOG", "off")
        .stderr(Stdio::inherit());
    let mut server = Server::run(command)?;
    let issue = |n| issue(runtime, &server, n);
    server.keys = (0..KEYS).map(issue).collect::<io::Result<_>>()?;
    Ok(server)
}

/// A key, as Key0 asks for one.
fn issue(runtime: &Runtime, server: &Server, n: usize) -> io::Result<String> {
    let body = json!({
        "requestId": format!("request-{n}"),
        "challengeId": format!("challenge-{n}"),
        "resourceId": PHOTO,
        "planId": PLAN,
        "txHash": format!("0x{n:064x}"),
    })
    .to_string();
    let request = format!(
        "POST /internal/issue-token HTTP/1.1\r\nhost: 127.0.0.1\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\
         x-internal-auth: {INTERNAL_SECRET}\r\n\r\n{body}",
        body.len()
    );
    let (_, body) = call(runtime, server.address, request.as_bytes())?;
    let issued: Value = serde_json::from_str(&body).map_err(io::Error::other)?;
    let key = issued["token"].as_str().map(str::to_owned);
    key.ok_or_else(|| io::Error::other("the backend issued no key"))
}
