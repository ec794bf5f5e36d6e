//! The table of cases, `table.json`: a request, and the answer that every adapter and the running
//! binary must give to it.
//!
//! A case may name values in braces. Some are the same everywhere (recorded tokens, keys that
//! nobody issued); the others are the target's to offer. A target that can't offer one says so in
//! [`Target::lacks`]: the run fails unless that list is exact.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use key0_auth::apikey::KeyFormat;
use serde::Deserialize;
use serde_json::Value;

/// Something that answers requests as the contract says.
pub(crate) trait Target {
    /// The value for a placeholder, where the target has one.
    fn placeholder(&self, name: &str) -> Option<String>;

    /// Exactly the placeholders of the table that this target has no value for. Their cases are
    /// not run.
    fn lacks(&self) -> &[&str] {
        &[]
    }

    /// Where the paths begin that this target does not serve. It must answer their cases 404.
    fn without(&self) -> &[&str] {
        &[]
    }

    async fn send(&self, request: Request<Bytes>) -> Response<Bytes>;
}

/// The values of a target, by the names of their placeholders.
#[derive(Clone)]
pub(crate) struct Placeholders(pub(crate) Vec<(&'static str, String)>);

impl Placeholders {
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }
}

/// Whatever listens there: a router of this process, or another process.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) values: Placeholders,
    pub(crate) lacks: &'static [&'static str],
    pub(crate) without: &'static [&'static str],
}

impl Target for Served {
    fn placeholder(&self, name: &str) -> Option<String> {
        self.values.get(name)
    }

    fn lacks(&self) -> &[&str] {
        self.lacks
    }

    fn without(&self) -> &[&str] {
        self.without
    }

    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        crate::http1::send(self.address, request).await
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    #[serde(default = "get")]
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, OneOrMore>,
    /// A text as it stands, anything else as JSON.
    #[serde(default)]
    pub(crate) body: Option<Value>,
    pub(crate) expect: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    /// A success: exactly this JSON.
    #[serde(default)]
    pub(crate) json: Option<Value>,
    /// A refusal: exactly the contract's problem body, with the headers that every one has.
    #[serde(default)]
    pub(crate) problem: Option<Problem>,
    /// The values of headers, in order. Those in [`JUDGED`] must be absent where they are not
    /// named.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, OneOrMore>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Problem {
    pub(crate) code: String,
    pub(crate) detail: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Headers that are looked at in every response, named by the case or not.
const JUDGED: [&str; 4] = ["content-type", "www-authenticate", "retry-after", "allow"];

fn get() -> String {
    "GET".into()
}

impl OneOrMore {
    fn values(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::More(values) => values,
        }
    }
}

/// Every case of the table.
pub(crate) fn table() -> Vec<Case> {
    serde_json::from_str(include_str!("table.json")).unwrap()
}

/// Runs every case that the target can, and tells what went wrong.
pub(crate) async fn failures(target: &impl Target) -> Vec<String> {
    failures_of(table(), target).await
}

/// The same with another table than the one for every adapter.
pub(crate) async fn failures_of(table: Vec<Case>, target: &impl Target) -> Vec<String> {
    let mut failures = Vec::new();
    let mut lacking = BTreeSet::new();
    let mut ran = 0;
    let values = Values::new();
    for case in table {
        let mut missing = false;
        for name in case.placeholders() {
            if values.common.contains_key(&name) || target.placeholder(&name).is_some() {
                continue;
            }
            lacking.insert(name);
            missing = true;
        }
        if missing {
            continue;
        }
        ran += 1;
        let fill = |text: &str| values.fill(text, target);
        let request = case.request(fill);
        let path = request.uri().path().to_owned();
        let response = target.send(request).await;
        if target.without().iter().any(|prefix| case.path.starts_with(prefix)) {
            if response.status() != StatusCode::NOT_FOUND {
                failures.push(format!("{}: {}, not 404", case.name, response.status()));
            }
            continue;
        }
        for wrong in case.compare(&response, &path) {
            failures.push(format!("{}: {wrong}", case.name));
        }
    }
    let stated: BTreeSet<String> = target.lacks().iter().map(|name| (*name).to_owned()).collect();
    if lacking != stated {
        failures.push(format!("the target lacks {lacking:?}, but states {stated:?}"));
    }
    if ran == 0 {
        failures.push("no case was run".to_owned());
    }
    failures
}

/// The requests of the cases that the target has the values for, by the cases' names.
fn requests(target: &impl Target) -> BTreeMap<String, Request<Bytes>> {
    let values = Values::new();
    let known =
        |name: &String| values.common.contains_key(name) || target.placeholder(name).is_some();
    let cases = table().into_iter().filter(|case| case.placeholders().iter().all(known));
    cases.map(|case| (case.name.clone(), case.request(|text| values.fill(text, target)))).collect()
}

/// Sends every case that both targets serve to both, and tells where their answers differ in a
/// byte.
pub(crate) async fn differences(one: &impl Target, other: &impl Target) -> Vec<String> {
    let mut differences = Vec::new();
    let served = |request: &Request<Bytes>| {
        let mut without = one.without().iter().chain(other.without());
        !without.any(|prefix| request.uri().path().starts_with(prefix))
    };
    let mut to_other = requests(other);
    to_other.retain(|_, request| served(request));
    for (name, request) in requests(one).into_iter().filter(|(_, request)| served(request)) {
        let Some(twin) = to_other.remove(&name) else {
            differences.push(format!("{name}: the other can't be asked"));
            continue;
        };
        let [answer, twin] = [one.send(request).await, other.send(twin).await].map(comparable);
        if answer != twin {
            differences.push(format!("{name}: {answer:#?}\nis not\n{twin:#?}"));
        }
    }
    differences.extend(to_other.keys().map(|name| format!("{name}: the one can't be asked")));
    differences
}

type Comparable = (StatusCode, Vec<(String, String)>, String);

fn comparable(response: Response<Bytes>) -> Comparable {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (parts, body) = response.into_parts();
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_bytes())));
    let mut headers: Vec<_> = headers.filter(|(name, _)| !is_own(name)).collect();
    // The order of a header's own values is kept.
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    (parts.status, headers, text(&body))
}

/// Whether each server has its own values in this header: the time, an id, and what it does with
/// the connection afterwards.
pub(crate) fn is_own(header: &str) -> bool {
    ["connection", "date", "x-request-id"].contains(&header)
}

impl Case {
    fn placeholders(&self) -> BTreeSet<String> {
        let values = self.headers.values().flat_map(OneOrMore::values);
        let names = values.chain([&self.path]).flat_map(|text| placeholders(text));
        names.map(str::to_owned).collect()
    }

    fn request(&self, fill: impl Fn(&str) -> String) -> Request<Bytes> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.headers {
            for value in values.values() {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_bytes(fill(value).as_bytes()).unwrap());
            }
        }
        let body = match &self.body {
            None => Bytes::new(),
            Some(Value::String(text)) => text.clone().into(),
            Some(json) => json.to_string().into(),
        };
        let mut request =
            Request::builder().method(&*self.method).uri(fill(&self.path)).body(body).unwrap();
        *request.headers_mut() = headers;
        request
    }

    fn compare(&self, response: &Response<Bytes>, path: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expect = |what: &str, seen: String, wanted: String| {
            if seen != wanted {
                wrong.push(format!("{what} is {seen}, not {wanted}"));
            }
        };
        let expected = &self.expect;
        expect("status", response.status().as_str().into(), expected.status.to_string());
        for (name, wanted) in self.expected_headers(path) {
            let seen: Vec<_> = response.headers().get_all(&name).iter().collect();
            let seen: Vec<_> = seen.iter().map(|value| value.to_str().unwrap()).collect();
            expect(&name, format!("{seen:?}"), format!("{wanted:?}"));
        }
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        if self.method == "HEAD" {
            expect("body", body, String::new());
        } else if let Some(problem) = &expected.problem {
            expect("body", body, problem.text(expected.status, path));
        } else if let Some(json) = &expected.json {
            let seen: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
            expect("body", seen.to_string(), json.to_string());
        }
        wrong
    }

    fn expected_headers(&self, path: &str) -> BTreeMap<String, Vec<String>> {
        let mut headers: BTreeMap<String, Vec<String>> =
            JUDGED.into_iter().map(|name| (name.to_owned(), Vec::new())).collect();
        let expected = &self.expect;
        if let Some(problem) = &expected.problem {
            let length = problem.text(expected.status, path).len().to_string();
            headers.insert("content-type".into(), vec!["application/problem+json".into()]);
            headers.insert("cache-control".into(), vec!["no-store".into()]);
            headers.insert("content-length".into(), vec![length]);
        } else {
            headers.insert("content-type".into(), vec!["application/json".into()]);
        }
        for (name, values) in &expected.headers {
            headers.insert(name.clone(), values.values().to_vec());
        }
        headers
    }
}

impl Problem {
    fn text(&self, status: u16, path: &str) -> String {
        let title = match status {
            413 => "Content Too Large",
            422 => "Unprocessable Content",
            _ => StatusCode::from_u16(status).unwrap().canonical_reason().unwrap(),
        };
        let Self { code, detail } = self;
        let detail = Value::from(&**detail);
        let retry = match &**code {
            "store_unavailable" | "request_timeout" => "after",
            "invalid_token" | "invalid_api_key" | "key_revoked" | "invalid_internal_auth" => {
                "new_credential"
            }
            "missing_credential" | "token_expired" | "key_expired" | "insufficient_permissions" => {
                if path.starts_with("/api/") {
                    "purchase"
                } else {
                    "new_credential"
                }
            }
            _ => "never",
        };
        format!(
            r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":{detail},"instance":"{path}","code":"{code}","retry":"{retry}","error":"{title}","message":{detail}}}"#
        )
    }
}

/// The names in braces.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).map(|rest| rest.split_once('}').expect("a closing brace").0)
}

/// The values that are the same for every target.
struct Values {
    common: BTreeMap<String, String>,
}

impl Values {
    fn new() -> Self {
        let wire = wire();
        let mut common = BTreeMap::new();
        for (name, token) in wire["tokens"].as_object().unwrap() {
            common.insert(name.clone(), token.as_str().unwrap().to_owned());
        }
        let bearer = wire["requests"][1]["headers"]["authorization"].as_str().unwrap();
        common.insert("system70Years".into(), bearer.strip_prefix("Bearer ").unwrap().into());
        common.insert("internalSecret".into(), text(&wire["internalAuthSecret"]));

        let token = common["hs256"].clone();
        let parts: Vec<&str> = token.split('.').collect();
        let header = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let rest = format!("{}.{}", parts[1], parts[2]);
        let none = format!("{}.{}.", header(r#"{"alg":"none"}"#), parts[1]);
        let jku = header(r#"{"alg":"HS256","jku":"https://evil.example/keys"}"#);
        common.insert("algNone".into(), none);
        common.insert("jku".into(), format!("{jku}.{rest}"));
        common.insert("tampered".into(), flip(&token, token.len() - 10));
        common.insert("tooLong".into(), format!("{}.{}", parts[0], "a".repeat(8 * 1024)));

        let nobodys = KeyFormat::default().generate().unwrap();
        common.insert("mistypedKey".into(), flip(nobodys.expose(), 8));
        common.insert("unknownKey".into(), nobodys.expose().to_owned());
        Self { common }
    }

    fn fill(&self, text: &str, target: &impl Target) -> String {
        let mut filled = text.to_owned();
        for name in placeholders(text) {
            let own = || target.placeholder(name).expect("looked up before");
            let value = self.common.get(name).cloned().unwrap_or_else(own);
            filled = filled.replace(&format!("{{{name}}}"), &value);
        }
        filled
    }
}

/// What was recorded from the Key0 SDK.
pub(crate) fn wire() -> Value {
    serde_json::from_str(include_str!("../../fixtures/key0-wire.json")).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The text with one letter changed.
fn flip(text: &str, at: usize) -> String {
    let other = if &text[at..=at] == "a" { "b" } else { "a" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}
