//! A whole backend on actix-web: tokens, issued keys, Key0's endpoints, the keys API, and a stop that
//! loses nothing.
//!
//! ```sh
//! KEY0_ACCESS_TOKEN_SECRET=… INTERNAL_AUTH_SECRET=… MASTER_API_KEYS=… \
//!     cargo run --features actix,backend,client,sqlite --example actix_backend
//! ```

use std::{env, error::Error};

use actix_web::{
    App, HttpServer,
    middleware::from_fn,
    web::{Json, Path},
};
use key0_auth::{
    Identity, Rejection,
    actix::{Routes, request_ids},
    api::{HandlerError, PaymentHandler},
    async_trait,
    backend::{Backend, Secrets},
    client::segment,
    store::{self, Payment},
};
use serde_json::{Value, json};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("DATABASE_URL").unwrap_or("sqlite://key0-backend.db".to_owned());
    let store = store::open(&url).await?;
    let backend = Backend::builder(store, Secrets::from_env()?).on_payment(Print).build()?;
    let shared = backend.clone();
    let server = HttpServer::new(move || {
        let (sold, asked) = (shared.middleware().sold("id"), shared.clone());
        let app = Routes::new()
            .get("/api/photos/{id}", photo)
            .get("/api/data/{id}", data)
            .each(|route| route.wrap(sold.clone()))
            .get("/health", async || Json(json!({ "status": "ok", "service": "backend" })))
            .get("/ready", move || ready(asked.clone()));
        App::new().configure(shared.configure(app)).wrap(from_fn(request_ids))
    });
    let port = env::var("PORT").map_or(Ok(3000), |port| port.parse::<u16>())?;
    let server = server.bind(("127.0.0.1", port))?;
    println!("listening on    http://{}", server.addrs()[0]);
    server.run().await?;
    backend.close().await;
    Ok(())
}

async fn ready(backend: Backend) -> Result<Json<Value>, Rejection> {
    backend.ready().await.map(|()| Json(json!({ "status": "ready", "service": "backend" })))
}

/// Whoever gets here has bought it.
async fn photo(id: Path<String>, who: Identity) -> Json<Value> {
    let url = format!("https://cdn.example.com/photos/{}.jpg", segment(&id));
    Json(json!({ "id": *id, "tierId": who.plan_id(), "planId": who.plan_id(), "url": url,
        "title": format!("Photo {id}"), "resolution": "4K" }))
}

async fn data(id: Path<String>, who: Identity) -> Json<Value> {
    Json(json!({ "id": *id, "data": "premium content", "tierId": who.plan_id(),
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
