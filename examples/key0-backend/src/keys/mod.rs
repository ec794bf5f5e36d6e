//! `key0-backend keys`: what the keys API does, and master keys, on the host itself.

mod import;
mod options;
mod print;

use std::{error::Error, io, process::ExitCode, sync::Arc, time::Duration};

use key0_auth::{
    ApiKeys, Rejection,
    api::{KeysApi, Operator, Reply},
    apikey::KeyFormat,
    domain::{Clock, SystemClock},
    error::ConfigError,
    store::KeyRegistry,
};
use serde_json::{Map, Value, json};

use self::options::KeysCommand;
pub(crate) use self::{options::KeysOptions, print::harmless};
use crate::{
    config::{Config, ServeOptions},
    database::{Database, DatabaseError, Opening},
    logging::Chain,
};

/// How many keys are read at a time.
const PAGE: u32 = 1_000;

/// Why a command did nothing, or not all it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("memory:// keeps nothing that another process could see")]
    Memory,
    #[error("the runtime did not start")]
    Runtime(#[source] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("{0:?} can't be read")]
    File(std::path::PathBuf, #[source] io::Error),
    #[error("the result can't be read")]
    Answer(#[source] serde_json::Error),
    #[error("the result can't be printed")]
    Print(#[from] io::Error),
}

impl KeysError {
    /// 2 for what the operator can mend in the configuration, else 1.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Database(_) | Self::Memory => 2,
            _ => 1,
        }
    }
}

impl From<Rejection> for KeysError {
    fn from(rejection: Rejection) -> Self {
        // The caller is shown the meaning alone; whoever is on the host may see the cause.
        let cause = rejection.source().map(|cause| format!(": {}", Chain(cause)));
        Self::Refused(format!("{}{}", rejection.message(), cause.unwrap_or_default()))
    }
}

pub(crate) fn run(options: &KeysOptions) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .map_err(KeysError::Runtime)
        .and_then(|runtime| runtime.block_on(carry_out(options)));
    match done {
        Ok(code) => code,
        // Whoever read it has read enough, as head does.
        Err(KeysError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let texts = match &error {
                KeysError::Config(error) => {
                    error.faults().iter().map(ToString::to_string).collect()
                }
                error => vec![Chain(error).to_string()],
            };
            crate::fail(&texts, options.json);
            ExitCode::from(error.exit_code())
        }
    }
}

async fn carry_out(options: &KeysOptions) -> Result<ExitCode, KeysError> {
    let (registry, format) = open(options).await?;
    let api = KeysApi::new(registry.clone(), ApiKeys::new(registry.clone()).format(format));
    let code = command(options, &api).await;
    // Where a server uses the file as well, it may not be possible, and need not.
    let _ = registry.close().await;
    code
}

async fn command(options: &KeysOptions, api: &KeysApi) -> Result<ExitCode, KeysError> {
    let operator = Operator::host();
    match &options.command {
        KeysCommand::Create { role, label, permissions, expires_at, expires_in } => {
            let expires_in = expires_in.map(Duration::from_secs);
            let expires_in = expires_in.map(|life| SystemClock.now().plus(life).to_string());
            let mut body = Map::new();
            body.insert("role".to_owned(), role.as_str().into());
            body.extend(label.clone().map(|label| ("label".to_owned(), label.into())));
            let expires_at = expires_at.clone().or(expires_in);
            body.extend(expires_at.map(|at| ("expiresAt".to_owned(), at.into())));
            if !permissions.is_empty() {
                body.insert("permissions".to_owned(), permissions_of(permissions)?);
            }
            let body = Value::Object(body).to_string();
            let made = value(&api.create(&operator, body.as_bytes()).await?)?;
            print::made(&made, options.json)?;
        }
        KeysCommand::List { kind, all, label } => {
            let status = if *all { "all" } else { "active" };
            let query = format!("kind={}&status={status}", kind.as_str());
            let mut shown = print::List::new(options.json)?;
            list(api, &operator, &query, label.as_deref(), &mut shown).await?;
            shown.end()?;
        }
        KeysCommand::Show { id } => {
            print::one(&value(&api.show(&operator, id).await?)?, options.json)?
        }
        KeysCommand::Revoke { id } => {
            api.revoke(&operator, id).await?;
            print::done(&json!({ "revoked": id }), &format!("revoked {id}"), options.json)?;
        }
        KeysCommand::Rotate { id } => {
            let made = value(&api.rotate(&operator, id, b"").await?)?;
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

/// The store of the configuration.
async fn open(options: &KeysOptions) -> Result<(Arc<dyn KeyRegistry>, KeyFormat), KeysError> {
    let settings = ServeOptions { env_file: options.env_file.clone(), ..ServeOptions::default() };
    let (database, format) = Config::load_store(&settings)?;
    if matches!(database, Database::Memory) {
        return Err(KeysError::Memory);
    }
    // A typing error must neither look like a store without keys, nor make one somewhere.
    Ok((database.open(Opening::Existing).await?.keys, format))
}

fn permissions_of(pairs: &[String]) -> Result<Value, KeysError> {
    let mut permissions: Map<String, Value> = Map::new();
    for pair in pairs {
        let Some((resource, action)) = pair.split_once(':') else {
            let why = "--permission takes a resource and an action, as dpp:create";
            return Err(KeysError::Refused(why.to_owned()));
        };
        let actions = permissions.entry(resource).or_insert_with(|| json!([]));
        if let Value::Array(actions) = actions {
            actions.push(action.into());
        }
    }
    Ok(Value::Object(permissions))
}

/// Shows every key of a listing that has this label, if one is asked for.
async fn list(
    api: &KeysApi,
    operator: &Operator,
    query: &str,
    label: Option<&str>,
    shown: &mut print::List,
) -> Result<(), KeysError> {
    let mut cursor = String::new();
    loop {
        let query = format!("{query}&limit={PAGE}{cursor}");
        let mut page = value(&api.list(operator, Some(&query)).await?)?;
        if let Some(Value::Array(mut keys)) = page.get_mut("keys").map(Value::take) {
            let has = |key: &Value| key.get("label").and_then(Value::as_str) == label;
            keys.retain(|key| label.is_none() || has(key));
            shown.page(&keys)?;
        }
        match page.get("nextCursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(()),
        }
    }
}

/// The JSON of a good answer.
fn value(reply: &Reply) -> Result<Value, KeysError> {
    serde_json::from_slice(&reply.body).map_err(KeysError::Answer)
}
