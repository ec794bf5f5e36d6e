//! `key0-backend purchases`: what `/purchases` does, on the host itself.

mod options;

use std::process::ExitCode;

use key0_auth::{
    ApiKeys,
    api::{Operator, PurchasesApi},
    store::DeniedTokens,
};
use serde_json::{Value, json};

pub(crate) use self::options::PurchasesOptions;
use self::options::{Filters, PurchasesCommand};
use crate::operator::{self, CommandError, List, Table, member, query_value, value};

/// How many purchases are read at a time.
const PAGE: u32 = 1_000;

const PURCHASES: Table = Table {
    name: "purchases",
    heads: &["CHALLENGE", "STATE", "RESOURCE", "PLAN", "ISSUED", "CONFIRMED", "KEY", "TRANSACTION"],
    row,
};

fn row(purchase: &Value) -> Vec<String> {
    if purchase.get("unreadable").is_some() {
        let mut row = vec![member(purchase, "challengeId"), "unreadable".to_owned()];
        row.resize(PURCHASES.heads.len(), String::new());
        return row;
    }
    let names = ["challengeId", "state", "resourceId", "planId", "issuedAt", "confirmedAt"];
    let mut row: Vec<_> = names.iter().map(|name| member(purchase, name)).collect();
    row.push(purchase.get("key").map(|key| member(key, "display")).unwrap_or_default());
    row.push(member(purchase, "txHash"));
    row
}

pub(crate) fn run(options: &PurchasesOptions) -> ExitCode {
    operator::finish(carry_out(options), options.json)
}

async fn carry_out(options: &PurchasesOptions) -> Result<ExitCode, CommandError> {
    let (store, _) = operator::open(options.env_file.as_deref()).await?;
    let denied = DeniedTokens::new(store.denials.clone());
    let keys = ApiKeys::new(store.keys.clone());
    let api = PurchasesApi::new(store.purchases.clone(), keys, denied.clone());
    let done = command(options, &api).await;
    denied.close();
    // Where a server uses the file as well, it may not be possible, and need not.
    let _ = store.keys.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn command(options: &PurchasesOptions, api: &PurchasesApi) -> Result<(), CommandError> {
    let operator = Operator::host();
    let body = |reason: Option<&str>| json!({ "reason": reason }).to_string();
    let changed = match &options.command {
        PurchasesCommand::List(filters) => {
            return list(api, &operator, filters, options.json).await;
        }
        PurchasesCommand::Show { id } => api.show(&operator, id).await?,
        PurchasesCommand::Revoke { id, reason } => {
            api.revoke(&operator, id, body(reason.as_deref()).as_bytes()).await?
        }
        PurchasesCommand::Retry { id } => api.retry(&operator, id).await?,
        PurchasesCommand::Settle { id, reason } => {
            api.settle(&operator, id, body(Some(reason)).as_bytes()).await?
        }
    };
    Ok(operator::one(&value(&changed)?, options.json)?)
}

/// Shows every purchase of a listing.
async fn list(
    api: &PurchasesApi,
    operator: &Operator,
    filters: &Filters,
    json: bool,
) -> Result<(), CommandError> {
    let mut shown = List::new(&PURCHASES, json)?;
    let query: String = filters
        .named()
        .into_iter()
        .filter_map(|(name, wanted)| Some(format!("&{name}={}", query_value(wanted.as_ref()?))))
        .collect();
    let mut cursor = String::new();
    loop {
        let query = format!("limit={PAGE}{query}{cursor}");
        let mut page = value(&api.list(operator, Some(&query)).await?)?;
        if let Some(Value::Array(purchases)) = page.get_mut("purchases").map(Value::take) {
            shown.page(&purchases)?;
        }
        match page.get("nextCursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(shown.end()?),
        }
    }
}
