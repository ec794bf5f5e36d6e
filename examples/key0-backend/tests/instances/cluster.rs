//! Backends that share one server, and what a test asks of them.

use std::{
    collections::HashMap,
    io::Write,
    iter,
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use key0_auth::{
    domain::{Claims, Clock, SystemClock},
    token::TokenIssuer,
};
use serde_json::{Value, json};

use crate::process::{
    Answer, Backend, INTERNAL_SECRET, Request, Setup, connect, read_answer, token_secret,
};

pub(crate) const MASTER: &str = "hush-a-master-key-of-these-tests-32";
/// How many clients ask for keys at a time.
const CLIENTS: usize = 8;

/// An issued key.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) number: u64,
    pub(crate) text: String,
    pub(crate) id: String,
    /// Key0's own token for the same purchase.
    pub(crate) token: Option<String>,
}

impl Key {
    /// What opens the resource.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &str> {
        iter::once(&*self.text).chain(self.token.as_deref())
    }
}

/// Three backends, each a process of its own, on one server.
pub(crate) struct Cluster {
    pub(crate) setup: Setup,
    pub(crate) backends: Vec<Backend>,
}

impl Cluster {
    pub(crate) fn start(url: &str) -> Self {
        let setup = Setup::new()
            .set("DATABASE_URL", url)
            .set("MASTER_API_KEYS", MASTER)
            .set("API_KEY_TTL_SECONDS", "86400")
            .set("RUST_LOG", "warn");
        let backends = (0..3).map(|_| setup.start()).collect();
        Self { setup, backends }
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.backends.iter().map(|backend| backend.public).collect()
    }

    /// Issues a key for each of these numbers.
    pub(crate) fn issue(&self, numbers: std::ops::Range<u64>) -> Vec<Key> {
        let numbers: Vec<u64> = numbers.collect();
        let addresses = self.addresses();
        let mut keys: Vec<(u64, String)> = thread::scope(|scope| {
            let parts = numbers.chunks(numbers.len().div_ceil(CLIENTS));
            let asked: Vec<_> = parts
                .enumerate()
                .map(|(client, part)| {
                    let mut line = Line::open(addresses[client % addresses.len()]);
                    scope.spawn(move || -> Vec<_> {
                        let issue = |n: &u64| (*n, line.send(&issue(*n)).member("token"));
                        part.iter().map(issue).collect()
                    })
                })
                .collect();
            asked.into_iter().flat_map(|asked| asked.join().unwrap()).collect()
        });
        keys.sort();
        let ids = self.ids();
        let key =
            |(number, text)| Key { number, text, id: ids[&photo(number)].clone(), token: None };
        keys.into_iter().map(key).collect()
    }

    /// The id of every payment key, by its resource.
    fn ids(&self) -> HashMap<String, String> {
        let mut ids = HashMap::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/keys?kind=payment&status=all&limit=1000{cursor}");
            let page = Request::get(&path).header("X-Api-Key", MASTER).send(self.addresses()[0]);
            let page = page.json();
            for key in page["keys"].as_array().unwrap() {
                let text = |member: &str| key[member].as_str().unwrap().to_owned();
                ids.insert(text("resourceId"), text("id"));
            }
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return ids,
            }
        }
    }
}

/// A connection that is used again and again, and made anew when it breaks.
pub(crate) struct Line {
    address: SocketAddr,
    stream: TcpStream,
}

impl Line {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self { address, stream: connect(address).unwrap() }
    }

    /// Sends it, and again while the store is too slow.
    pub(crate) fn send(&mut self, request: &Request) -> Answer {
        loop {
            let answer = self.send_once(request);
            if !answer.is_passing() {
                return answer;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn send_once(&mut self, request: &Request) -> Answer {
        let request = request.clone().header("Connection", "keep-alive");
        let answer = self.stream.write_all(&request.bytes());
        let answer = answer.and_then(|()| read_answer(&mut self.stream, false));
        // The server may have closed a connection that idled.
        answer.unwrap_or_else(|_| {
            self.stream = connect(self.address).unwrap();
            self.stream.write_all(&request.bytes()).unwrap();
            read_answer(&mut self.stream, false).unwrap()
        })
    }

    /// The status of a call with this credential, as soon as the store has answered.
    pub(crate) fn status(&mut self, number: u64, credential: &str) -> u16 {
        self.send(&call(number, credential)).status
    }

    /// The status of this moment.
    pub(crate) fn status_now(&mut self, number: u64, credential: &str) -> u16 {
        self.send_once(&call(number, credential)).status
    }
}

fn photo(number: u64) -> String {
    format!("photo-{number}")
}

/// What Key0 sends to have a key issued.
pub(crate) fn issue(number: u64) -> Request {
    from_key0("issue-token", number)
}

/// What Key0 reports of the payment.
pub(crate) fn report(number: u64) -> Request {
    from_key0("payment-received", number)
}

fn from_key0(endpoint: &str, number: u64) -> Request {
    let order: Value = json!({
        "requestId": format!("request-{number}"),
        "challengeId": format!("challenge-{number}"),
        "resourceId": photo(number),
        "planId": "basic",
        "txHash": format!("0x{number:064x}"),
    });
    Request::post(&format!("/internal/{endpoint}"), &order).internal(INTERNAL_SECRET)
}

/// What an agent sends.
pub(crate) fn call(number: u64, credential: &str) -> Request {
    Request::get(&format!("/api/photos/{}", photo(number))).bearer(credential)
}

/// What an operator sends.
pub(crate) fn revoke(id: &str) -> Request {
    Request::new("DELETE", &format!("/keys/{id}")).header("X-Api-Key", MASTER)
}

/// What an operator sends to end all that was bought.
pub(crate) fn refund(number: u64) -> Request {
    let reason = json!({ "reason": "refunded" });
    Request::post(&format!("/purchases/challenge-{number}/revoke"), &reason)
        .header("X-Api-Key", MASTER)
}

/// What the holder of a credential sends to end it.
pub(crate) fn end(credential: &str) -> Request {
    Request::new("POST", "/credential/revoke")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!("token={credential}"))
}

/// Access tokens of purchases of which no key was issued.
pub(crate) fn tokens(numbers: std::ops::Range<u64>) -> Vec<Key> {
    let numbers = numbers.map(|number| number + 1_000_000);
    let token = |number| {
        let (text, id) = (access_token(number), format!("token {number}"));
        Key { number, text, id, token: None }
    };
    numbers.map(token).collect()
}

/// A token that lives through the test.
pub(crate) fn access_token(number: u64) -> String {
    let claims = Claims::new(
        format!("request-{number}").parse().unwrap(),
        format!("challenge-{number}").parse().unwrap(),
        photo(number).parse().unwrap(),
        "basic".parse().unwrap(),
        "0xabc".parse().unwrap(),
        SystemClock.now().plus(Duration::from_secs(3600)),
    );
    TokenIssuer::hs256(&token_secret()).access_token(&claims).unwrap()
}
