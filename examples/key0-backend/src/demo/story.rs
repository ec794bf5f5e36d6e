use std::time::Duration;

use key0_auth::{
    domain::{
        ChallengeId, Claims, Clock, PlanId, RequestId, ResourceId, SystemClock, Timestamp, TxHash,
    },
    token::TokenIssuer,
};
use serde_json::{Value, json};

use super::{DemoError, key0::Key0, operator::KEY_HEADER, server::Server};
use crate::{
    call::{Answer, Call},
    output::say,
};

pub(super) const PHOTO: &str = "/api/photos/photo-1";
const OTHER_PHOTO: &str = "/api/photos/photo-2";
pub(super) const ISSUE_TOKEN: &str = "/internal/issue-token";
const PAYMENT_RECEIVED: &str = "/internal/payment-received";
pub(super) const INTERNAL_HEADER: &str = "X-Internal-Auth";
pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What should come back.
pub(super) enum Expect {
    /// This status.
    Status(u16),
    /// A refusal with this status and code.
    Refusal(u16, &'static str),
}

/// The story, and how many of its steps went otherwise than told.
pub(super) struct Story {
    key0: Key0,
    pub(super) ids: Ids,
    chapter: usize,
    differing: usize,
    pub(super) token: String,
    pub(super) key: String,
    /// The keys that came back.
    issued: Vec<String>,
}

pub(super) struct Ids {
    request: RequestId,
    pub(super) challenge: ChallengeId,
    pub(super) tx_hash: TxHash,
}

impl Ids {
    pub(super) fn random() -> Result<Self, DemoError> {
        let random = || uuid::Uuid::now_v7();
        Ok(Self {
            request: random().to_string().parse()?,
            challenge: random().to_string().parse()?,
            tx_hash: format!("0x{}{}", random().simple(), random().simple()).parse()?,
        })
    }
}

impl Story {
    pub(super) fn new(server: &Server) -> Result<Self, DemoError> {
        let (key0, ids) = (Key0::calling(server, PATIENCE)?, Ids::random()?);
        let (token, key, issued) = Default::default();
        Ok(Self { key0, ids, chapter: 0, differing: 0, token, key, issued })
    }

    /// How many steps differ from what they should be.
    pub(super) fn differing(&self) -> usize {
        self.differing
    }

    pub(super) async fn tell(&mut self, server: &mut Server) -> Result<(), DemoError> {
        say!("A backend sells photos to AI agents. It runs on http://{}", server.authority());
        say!("with secrets and a database made for this story alone.");
        self.native(server).await?;
        self.remote(server).await?;
        self.payment(server).await?;
        self.refusals(server).await?;
        self.crash(server).await?;
        self.held(server).await?;
        self.partner(server).await?;
        self.customer(server).await?;
        self.refund(server).await?;
        say!("");
        match self.differing {
            0 => say!("The end: every step went as it should."),
            differing => say!("The end: {differing} steps went otherwise."),
        }
        Ok(())
    }

    async fn native(&mut self, server: &Server) -> Result<(), DemoError> {
        self.begin("An agent has paid, and Key0 has signed an access token for it.");
        self.token = self.sign(server, SystemClock.now().plus(HOUR))?;
        self.step(server, Call::get(PHOTO).bearer(&self.token), Expect::Status(200)).await?;
        Ok(())
    }

    async fn remote(&mut self, server: &Server) -> Result<(), DemoError> {
        self.begin("In remote mode Key0 asks the backend for a credential, proving who it is.");
        let first = self.key0_asks(server, ISSUE_TOKEN, &self.order()).await?;
        self.key = first.member("token");

        self.begin("Key0 was too impatient and asks again: the same credential, byte for byte.");
        let again = self.key0_asks(server, ISSUE_TOKEN, &self.order()).await?;
        self.compare(&first, &again);

        self.begin("The agent uses it like any other, and never knows the difference.");
        self.step(server, Call::get(PHOTO).bearer(&self.key), Expect::Status(200)).await?;
        Ok(())
    }

    async fn payment(&mut self, server: &Server) -> Result<(), DemoError> {
        self.begin("Key0 reports the payment. Reported twice, it is kept once.");
        let mut report = self.order();
        report["type"] = "AccessGrant".into();
        report["tokenType"] = "Bearer".into();
        report["accessToken"] = self.key.as_str().into();
        self.key0_asks(server, PAYMENT_RECEIVED, &report).await?;
        self.key0_asks(server, PAYMENT_RECEIVED, &report).await?;
        Ok(())
    }

    async fn refusals(&mut self, server: &Server) -> Result<(), DemoError> {
        self.begin("A photo that was not bought stays shut.");
        let call = Call::get(OTHER_PHOTO).bearer(&self.key);
        self.step(server, call, Expect::Refusal(403, "insufficient_permissions")).await?;

        self.begin("An expired token, a tampered one, an unknown key, and nothing at all.");
        let expired = self.sign(server, SystemClock.now().minus(Duration::from_secs(1)))?;
        let call = Call::get(PHOTO).bearer(&expired);
        self.step(server, call, Expect::Refusal(401, "token_expired")).await?;
        let call = Call::get(PHOTO).bearer(&tampered(&self.token));
        self.step(server, call, Expect::Refusal(401, "invalid_token")).await?;
        let unknown = key0_auth::apikey::KeyFormat::default().generate();
        let unknown = unknown.map_err(|error| error.to_string())?;
        let call = Call::get(PHOTO).bearer(unknown.expose());
        self.step(server, call, Expect::Refusal(401, "invalid_api_key")).await?;
        self.step(server, Call::get(PHOTO), Expect::Refusal(401, "missing_credential")).await?;

        self.begin("Whoever pretends to be Key0 gets nothing.");
        let call = Call::post(ISSUE_TOKEN, &self.order());
        self.step(server, call, Expect::Refusal(401, "invalid_internal_auth")).await?;
        let call = Call::post(ISSUE_TOKEN, &self.order()).bearer(&self.token);
        self.step(server, call, Expect::Refusal(401, "invalid_internal_auth")).await?;
        Ok(())
    }

    async fn crash(&mut self, server: &mut Server) -> Result<(), DemoError> {
        self.begin("The server is killed with SIGKILL and started again on the same database.");
        server.crash_and_restart().await?;
        say!("    it is back on http://{}", server.authority());

        self.begin("The key still opens its photo, and a late retry still gets the same one.");
        self.step(server, Call::get(PHOTO).bearer(&self.key), Expect::Status(200)).await?;
        let again = self.key0_asks(server, ISSUE_TOKEN, &self.order()).await?;
        if again.member("token") != self.key {
            self.differ("another credential came back");
        }
        Ok(())
    }

    /// Ready-made lines to try it by hand, with the credentials of this demo alone.
    pub(super) fn print_curl_lines(&self, server: &Server) -> Result<(), DemoError> {
        let base = format!("http://{}", server.authority());
        say!("");
        say!("The server stays up until Ctrl-C. Try it:");
        say!("");
        say!("curl -i {base}{PHOTO} \\\n  -H 'Authorization: Bearer {}'", self.key);
        say!("");
        say!("curl -i {base}{PHOTO} \\\n  -H 'Authorization: Bearer {}'", self.token);
        say!("");
        say!("curl -i {base}{OTHER_PHOTO} \\\n  -H 'Authorization: Bearer {}'", self.key);
        say!("");
        say!(
            "curl -i {base}{ISSUE_TOKEN} \\\n  -H '{INTERNAL_HEADER}: {}' \\\n  \
             -H 'Content-Type: application/json' \\\n  -d '{}'",
            server.internal_secret,
            self.order()
        );
        say!("");
        say!("curl -i {base}/audit \\\n  -H '{KEY_HEADER}: {}'", server.master_key);
        say!("");
        say!("curl -i {base}/health");
        Ok(())
    }

    pub(super) fn begin(&mut self, title: &str) {
        self.chapter += 1;
        say!("");
        say!("{}. {title}", self.chapter);
    }

    /// Sends a request, tells both sides of it, and checks the answer.
    pub(super) async fn step(
        &mut self,
        server: &Server,
        call: Call,
        expect: Expect,
    ) -> Result<Answer, DemoError> {
        self.tell_call(&call);
        let answer = call.send(server.authority(), PATIENCE).await?;
        self.check(&answer, expect);
        Ok(answer)
    }

    /// The same for a request of Key0's, which is let in.
    pub(super) async fn key0_asks(
        &mut self,
        server: &Server,
        path: &str,
        body: &Value,
    ) -> Result<Answer, DemoError> {
        self.tell_call(&Call::post(path, body).header(INTERNAL_HEADER, &server.internal_secret));
        let answer = self.key0.send(path, body).await?;
        self.check(&answer, Expect::Status(200));
        Ok(answer)
    }

    fn tell_call(&self, call: &Call) {
        say!("");
        say!("  > {} {}", call.method, call.path);
        for (name, value) in &call.headers {
            say!("  > {name}: {}", shortened(name, value));
        }
        if !call.body.is_empty() {
            say!("  > {}", self.told(&call.body));
        }
    }

    fn check(&mut self, answer: &Answer, expect: Expect) {
        let issued = ["token", "key"].map(|name| answer.member(name));
        self.issued.extend(issued.into_iter().filter(|key| !key.is_empty()));
        say!("  < {}", answer.status);
        say!("  < {}", self.told(&answer.text));
        let (status, code) = match expect {
            Expect::Status(status) => (status, None),
            Expect::Refusal(status, code) => (status, Some(code)),
        };
        if answer.status.as_u16() != status {
            self.differ(&format!("the status should be {status}"));
        } else if code.is_some_and(|code| answer.member("code") != code) {
            self.differ(&format!("the code should be {}", code.unwrap_or_default()));
        }
    }

    /// A body with the issued key shortened, as one would show it to others.
    pub(super) fn told(&self, body: &str) -> String {
        self.issued.iter().fold(body.to_owned(), |told, key| told.replace(key, &masked(key)))
    }

    fn compare(&mut self, first: &Answer, again: &Answer) {
        if first.text == again.text {
            say!("    the two answers are equal");
        } else {
            self.differ("the two answers should be equal");
        }
    }

    pub(super) fn differ(&mut self, what: &str) {
        self.differing += 1;
        say!("  ! {what}");
    }

    pub(super) fn order(&self) -> Value {
        json!({
            "requestId": self.ids.request,
            "challengeId": self.ids.challenge,
            "resourceId": "photo-1",
            "planId": "basic",
            "txHash": self.ids.tx_hash,
        })
    }

    /// Key0's access token for the purchase.
    pub(super) fn sign(&self, server: &Server, until: Timestamp) -> Result<String, DemoError> {
        let Ids { request, challenge, tx_hash } = &self.ids;
        let claims = Claims::new(
            request.clone(),
            challenge.clone(),
            ResourceId::new("photo-1")?,
            PlanId::new("basic")?,
            tx_hash.clone(),
            until,
        )
        .issued(SystemClock.now());
        Ok(TokenIssuer::hs256(&server.token_secret).access_token(&claims)?)
    }
}

/// The token with another photo in it, and the old signature.
fn tampered(token: &str) -> String {
    let mut bytes = token.as_bytes().to_vec();
    if let Some(byte) = token.find('.').and_then(|dot| bytes.get_mut(dot + 40)) {
        *byte = if *byte == b'A' { b'B' } else { b'A' };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A header's value without most of a credential, as one would show it to others.
fn shortened(name: &str, value: &str) -> String {
    match name {
        "Authorization" | INTERNAL_HEADER | KEY_HEADER => {
            let (scheme, credential) = match value.split_once(' ') {
                Some((scheme, credential)) => (format!("{scheme} "), credential),
                None => (String::new(), value),
            };
            format!("{scheme}{}", masked(credential))
        }
        _ => value.to_owned(),
    }
}

fn masked(credential: &str) -> String {
    format!("{}…", credential.get(..8).unwrap_or_default())
}
