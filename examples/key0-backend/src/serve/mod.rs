//! `key0-backend serve`: the routes, what stands around them, and the work beside them.

mod error;
mod housekeeping;
mod request_id;
mod requests;
mod routes;
mod server;
mod socket;
mod timer;

pub(crate) use self::{error::StartError, server::serve};
