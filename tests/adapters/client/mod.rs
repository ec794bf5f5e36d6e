//! The client against servers that behave, and against servers that don't.
#![cfg(feature = "client")]
mod answers;
mod credentials;
mod polling;
mod retries;
mod secrets;
mod server;
mod settings;

use std::time::Duration;

use key0_auth::client::{Client, ClientBuilder};

use self::server::Server;

const KEY: &str = "ak_the_key_of_an_integrator";
const MS: Duration = Duration::from_millis(1);
/// More than any answer of these tests takes, where it is not meant to be late.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client whose pauses are short.
fn builder(server: &Server) -> ClientBuilder {
    Client::builder(server.url()).api_key(KEY).backoff(MS, 2 * MS).timeout(PATIENCE)
}

fn client(server: &Server) -> Client {
    builder(server).build().unwrap()
}
