//! A whole backend: tokens, issued keys, Key0's endpoints, the keys API, and a stop that loses
//! nothing.
//!
//! ```sh
//! KEY0_ACCESS_TOKEN_SECRET=… INTERNAL_AUTH_SECRET=… MASTER_API_KEYS=… \
//!     cargo run --features axum,backend,client,sqlite --example axum_backend
//! ```

use std::{env, error::Error};

use axum::{Json, Router, extract::Path, middleware::from_fn, routing::get};
use key0_auth::{
    Identity,
    api::{HandlerError, PaymentHandler},
    async_trait,
    axum::request_ids,
    backend::{Backend, Secrets},
    client::segment,
    store::{self, Payment},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("DATABASE_URL").unwrap_or("sqlite://key0-backend.db".to_owned());
    let store = store::open(&url).await?;
    let backend = Backend::builder(store, Secrets::from_env()?).on_payment(Print).build()?;
    let asked = backend.clone();
    let ready = async move || asked.ready().await.map(|()| state("ready"));
    let app = Router::new()
        .route("/api/photos/{id}", get(photo))
        .route("/api/data/{id}", get(data))
        .route_layer(backend.layer().sold("id"))
        .route("/health", get(async || state("ok")))
        .route("/ready", get(ready));
    let app = backend.router(app).layer(from_fn(request_ids));

    let port = env::var("PORT").map_or(Ok(3000), |port| port.parse::<u16>())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on    http://{}", listener.local_addr()?);
    let mut stop = signal(SignalKind::terminate())?;
    let stop = async move { stop.recv().await.unwrap_or_default() };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    backend.close().await;
    Ok(())
}

fn state(status: &str) -> Json<Value> {
    Json(json!({ "status": status, "service": "backend" }))
}

/// Whoever gets here has bought it.
async fn photo(Path(id): Path<String>, who: Identity) -> Json<Value> {
    let url = format!("https://cdn.example.com/photos/{}.jpg", segment(&id));
    Json(json!({ "id": id, "tierId": who.plan_id(), "planId": who.plan_id(), "url": url,
        "title": format!("Photo {id}"), "resolution": "4K" }))
}

async fn data(Path(id): Path<String>, who: Identity) -> Json<Value> {
    Json(json!({ "id": id, "data": "premium content", "tierId": who.plan_id(),
        "planId": who.plan_id(), "resourceId": who.resource_id() }))
}

#[derive(Debug)]
struct Print;

#[async_trait]
impl PaymentHandler for Print {
    async fn handle(&self, payment: &Payment) -> Result<(), HandlerError> {
        eprintln!("payment {} for {}", payment.tx_hash, payment.resource_id);
        Ok(())
    }
}
