//! For an application's own OpenAPI document: what this library adds to its routes.
//!
//! [`Components`] adds the security schemes, and a response for each status of a refusal with an
//! example of each case. [`guard`] says of an operation that it is guarded and how its guard refuses,
//! [`refuse`] how its handler does. All of it is of the default form of a refusal's body: an
//! application with a [`ProblemBody`](crate::auth::ProblemBody) of its own describes that itself.
//!
//! ```
//! use key0_auth::{RejectionKind, openapi::{Components, Guard, guard, refuse}};
//! use utoipa::OpenApi;
//!
//! #[utoipa::path(get, path = "/photos/{id}", responses((status = 200, description = "the photo")))]
//! async fn photo() {}
//!
//! #[derive(OpenApi)]
//! #[openapi(paths(photo), modifiers(&Components))]
//! struct Document;
//!
//! let mut document = Document::openapi();
//! for item in document.paths.paths.values_mut() {
//!     let operation = item.get.as_mut().expect("it has one");
//!     guard(operation, Guard::Credential);
//!     refuse(operation, RejectionKind::NotFound);
//! }
//! let document = serde_json::to_value(&document)?;
//! let photo = &document["paths"]["/photos/{id}"]["get"];
//! assert_eq!(photo["responses"]["401"]["$ref"], "#/components/responses/Unauthorized");
//! assert_eq!(photo["security"][0]["bearer"], serde_json::json!([]));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    Modify,
    openapi::{
        HeaderBuilder, OpenApi, Ref, RefOr, Response,
        content::ContentBuilder,
        example::ExampleBuilder,
        path::Operation,
        response::ResponseBuilder,
        schema::{ArrayBuilder, ObjectBuilder, Schema, Type},
        security::{
            ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
        },
    },
};

use crate::{Rejection, RejectionKind, auth::Responder};

/// What a route is guarded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guard {
    /// `AuthLayer`, `AuthMiddleware`: an access token, an issued key, a bootstrap key.
    Credential,
    /// `InternalAuthLayer`, `InternalAuthMiddleware`: Key0's own calls.
    Internal,
}

impl Guard {
    /// The security schemes, any one of which opens.
    fn schemes(self) -> [&'static str; 2] {
        match self {
            Self::Credential => ["bearer", "apiKey"],
            Self::Internal => ["internal", "internalBearer"],
        }
    }

    /// One kind for each status by which it refuses.
    fn refusals(self) -> &'static [RejectionKind] {
        use RejectionKind as Kind;
        match self {
            Self::Credential => &[
                Kind::MalformedCredential,
                Kind::MissingCredential,
                Kind::InsufficientPermissions,
                Kind::StoreUnavailable,
            ],
            // Requests through Key0's gateway are good for something else.
            Self::Internal => {
                &[Kind::InvalidInternalAuth, Kind::InsufficientPermissions, Kind::StoreUnavailable]
            }
        }
    }
}

/// Adds the security schemes `bearer`, `apiKey`, `internal` and `internalBearer`, the schema
/// `Problem`, and a response for each status of a refusal, named as the status is: `Unauthorized`,
/// `NotFound`. The 401 of an internal endpoint is `InternalUnauthorized`.
///
/// ```
/// use key0_auth::openapi::Components;
/// use utoipa::{Modify, openapi::OpenApi};
///
/// let mut document = OpenApi::default();
/// Components.modify(&mut document);
/// let components = document.components.expect("they were added");
/// assert!(components.security_schemes.contains_key("bearer"));
/// assert!(components.responses.contains_key("Unauthorized"));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Components;

impl Modify for Components {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        for (name, scheme) in schemes() {
            components.security_schemes.insert(name.to_owned(), scheme.into());
        }
        components.schemas.insert("Problem".to_owned(), problem().into());
        let mut by_name: BTreeMap<String, Vec<RejectionKind>> = BTreeMap::new();
        for kind in RejectionKind::ALL {
            by_name.entry(response_name(*kind)).or_default().push(*kind);
        }
        let responses = by_name.into_iter().map(|(name, kinds)| (name, refusal(&kinds).into()));
        components.responses.extend(responses);
    }
}

/// Says that an operation is behind this guard, and how that refuses.
///
/// ```
/// use key0_auth::openapi::{Guard, guard};
/// use utoipa::openapi::path::Operation;
///
/// let mut operation = Operation::new();
/// guard(&mut operation, Guard::Credential);
/// let refused = operation.responses.responses;
/// assert!(["401", "403", "503"].iter().all(|status| refused.contains_key(*status)));
/// ```
pub fn guard(operation: &mut Operation, guard: Guard) {
    let none: [&str; 0] = [];
    let schemes = guard.schemes().map(|scheme| SecurityRequirement::new(scheme, none));
    operation.security = Some(schemes.into());
    guard.refusals().iter().for_each(|kind| refuse(operation, *kind));
}

/// Says that an operation may be refused as this kind is, by a reference to a response of
/// [`Components`]. What the operation says of that status already stays.
///
/// ```
/// use key0_auth::{RejectionKind, openapi::refuse};
/// use utoipa::openapi::path::Operation;
///
/// let mut operation = Operation::new();
/// refuse(&mut operation, RejectionKind::NotForSale);
/// assert!(operation.responses.responses.contains_key("422"));
/// ```
pub fn refuse(operation: &mut Operation, kind: RejectionKind) {
    let status = kind.status().to_string();
    let response = || RefOr::Ref(Ref::from_response_name(response_name(kind)));
    operation.responses.responses.entry(status).or_insert_with(response);
}

/// What the response is called that documents a kind.
fn response_name(kind: RejectionKind) -> String {
    let endpoint = if kind == RejectionKind::InvalidInternalAuth { "Internal" } else { "" };
    format!("{endpoint}{}", kind.title().replace(' ', ""))
}

fn schemes() -> [(&'static str, SecurityScheme); 4] {
    let bearer = |about: &str| {
        let http = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about));
        SecurityScheme::Http(http.build())
    };
    let header = |name: &str, about: &str| {
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, about)))
    };
    [
        ("bearer", bearer("An access token that Key0 signed, or an API key")),
        ("apiKey", header("X-Api-Key", "An API key; `Authorization: ApiKey …` says the same")),
        ("internal", header("X-Internal-Auth", "The secret that Key0 shares with this backend")),
        (
            "internalBearer",
            bearer("The same secret, or a token of Key0 or of its identity provider"),
        ),
    ]
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A refusal's body (RFC 9457).
fn problem() -> Schema {
    let required = ["type", "title", "detail", "code", "error", "message"];
    let object = required
        .into_iter()
        .fold(ObjectBuilder::new(), |object, name| object.property(name, text()).required(name));
    let retry = ["never", "after", "new_credential", "purchase"];
    let status = ObjectBuilder::new().schema_type(Type::Integer);
    let object = object
        .property("status", status)
        .required("status")
        .property("retry", text().enum_values(Some(retry)))
        .required("retry")
        .property("instance", text())
        .property("offers", ArrayBuilder::new().items(offer()))
        .property("errors", ArrayBuilder::new().items(field_error()));
    Schema::Object(object.build())
}

/// What is wrong with one member of a body.
fn field_error() -> ObjectBuilder {
    let codes = ["invalid", "required", "unknown"];
    ["path", "field", "message"]
        .into_iter()
        .fold(ObjectBuilder::new(), |object, name| object.property(name, text()).required(name))
        .property("code", text().enum_values(Some(codes)))
        .required("code")
}

/// A way to buy what was refused.
fn offer() -> ObjectBuilder {
    let wanted = || {
        let object = ObjectBuilder::new().property("planId", text());
        object.property("resourceId", text())
    };
    let request = ObjectBuilder::new()
        .property("method", text())
        .property("url", text())
        .property("body", wanted());
    let request = ["method", "url", "body"].into_iter().fold(request, ObjectBuilder::required);
    wanted().property("request", request).required("request")
}

/// The response of kinds that have one status.
fn refusal(kinds: &[RejectionKind]) -> Response {
    let responder = Responder::default();
    let refusals: Vec<_> =
        kinds.iter().map(|kind| (kind, responder.respond(&Rejection::from(*kind)))).collect();
    let examples = refusals.iter().map(|(kind, refusal)| {
        let body = serde_json::from_slice(&refusal.body).unwrap_or_default();
        (format!("{kind:?}"), ExampleBuilder::new().value(Some::<Value>(body)).build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    let title = kinds.first().map_or("", |kind| kind.title());
    let response = ResponseBuilder::new().description(title);
    let response = response.content("application/problem+json", content);
    let sent = refusals.iter().flat_map(|(_, refusal)| &refusal.headers);
    let names = sent.map(|(name, _)| *name).chain(kinds.iter().filter_map(by_adapter));
    names
        .filter_map(header)
        .fold(response, |response, (name, about)| {
            response.header(
                name,
                HeaderBuilder::new().schema(Some(text())).description(Some(about)).build(),
            )
        })
        .build()
}

/// The header that only an adapter, or a configured shop, adds to a refusal.
fn by_adapter(kind: &RejectionKind) -> Option<&'static str> {
    match kind.status() {
        405 => Some("allow"),
        401 | 403 => Some("link"),
        _ => None,
    }
}

/// A header as it is documented.
fn header(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "allow" => ("Allow", "the methods that this path has"),
        "cache-control" => ("Cache-Control", "`no-store`"),
        "link" => ("Link", "with a configured shop, the way to buy access, as `rel=\"payment\"`"),
        "retry-after" => ("Retry-After", "in how many seconds the same request is worth while"),
        "www-authenticate" => ("WWW-Authenticate", "what to send, and what was wrong (RFC 6750)"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_an_example_in_the_response_that_it_is_documented_by() {
        let mut document = OpenApi::default();
        Components.modify(&mut document);
        let document = serde_json::to_value(&document).expect("json");
        let responses = &document["components"]["responses"];
        for kind in RejectionKind::ALL {
            let response = &responses[response_name(*kind)];
            let examples = &response["content"]["application/problem+json"]["examples"];
            let body = &examples[format!("{kind:?}")]["value"];
            assert_eq!(body["code"], kind.code());
            assert_eq!(body["status"], kind.status());
            let is_challenged = !response["headers"]["WWW-Authenticate"].is_null();
            assert_eq!(is_challenged, matches!(kind.status(), 400 | 401 | 403), "{kind:?}");
        }
    }

    #[test]
    fn what_an_operation_says_itself_stays() {
        let mut operation = Operation::default();
        let own = Response::new("says it in its own words");
        operation.responses.responses.insert("403".to_owned(), own.into());
        guard(&mut operation, Guard::Internal);
        let told = serde_json::to_value(&operation).expect("json");
        assert_eq!(told["responses"]["403"]["description"], "says it in its own words");
        let refused = &told["responses"]["401"]["$ref"];
        assert_eq!(refused, "#/components/responses/InternalUnauthorized");
        assert_eq!(told["security"][1]["internalBearer"], Value::Array(Vec::new()));
    }
}
