//! The shop on either framework, and how it is talked to.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::poll_fn,
    io, mem,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use actix_web::{
    App as ActixApp, HttpMessage, HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    dev::{Service as _, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    test::{TestRequest, init_service},
    web,
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use key0_auth::{
    AuthLayer, IdempotencyLayer, Rejection,
    actix::{AuthMiddleware, IdempotencyMiddleware},
    idempotency::{Idempotency, IdempotentRequest, NotKept},
};
use tokio::{runtime::Builder, task::LocalSet};
use tower::{Layer, ServiceExt, service_fn};

use crate::idempotency::shop::{ALICE, Says, Shop};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framework {
    Tower,
    Actix,
}

/// A request, which is Alice's order until it is changed.
#[derive(Clone)]
pub struct Sent {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Bytes,
}

impl Sent {
    pub fn to(target: &str) -> Self {
        let headers = vec![("content-type", b"application/json".to_vec())];
        let body = Bytes::from_static(b"{\"photo\":1}");
        Self { method: "POST", target: target.to_owned(), headers, body }.by(ALICE)
    }

    pub fn by(self, key: &str) -> Self {
        self.without("x-api-key").header("x-api-key", key)
    }

    pub fn key(self, key: impl Into<Vec<u8>>) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Whether the body came to its end.
    pub is_whole: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice");
        value
    }

    pub fn is_replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// The code of a refusal.
    pub fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        problem["code"].as_str().unwrap().to_owned()
    }

    async fn new<B>(status: u16, headers: impl Iterator<Item = (String, Vec<u8>)>, body: B) -> Self
    where
        B: MessageBody,
    {
        let text = |value: Vec<u8>| String::from_utf8(value).unwrap();
        let mut headers: Vec<_> = headers.map(|(name, value)| (name, text(value))).collect();
        // How long it is the server tells, each in its own way.
        headers.retain(|(name, _)| name != "content-length");
        headers.sort();
        let mut body = pin!(body);
        let mut read = Vec::new();
        let is_whole = loop {
            match poll_fn(|cx| body.as_mut().poll_next(cx)).await {
                None => break true,
                Some(Ok(chunk)) => read.extend_from_slice(&chunk),
                Some(Err(_)) => break false,
            }
        };
        Self { status, headers, body: read.into(), is_whole }
    }
}

type Sending = Pin<Box<dyn Future<Output = Answer>>>;

/// The shop behind a middleware with some settings. A clone is the same one.
#[derive(Clone)]
pub struct App {
    send: Rc<dyn Fn(Sent) -> Sending>,
    log: Rc<RefCell<Vec<Answer>>>,
}

impl App {
    pub async fn send(&self, sent: Sent) -> Answer {
        let answer = (self.send)(sent).await;
        self.log.borrow_mut().push(answer.clone());
        answer
    }
}

/// Whether callers are asked for a credential.
#[derive(Clone, Copy)]
enum Credentials {
    Required,
    Optional,
    None,
}

/// Where a case is played.
pub struct Stage {
    pub shop: Arc<Shop>,
    framework: Framework,
    log: Rc<RefCell<Vec<Answer>>>,
}

impl Stage {
    pub fn new(framework: Framework) -> Self {
        Self { shop: Shop::new(), framework, log: Rc::default() }
    }

    /// The shop behind a middleware with its defaults.
    pub async fn app(&self) -> App {
        self.app_with(self.shop.idempotency()).await
    }

    pub async fn app_with(&self, idempotency: Idempotency) -> App {
        self.build(idempotency, Credentials::Required).await
    }

    /// The same with no guard outside.
    pub async fn open_app(&self, idempotency: Idempotency) -> App {
        self.build(idempotency, Credentials::None).await
    }

    /// The same where credentials are optional.
    pub async fn optional_app(&self) -> App {
        self.build(self.shop.idempotency(), Credentials::Optional).await
    }

    async fn build(&self, idempotency: Idempotency, credentials: Credentials) -> App {
        let send: Rc<dyn Fn(Sent) -> Sending> = match self.framework {
            Framework::Tower => on_tower(self.shop.clone(), idempotency, credentials),
            Framework::Actix => on_actix(self.shop.clone(), idempotency, credentials).await,
        };
        App { send, log: self.log.clone() }
    }
}

/// Plays a case by paused time, and hands out all answers.
pub fn play<F: Future<Output = ()>>(
    framework: Framework,
    case: impl FnOnce(Stage) -> F,
) -> Vec<Answer> {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let stage = Stage::new(framework);
        let log = stage.log.clone();
        case(stage).await;
        log.take()
    })
}

type TowerBody = UnsyncBoxBody<Bytes, io::Error>;

async fn by_tower(shop: Arc<Shop>, request: Request<Full<Bytes>>) -> Response<TowerBody> {
    let of = request.extensions().get::<IdempotentRequest>().cloned();
    // The body that was read is still there.
    let path = request.uri().path().to_owned();
    let _ = request.into_body().collect().await.unwrap();
    match shop.handle(&path, of).await {
        Says::Refuses(rejection) => {
            let response = axum::response::IntoResponse::into_response(rejection);
            response.map(|body| UnsyncBoxBody::new(body.map_err(io::Error::other)))
        }
        Says::Answer(answered) => {
            let mut response = Response::builder().status(answered.status);
            for (name, value) in &answered.headers {
                response = response.header(*name, value);
            }
            if !answered.kept {
                response = response.extension(NotKept);
            }
            let body = match <[Bytes; 1]>::try_from(answered.chunks) {
                Ok([whole]) => UnsyncBoxBody::new(Full::new(whole).map_err(|never| match never {})),
                Err(chunks) => {
                    let chunks = chunks.into_iter();
                    UnsyncBoxBody::new(Chunks { chunks, breaks_off: answered.breaks_off })
                }
            };
            response.body(body).unwrap()
        }
    }
}

/// A body in parts, whose length is not known before its end.
struct Chunks {
    chunks: vec::IntoIter<Bytes>,
    breaks_off: bool,
}

impl Chunks {
    fn next(&mut self) -> Option<io::Result<Bytes>> {
        match self.chunks.next() {
            Some(chunk) => Some(Ok(chunk)),
            None => mem::take(&mut self.breaks_off).then(|| Err(io::Error::other("broken off"))),
        }
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.next().map(|chunk| chunk.map(Frame::data)))
    }
}

impl MessageBody for Chunks {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(self.next())
    }
}

fn on_tower(
    shop: Arc<Shop>,
    idempotency: Idempotency,
    credentials: Credentials,
) -> Rc<dyn Fn(Sent) -> Sending> {
    let auth = AuthLayer::new(shop.validator.clone());
    let auth = match credentials {
        Credentials::Required => Some(auth),
        Credentials::Optional => Some(auth.optional()),
        Credentials::None => None,
    };
    let handler = service_fn(move |request: Request<Full<Bytes>>| {
        let shop = shop.clone();
        async move { Ok::<_, Infallible>(by_tower(shop, request).await) }
    });
    let inner = IdempotencyLayer::new(idempotency).layer(handler);
    Rc::new(move |sent: Sent| {
        let mut request = Request::builder().method(sent.method).uri(sent.target);
        for (name, value) in sent.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::from(sent.body)).unwrap();
        let (auth, inner) = (auth.clone(), inner.clone());
        Box::pin(async move {
            match auth {
                Some(auth) => tower_answer(auth.layer(inner).oneshot(request).await.unwrap()).await,
                None => tower_answer(inner.oneshot(request).await.unwrap()).await,
            }
        })
    })
}

async fn tower_answer<B>(response: Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes, Error = io::Error>,
{
    let (parts, body) = response.into_parts();
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    Answer::new(parts.status.as_u16(), headers, OfTower(Box::pin(body))).await
}

/// Has the bodies of both frameworks read by the same code.
struct OfTower<B>(Pin<Box<B>>);

impl<B: http_body::Body<Data = Bytes, Error = io::Error>> MessageBody for OfTower<B> {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        let frame = self.0.as_mut().poll_frame(cx);
        frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())))
    }
}

async fn by_actix(shop: Arc<Shop>, request: HttpRequest, _body: web::Bytes) -> HttpResponse {
    let of = request.extensions().get::<IdempotentRequest>().cloned();
    match shop.handle(request.path(), of).await {
        Says::Refuses(rejection) => actix_web::ResponseError::error_response(&rejection),
        Says::Answer(answered) => {
            let status = actix_web::http::StatusCode::from_u16(answered.status).unwrap();
            let mut response = HttpResponse::build(status);
            for (name, value) in answered.headers {
                response.append_header((name, value));
            }
            let mut response = match <[Bytes; 1]>::try_from(answered.chunks) {
                Ok([whole]) => response.body(whole),
                Err(chunks) => {
                    let chunks = chunks.into_iter();
                    response.body(Chunks { chunks, breaks_off: answered.breaks_off })
                }
            };
            if !answered.kept {
                response.extensions_mut().insert(NotKept);
            }
            response
        }
    }
}

/// A middleware in between that makes an error of a refusal.
async fn fail(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let fails = request.path().starts_with("/fails");
    let response = next.call(request).await?;
    let refusal = response.response().extensions().get::<Rejection>().cloned();
    match refusal.filter(|_| fails) {
        Some(rejection) => Err(rejection.into()),
        None => Ok(response),
    }
}

async fn on_actix(
    shop: Arc<Shop>,
    idempotency: Idempotency,
    credentials: Credentials,
) -> Rc<dyn Fn(Sent) -> Sending> {
    let auth = AuthMiddleware::new(shop.validator.clone());
    let handler = web::to(move |request: HttpRequest, body: web::Bytes| {
        by_actix(shop.clone(), request, body)
    });
    let route = handler.wrap(from_fn(fail)).wrap(IdempotencyMiddleware::new(idempotency));
    let route = match credentials {
        Credentials::Required => route.wrap(auth),
        Credentials::Optional => route.wrap(auth.optional()),
        Credentials::None => route,
    };
    let app = Rc::new(init_service(ActixApp::new().default_service(route)).await);
    Rc::new(move |sent: Sent| {
        let app = app.clone();
        Box::pin(async move {
            let mut request = TestRequest::with_uri(&sent.target)
                .method(sent.method.parse().unwrap())
                .set_payload(sent.body);
            for (name, value) in sent.headers {
                let value = actix_web::http::header::HeaderValue::from_bytes(&value).unwrap();
                request = request.append_header((name, value));
            }
            let response = match app.call(request.to_request()).await {
                Ok(response) => response.into_parts().1.map_into_boxed_body(),
                // As the server does.
                Err(error) => error.error_response(),
            };
            let status = response.status().as_u16();
            let headers = response.headers().iter();
            let headers: Vec<_> = headers
                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect();
            Answer::new(status, headers.into_iter(), response.into_body()).await
        })
    })
}
