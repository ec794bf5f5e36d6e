//! The document as a page, which needs no script, and as a text.

use std::fmt::Write;

use serde_json::{Map, Value};

/// A browser loads nothing, runs nothing and sends nothing for what is served under this policy; the
/// page's own style, by its hash, is all that it takes.
pub(super) const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-6OMJij4dWKdeFa1VWou6NEwQVCl1cIevUNUF3USCJ2I='; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("page.css");
/// What callers do about a refusal.
const REFUSALS: &str = "A refusal is application/problem+json: `code` says what is wrong, `retry` what \
    helps: never, after (the seconds of Retry-After), new_credential, purchase.";

/// One operation of the document.
struct Told<'a> {
    method: String,
    path: &'a str,
    operation: &'a Value,
}

impl Told<'_> {
    fn summary(&self) -> &str {
        text_of(&self.operation["summary"])
    }

    fn is_for(&self, tag: &Value) -> bool {
        self.operation["tags"][0] == tag["name"]
    }

    /// What it asks of its caller.
    fn asks_for(&self) -> String {
        let schemes = self.operation["security"].as_array();
        let names = schemes.into_iter().flatten().filter_map(Value::as_object);
        let names: Vec<_> = names.flat_map(Map::keys).map(String::as_str).collect();
        if names.is_empty() { "open".to_owned() } else { names.join(" or ") }
    }
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn operations(document: &Value) -> impl Iterator<Item = Told<'_>> {
    members(&document["paths"]).flat_map(|(path, item)| {
        members(item).map(move |(method, operation)| Told {
            method: method.to_uppercase(),
            path,
            operation,
        })
    })
}

/// The tags of which a document has operations, each with these.
fn by_tag(document: &Value) -> impl Iterator<Item = (&Value, Vec<Told<'_>>)> {
    let tags = document["tags"].as_array().into_iter().flatten();
    let all = tags
        .map(|tag| (tag, operations(document).filter(|told| told.is_for(tag)).collect::<Vec<_>>()));
    all.filter(|(_, operations)| !operations.is_empty())
}

/// The page. Writing to a text does not fail.
pub(super) fn html(document: &Value) -> String {
    let of_info = |name: &str| escaped(text_of(&document["info"][name]));
    let (title, version, about) = (of_info("title"), of_info("version"), of_info("description"));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style><h1>{title} <small>{version}</small></h1>\
         <p>{about} <a href=\"/openapi.json\">openapi.json</a></p><p>{REFUSALS}</p>"
    );
    for (tag, operations) in by_tag(document) {
        let (name, about) = (text_of(&tag["name"]), text_of(&tag["description"]));
        let _ = write!(page, "<h2>{}</h2><p>{}</p>", escaped(name), escaped(about));
        operations.iter().for_each(|told| push_operation(&mut page, told));
    }
    for (kind, of_kind) in members(&document["components"]) {
        let _ = write!(page, "<h2>{}</h2>", escaped(kind));
        for (name, value) in members(of_kind) {
            let _ = write!(
                page,
                "<details id=\"/components/{0}/{1}\"><summary><code>{1}</code></summary>\
                 <pre>{2}</pre></details>",
                escaped(kind),
                escaped(name),
                pretty(value),
            );
        }
    }
    page
}

fn push_operation(page: &mut String, told: &Told<'_>) {
    let _ = write!(
        page,
        "<details><summary><b>{}</b> <code>{}</code> {} <i>{}</i></summary>",
        told.method,
        escaped(told.path),
        escaped(told.summary()),
        escaped(&told.asks_for()),
    );
    if let Some(about) = told.operation["description"].as_str() {
        let _ = write!(page, "<p>{}</p>", escaped(about));
    }
    for part in ["parameters", "requestBody", "responses"] {
        if let Some(value) = told.operation.get(part) {
            let _ = write!(page, "<h3>{part}</h3><pre>{}</pre>", pretty(value));
        }
    }
    page.push_str("</details>");
}

/// The text (llmstxt.org).
pub(super) fn text(document: &Value) -> String {
    let of_info = |name: &str| text_of(&document["info"][name]);
    let mut text = format!("# {}\n\n> {}\n\n", of_info("title"), of_info("description"));
    let _ = writeln!(text, "{REFUSALS}\n\nA credential is sent in one of these ways:\n");
    for (name, scheme) in members(&document["components"]["securitySchemes"]) {
        let header = match scheme["name"].as_str() {
            Some(header) => format!("{header}: …"),
            None => "Authorization: Bearer …".to_owned(),
        };
        let _ = writeln!(text, "- {name}: `{header}`. {}.", text_of(&scheme["description"]));
    }
    for (tag, operations) in by_tag(document) {
        let (name, about) = (text_of(&tag["name"]), text_of(&tag["description"]));
        let _ = writeln!(text, "\n## {name}\n\n{about}.\n");
        for told in operations {
            let (method, path, summary) = (&told.method, told.path, told.summary());
            let _ = writeln!(text, "- `{method} {path}`: {summary} ({})", told.asks_for());
        }
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

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_takes_the_style_of_the_page_and_nothing_else() {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        assert!(POLICY.contains(&format!("style-src 'sha256-{hash}';")), "{hash}");
    }
}
