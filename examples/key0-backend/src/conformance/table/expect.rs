//! Checks an answer: the form that every answer has, the form of refusals, and what a case expects.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use key0_auth::domain::Timestamp;
use serde_json::Value;

use super::{case::Expected, values::Values};
use crate::call::{Answer, Call};

/// Any text, or any time in the contract's form.
const ANY_TEXT: &str = "<text>";
const ANY_TIME: &str = "<time>";
/// The members of a refusal, and no others.
const MEMBERS: [&str; 11] = [
    "type", "title", "status", "detail", "instance", "code", "retry", "offers", "errors", "error",
    "message",
];
/// What a caller can do about a refusal.
const RETRIES: [&str; 4] = ["never", "after", "new_credential", "purchase"];
/// What stands in texts that were meant for a log.
const INTERNALS: [&str; 22] = [
    "panicked",
    "Traceback",
    "traceback",
    "Exception",
    "exception",
    "stack",
    ".rs:",
    ".go:",
    ".js:",
    ".ts:",
    ".py:",
    ".java:",
    "node_modules",
    "SQL",
    "sqlite",
    "SELECT ",
    "errno",
    "ECONN",
    "Error:",
    "undefined",
    "/src/",
    "/home/",
];
/// The shortest value that is looked for in bodies: a shorter one stands in a text by chance.
const SHORTEST_SECRET: usize = 16;

/// What an answer to a call is held against.
pub(crate) struct Check<'a> {
    pub(crate) values: &'a Values,
    pub(crate) call: &'a Call,
    pub(crate) answer: &'a Answer,
    /// Whether every answer must carry an `X-Request-Id`.
    pub(crate) request_ids: bool,
}

impl Check<'_> {
    /// What is wrong with the answer.
    pub(crate) fn faults(&self, expected: &Expected) -> Vec<String> {
        let mut faults = Vec::new();
        let status = self.answer.status.as_u16();
        if status != expected.status {
            faults.push(format!("the status is {status}, not {}", expected.status));
            return faults;
        }
        if self.request_ids {
            self.check_request_id(expected, &mut faults);
        }
        if self.call.method == "HEAD" {
            if !self.answer.text.is_empty() {
                faults.push("an answer to HEAD has a body".to_owned());
            }
        } else if status >= 400 {
            self.check_problem(expected, &mut faults);
        } else {
            self.check_success(expected, &mut faults);
        }
        if status >= 400 {
            self.check_refusal_headers(expected, &mut faults);
        }
        faults
    }

    fn check_request_id(&self, expected: &Expected, faults: &mut Vec<String>) {
        let ids = self.answer.all("x-request-id");
        let id = match ids.as_slice() {
            [id] if !id.is_empty() => id,
            _ => return faults.push(format!("there are {} X-Request-Id", ids.len())),
        };
        if let Some(wanted) = &expected.request_id
            && id != wanted
        {
            faults.push(format!("X-Request-Id is {id}, not {wanted}"));
        }
        let other = expected.other_request_id.as_deref().map(|other| self.values.fill(other));
        if other.is_some_and(|other| other.as_ref() == Ok(id)) {
            faults.push("X-Request-Id is echoed although it is not sane".to_owned());
        }
    }

    fn check_success(&self, expected: &Expected, faults: &mut Vec<String>) {
        let text = &self.answer.text;
        if expected.empty {
            if !text.is_empty() {
                faults.push("there is a body".to_owned());
            }
            return;
        }
        if self.media_type().as_deref() != Some("application/json") {
            faults.push("Content-Type is not application/json".to_owned());
        }
        let body = self.answer.json();
        if !body.is_object() {
            faults.push("the body is no JSON object".to_owned());
        }
        let known = |name: &&String| expected.body.contains_key(*name);
        let members = body.as_object().into_iter().flat_map(|members| members.keys());
        for name in members.filter(|name| expected.whole && !known(name)) {
            faults.push(format!("there is a member {name}"));
        }
        for (name, wanted) in &expected.body {
            match (self.values.fill_json(wanted), body.get(name)) {
                (Ok(wanted), Some(seen)) if is_like(&wanted, seen) => {}
                (Ok(wanted), Some(seen)) => {
                    faults.push(format!("the member {name} is {seen}, not {wanted}"));
                }
                (Ok(_), None) => faults.push(format!("the member {name} is missing")),
                (Err(why), _) => faults.push(why),
            }
        }
        self.check_texts(expected, faults);
    }

    fn check_texts(&self, expected: &Expected, faults: &mut Vec<String>) {
        let text = &self.answer.text;
        let mut look = |template: &str, what: &str, is_right: &dyn Fn(&str) -> bool| match self
            .values
            .fill(template)
        {
            Ok(wanted) if is_right(&wanted) => {}
            Ok(_) => faults.push(format!("the body {what} {template}")),
            Err(why) => faults.push(why),
        };
        for template in &expected.holds {
            look(template, "does not hold", &|wanted| text.contains(wanted));
        }
        for template in &expected.hides {
            look(template, "shows", &|hidden| !text.contains(hidden));
        }
        if let Some(template) = &expected.same_as {
            look(template, "is not, byte for byte, what was kept as", &|same| text == same);
        }
    }

    fn check_problem(&self, expected: &Expected, faults: &mut Vec<String>) {
        let body = self.answer.json();
        let Some(members) = body.as_object() else {
            return faults.push("the body is no JSON object".to_owned());
        };
        for name in members.keys().filter(|name| !MEMBERS.contains(&name.as_str())) {
            faults
                .push(format!("the refusal has a member {name}, which is none of the contract's"));
        }
        let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
        for name in ["title", "detail", "code"].iter().filter(|name| text(name).is_empty()) {
            faults.push(format!("the member {name} is no text"));
        }
        if text("type") != "about:blank" {
            faults.push("the member type is not about:blank".to_owned());
        }
        for (name, twin) in [("error", "title"), ("message", "detail")] {
            if members.get(name) != members.get(twin) {
                faults.push(format!("the member {name} is not what {twin} is"));
            }
        }
        if members.contains_key("retry") && !RETRIES.contains(&text("retry")) {
            faults.push(format!("the member retry is none of {}", RETRIES.join(", ")));
        }
        if members.get("status").and_then(Value::as_u64) != Some(expected.status.into()) {
            faults.push("the member status is not the status".to_owned());
        }
        for (name, wanted) in [("code", &expected.code), ("message", &expected.message)] {
            if let Some(wanted) = wanted
                && text(name) != wanted
            {
                faults.push(format!("the {name} is {:?}, not {wanted:?}", text(name)));
            }
        }
        if let Some(sign) = INTERNALS.iter().find(|sign| text("detail").contains(**sign)) {
            faults.push(format!("the message shows something internal: {sign}"));
        }
        if self.sent_credentials().any(|sent| self.answer.text.contains(sent)) {
            faults.push("the body shows a credential that was sent".to_owned());
        }
        self.check_texts(expected, faults);
    }

    fn check_refusal_headers(&self, expected: &Expected, faults: &mut Vec<String>) {
        let wanted =
            if expected.to_gateway { "application/json" } else { "application/problem+json" };
        if self.media_type().as_deref() != Some(wanted) {
            faults.push(format!("Content-Type is not {wanted}"));
        }
        let directives = self.list(CACHE_CONTROL.as_str());
        if !directives.iter().any(|directive| directive == "no-store") {
            faults.push("Cache-Control is not no-store".to_owned());
        }
        let wanted = challenge(expected);
        let challenges = self.answer.all(WWW_AUTHENTICATE.as_str()).join(", ");
        match wanted {
            Some(parts) => {
                for part in parts.iter().filter(|part| !challenges.contains(**part)) {
                    faults.push(format!("WWW-Authenticate has no {part}"));
                }
                if parts == MISSING && challenges.contains("error=") {
                    faults.push("WWW-Authenticate has an error although nothing was sent".into());
                }
            }
            None if challenges.is_empty() => {}
            None => faults.push("there is a WWW-Authenticate".to_owned()),
        }
        if expected.status == 503 && self.answer.all(RETRY_AFTER.as_str()) != ["1"] {
            faults.push("Retry-After is not 1".to_owned());
        }
        let allowed = self.list(ALLOW.as_str());
        if expected.status == 405 && allowed.is_empty() {
            faults.push("there is no Allow".to_owned());
        }
        for method in expected.allow.iter().filter(|method| !allowed.contains(method)) {
            faults.push(format!("Allow does not name {method}"));
        }
        if expected.status == 405 && allowed.contains(&self.call.method) {
            faults.push(format!("Allow names {}", self.call.method));
        }
    }

    fn media_type(&self) -> Option<String> {
        let values = self.answer.all(CONTENT_TYPE.as_str());
        let essence = values.first()?.split(';').next()?.trim().to_ascii_lowercase();
        (values.len() == 1).then_some(essence)
    }

    /// The items of a header that is a list.
    fn list(&self, name: &str) -> Vec<String> {
        let values = self.answer.all(name);
        let items = values.iter().flat_map(|value| value.split(','));
        items.map(|item| item.trim().to_owned()).collect()
    }

    /// What the call carried, without the schemes.
    fn sent_credentials(&self) -> impl Iterator<Item = &str> {
        let carriers = ["authorization", "x-api-key", "x-internal-auth"];
        let headers = self.call.headers.iter();
        headers
            .filter(move |(name, _)| carriers.contains(&name.as_str()))
            .filter_map(|(_, value)| value.rsplit(' ').next())
            .filter(|credential| credential.len() >= SHORTEST_SECRET)
    }
}

/// The challenges of a request that carries nothing.
const MISSING: &[&str] = &["Bearer realm=\"", "ApiKey realm=\""];

/// What must stand in the challenges of a refusal; nothing where there must be none.
fn challenge(expected: &Expected) -> Option<&'static [&'static str]> {
    match expected.code.as_deref() {
        Some("missing_credential") => Some(MISSING),
        Some("invalid_request") if expected.challenged => {
            Some(&["Bearer realm=\"", "error=\"invalid_request\""])
        }
        Some(
            "invalid_token" | "token_expired" | "token_revoked" | "invalid_api_key" | "key_revoked"
            | "key_expired" | "key_suspended" | "key_rotated",
        ) => Some(&["Bearer realm=\"", "error=\"invalid_token\"", "error_description=\""]),
        Some("insufficient_permissions") => {
            Some(&["Bearer realm=\"", "error=\"insufficient_scope\""])
        }
        Some("invalid_internal_auth") => Some(&["Bearer realm=\"internal\""]),
        _ => None,
    }
}

/// Whether a value is the wanted one, or of the wanted kind.
fn is_like(wanted: &Value, seen: &Value) -> bool {
    match (wanted, seen) {
        (Value::String(kind), Value::String(text)) if kind == ANY_TEXT => !text.is_empty(),
        (Value::String(kind), Value::String(text)) if kind == ANY_TIME => {
            text.parse::<Timestamp>().is_ok_and(|time| time.to_string() == *text)
        }
        _ => wanted == seen,
    }
}
