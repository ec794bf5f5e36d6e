//! `key0-backend serve`: the routes, what stands around them, and the work beside them.

mod access_log;
mod awaited;
mod connections;
mod console;
mod error;
mod files;
mod host;
mod housekeeping;
mod metrics;
mod notify;
mod openapi;
mod payments;
mod rarely;
mod ready;
mod refusals;
mod reload;
mod request_id;
mod requests;
mod routes;
mod secret_uses;
mod server;
mod signals;
mod socket;
mod sockets;
mod sold;
mod timer;
mod told;

pub(crate) use self::{error::StartError, server::Running, sockets::GivenSockets};
