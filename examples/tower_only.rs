//! The layer around a plain function, served by hyper: no web framework at all.
//!
//! ```sh
//! cargo run --features tower --example tower_only
//! ```

mod common;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use key0_auth::{AccessTokens, AuthLayer, Identity, Policy, Validator};
use tower::{Layer, service_fn};

#[tokio::main]
async fn main() -> common::Outcome {
    let secret = common::secret()?;
    let tokens = AccessTokens::hs256(&*secret)?;
    let validator = Validator::builder().access_tokens(tokens).build()?;
    // Without a router the layer itself asks for the right credential.
    let auth = AuthLayer::new(validator).policy_fn(|request: &Parts| {
        Policy::resource(request.uri.path().trim_start_matches("/photos/"))
    });
    let service = TowerToHyperService::new(auth.layer(service_fn(photo)));

    let listener = tokio::net::TcpListener::bind(common::address()?).await?;
    common::announce(listener.local_addr()?, &common::token(&secret)?);
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = http1::Builder::new();
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service.clone()));
    }
}

async fn photo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let plan = request.extensions().get::<Identity>().and_then(Identity::plan_id);
    let photo = format!("{}, plan {}", request.uri().path(), plan.map_or("", |plan| plan.as_str()));
    Ok(Response::new(photo.into()))
}
