//! `key0-backend keys`: what the keys API does, and master keys, on the host itself.

mod import;
mod options;
mod print;

use std::{error::Error, io, process::ExitCode, sync::Arc};

use key0_auth::{
    ApiKeys, Rejection,
    api::{KeysApi, Operator, Reply},
    error::ConfigError,
    store::KeyRegistry,
};
use serde_json::{Map, Value, json};

use self::options::KeysCommand;
pub(crate) use self::options::KeysOptions;
use crate::{
    config::{Config, ServeOptions},
    database::{Database, DatabaseError},
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
    #[error("there is no database {0:?}; the server, create and import make one")]
    NoDatabase(std::path::PathBuf),
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
            Self::Config(_) | Self::Database(_) | Self::Memory | Self::NoDatabase(_) => 2,
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
        Err(KeysError::Config(error)) => crate::refuse(&error),
        Err(error) => {
            eprintln!("error: {}", Chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn carry_out(options: &KeysOptions) -> Result<ExitCode, KeysError> {
    let registry = open(options).await?;
    let api = KeysApi::new(registry.clone(), ApiKeys::new(registry.clone()));
    let code = command(options, &api).await;
    // Where a server uses the file as well, it may not be possible, and need not.
    let _ = registry.close().await;
    code
}

async fn command(options: &KeysOptions, api: &KeysApi) -> Result<ExitCode, KeysError> {
    let operator = Operator::host();
    match &options.command {
        KeysCommand::Create { role, label, permissions, expires_at } => {
            let mut body = Map::new();
            body.insert("role".to_owned(), role.as_str().into());
            body.extend(label.clone().map(|label| ("label".to_owned(), label.into())));
            body.extend(expires_at.clone().map(|at| ("expiresAt".to_owned(), at.into())));
            if !permissions.is_empty() {
                body.insert("permissions".to_owned(), permissions_of(permissions)?);
            }
            let body = Value::Object(body).to_string();
            let made = value(&api.create(&operator, body.as_bytes()).await?)?;
            print::made(&made, options.json)?;
        }
        KeysCommand::List { kind, all } => {
            let status = if *all { "all" } else { "active" };
            let keys =
                list(api, &operator, &format!("kind={}&status={status}", kind.as_str())).await?;
            print::list(keys, options.json)?;
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
        KeysCommand::Import { file, role } => {
            let lines = import::run(api, &operator, file, *role).await?;
            print::imported(&lines, options.json)?;
            if lines.iter().any(|line| line.outcome.is_err()) {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The store of the configuration.
async fn open(options: &KeysOptions) -> Result<Arc<dyn KeyRegistry>, KeysError> {
    let settings = ServeOptions { env_file: options.env_file.clone(), ..ServeOptions::default() };
    let makes = matches!(options.command, KeysCommand::Create { .. } | KeysCommand::Import { .. });
    let database = Config::load_database(&settings)?;
    match &database {
        Database::Memory => return Err(KeysError::Memory),
        // A typing error in the path must not look like a store without keys.
        Database::Sqlite(path) if !makes && !path.exists() => {
            return Err(KeysError::NoDatabase(path.clone()));
        }
        Database::Sqlite(_) | Database::Postgres(_) | Database::Redis(_) => {}
    }
    Ok(database.open(makes).await?.keys)
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

/// Every key of a listing.
async fn list(api: &KeysApi, operator: &Operator, query: &str) -> Result<Vec<Value>, KeysError> {
    let mut keys = Vec::new();
    let mut cursor = String::new();
    loop {
        let query = format!("{query}&limit={PAGE}{cursor}");
        let mut page = value(&api.list(operator, Some(&query)).await?)?;
        if let Some(Value::Array(page)) = page.get_mut("keys").map(Value::take) {
            keys.extend(page);
        }
        match page.get("nextCursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(keys),
        }
    }
}

/// The JSON of a good answer.
fn value(reply: &Reply) -> Result<Value, KeysError> {
    serde_json::from_slice(&reply.body).map_err(KeysError::Answer)
}
