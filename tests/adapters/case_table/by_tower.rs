//! The backend of these tests on plain tower services: the layers validate, the rest is by hand.

use std::{convert::Infallible, future::ready};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts as Head};
use http_body_util::{BodyExt, Full};
use key0_auth::{
    AuthLayer, Identity, InternalAuthLayer, Policy, Rejection, RejectionKind,
    api::{Introspect, KeysApi, Operator, Reply, check_media_type},
    auth::Gateway,
    domain::Action,
    tower::ResponseBody,
};
use serde_json::Value;
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    case_table::{
        NOT_SERVED,
        parts::{self, Parts},
    },
    cases::Target,
};

pub(crate) struct InProcess(pub(crate) Parts);

impl Target for InProcess {
    fn without(&self) -> &[&str] {
        NOT_SERVED
    }

    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        let method = request.method().clone();
        let mut response = self.route(request).await;
        // What the server around it does: it tells the length, and sends no body to a HEAD.
        let length = response.body().len();
        response.headers_mut().insert("content-length", length.into());
        if method == Method::HEAD { response.map(|_| Bytes::new()) } else { response }
    }
}

impl InProcess {
    async fn route(&self, request: Request<Bytes>) -> Response<Bytes> {
        let Parts { validator, internal, .. } = &self.0;
        let path = request.uri().path().to_owned();
        let segments: Vec<_> = path.split('/').skip(1).collect();
        let proxied = request.headers().contains_key(Gateway::TOKEN_HEADER);
        let refuse = |rejection: Rejection| {
            let rejection = rejection.instance(&path);
            self.refuse(if proxied { rejection.for_gateway() } else { rejection })
        };
        let allow = match *segments.as_slice() {
            ["health"] | ["api", "photos" | "data", _] if !segments.contains(&"") => "GET,HEAD",
            ["v1", "dpp", "passports"] | ["internal", "issue-token" | "payment-received"] => "POST",
            ["credential"] => "GET,HEAD",
            ["credential", "revoke"] => "POST",
            ["keys"] => "GET,HEAD,POST,DELETE",
            ["keys", _] => "GET,HEAD,PATCH,DELETE",
            ["keys", _, "rotate"] => "POST",
            _ => return refuse(RejectionKind::NotFound.into()),
        };
        if !allow.split(',').any(|allowed| request.method() == allowed) {
            let mut response = refuse(RejectionKind::MethodNotAllowed.into());
            response.headers_mut().insert("allow", allow.parse().unwrap());
            return response;
        }
        let auth = AuthLayer::new(validator.clone());
        match segments[0] {
            "health" => json(&parts::health()),
            "api" => {
                let of_path = |head: &Head| Policy::resource(id(head.uri.path()));
                let show = if segments[1] == "photos" { parts::photo } else { parts::data };
                let handler = service_fn(|request: Request<Full<Bytes>>| {
                    let identity = request.extensions().get::<Identity>().unwrap();
                    ready(whole(json(&show(&id(request.uri().path()), identity))))
                });
                // As on the other adapters, no policy of the guard's is about what is sold per call.
                let auth = if proxied { auth } else { auth.policy_fn(of_path) };
                collect(auth.layer(handler).oneshot(streamed(request)).await).await
            }
            "credential" if segments.len() == 2 => match self.end(&request).await {
                Ok(reply) => answer(reply.status, reply.headers, reply.body),
                Err(rejection) => refuse(rejection),
            },
            "credential" => {
                let handler = service_fn(|request: Request<Full<Bytes>>| {
                    let reply = self.0.credential.show(request.extensions().get().unwrap());
                    ready(whole(answer(reply.status, reply.headers, reply.body)))
                });
                collect(auth.layer(handler).oneshot(streamed(request)).await).await
            }
            "keys" => {
                let handler = service_fn(|request| async move {
                    let request = in_one(request);
                    whole(match self.manage(&request).await {
                        Ok(reply) => answer(reply.status, reply.headers, reply.body),
                        Err(rejection) => self.refuse(rejection.instance(request.uri().path())),
                    })
                });
                let auth = auth.policy(KeysApi::policy()).wording(KeysApi::wording);
                collect(auth.layer(handler).oneshot(streamed(request)).await).await
            }
            "v1" => {
                let handler =
                    service_fn(async |_: Request<Full<Bytes>>| whole(json(&parts::passport())));
                let auth = auth.policy(Policy::permission("dpp", Action::Create));
                collect(auth.layer(handler).oneshot(streamed(request)).await).await
            }
            _ => {
                let handler = service_fn(|request| async move {
                    let request = in_one(request);
                    whole(match self.receive(&request).await {
                        Ok(reply) => answer(reply.status, reply.headers, reply.body),
                        Err(rejection) => self.refuse(rejection.instance(request.uri().path())),
                    })
                });
                let auth = InternalAuthLayer::new(internal.clone());
                collect(auth.layer(handler).oneshot(streamed(request)).await).await
            }
        }
    }

    async fn receive(&self, request: &Request<Bytes>) -> Result<Reply, Rejection> {
        check_type(request)?;
        match request.uri().path() {
            "/internal/issue-token" => self.0.issue_token.handle(request.body()).await,
            _ => self.0.payment_received.handle(request.body()).await,
        }
    }

    async fn end(&self, request: &Request<Bytes>) -> Result<Reply, Rejection> {
        let tokens = request.headers().get_all(Gateway::TOKEN_HEADER);
        Gateway::check_direct(tokens.iter().map(|token| token.as_bytes()))?;
        let media_type = request.headers().get("content-type");
        Introspect::check_media_type(media_type.map(|value| value.as_bytes()))?;
        self.0.credential.revoke(request.body()).await
    }

    async fn manage(&self, request: &Request<Bytes>) -> Result<Reply, Rejection> {
        let keys = &self.0.keys;
        let operator = Operator::of(request.extensions().get().unwrap())?;
        let segments: Vec<_> = request.uri().path().split('/').skip(2).collect();
        match (request.method().as_str(), segments.as_slice()) {
            ("GET" | "HEAD", []) => keys.list(&operator, request.uri().query()).await,
            ("POST", []) => {
                check_type(request)?;
                keys.create(&operator, request.body()).await
            }
            (_, [] | [""]) => Err(KeysApi::missing_id()),
            ("POST", [id, _]) => keys.rotate(&operator, id, request.body()).await,
            ("DELETE", [id, ..]) => keys.revoke(&operator, id, request.uri().query()).await,
            (_, [id, ..]) => keys.show(&operator, id).await,
        }
    }

    fn refuse(&self, rejection: Rejection) -> Response<Bytes> {
        let refusal = self.0.validator.responder().respond(&rejection);
        answer(refusal.status, refusal.headers, refusal.body)
    }
}

/// A request as the layers take it, which can do without its body.
fn streamed(mut request: Request<Bytes>) -> Request<Full<Bytes>> {
    let body = request.body().clone();
    request.extensions_mut().insert(body);
    request.map(Full::new)
}

/// The same request as it was.
fn in_one(mut request: Request<Full<Bytes>>) -> Request<Bytes> {
    let body = request.extensions_mut().remove::<Bytes>().unwrap();
    request.map(|_| body)
}

type Answer<B> = Result<Response<B>, Infallible>;

fn whole(response: Response<Bytes>) -> Answer<Full<Bytes>> {
    Ok(response.map(Full::new))
}

async fn collect(answer: Answer<ResponseBody<Full<Bytes>>>) -> Response<Bytes> {
    let Ok(response) = answer;
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

fn check_type(request: &Request<Bytes>) -> Result<(), Rejection> {
    let media_type = request.headers().get("content-type");
    check_media_type(media_type.map(|value| value.as_bytes()))
}

/// The decoded id at the end of a path.
fn id(path: &str) -> String {
    path.rsplit('/').next().unwrap().replace("%2D", "-")
}

fn json(body: &Value) -> Response<Bytes> {
    answer(200, vec![("content-type", "application/json".into())], body.to_string().into())
}

fn answer<N: AsRef<str>>(status: u16, headers: Vec<(N, String)>, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name.as_ref(), value);
    }
    response.body(body.into()).unwrap()
}
