//! For an application's own OpenAPI document: what this library adds to its routes.
//!
//! [`Components`] adds the security schemes, and a response for each status of a refusal, with an
//! example of each code. [`guard`] says of an operation that it is guarded, and what it then refuses.
//!
//! ```
//! use key0_auth::openapi::{Components, Guard, guard};
//! use utoipa::{Modify, OpenApi};
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
//!     guard(item.get.as_mut().expect("it has one"), Guard::Credential);
//! }
//! let document = serde_json::to_value(&document).expect("it is JSON");
//! let refused = &document["paths"]["/photos/{id}"]["get"]["responses"]["401"];
//! assert_eq!(refused["$ref"], "#/components/responses/Unauthorized");
//! ```

use serde_json::{Value, json};
use utoipa::{
    Modify,
    openapi::{
        OpenApi, Ref, RefOr, Response,
        content::ContentBuilder,
        example::ExampleBuilder,
        path::Operation,
        response::ResponseBuilder,
        schema::{ObjectBuilder, Schema, Type},
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
    /// `AuthLayer` or its likes: an access token, an issued key, a bootstrap key.
    Credential,
    /// `InternalAuthLayer` or its likes: Key0's own calls.
    Internal,
}

/// Adds the security schemes `bearer`, `apiKey`, `internal` and `internalBearer`, the schema
/// `Problem`, and a response for each status of a refusal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Components;

/// The refusals by their names in the document.
const REFUSALS: [(&str, &str, &[RejectionKind]); 11] = {
    use RejectionKind as Kind;
    [
        (
            "BadRequest",
            "The request or its credential can't be read",
            &[Kind::InvalidBody, Kind::MalformedCredential],
        ),
        (
            "Unauthorized",
            "No credential, or one that is not good",
            &[
                Kind::MissingCredential,
                Kind::InvalidToken,
                Kind::TokenExpired,
                Kind::InvalidApiKey,
                Kind::KeyRevoked,
                Kind::KeyExpired,
            ],
        ),
        ("InternalUnauthorized", "The caller is not Key0", &[Kind::InvalidInternalAuth]),
        (
            "Forbidden",
            "The credential is good, for something else",
            &[Kind::InsufficientPermissions],
        ),
        ("NotFound", "Nothing is found there", &[Kind::NotFound]),
        (
            "Conflict",
            "What is stored contradicts it",
            &[
                Kind::RequestConflict,
                Kind::PaymentAlreadyRedeemed,
                Kind::CredentialRevoked,
                Kind::IdempotencyInProgress,
            ],
        ),
        ("ContentTooLarge", "The body is too large", &[Kind::BodyTooLarge]),
        ("UnsupportedMediaType", "The body is of another type", &[Kind::UnsupportedMediaType]),
        (
            "UnprocessableContent",
            "It is understood and can't be done",
            &[Kind::NotForSale, Kind::IdempotencyKeyReused],
        ),
        ("InternalServerError", "A fault of the server", &[Kind::Internal]),
        (
            "ServiceUnavailable",
            "Nobody can tell now; Retry-After says when to ask again",
            &[Kind::StoreUnavailable, Kind::IssuanceInProgress],
        ),
    ]
};

impl Modify for Components {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        for (name, scheme) in schemes() {
            components.security_schemes.insert(name.to_owned(), scheme.into());
        }
        components.schemas.insert("Problem".to_owned(), problem().into());
        let responder = Responder::default();
        for (name, about, kinds) in REFUSALS {
            let response = refusal(&responder, about, kinds);
            components.responses.insert(name.to_owned(), response.into());
        }
        let any = refusal(&responder, "Any other refusal", &[]);
        components.responses.insert("Refusal".to_owned(), any.into());
    }
}

/// Says that an operation is behind this guard, and how it refuses.
pub fn guard(operation: &mut Operation, guard: Guard) {
    let (schemes, refusals): ([&str; 2], &[(&str, &str)]) = match guard {
        Guard::Credential => (
            ["bearer", "apiKey"],
            &[("400", "BadRequest"), ("401", "Unauthorized"), ("403", "Forbidden")],
        ),
        Guard::Internal => (["internal", "internalBearer"], &[("401", "InternalUnauthorized")]),
    };
    let none: [&str; 0] = [];
    operation.security = Some(schemes.map(|scheme| SecurityRequirement::new(scheme, none)).into());
    for (status, name) in refusals.iter().chain(&[("503", "ServiceUnavailable")]) {
        refuse(operation, status, name);
    }
}

/// Says that an operation may be refused with this status, or as `default`; `name` is that of a
/// response of [`Components`]. What the operation says of the status itself stays.
pub fn refuse(operation: &mut Operation, status: &str, name: &str) {
    let response = || RefOr::Ref(Ref::from_response_name(name));
    operation.responses.responses.entry(status.to_owned()).or_insert_with(response);
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
        ("bearer", bearer("An access token that Key0 signed, or a key that this backend issued")),
        ("apiKey", header("X-Api-Key", "A key that this backend issued, or that it was given")),
        ("internal", header("X-Internal-Auth", "The secret that Key0 shares with this backend")),
        ("internalBearer", bearer("The same secret, or a system token")),
    ]
}

/// A refusal's body (RFC 9457).
fn problem() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let texts = ["type", "title", "detail", "instance", "code", "error", "message"];
    let object = texts.into_iter().fold(ObjectBuilder::new(), |object, name| {
        let object = object.property(name, text());
        if name == "instance" { object } else { object.required(name) }
    });
    let retry = ["never", "after", "new_credential", "purchase"];
    let object = object
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .required("status")
        .property("retry", text().enum_values(Some(retry)))
        .required("retry");
    Schema::Object(object.build())
}

fn refusal(responder: &Responder, about: &str, kinds: &[RejectionKind]) -> Response {
    let examples = kinds.iter().map(|kind| {
        let refusal = responder.respond(&Rejection::from(*kind));
        let body = serde_json::from_slice(&refusal.body).unwrap_or_else(|_| json!({}));
        let example = ExampleBuilder::new().value(Some::<Value>(body)).build();
        (kind.code().to_owned(), example)
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    ResponseBuilder::new().description(about).content("application/problem+json", content).build()
}
