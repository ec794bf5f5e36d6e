//! `key0-backend keys`: what the keys API does, and master keys, on the host itself.

mod import;
mod options;
mod print;

use std::{io, process::ExitCode};

use key0_auth::{
    ApiKeys,
    api::{KeysApi, Operator},
    domain::{Clock, SystemClock},
};
use serde_json::{Map, Value, json};

use self::options::KeysCommand;
pub(crate) use self::options::KeysOptions;
use crate::operator::{self, CommandError, List, duration, query_value, value};

/// How many keys are read at a time.
const PAGE: u32 = 1_000;

pub(crate) fn run(options: &KeysOptions) -> ExitCode {
    operator::finish(carry_out(options), options.json)
}

async fn carry_out(options: &KeysOptions) -> Result<ExitCode, CommandError> {
    let (store, format) = operator::open(options.env_file.as_deref()).await?;
    let registry = store.keys;
    let api = KeysApi::new(registry.clone(), ApiKeys::new(registry.clone()).format(format));
    let code = command(options, &api).await;
    // Where a server uses the file as well, it may not be possible, and need not.
    let _ = registry.close().await;
    code
}

async fn command(options: &KeysOptions, api: &KeysApi) -> Result<ExitCode, CommandError> {
    let operator = Operator::host();
    match &options.command {
        KeysCommand::Create { role, label, permissions, expires_at, expires_in } => {
            let expires_in = expires_in.map(|life| SystemClock.now().plus(life).to_string());
            let mut body = Map::new();
            body.insert("role".to_owned(), role.as_str().into());
            body.extend(label.clone().map(|label| ("label".to_owned(), label.into())));
            let expires_at = expires_at.as_deref().map(instant).or(expires_in);
            body.extend(expires_at.map(|at| ("expiresAt".to_owned(), at.into())));
            if !permissions.is_empty() {
                body.insert("permissions".to_owned(), permissions_of(permissions)?);
            }
            let body = Value::Object(body).to_string();
            let made = value(&api.create(&operator, body.as_bytes()).await?)?;
            print::made(&made, options.json)?;
        }
        KeysCommand::List { kind, all, label, prefix, plan, resource, idle } => {
            let status = if *all { "all" } else { "active" };
            let mut query = format!("kind={}&status={status}", kind.as_str());
            let idle = idle.map(|days| days.to_string());
            let filters = [
                ("label", label),
                ("prefix", prefix),
                ("planId", plan),
                ("resourceId", resource),
                ("idleDays", &idle),
            ];
            for (name, value) in filters {
                if let Some(value) = value {
                    query.push_str(&format!("&{name}={}", query_value(value)));
                }
            }
            let mut shown = List::new(&print::KEYS, options.json)?;
            list(api, &operator, &query, &mut shown).await?;
            shown.end()?;
        }
        KeysCommand::Find { key } => {
            let is_digest = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
            let body = match &**key {
                "-" => json!({ "key": line_of_stdin()? }),
                digest if is_digest => json!({ "digest": digest }),
                display => json!({ "display": display }),
            };
            let found = api.find(&operator, body.to_string().as_bytes()).await?;
            operator::one(&value(&found)?, options.json)?;
        }
        KeysCommand::Edit { id, label, role, permissions, expires_at, metadata } => {
            let mut body = Map::new();
            let cleared =
                |text: &str, value: Value| if text.is_empty() { Value::Null } else { value };
            if let Some(label) = label {
                body.insert("label".to_owned(), cleared(label, label.clone().into()));
            }
            if let Some(role) = role {
                body.insert("role".to_owned(), role.as_str().into());
            }
            if let Some(first) = permissions.first() {
                let permissions =
                    if first.is_empty() { Value::Null } else { permissions_of(permissions)? };
                body.insert("permissions".to_owned(), permissions);
            }
            if let Some(at) = expires_at {
                body.insert("expiresAt".to_owned(), cleared(at, instant(at).into()));
            }
            if let Some(metadata) = metadata {
                let read = serde_json::from_str(metadata).ok().filter(Value::is_object);
                let object = || CommandError::Refused("--metadata takes a JSON object".to_owned());
                let value =
                    if metadata.is_empty() { Value::Null } else { read.ok_or_else(object)? };
                body.insert("metadata".to_owned(), value);
            }
            edit(api, id, &Value::Object(body), options.json).await?;
        }
        KeysCommand::Suspend { id } => {
            edit(api, id, &json!({ "suspended": true }), options.json).await?;
        }
        KeysCommand::Resume { id } => {
            edit(api, id, &json!({ "suspended": false }), options.json).await?;
        }
        KeysCommand::Show { id } => {
            operator::one(&value(&api.show(&operator, id).await?)?, options.json)?
        }
        KeysCommand::Revoke { id, reason } => {
            let query = reason.as_deref().map(|it| format!("reason={}", query_value(it)));
            api.revoke(&operator, id, query.as_deref()).await?;
            operator::done(&json!({ "revoked": id }), &format!("revoked {id}"), options.json)?;
        }
        KeysCommand::Rotate { id, grace } => {
            let seconds = grace.unwrap_or_default().as_secs();
            let body = json!({ "gracePeriodSeconds": seconds }).to_string();
            let made = value(&api.rotate(&operator, id, body.as_bytes()).await?)?;
            print::made(&made, options.json)?;
        }
        KeysCommand::Import(import) => {
            let mut imported = print::Imported::new(options.json, import.dry_run)?;
            import::run(api, &operator, import, &mut imported).await?;
            if !imported.end()? {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn edit(api: &KeysApi, id: &str, body: &Value, json: bool) -> Result<(), CommandError> {
    let edited = api.edit(&Operator::host(), id, body.to_string().as_bytes()).await?;
    Ok(operator::one(&value(&edited)?, json)?)
}

/// An instant as the keys API takes it; a duration counts from now.
fn instant(text: &str) -> String {
    match duration(text) {
        Ok(duration) => SystemClock.now().plus(duration).to_string(),
        Err(_) => text.to_owned(),
    }
}

/// The first line of standard input: a key would else stand in the list of processes.
fn line_of_stdin() -> Result<String, CommandError> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn permissions_of(pairs: &[String]) -> Result<Value, CommandError> {
    let mut permissions: Map<String, Value> = Map::new();
    for pair in pairs {
        let Some((resource, action)) = pair.split_once(':') else {
            let why = "--permission takes a resource and an action, as dpp:create";
            return Err(CommandError::Refused(why.to_owned()));
        };
        let actions = permissions.entry(resource).or_insert_with(|| json!([]));
        if let Value::Array(actions) = actions {
            actions.push(action.into());
        }
    }
    Ok(Value::Object(permissions))
}

/// Shows every key of a listing.
async fn list(
    api: &KeysApi,
    operator: &Operator,
    query: &str,
    shown: &mut List,
) -> Result<(), CommandError> {
    let mut cursor = String::new();
    loop {
        let query = format!("{query}&limit={PAGE}{cursor}");
        let mut page = value(&api.list(operator, Some(&query)).await?)?;
        if let Some(Value::Array(keys)) = page.get_mut("keys").map(Value::take) {
            shown.page(&keys)?;
        }
        match page.get("nextCursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(()),
        }
    }
}
