use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// Stands in a case that is meant once for each of several texts.
const EACH: &str = "<each>";

/// The files of cases, in the order in which they are run: later ones use the keys that earlier
/// ones had made.
const GROUPS: [(&str, &str); 13] = [
    ("health", include_str!("cases/health.json")),
    ("access tokens", include_str!("cases/access_tokens.json")),
    ("credentials", include_str!("cases/credentials.json")),
    ("internal auth", include_str!("cases/internal_auth.json")),
    ("issue-token", include_str!("cases/issue_token.json")),
    ("payment-received", include_str!("cases/payment_received.json")),
    ("keys", include_str!("cases/keys.json")),
    ("credential", include_str!("cases/credential.json")),
    ("gateway", include_str!("cases/gateway.json")),
    ("introspect", include_str!("cases/introspect.json")),
    ("verify", include_str!("cases/verify.json")),
    ("refusals", include_str!("cases/refusals.json")),
    ("outage", include_str!("cases/outage.json")),
];

/// Cases about one part of the contract.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) cases: Vec<Case>,
}

/// Something that must hold, and the requests that show it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Under which circumstance it applies; always, where none is named.
    #[serde(default)]
    pub(crate) when: Option<Circumstance>,
    pub(crate) steps: Vec<Step>,
}

/// What is known of the backend, apart from its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Circumstance {
    /// The strategy `signed-jwt` is on.
    SignedJwt,
    /// Nobody says whether it is.
    PerhapsSignedJwt,
    /// The internal endpoints have a listener of their own.
    TwoListeners,
    /// The secret of Key0's gateway is given.
    Gateway,
    /// There is `/introspect`.
    Introspection,
    /// There is `/verify`.
    Verification,
}

/// One request, and what must come back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Step {
    /// Method and path, as `GET /health`.
    pub(crate) request: String,
    /// Sent to the agents' listener, wherever the path belongs.
    #[serde(default)]
    pub(crate) to_public: bool,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, OneOrMore<String>>,
    /// A text as it stands, anything else as JSON.
    #[serde(default)]
    pub(crate) body: Option<Value>,
    /// Any one of these.
    pub(crate) expect: OneOrMore<Expected>,
    /// What is kept of the answer for later: a name, and a member of the body or `body`, all of it.
    #[serde(default)]
    pub(crate) keep: BTreeMap<String, String>,
}

/// What must come back. From 400 on also the form of a refusal, with all that belongs to its code.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Expected {
    pub(crate) status: u16,
    /// The code of a refusal.
    #[serde(default)]
    pub(crate) code: Option<String>,
    /// The message of a refusal, exactly.
    #[serde(default)]
    pub(crate) message: Option<String>,
    /// The message of a refusal in the words of this project. Other backends have their own, so the
    /// tests of our adapters alone look at it.
    #[serde(default)]
    pub(crate) detail: Option<String>,
    /// Headers by their exact values, which the tests of our adapters alone look at.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, OneOrMore<String>>,
    /// A 400 that is about a credential: it carries a challenge.
    #[serde(default)]
    pub(crate) challenged: bool,
    /// A refusal of what Key0's gateway proxies, which takes no problem details.
    #[serde(default)]
    pub(crate) to_gateway: bool,
    /// Members that the body must have. `<text>` is any text, `<time>` any time in the contract's
    /// form.
    #[serde(default)]
    pub(crate) body: BTreeMap<String, Value>,
    /// The body has no other members than these.
    #[serde(default)]
    pub(crate) whole: bool,
    /// There is no body at all.
    #[serde(default)]
    pub(crate) empty: bool,
    /// The body is this, byte for byte.
    #[serde(default)]
    pub(crate) same_as: Option<String>,
    /// Texts that the body must hold.
    #[serde(default)]
    pub(crate) holds: Vec<String>,
    /// Texts that must not stand in it.
    #[serde(default)]
    pub(crate) hides: Vec<String>,
    /// Methods that `Allow` must name.
    #[serde(default)]
    pub(crate) allow: Vec<String>,
    /// `X-Request-Id` is this.
    #[serde(default)]
    pub(crate) request_id: Option<String>,
    /// `X-Request-Id` is something else than this.
    #[serde(default)]
    pub(crate) other_request_id: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

impl Group {
    /// Every case there is.
    pub(crate) fn all() -> Result<Vec<Self>, serde_json::Error> {
        let read = |(name, text)| Ok(Self { name, cases: read(text)? });
        GROUPS.into_iter().map(read).collect()
    }
}

/// Reads a file of cases. One with a list `each` stands for as many cases.
pub(crate) fn read(text: &str) -> Result<Vec<Case>, serde_json::Error> {
    let mut cases = Vec::new();
    for mut case in serde_json::from_str::<Vec<Value>>(text)? {
        let each = case.as_object_mut().and_then(|case| case.remove("each"));
        match each {
            None => cases.push(serde_json::from_value(case)?),
            Some(each) => {
                for one in serde_json::from_value::<Vec<String>>(each)? {
                    cases.push(serde_json::from_value(replaced(&case, &one))?);
                }
            }
        }
    }
    Ok(cases)
}

/// The case with this text wherever [`EACH`] stands.
fn replaced(value: &Value, one: &str) -> Value {
    match value {
        Value::String(text) => text.replace(EACH, one).into(),
        Value::Array(items) => items.iter().map(|item| replaced(item, one)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.replace(EACH, one), replaced(value, one)))
            .collect(),
        other => other.clone(),
    }
}

impl Case {
    /// The values that it takes from elsewhere, in the order in which they are needed.
    pub(crate) fn needs(&self) -> Vec<&str> {
        let mut made = BTreeSet::new();
        let mut needs = Vec::new();
        for step in &self.steps {
            let wanted = step.texts().into_iter().flat_map(placeholders);
            needs.extend(wanted.filter(|name| !made.contains(name)));
            made.extend(step.keep.keys().map(String::as_str));
        }
        needs
    }
}

impl Step {
    /// The method and the path.
    pub(crate) fn line(&self) -> (&str, &str) {
        self.request.split_once(' ').unwrap_or((&self.request, "/"))
    }

    fn texts(&self) -> Vec<&str> {
        let mut texts = vec![self.request.as_str()];
        texts.extend(self.headers.values().flat_map(OneOrMore::as_slice).map(String::as_str));
        self.body.iter().for_each(|body| push_texts(body, &mut texts));
        for expected in self.expect.as_slice() {
            let lists = expected.holds.iter().chain(&expected.hides);
            texts.extend(lists.map(String::as_str));
            texts.extend(expected.same_as.as_deref());
            expected.body.values().for_each(|value| push_texts(value, &mut texts));
        }
        texts
    }
}

fn push_texts<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| push_texts(item, into)),
        Value::Object(members) => members.values().for_each(|item| push_texts(item, into)),
        _ => {}
    }
}

/// The names in a text, each written as `${name}`.
pub(crate) fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}
