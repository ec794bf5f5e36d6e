//! An integrator's day, on the console: keys, passports, loyalty points, a refusal and an outage.
//!
//! ```sh
//! cargo run -p key0-backend --example back_office
//! ```
//!
//! starts a backend of its own on throw-away secrets, and builds it first where that is needed. To
//! spend the day with another one, set `KEY0_BACKEND_URL` and `KEY0_BACKEND_MASTER_KEY`; that one is
//! not stopped for the outage.

#[path = "back_office/backend.rs"]
mod backend;
#[path = "back_office/console.rs"]
mod console;
#[path = "back_office/line.rs"]
mod line;

use std::{
    env::{self, VarError},
    error::Error,
    process::ExitCode,
    time::Duration,
};

use key0_auth::client::{Client, ErrorKind, segment};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use self::{backend::Backend, console::Day};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const PASSPORTS: usize = 8;
/// How long the backend may take to certify and to settle.
const SLOW_WORK: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct NewKey {
    id: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Passport {
    id: String,
    status: String,
    certification_status: String,
}

#[derive(Deserialize)]
struct Minted {
    newamount: u64,
}

#[derive(Deserialize)]
struct Orders {
    orders: Vec<Order>,
}

#[derive(Deserialize)]
struct Order {
    amount: u64,
    status: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut day = Day::default();
    let ended = spend(&mut day).await;
    day.end(ended)
}

async fn spend(day: &mut Day) -> Outcome {
    let (mut own, url, master_key) = match variable("KEY0_BACKEND_URL")? {
        Some(url) => {
            let master_key = variable("KEY0_BACKEND_MASTER_KEY")?;
            (None, url, master_key.ok_or("KEY0_BACKEND_MASTER_KEY is missing")?)
        }
        None => {
            let own = Backend::start().await?;
            let (url, master_key) = (own.url(), own.master_key.clone());
            (Some(own), url, master_key)
        }
    };
    let operator = Client::builder(&*url).api_key(master_key).build()?;
    // Only now: a URL with a password in it has been refused.
    day.say(format!("The backend is at {url}."));
    // Models and accounts of this day alone, so that a day can be spent twice with one backend.
    let today = uuid::Uuid::now_v7().simple().to_string();
    let account = format!("ada-{today}");

    day.chapter("The operator makes a key that may do what this back office does, and no more.");
    let allowed = json!({"dpp": ["create", "read", "update"], "loyalty": ["read", "update"]});
    let key = new_key(day, &operator, "back office", allowed).await?;
    let office = Client::builder(&*url).api_key(&key.key).build()?;

    let passports = create_passports(day, &office, &today).await?;
    publish(day, &office, &passports).await?;
    mint(day, &office, own.as_ref(), &key, &account).await?;
    read_orders(day, &office, &account, &[600]).await?;
    let reader = refused(day, &operator, &url, &account).await?;
    if let Some(backend) = &mut own {
        outage(day, &office, backend, &key, &account).await?;
        read_orders(day, &office, &account, &[250, 600]).await?;
    }
    go_home(day, &operator, &office, [&key, &reader]).await
}

/// A variable that is there must be readable. What it holds is not shown.
fn variable(name: &str) -> Outcome<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is no text").into()),
    }
}

async fn new_key(day: &mut Day, operator: &Client, label: &str, allowed: Value) -> Outcome<NewKey> {
    let body = json!({"role": "read", "label": label, "permissions": allowed});
    // The keys API heeds no idempotency key, so nobody may ask it twice.
    let key: NewKey = operator.post("/keys").json(&body).once().send().await?;
    day.say(format!("{label}: key {} with the permissions {allowed}", key.id));
    Ok(key)
}

async fn create_passports(day: &mut Day, office: &Client, today: &str) -> Outcome<Vec<Passport>> {
    day.chapter("The first shift enters its products: a passport for each model.");
    let mut passports = Vec::new();
    for number in 1..=PASSPORTS {
        let passport = json!({
            "granularity": "model",
            "application": "back-office",
            "network": "simulated",
            "modelNumber": format!("{today}-{number}"),
            "name": format!("Chair {number}"),
        });
        let made: Passport = office.post("/v1/dpp/passports").json(&passport).send().await?;
        day.check(made.status == "draft", "a new passport is a draft");
        passports.push(made);
    }
    day.say(format!("{} passports, all of them drafts", passports.len()));
    Ok(passports)
}

async fn publish(day: &mut Day, office: &Client, passports: &[Passport]) -> Outcome {
    day.chapter("They are published, and the back office waits until all are certified.");
    let ids: Vec<&str> = passports.iter().map(|passport| passport.id.as_str()).collect();
    let publish = office.post("/v1/dpp/passports/publish").json(&json!({"ids": ids}));
    let accepted: Value = publish.send().await?;
    day.check(accepted["accepted"] == ids.len(), "every draft is accepted");
    let mut bar = day.bar("certified", ids.len());
    for id in ids {
        let path = format!("/v1/dpp/passports/{}", segment(id));
        let certified = |seen: &Passport| seen.certification_status == "certified";
        let seen = office.get(&path).poll_until(SLOW_WORK, certified).await?;
        bar.advance();
        day.check(seen.status == "published", "what is certified is published");
    }
    Ok(())
}

/// The answer to the first attempt is lost on its way, which is when an impatient caller would pay
/// out twice.
async fn mint(
    day: &mut Day,
    office: &Client,
    own: Option<&Backend>,
    key: &NewKey,
    account: &str,
) -> Outcome {
    day.chapter("Ada has earned 600 points. The line breaks just when they have been minted.");
    let path = format!("/v1/loyalty/account/{}/mint", segment(account));
    let amount = json!({"amount": 600});
    let (call, line, sent_before) = match own {
        Some(own) => {
            let line = line::that_breaks_once(own.address()).await?;
            let office = Client::builder(&*line.url).api_key(&key.key).build()?;
            (office.post(&path).json(&amount), Some(line), 0)
        }
        None => {
            // There is no line to cut, so the call is sent twice: it is the same call.
            let call = office.post(&path).json(&amount);
            let sent = call.response().await?.attempts();
            (call, None, sent)
        }
    };
    let answer = call.response().await?;
    let minted: Minted = answer.json()?;
    if let Some(line) = line {
        let lost = line.lost().await?;
        day.say(format!("the answer that was lost: {}", lost.lines().last().unwrap_or_default()));
        day.check(lost.starts_with("HTTP/1.1 200"), "the first attempt was carried out");
        day.check(answer.attempts() == 2, "the client tried a second time");
    }
    let idempotency_key = answer.idempotency_key().unwrap_or_default();
    let sent = sent_before + answer.attempts();
    day.say(format!("sent {sent} times under the key {idempotency_key}"));
    day.say(format!("and the balance is {}", minted.newamount));
    day.check(answer.is_replayed(), "the answer is that of the first attempt");
    day.check(minted.newamount == 600, "the points are minted once");
    Ok(())
}

async fn read_orders(day: &mut Day, office: &Client, account: &str, amounts: &[u64]) -> Outcome {
    day.chapter("The orders of Ada's account, once all of them are settled.");
    let settled = |seen: &Orders| seen.orders.iter().all(|order| order.status == "settled");
    let orders = office.get("/v1/loyalty/orders").query("walletId", account);
    let seen = orders.poll_until(SLOW_WORK, settled).await?;
    let mut found: Vec<u64> = seen.orders.iter().map(|order| order.amount).collect();
    found.sort_unstable();
    for order in &seen.orders {
        day.say(format!("{:>6} points, {}", order.amount, order.status));
    }
    day.check(found == amounts, "there is one order for each time that points were earned");
    Ok(())
}

async fn refused(day: &mut Day, operator: &Client, url: &str, account: &str) -> Outcome<NewKey> {
    day.chapter("The intern's key may read passports. Minting with it is refused.");
    let reader = new_key(day, operator, "intern", json!({"dpp": ["read"]})).await?;
    let intern = Client::builder(url).api_key(&reader.key).build()?;
    let path = format!("/v1/loyalty/account/{}/mint", segment(account));
    let mint = intern.post(&path).json(&json!({"amount": 1_000_000}));
    match mint.send::<Minted>().await {
        Ok(_) => day.check(false, "minting takes the permission"),
        Err(error) => {
            let detail = error.problem().and_then(|problem| problem.detail()).unwrap_or_default();
            day.say(format!("{error}: {detail}"));
            day.say(format!("to ask about it: request {}", error.request_id().unwrap_or("-")));
            day.check(error.status() == Some(403), "it is a 403");
            day.check(error.code() == Some("insufficient_permissions"), "and says why");
            day.check(error.attempts() == 1, "nobody insists on what was refused");
        }
    }
    Ok(reader)
}

async fn outage(
    day: &mut Day,
    office: &Client,
    backend: &mut Backend,
    key: &NewKey,
    account: &str,
) -> Outcome {
    day.chapter("The backend is killed. Who can't wait is told so; who can, gets through.");
    backend.stop().await?;
    let hasty = Client::builder(backend.url()).api_key(&key.key).attempts(2).build()?;
    match hasty.get("/v1/loyalty/orders").query("walletId", account).send::<Orders>().await {
        Ok(_) => day.check(false, "nobody answers in an outage"),
        Err(error) => {
            day.say(format!("{error}, after {} attempts", error.attempts()));
            day.check(error.kind() == ErrorKind::Connect, "an outage is told as one");
            day.check(!error.is_outcome_unknown(), "and nothing was carried out");
        }
    }
    let patient = Client::builder(backend.url()).api_key(&key.key).attempts(100);
    let path = format!("/v1/loyalty/account/{}/mint", segment(account));
    let mint = patient.build()?.post(&path).json(&json!({"amount": 250}));
    // In the backend's place somebody hangs up on the first attempt: only then is it started again.
    let dead_line = TcpListener::bind(backend.address()).await?;
    let minting = tokio::spawn(async move { mint.response().await });
    drop(timeout(SLOW_WORK, dead_line.accept()).await??);
    drop(dead_line);
    backend.restart().await?;
    let answer = minting.await??;
    day.check(answer.attempts() > 1, "the patient call has met the outage");
    let minted: Minted = answer.json()?;
    day.say("the backend is back on the same database".to_owned());
    day.say(format!("250 points more make {}", minted.newamount));
    day.check(minted.newamount == 850, "the balance has outlived the outage");
    let health: Value = office.get("/health").send().await?;
    day.check(health["status"] == "ok", "and so has the client from before it");
    Ok(())
}

async fn go_home(day: &mut Day, operator: &Client, office: &Client, keys: [&NewKey; 2]) -> Outcome {
    day.chapter("The day is over: the operator revokes both keys.");
    for key in keys {
        operator.delete(&format!("/keys/{}", segment(&key.id))).send::<()>().await?;
    }
    match office.get("/v1/loyalty/reward-tiers").send::<Value>().await {
        Ok(_) => day.check(false, "a revoked key opens nothing"),
        Err(error) => {
            day.say(error.to_string());
            day.check(error.code() == Some("key_revoked"), "a revoked key is told why");
        }
    }
    Ok(())
}
