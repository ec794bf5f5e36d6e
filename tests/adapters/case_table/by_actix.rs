//! The backend of these tests as an actix-web application.

use actix_web::{
    App, HttpServer,
    body::{BodySize, MessageBody, to_bytes},
    dev::ServerHandle,
    test,
    web::{Json, Path, ServiceConfig},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, header::CONTENT_LENGTH};
use key0_auth::{
    Identity, Policy, Rejection,
    actix::{AuthMiddleware, Routes, credential_routes, internal_routes, keys_routes},
    domain::Action,
};
use serde_json::Value;

use crate::{
    case_table::{
        NOT_SERVED,
        parts::{self, Parts},
    },
    cases::{Served, Target},
};

/// The application without a server around it.
pub(crate) struct InProcess(pub(crate) Parts);

impl Target for InProcess {
    fn without(&self) -> &[&str] {
        NOT_SERVED
    }

    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (head, body) = request.into_parts();
        let mut sent = test::TestRequest::with_uri(&head.uri.to_string())
            .method(head.method.as_str().parse().unwrap())
            .set_payload(body);
        for (name, value) in &head.headers {
            let value = actix_web::http::header::HeaderValue::from_bytes(value.as_bytes());
            sent = sent.append_header((name.as_str(), value.unwrap()));
        }
        let app = test::init_service(App::new().configure(routes(&self.0))).await;
        let response = test::call_service(&app, sent.to_request()).await;
        let mut answer = Response::builder().status(response.status().as_u16());
        for (name, value) in response.headers() {
            let name = HeaderName::from_bytes(name.as_str().as_bytes()).unwrap();
            answer = answer.header(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        // What the server around it does: it tells the length, and sends no body to a HEAD.
        let body = response.into_body();
        if let BodySize::Sized(length) = body.size() {
            answer = answer.header(CONTENT_LENGTH, length);
        }
        let body = to_bytes(body).await.unwrap_or_else(|_| panic!("a body that breaks off"));
        answer.body(if head.method == Method::HEAD { Bytes::new() } else { body }).unwrap()
    }
}

/// The application behind a socket, on two workers.
pub(crate) fn serve(parts: &Parts) -> (Served, ServerHandle) {
    let parts = parts.clone();
    let server = HttpServer::new(move || App::new().configure(routes(&parts)))
        .workers(2)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    (Served { address, without: NOT_SERVED, request_ids: false }, handle)
}

fn routes(parts: &Parts) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let auth = AuthMiddleware::new(parts.validator.clone());
    let dpp = auth.clone().policy(Policy::permission("dpp", Action::Create));
    let (issue_token, payments) = (parts.issue_token.clone(), parts.payment_received.clone());
    let sold = Routes::new()
        .get("/api/photos/{id}", photo)
        .get("/api/data/{id}", data)
        .each(|route| route.wrap(auth.clone()));
    let partner = Routes::new()
        .post("/v1/dpp/passports", async || Json(parts::passport()))
        .each(|route| route.wrap(dpp.clone()));
    Routes::new()
        .get("/health", async || Json(parts::health()))
        .merge(sold)
        .merge(partner)
        .merge(internal_routes(parts.internal.clone(), issue_token, payments))
        .merge(credential_routes(parts.credential.clone()))
        .merge(keys_routes(parts.validator.clone(), parts.keys.clone()))
        .with_problem_fallbacks(parts.validator.responder())
}

async fn photo(id: Path<String>, identity: Identity) -> Result<Json<Value>, Rejection> {
    Policy::resource(id.as_str()).check(&identity)?;
    Ok(Json(parts::photo(&id, &identity)))
}

async fn data(id: Path<String>, identity: Identity) -> Result<Json<Value>, Rejection> {
    Policy::resource(id.as_str()).check(&identity)?;
    Ok(Json(parts::data(&id, &identity)))
}
