//! `GET /console`: a page for operators that does everything through the public HTTP API.
//!
//! The page holds no data. A browser runs nothing for it but the modules beside it, sends nothing to
//! anybody else, and never reads a text as markup.

use axum::{
    Router,
    extract::{Path, rejection::PathRejection},
    middleware::from_fn,
    response::IntoResponse,
    routing::get,
};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use key0_auth::{Rejection, RejectionKind, axum::drain_unread};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";
const PAGE: &str = include_str!("index.html");
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page loads: name, media type, content.
const FILES: [(&str, &str, &str); 14] = [
    ("console.css", "text/css; charset=utf-8", include_str!("console.css")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("main.js", SCRIPT, include_str!("main.js")),
    ("api.js", SCRIPT, include_str!("api.js")),
    ("dom.js", SCRIPT, include_str!("dom.js")),
    ("key.js", SCRIPT, include_str!("key.js")),
    ("keys.js", SCRIPT, include_str!("keys.js")),
    ("changes.js", SCRIPT, include_str!("changes.js")),
    ("purchases.js", SCRIPT, include_str!("purchases.js")),
    ("refusals.js", SCRIPT, include_str!("refusals.js")),
    ("search.js", SCRIPT, include_str!("search.js")),
    ("health.js", SCRIPT, include_str!("health.js")),
    ("secrets.js", SCRIPT, include_str!("secrets.js")),
    ("audit.js", SCRIPT, include_str!("audit.js")),
];

pub(super) fn routes() -> Router {
    Router::new()
        .route("/console", get(async || asset("text/html; charset=utf-8", PAGE)))
        .route("/console/{file}", get(file))
        .route_layer(from_fn(drain_unread))
}

async fn file(name: Result<Path<String>, PathRejection>) -> Result<impl IntoResponse, Rejection> {
    let Path(name) = name.map_err(|_| RejectionKind::NotFound)?;
    let known = FILES.iter().find(|(known, ..)| *known == name);
    let (_, kind, content) = known.ok_or(RejectionKind::NotFound)?;
    Ok(asset(kind, content))
}

fn asset(kind: &'static str, content: &'static str) -> impl IntoResponse + use<> {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        // After an upgrade no old module may meet a new one.
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_weighs_little() {
        let files = FILES.iter().map(|(_, _, content)| content.len());
        let bytes = PAGE.len() + files.sum::<usize>();
        assert!(bytes < 150_000, "{bytes} bytes");
    }
}
