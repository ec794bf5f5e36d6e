//! Plays the table of cases against adapters in process and against servers. What the table leaves
//! open to foreign backends is exact here: the whole problem body, and the values of its headers.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use key0_auth::domain::{Clock, SystemClock};
use serde_json::Value;

#[allow(dead_code, reason = "the command uses what no test needs")]
#[path = "../../../examples/key0-backend/src/conformance/table/mod.rs"]
mod table;

pub(crate) use self::table::{Case, Circumstance, Expected, Known, Values};
use self::table::{Check, Group, Step, read};
use crate::call::{Answer, Call};

/// Something that answers requests as the contract says.
pub(crate) trait Target {
    async fn send(&self, request: Request<Bytes>) -> Response<Bytes>;

    /// Where the paths begin that this target does not serve. It must answer them 404.
    fn without(&self) -> &[&str] {
        &[]
    }

    /// Whether its answers carry an `X-Request-Id`, as those of a whole backend do.
    fn request_ids(&self) -> bool {
        false
    }
}

/// Whatever listens there: a router of this process, or another process.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) without: &'static [&'static str],
    pub(crate) request_ids: bool,
}

impl Target for Served {
    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        crate::http1::send(self.address, request).await
    }

    fn without(&self) -> &[&str] {
        self.without
    }

    fn request_ids(&self) -> bool {
        self.request_ids
    }
}

/// The cases for every backend that takes system tokens and has neither a gateway nor a proxy.
#[allow(dead_code, reason = "one of the test programs has a gateway")]
pub(crate) fn cases() -> Vec<Case> {
    cases_when(&[Circumstance::SignedJwt])
}

/// The cases for every backend, and those for one of which this is known.
pub(crate) fn cases_when(known: &[Circumstance]) -> Vec<Case> {
    let applies = |case: &Case| case.when.is_none_or(|when| known.contains(&when));
    let cases = Group::all().unwrap().into_iter().flat_map(|group| group.cases);
    cases.filter(applies).collect()
}

/// The cases of a table of its own, in the same form.
#[allow(dead_code, reason = "one of the test programs has such a table")]
pub(crate) fn cases_of(text: &str) -> Vec<Case> {
    read(text).unwrap()
}

/// Plays every case, and tells what went wrong, once for each case.
pub(crate) async fn failures(cases: &[Case], values: Values, target: &impl Target) -> Vec<String> {
    let mut player = Player { values, target };
    let mut failures = Vec::new();
    for case in cases {
        if !player.can_play(case) {
            continue;
        }
        player.values.hold(SystemClock.now());
        if let Err(why) = player.play(case).await {
            failures.push(format!("{}: {why}", case.name));
        }
    }
    failures
}

/// Plays every case that both targets serve against both, and tells where their answers differ in
/// more than what is random or a time.
pub(crate) async fn differences(
    cases: &[Case],
    (values, target): (Values, &impl Target),
    (other_values, other): (Values, &impl Target),
) -> Vec<String> {
    let mut one = Player { values, target };
    let mut two = Player { values: other_values, target: other };
    let mut differences = Vec::new();
    for case in cases {
        if !one.serves(case) || !two.serves(case) {
            continue;
        }
        let now = SystemClock.now();
        one.values.hold(now);
        two.values.hold(now);
        for step in &case.steps {
            let [answer, twin] = [one.exchange(step).await, two.exchange(step).await];
            let (answer, twin) = (one.comparable(&answer), two.comparable(&twin));
            if answer != twin {
                differences.push(format!("{}: {answer:#?}\nis not\n{twin:#?}", case.name));
                break;
            }
        }
    }
    differences
}

struct Player<'a, T> {
    values: Values,
    target: &'a T,
}

impl<T: Target> Player<'_, T> {
    /// Whether the target serves all paths of a case.
    fn serves(&self, case: &Case) -> bool {
        let without = self.target.without();
        !case.steps.iter().any(|step| without.iter().any(|path| step.line().1.starts_with(path)))
    }

    /// A case about request ids is for targets that have some.
    fn can_play(&self, case: &Case) -> bool {
        let about_ids = |expected: &Expected| {
            expected.request_id.is_some() || expected.other_request_id.is_some()
        };
        let mut expected = case.steps.iter().flat_map(|step| step.expect.as_slice());
        self.target.request_ids() || !expected.any(about_ids)
    }

    async fn play(&mut self, case: &Case) -> Result<(), String> {
        for step in &case.steps {
            let answer = self.exchange(step).await;
            if !self.serves(case) {
                let found = answer.status != StatusCode::NOT_FOUND;
                return if found { Err(format!("{}, not 404", answer.status)) } else { Ok(()) };
            }
            let faults = self.faults(step, &answer);
            if !faults.is_empty() {
                let faults = faults.join("; ");
                return Err(format!("{step:?}: {} {}: {faults}", answer.status, answer.text));
            }
        }
        Ok(())
    }

    /// Sends the request of a step, and keeps of the answer what the step says.
    async fn exchange(&mut self, step: &Step) -> Answer {
        let call = self.values.call(step, str::to_owned).unwrap();
        let response = self.target.send(request(&call)).await;
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let answer = Answer { status: parts.status, headers: parts.headers, text };
        for (name, member) in &step.keep {
            let value = match member.as_str() {
                "body" => answer.text.clone(),
                member => answer.member(member),
            };
            self.values.keep(name, value);
        }
        answer
    }

    fn faults(&self, step: &Step, answer: &Answer) -> Vec<String> {
        let call = self.values.call(step, str::to_owned).unwrap();
        let check = Check {
            values: &self.values,
            call: &call,
            answer,
            request_ids: self.target.request_ids(),
        };
        let every = step.expect.as_slice().iter().map(|expected| {
            let mut faults = check.faults(expected);
            if expected.status >= 400 && faults.is_empty() {
                faults = refusal_faults(expected, &call, answer);
            }
            faults
        });
        every.min_by_key(Vec::len).unwrap()
    }

    /// What must be equal on both sides: what is random has a name in it, and times are taken out.
    fn comparable(&self, answer: &Answer) -> (StatusCode, Vec<(String, String)>, String) {
        let known = self.values.kept().iter().filter(|(_, value)| value.len() >= 8);
        let mut known: Vec<_> = known.collect();
        // Longer ones first: a whole body holds the key that stands in it.
        known.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        let mask = |text: &str| {
            let text = known.iter().fold(text.to_owned(), |text, (name, value)| {
                text.replace(value.as_str(), &format!("<{name}>"))
            });
            without_random(&text)
        };
        let headers = answer.headers.iter().filter(|(name, _)| !is_own(name.as_str()));
        let headers = headers.map(|(name, value)| {
            (name.to_string(), mask(&String::from_utf8_lossy(value.as_bytes())))
        });
        let mut headers: Vec<_> = headers.collect();
        // The order of a header's own values is kept.
        headers.sort_by(|(one, _), (other, _)| one.cmp(other));
        (answer.status, headers, mask(&answer.text))
    }
}

/// The text with a name for each time in the contract's form, each id and each key of ours.
fn without_random(text: &str) -> String {
    const TIME: &str = "0000-00-00T00:00:00.000Z";
    const ID: &str = "00000000-0000-0000-0000-000000000000";
    let like = |text: &str, form: &str| {
        text.len() >= form.len()
            && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_hexdigit(),
                form => byte == form,
            })
    };
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let key = rest.strip_prefix("ak_").map_or(0, |key| {
            let end = key.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(key.len());
            "ak_".len() + end
        });
        let (name, length) = match () {
            () if like(rest, TIME) => ("<time>", TIME.len()),
            () if like(rest, ID) => ("<id>", ID.len()),
            () if key > 0 => ("<key>", key),
            () => {
                shown.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        shown.push_str(name);
        rest = &rest[length..];
    }
    shown
}

/// Whether each server has its own values in this header: the time, an id, and what it does with
/// the connection afterwards.
pub(crate) fn is_own(header: &str) -> bool {
    ["connection", "date", "x-request-id"].contains(&header)
}

fn request(call: &Call) -> Request<Bytes> {
    let mut headers = HeaderMap::new();
    for (name, value) in &call.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let request = Request::builder().method(&*call.method).uri(&call.path);
    let mut request = request.body(call.body.clone().into()).unwrap();
    *request.headers_mut() = headers;
    request
}

/// What of a refusal is not, to the byte, what this project's adapters answer.
fn refusal_faults(expected: &Expected, call: &Call, answer: &Answer) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |what: &str, seen: String, wanted: String| {
        if seen != wanted {
            faults.push(format!("{what} is {seen}, not {wanted}"));
        }
    };
    // An answer to HEAD has no body to read these from.
    let shown = answer.json();
    let text = |name: &str| shown.get(name).and_then(Value::as_str).map(str::to_owned);
    let code = expected.code.clone().or_else(|| text("code")).unwrap_or_default();
    let own_words = expected.message.clone().or_else(|| expected.detail.clone());
    let own_words = own_words.or_else(|| usual_detail(&code).map(str::to_owned));
    let detail = own_words.or_else(|| text("detail")).unwrap_or_default();
    if call.method != "HEAD" {
        let path = call.path.split('?').next().unwrap_or_default();
        let errors = shown.get("errors").map(|errors| member_errors(errors, &detail));
        let body = problem(expected.status, &code, &detail, path, errors.as_deref());
        expect(
            "content-length",
            header(answer, "content-length"),
            format!("{:?}", [body.len().to_string()]),
        );
        expect("the body", answer.text.clone(), body);
    }
    expect("cache-control", header(answer, "cache-control"), format!("{:?}", ["no-store"]));
    let mut exact: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    exact.insert("www-authenticate", challenge(&code, &detail, expected.challenged));
    exact.insert("retry-after", if expected.status == 503 { vec!["1".into()] } else { Vec::new() });
    exact.extend(
        expected.headers.iter().map(|(name, values)| (&**name, values.as_slice().to_vec())),
    );
    for (name, wanted) in exact {
        expect(name, header(answer, name), format!("{wanted:?}"));
    }
    faults
}

fn header(answer: &Answer, name: &str) -> String {
    format!("{:?}", answer.all(name))
}

/// What this project says of a code that means one thing.
fn usual_detail(code: &str) -> Option<&'static str> {
    Some(match code {
        "invalid_api_key" | "key_revoked" | "key_expired" | "key_suspended" | "key_rotated" => {
            "Invalid API key"
        }
        "invalid_internal_auth" => "Internal authentication failed",
        "method_not_allowed" => "This method is not allowed here",
        "store_unavailable" => "The credential store can't be reached",
        "unsupported_media_type" => "The request body must be application/json",
        _ => return None,
    })
}

fn challenge(code: &str, detail: &str, challenged: bool) -> Vec<String> {
    let of_api = |error: &str| vec![format!("Bearer realm=\"api\", error=\"{error}\"")];
    match code {
        "missing_credential" => {
            vec!["Bearer realm=\"api\"".into(), "ApiKey realm=\"api\"".into()]
        }
        "invalid_token" | "token_expired" | "token_revoked" | "invalid_api_key" | "key_revoked"
        | "key_expired" => of_api(&format!("invalid_token\", error_description=\"{detail}")),
        "insufficient_permissions" => of_api("insufficient_scope"),
        "invalid_request" if challenged => of_api("invalid_request"),
        "invalid_internal_auth" => vec!["Bearer realm=\"internal\"".into()],
        _ => Vec::new(),
    }
}

/// What is wrong with a body's members, as the contract writes it. The first is what the refusal
/// says.
fn member_errors(errors: &Value, detail: &str) -> String {
    let one = |(at, error): (usize, &Value)| {
        let text = |name: &str| error[name].as_str().unwrap_or_default();
        let path = Value::from(text("path"));
        let message = if at == 0 { detail } else { text("message") };
        let (code, message) = (text("code"), Value::from(message));
        format!(r#"{{"path":{path},"field":{path},"code":"{code}","message":{message}}}"#)
    };
    let errors: Vec<_> = errors.as_array().into_iter().flatten().enumerate().map(one).collect();
    errors.join(",")
}

/// The contract's problem body.
fn problem(status: u16, code: &str, detail: &str, path: &str, errors: Option<&str>) -> String {
    let title = match status {
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        _ => StatusCode::from_u16(status).unwrap().canonical_reason().unwrap(),
    };
    let retry = match code {
        "store_unavailable" | "request_timeout" => "after",
        "invalid_token"
        | "token_revoked"
        | "invalid_api_key"
        | "key_revoked"
        | "invalid_internal_auth" => "new_credential",
        "missing_credential" | "token_expired" | "key_expired" | "insufficient_permissions" => {
            // Nothing that can be bought opens to the gateway what is not sold per call.
            let sold = detail != "This request is not sold per call";
            if sold && (path.starts_with("/api/") || path == "/credential") {
                "purchase"
            } else {
                "new_credential"
            }
        }
        _ => "never",
    };
    let (detail, path) = (Value::from(detail), Value::from(path));
    let errors = match (errors, code) {
        (Some(errors), _) => format!(r#""errors":[{errors}],"#),
        (None, "validation_failed") => r#""errors":[…],"#.to_owned(),
        (None, _) => String::new(),
    };
    format!(
        r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":{detail},"instance":{path},"code":"{code}","retry":"{retry}",{errors}"error":"{title}","message":{detail}}}"#
    )
}
