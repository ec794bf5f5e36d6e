//! What whoever runs the backend does, for partners and for customers.

use std::time::{Duration, Instant};

use key0_auth::domain::{Clock, SystemClock};
use serde_json::{Value, json};

use super::{
    DemoError,
    server::Server,
    story::{Expect, HOUR, INTERNAL_HEADER, ISSUE_TOKEN, Ids, PATIENCE, PHOTO, Story},
};
use crate::{
    call::{Answer, Call},
    output::say,
};

pub(super) const KEY_HEADER: &str = "X-Api-Key";
/// How often a request is repeated that waits for what another process has done.
const PAUSE: Duration = Duration::from_millis(50);

impl Story {
    pub(super) async fn held(&mut self, server: &Server) -> Result<(), DemoError> {
        self.begin("The agent asks what it holds, and how long it lasts.");
        self.step(server, Call::get("/credential").bearer(&self.key), Expect::Status(200)).await?;
        Ok(())
    }

    pub(super) async fn partner(&mut self, server: &Server) -> Result<(), DemoError> {
        self.begin("A partner gets a key, then another one. Both work until the grace is over.");
        let call = Call::post("/keys", &json!({ "role": "read", "label": "acme" }));
        let made = self.operate(server, call, 201).await?;
        let path = format!("/keys/{}", made.member("id"));
        let call = Call::post(&format!("{path}/rotate"), &json!({ "gracePeriodSeconds": 3600 }));
        let rotated = self.operate(server, call, 200).await?;
        for key in [made.member("key"), rotated.member("key")] {
            let call = Call::get("/credential").header(KEY_HEADER, key);
            self.step(server, call, Expect::Status(200)).await?;
        }

        self.begin("The partner's key is suspended, and resumed.");
        let call = Call::get("/credential").header(KEY_HEADER, rotated.member("key"));
        self.suspend(server, &path, true).await?;
        self.step(server, call.clone(), Expect::Refusal(401, "key_suspended")).await?;
        self.suspend(server, &path, false).await?;
        self.step(server, call, Expect::Status(200)).await?;
        Ok(())
    }

    pub(super) async fn customer(&mut self, server: &Server) -> Result<(), DemoError> {
        self.begin("Somebody suspends the key of a purchase by mistake.");
        let call = Call::get(&format!("/purchases/{}", self.ids.challenge));
        let purchase = self.operate(server, call, 200).await?.json();
        self.suspend(server, &format!("/keys/{}", text(&purchase, "/key/id")), true).await?;
        let call = Call::get(PHOTO).bearer(&self.key);
        self.step(server, call.clone(), Expect::Refusal(401, "key_suspended")).await?;

        self.begin("The customer sends the transaction, and says 401. Two commands mend it.");
        let transaction = self.ids.tx_hash.to_string();
        let listed =
            self.command(server, &["purchases", "list", "--json", "--tx", &transaction]).await?;
        let listed: Value = serde_json::from_str(&listed).unwrap_or_default();
        let key = text(&listed, "/purchases/0/key/id");
        self.command(server, &["keys", "resume", key]).await?;
        self.until_resumed(server, &call).await?;
        self.step(server, call, Expect::Status(200)).await?;
        Ok(())
    }

    pub(super) async fn refund(&mut self, server: &Server) -> Result<(), DemoError> {
        self.begin("The purchase is refunded: its key and its token open nothing any more.");
        let path = format!("/purchases/{}/revoke", self.ids.challenge);
        let call = Call::post(&path, &json!({ "reason": "refunded" }));
        self.operate(server, call, 200).await?;
        let call = Call::get(PHOTO).bearer(&self.key);
        self.step(server, call, Expect::Refusal(401, "key_revoked")).await?;
        let call = Call::get(PHOTO).bearer(&self.token);
        self.step(server, call, Expect::Refusal(401, "token_revoked")).await?;

        self.begin("Nor is anything issued for it again. Who pays again has another purchase.");
        let call = Call::post(ISSUE_TOKEN, &self.order());
        let call = call.header(INTERNAL_HEADER, &server.internal_secret);
        self.step(server, call, Expect::Refusal(409, "purchase_revoked")).await?;
        self.ids = Ids::random()?;
        self.token = self.sign(server, SystemClock.now().plus(HOUR))?;
        self.key = self.key0_asks(server, ISSUE_TOKEN, &self.order()).await?.member("token");
        self.step(server, Call::get(PHOTO).bearer(&self.key), Expect::Status(200)).await?;
        Ok(())
    }

    /// What the operator asks for, with the master key.
    async fn operate(
        &mut self,
        server: &Server,
        call: Call,
        status: u16,
    ) -> Result<Answer, DemoError> {
        let call = call.header(KEY_HEADER, &server.master_key);
        self.step(server, call, Expect::Status(status)).await
    }

    async fn suspend(
        &mut self,
        server: &Server,
        path: &str,
        suspended: bool,
    ) -> Result<(), DemoError> {
        let mut call = Call::post(path, &json!({ "suspended": suspended }));
        "PATCH".clone_into(&mut call.method);
        self.operate(server, call, 200).await?;
        Ok(())
    }

    /// Runs a command beside the server, and tells what it prints.
    async fn command(&mut self, server: &Server, arguments: &[&str]) -> Result<String, DemoError> {
        say!("");
        say!("  $ key0-backend {}", arguments.join(" "));
        let (succeeded, printed) = server.run(arguments).await?;
        for line in printed.lines() {
            say!("  {}", self.told(line));
        }
        if !succeeded {
            self.differ("the command should succeed");
        }
        Ok(printed)
    }

    /// Waits until the server has heard that another process has resumed the key: moments.
    async fn until_resumed(&self, server: &Server, call: &Call) -> Result<(), DemoError> {
        let began = Instant::now();
        while call.send(server.authority(), PATIENCE).await?.member("code") == "key_suspended"
            && began.elapsed() < PATIENCE
        {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// A text in an answer; an empty one where there is none.
fn text<'a>(answer: &'a Value, pointer: &str) -> &'a str {
    answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
