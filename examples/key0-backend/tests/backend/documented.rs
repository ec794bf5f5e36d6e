//! A backend whose every answer is compared with what its own document tells of it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use key0_auth::domain::Timestamp;
use serde_json::Value;

use crate::cases::{Served, Target};

/// What every answer over HTTP may carry.
const OF_HTTP: [&str; 4] = ["connection", "content-length", "content-type", "date"];

pub(crate) struct Documented {
    served: Served,
    document: Document,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    faults: BTreeSet<String>,
    /// The answers that came, as `GET /keys 200`.
    answers: BTreeSet<String>,
}

impl Documented {
    pub(crate) async fn new(served: Served) -> Self {
        let asked = Request::get("/openapi.json").body(Bytes::new()).unwrap();
        let document = served.send(asked).await.into_body();
        let document = Document(serde_json::from_slice(&document).unwrap());
        Self { served, document, found: Mutex::default() }
    }

    /// Asks with a credential, and reads the JSON of the answer, where it is some.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        bearer: &str,
        body: Option<&Value>,
    ) -> Value {
        let request = Request::builder().method(method).uri(path);
        let mut request = request.header("authorization", format!("Bearer {bearer}"));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let response = self.send(request.body(body.into()).unwrap()).await;
        assert!(response.status().is_success(), "{method} {path}: {response:?}");
        serde_json::from_slice(response.body()).unwrap_or_default()
    }

    /// What the document does not tell, or tells wrongly.
    pub(crate) fn faults(&self) -> Vec<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.faults.iter().cloned().collect()
    }

    /// The good answers of the document that did not come.
    pub(crate) fn unseen(&self) -> Vec<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.document.answers().into_iter();
        told.filter(|answer| answer.contains(" 2") && !found.answers.contains(answer)).collect()
    }
}

impl Target for Documented {
    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        let exchange = request.clone();
        let response = self.served.send(request).await;
        let (answer, faults) = self.document.check(&exchange, &response);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let at = format!("{} {} {}", exchange.method(), exchange.uri(), response.status());
        found.faults.extend(faults.into_iter().map(|fault| format!("{at}: {fault}")));
        found.answers.extend(answer);
        drop(found);
        response
    }

    fn request_ids(&self) -> bool {
        self.served.request_ids()
    }
}

struct Document(Value);

impl Document {
    fn paths(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0["paths"].as_object().unwrap().iter()
    }

    /// Every answer that is told.
    fn answers(&self) -> Vec<String> {
        let mut answers = Vec::new();
        for (path, item) in self.paths() {
            for (method, operation) in item.as_object().unwrap() {
                let statuses = operation["responses"].as_object().unwrap().keys();
                answers.extend(statuses.map(|status| answer_name(method, path, status)));
            }
        }
        answers
    }

    /// The path as it is told; the one with fewer parameters where two match.
    fn path_of(&self, path: &str) -> Option<(&String, &Value)> {
        let matches = |told: &str| {
            let (told, path): (Vec<_>, Vec<_>) =
                (told.split('/').collect(), path.split('/').collect());
            let pairs = told.iter().zip(&path);
            let mut alike =
                pairs.map(
                    |(told, part)| {
                        if told.starts_with('{') { !part.is_empty() } else { told == part }
                    },
                );
            told.len() == path.len() && alike.all(|alike| alike)
        };
        let matching = self.paths().filter(|(told, _)| matches(told));
        matching.min_by_key(|(told, _)| told.matches('{').count())
    }

    /// The name of an answer that is told, and what is wrong with what is told of it.
    fn check(
        &self,
        request: &Request<Bytes>,
        response: &Response<Bytes>,
    ) -> (Option<String>, Vec<String>) {
        let status = response.status();
        let Some((path, item)) = self.path_of(request.uri().path()) else {
            let told = status == StatusCode::NOT_FOUND;
            return (None, if told { Vec::new() } else { vec!["the path is not told".to_owned()] });
        };
        let is_head = request.method() == Method::HEAD;
        let method =
            if is_head { "get".to_owned() } else { request.method().as_str().to_lowercase() };
        let Some(operation) = item.get(&method) else {
            let told = status == StatusCode::METHOD_NOT_ALLOWED || path == "/verify";
            return (
                None,
                if told { Vec::new() } else { vec!["the method is not told".to_owned()] },
            );
        };
        let answer = answer_name(&method, path, status.as_str());
        let Some(told) = operation["responses"].get(status.as_str()) else {
            return (Some(answer), vec!["the status is not told".to_owned()]);
        };
        let told = self.resolved(told);
        let mut faults = self.header_faults(told, response.headers());
        if !is_head {
            faults.extend(self.body_faults(told, response));
        }
        if status.is_success() {
            faults.extend(self.request_faults(operation, request));
        }
        (Some(answer), faults)
    }

    fn header_faults(&self, told: &Value, headers: &HeaderMap) -> Vec<String> {
        let told: Vec<_> = told["headers"].as_object().into_iter().flatten().collect();
        let told: BTreeSet<_> = told.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let names = headers.keys().map(|name| name.as_str());
        let strangers = names.filter(|name| !OF_HTTP.contains(name) && !told.contains(*name));
        strangers.map(|name| format!("the header {name} is not told")).collect()
    }

    fn body_faults(&self, told: &Value, response: &Response<Bytes>) -> Vec<String> {
        let mut faults = Vec::new();
        let media_type = essence(response.headers());
        let Some(content) = told["content"].as_object() else {
            if !response.body().is_empty() {
                faults.push("a body is not told".to_owned());
            }
            return faults;
        };
        let Some(content) = content.get(&media_type) else {
            return vec![format!("the media type {media_type} is not told")];
        };
        // Lines of JSON are told as a text.
        if media_type.ends_with("json") && media_type != "application/x-ndjson" {
            let body = serde_json::from_slice(response.body()).unwrap();
            self.compare(&content["schema"], &body, "the body", Members::Told, &mut faults);
        }
        faults
    }

    /// What is wrong with what is told of a request that went well.
    fn request_faults(&self, operation: &Value, request: &Request<Bytes>) -> Vec<String> {
        let mut faults = Vec::new();
        let Some(told) = operation["requestBody"].as_object() else {
            if !request.body().is_empty() {
                faults.push("a body of the request is not told".to_owned());
            }
            return faults;
        };
        let media_type = essence(request.headers());
        match told["content"].get(&media_type) {
            Some(content) if media_type == "application/json" => {
                let body = serde_json::from_slice(request.body()).unwrap();
                self.compare(&content["schema"], &body, "the request", Members::Any, &mut faults);
            }
            Some(_) => {}
            None if request.body().is_empty() && told["required"] == false => {}
            None => faults.push(format!("{media_type} is not told for requests")),
        }
        faults
    }

    fn resolved<'a>(&'a self, told: &'a Value) -> &'a Value {
        let reference = told["$ref"].as_str().and_then(|to| to.strip_prefix('#'));
        reference.map_or(told, |pointer| self.0.pointer(pointer).unwrap())
    }

    /// Compares a value with a schema (JSON Schema 2020-12), as far as the document needs it.
    fn compare(
        &self,
        schema: &Value,
        value: &Value,
        at: &str,
        others: Members,
        faults: &mut Vec<String>,
    ) {
        let schema = self.resolved(schema);
        let mut fault = |what: &str| faults.push(format!("{at} {what}: {value}"));
        let number = |name: &str| schema[name].as_u64();
        let length = value.as_str().map(|text| text.chars().count() as u64);
        let length = length.or(value.as_array().map(|items| items.len() as u64));
        for (word, told) in schema.as_object().unwrap() {
            let fits = match word.as_str() {
                "type" => has_type(told, value),
                "enum" => told.as_array().unwrap().contains(value),
                "format" => {
                    told == "date-time"
                        && value.as_str().is_none_or(|it| it.parse::<Timestamp>().is_ok())
                }
                "minLength" | "minItems" => {
                    length.is_none_or(|length| Some(length) >= number(word))
                }
                "maxLength" | "maxItems" => {
                    length.is_none_or(|length| Some(length) <= number(word))
                }
                "minimum" => value.as_u64().is_none_or(|it| Some(it) >= number(word)),
                "maximum" => value.as_u64().is_none_or(|it| Some(it) <= number(word)),
                "required" => told
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap()).is_some()),
                "pattern"
                | "propertyNames"
                | "description"
                | "properties"
                | "additionalProperties"
                | "items"
                | "anyOf" => true,
                word => panic!("this test does not know the word {word}"),
            };
            if !fits {
                fault(&format!("is not of {word} {told}"));
            }
        }
        if let Some(several) = schema["anyOf"].as_array() {
            let fits = several.iter().any(|one| {
                let mut faults = Vec::new();
                self.compare(one, value, at, others, &mut faults);
                faults.is_empty()
            });
            if !fits {
                fault("fits none of anyOf");
            }
        }
        for item in value.as_array().into_iter().flatten() {
            self.compare(&schema["items"], item, &format!("{at}[]"), others, faults);
        }
        for (name, member) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            let rest = &schema["additionalProperties"];
            match schema["properties"].get(name) {
                Some(told) => self.compare(told, member, &at, others, faults),
                None if rest.is_object() => self.compare(rest, member, &at, others, faults),
                None if *rest == false => faults.push(format!("{at} is excluded")),
                None if others == Members::Told && !schema["properties"].is_null() => {
                    faults.push(format!("{at} is not told"));
                }
                None => {}
            }
        }
    }
}

/// Whether an object may have members that its schema does not tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Members {
    Told,
    Any,
}

fn answer_name(method: &str, path: &str, status: &str) -> String {
    format!("{} {path} {status}", method.to_uppercase())
}

fn essence(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap());
    value.split(';').next().unwrap().trim().to_ascii_lowercase()
}

fn has_type(told: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        name => panic!("this test does not know the type {name}"),
    };
    told.as_array().map_or_else(|| is(told), |several| several.iter().any(is))
}
