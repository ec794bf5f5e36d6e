//! The document as a page, which needs no script, and as a text.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page.css");

/// One operation of the document.
struct Told<'a> {
    method: String,
    path: &'a str,
    operation: &'a Value,
}

impl Told<'_> {
    fn summary(&self) -> &str {
        self.operation["summary"].as_str().unwrap_or_default()
    }

    /// What it asks of its caller.
    fn asks_for(&self) -> String {
        let schemes = self.operation["security"].as_array();
        let names = schemes.into_iter().flatten().filter_map(Value::as_object);
        let names: Vec<_> = names.flat_map(Map::keys).map(String::as_str).collect();
        if names.is_empty() { "open".to_owned() } else { names.join(" or ") }
    }
}

fn operations(document: &Value) -> impl Iterator<Item = Told<'_>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let operations = item.as_object().into_iter().flatten();
        operations.map(move |(method, operation)| Told {
            method: method.to_uppercase(),
            path,
            operation,
        })
    })
}

/// The page, and the content security policy that lets it do nothing but show itself.
pub(super) fn html(document: &Value) -> (String, String) {
    let info = &document["info"];
    let title = escaped(info["title"].as_str().unwrap_or_default());
    let version = escaped(info["version"].as_str().unwrap_or_default());
    let about = escaped(info["description"].as_str().unwrap_or_default());
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style><h1>{title} <small>{version}</small></h1><p>{about} \
         <a href=\"/openapi.json\">openapi.json</a></p>"
    );
    for told in operations(document) {
        page.push_str(&format!(
            "<details><summary><b>{}</b> <code>{}</code> {} <i>{}</i></summary>",
            told.method,
            escaped(told.path),
            escaped(told.summary()),
            told.asks_for(),
        ));
        for part in ["parameters", "requestBody", "responses"] {
            if let Some(value) = told.operation.get(part) {
                page.push_str(&format!("<h3>{part}</h3><pre>{}</pre>", pretty(value)));
            }
        }
        page.push_str("</details>");
    }
    let components = document["components"].as_object().into_iter().flatten();
    for (kind, of_kind) in components {
        page.push_str(&format!("<h2>{}</h2>", escaped(kind)));
        for (name, value) in of_kind.as_object().into_iter().flatten() {
            let (name, value) = (escaped(name), pretty(value));
            page.push_str(&format!(
                "<details><summary><code>{name}</code></summary><pre>{value}</pre></details>"
            ));
        }
    }
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    (page, policy)
}

/// The text (llmstxt.org).
pub(super) fn text(document: &Value) -> String {
    let info = &document["info"];
    let of_info = |name: &str| info[name].as_str().unwrap_or_default();
    let mut text = format!("# {}\n\n> {}\n\n", of_info("title"), of_info("description"));
    text.push_str(
        "A refusal is application/problem+json: `code` says what is wrong, `retry` what helps \
         (never, after, new_credential, purchase).\n\n## Operations\n\n",
    );
    for told in operations(document) {
        let (method, path, summary) = (&told.method, told.path, told.summary());
        text.push_str(&format!("- `{method} {path}`: {summary} ({})\n", told.asks_for()));
    }
    text.push_str("\n## More\n\n- [The whole document](/openapi.json)\n");
    text
}

fn pretty(value: &Value) -> String {
    escaped(&serde_json::to_string_pretty(value).unwrap_or_default())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
