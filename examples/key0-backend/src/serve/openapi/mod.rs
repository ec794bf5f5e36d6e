//! `GET /openapi.json`, `/docs` and `/llms.txt`: what a listener serves, in one document.
//!
//! What each operation takes and gives is data, `document.json`. Which guard it is behind follows from
//! the configuration; how a guard refuses, the library says. Tests compare the document with the routes
//! that are served, and with what they answer.

mod page;

use std::sync::Arc;

use axum::{Router, middleware::from_fn, routing::get};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use key0_auth::{
    RejectionKind,
    axum::drain_unread,
    openapi::{Components, Guard, guard, refuse},
};
use utoipa::{
    Modify,
    openapi::{OpenApi, Ref, RefOr, Response, path::Operation, path::PathItem},
};

use crate::config::IssueTokenAuth;

const DOCUMENT: &str = include_str!("document.json");

/// Whose routes are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Everybody,
    /// Agents and partners.
    Public,
    /// Key0 and operators, on a listener of their own.
    Internal,
}

/// What a document tells, as far as it depends on the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    pub(super) audience: Audience,
    pub(super) key_checks: bool,
    pub(super) issue_token_auth: IssueTokenAuth,
    /// Whether the internal endpoints ask for nothing.
    pub(super) internal_open: bool,
    /// Whether proxies may ask, and then whether they need a secret.
    pub(super) verify: Option<bool>,
}

impl Served {
    /// Whether a listener has the operations of this path, which have this tag.
    fn has(&self, path: &str, tag: &str) -> bool {
        match tag {
            "agents" if path.starts_with("/credential") => true,
            "agents" | "partners" => self.audience != Audience::Internal,
            "key0" | "operators" => self.audience != Audience::Public,
            _ => true,
        }
    }

    /// The guard of a path; none where everybody may ask.
    fn guard_of(&self, path: &str) -> Option<Guard> {
        let is_guarded = |by, is_on: bool| is_on.then_some(by);
        match path.split('/').nth(1).unwrap_or_default() {
            "internal" if self.is_open_issuance(path) => None,
            "internal" | "introspect" => is_guarded(Guard::Internal, !self.internal_open),
            "keys" | "v1" => is_guarded(Guard::Credential, self.key_checks),
            "metrics" => is_guarded(Guard::Credential, self.audience == Audience::Everybody),
            "api" | "audit" | "purchases" | "refusals" => Some(Guard::Credential),
            "credential" if path == "/credential" => Some(Guard::Credential),
            _ => None,
        }
    }

    fn is_open_issuance(&self, path: &str) -> bool {
        self.issue_token_auth == IssueTokenAuth::Body && path == "/internal/issue-token"
    }

    fn document(&self) -> OpenApi {
        let mut document = told();
        document.info.version = env!("CARGO_PKG_VERSION").to_owned();
        Components.modify(&mut document);
        let paths = &mut document.paths.paths;
        if self.verify.is_none() {
            paths.remove("/verify");
        }
        if let (Some(false), Some(open)) = (self.verify, paths.get_mut("/verify")) {
            operations(open).for_each(|operation| operation.security = None);
        }
        paths.retain(|path, item| operations(item).any(|operation| self.has(path, tag(operation))));
        for (path, item) in paths.iter_mut() {
            operations(item).for_each(|operation| self.complete(path, operation));
        }
        let components = document.components.iter_mut();
        components.flat_map(|all| all.responses.values_mut()).for_each(tell_request_id);
        document
    }

    /// Adds the guard of an operation, and every refusal that follows from what it is.
    fn complete(&self, path: &str, operation: &mut Operation) {
        use RejectionKind as Kind;
        if let Some(of_path) = self.guard_of(path) {
            guard(operation, of_path);
        }
        let mut refusals = vec![Kind::InvalidBody, Kind::Timeout, Kind::Internal];
        if path.contains('{') {
            refusals.push(Kind::NotFound);
        }
        if operation.request_body.is_some() {
            refusals.extend([Kind::BodyTooLarge, Kind::UnsupportedMediaType]);
        }
        if tag(operation) != "meta" {
            // What comes through Key0's gateway is refused where nothing else is.
            refusals.extend([Kind::InsufficientPermissions, Kind::StoreUnavailable]);
        }
        refusals.into_iter().for_each(|kind| refuse(operation, kind));
        operation.responses.responses.values_mut().for_each(tell_request_id);
    }

    /// The routes that tell the document.
    pub(super) fn routes(&self) -> Router {
        let json = serde_json::to_value(self.document()).unwrap_or_default();
        let serve = |kind: &'static str, text: String| {
            let text: Arc<str> = text.into();
            let headers = [
                (CONTENT_TYPE, kind),
                (CONTENT_SECURITY_POLICY, page::POLICY),
                (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            get(async move || (headers, text.to_string()))
        };
        Router::new()
            .route("/openapi.json", serve("application/json", json.to_string()))
            .route("/docs", serve("text/html; charset=utf-8", page::html(&json)))
            .route("/llms.txt", serve("text/plain; charset=utf-8", page::text(&json)))
            .route_layer(from_fn(drain_unread))
    }
}

/// What `document.json` tells.
fn told() -> OpenApi {
    match serde_json::from_str(DOCUMENT) {
        Ok(document) => document,
        Err(error) => unreachable!("a test reads it: {error}"),
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, post, patch, delete, .. } = item;
    [get, post, patch, delete].into_iter().flatten()
}

/// Whom an operation is for.
fn tag(operation: &Operation) -> &str {
    operation.tags.iter().flatten().next().map_or("", String::as_str)
}

fn tell_request_id(response: &mut RefOr<Response>) {
    if let RefOr::T(response) = response {
        let header = Ref::new("#/components/headers/RequestId");
        response.headers.insert("X-Request-Id".to_owned(), RefOr::Ref(header));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// A word that the types of the document don't know would be lost.
    #[test]
    fn all_of_the_document_is_told() {
        let written: Value = serde_json::from_str(DOCUMENT).expect("json");
        assert_eq!(serde_json::to_value(told()).expect("json"), written);
    }
}
