//! `GET /openapi.json`, `/docs` and `/llms.txt`: what this backend serves, told by one document.
//!
//! What each operation takes and gives is data, `document.json`. Which guard it is behind is said
//! here, and what a guard refuses the library says; a test compares all of it with the routes that
//! are served.

mod page;

use std::sync::Arc;

use axum::{Router, response::IntoResponse, routing::get};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use key0_auth::openapi::{Components, Guard, guard, refuse};
use utoipa::{
    Modify,
    openapi::{OpenApi, Operation, PathItem},
};

use crate::config::IssueTokenAuth;

/// What the configuration opens that is guarded else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) key_checks: bool,
    pub(super) issue_token: IssueTokenAuth,
}

impl Open {
    /// The guard of the routes at a path; none where everybody may ask.
    fn guard_of(self, path: &str) -> Option<Guard> {
        let first = path.split('/').nth(1).unwrap_or_default();
        match (path, first) {
            ("/internal/issue-token", _) if self.issue_token == IssueTokenAuth::Body => None,
            (_, "internal" | "introspect") => Some(Guard::Internal),
            (_, "keys" | "v1") if !self.key_checks => None,
            (_, "api" | "keys" | "v1" | "metrics") => Some(Guard::Credential),
            _ => None,
        }
    }
}

/// The document of a backend with this configuration.
pub(super) fn document(open: Open) -> OpenApi {
    let mut document: OpenApi = match serde_json::from_str(include_str!("document.json")) {
        Ok(document) => document,
        Err(error) => unreachable!("a test reads it: {error}"),
    };
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    Components.modify(&mut document);
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            if let Some(of_path) = open.guard_of(path) {
                guard(operation, of_path);
            }
            if path.contains('{') {
                refuse(operation, "404", "NotFound");
            }
            if operation.request_body.is_some() {
                refuse(operation, "400", "BadRequest");
                refuse(operation, "413", "ContentTooLarge");
                refuse(operation, "415", "UnsupportedMediaType");
            }
            refuse(operation, "default", "Refusal");
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, post, patch, delete, .. } = item;
    [get, post, patch, delete].into_iter().flatten()
}

/// The routes that tell the document.
pub(super) fn routes(open: Open) -> Router {
    let document = document(open);
    let json = serde_json::to_value(&document).unwrap_or_default();
    let serve = |kind: &'static str, text: String| {
        let text: Arc<str> = text.into();
        get(async move || ([(CONTENT_TYPE, kind)], text.to_string()))
    };
    let (page, policy) = page::html(&json);
    let page: Arc<str> = page.into();
    let docs = async move || {
        let kind = (CONTENT_TYPE, "text/html; charset=utf-8".to_owned());
        ([kind, (CONTENT_SECURITY_POLICY, policy)], page.to_string()).into_response()
    };
    Router::new()
        .route("/openapi.json", serve("application/json", json.to_string()))
        .route("/llms.txt", serve("text/plain; charset=utf-8", page::text(&json)))
        .route("/docs", get(docs))
}
