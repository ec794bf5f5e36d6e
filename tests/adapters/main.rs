//! What goes over the wire: layers, middlewares and routes of both frameworks, the endpoints, the
//! idempotency keys, and the client.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod actix;
mod audit;
mod axum_routes;
mod backend;
#[cfg(all(feature = "axum", feature = "actix"))]
#[allow(dead_code)]
#[path = "../../examples/key0-backend/src/call.rs"]
mod call;
mod case_table;
#[cfg(all(feature = "axum", feature = "actix"))]
#[path = "../support/cases/mod.rs"]
mod cases;
mod client;
mod cors;
mod credential;
mod extras;
#[cfg(feature = "testing")]
#[path = "../support/flow.rs"]
mod flow;
mod gateway;
mod guarded;
#[cfg(feature = "tower")]
#[allow(dead_code)]
#[path = "../support/http1.rs"]
mod http1;
#[allow(dead_code)]
#[path = "../support/http.rs"]
mod http_client;
mod idempotency;
mod issue_token;
#[path = "../support/key_store.rs"]
mod key_store;
mod keys_api;
mod payment_received;
#[cfg(feature = "tower")]
#[allow(dead_code)]
#[path = "../support/pool.rs"]
mod pool;
mod proxies;
mod purchases;
mod sold;
mod told;
mod tower_layer;
mod unread;
