use std::{fs, io::Read, path::Path};

use key0_auth::api::{KeysApi, Operator};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{KeysError, options::RoleName, print::member, value};
use crate::logging::Chain;

/// How many lines are on their way to the store at a time; they share a commit.
const AT_ONCE: usize = 64;

/// What became of one line of the file.
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    /// The key, or why it was refused.
    pub(super) outcome: Result<Accepted, String>,
}

/// A key that was taken over.
pub(super) struct Accepted {
    pub(super) id: String,
    /// What the operator should know of it.
    pub(super) warning: Option<String>,
}

/// Takes over the key of every line, whatever becomes of the others. Lines that are empty or begin
/// with # are passed over.
pub(super) async fn run(
    api: &KeysApi,
    operator: &Operator,
    file: &Path,
    role: Option<RoleName>,
) -> Result<Vec<Line>, KeysError> {
    let text = read(file).map_err(|error| KeysError::File(file.to_owned(), error))?;
    // As some editors put it before the first line.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
    let mut wanted = (1..).zip(text.split(|byte| *byte == b'\n')).filter_map(|(number, line)| {
        let line = line.trim_ascii();
        (!line.is_empty() && !line.starts_with(b"#")).then(|| (number, body(line, role)))
    });
    let mut lines = Vec::new();
    let mut running = JoinSet::new();
    loop {
        if running.len() < AT_ONCE
            && let Some((number, body)) = wanted.next()
        {
            let (api, operator) = (api.clone(), operator.clone());
            running.spawn(async move {
                let outcome = match body {
                    Ok(body) => import(&api, &operator, &body).await,
                    Err(why) => Err(why.to_owned()),
                };
                Line { number, outcome }
            });
            continue;
        }
        match running.join_next().await {
            Some(Ok(line)) => lines.push(line),
            Some(Err(panicked)) => return Err(KeysError::Refused(Chain(&panicked).to_string())),
            None => break,
        }
    }
    lines.sort_by_key(|line| line.number);
    Ok(lines)
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return fs::read(file);
    }
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;
    Ok(text)
}

async fn import(api: &KeysApi, operator: &Operator, body: &[u8]) -> Result<Accepted, String> {
    match api.import(operator, body).await {
        Ok(reply) => match value(&reply) {
            Ok(key) => {
                let warning = key.get("warning").and_then(Value::as_str).map(str::to_owned);
                Ok(Accepted { id: member(&key, "id"), warning })
            }
            Err(error) => Err(Chain(&error).to_string()),
        },
        Err(rejection) => Err(KeysError::from(rejection).to_string()),
    }
}

/// What the keys API is asked for; the line itself where it is JSON.
fn body(line: &[u8], role: Option<RoleName>) -> Result<Vec<u8>, &'static str> {
    if line.starts_with(b"{") {
        return Ok(line.to_vec());
    }
    let text = str::from_utf8(line).map_err(|_| "the line is not UTF-8")?;
    let role = role.ok_or("--role says nothing, and the line is not JSON with a role")?.as_str();
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let member = if is_digest { "digest" } else { "key" };
    Ok(json!({ member: text, "role": role }).to_string().into_bytes())
}
