use std::time::Duration;

use http::{HeaderMap, StatusCode};
use key0_auth::{client::Client, domain::Secret};
use serde_json::Value;

use super::{DemoError, server::Server};
use crate::call::Answer;

/// Key0's part of the story, played by the library's own client.
#[derive(Debug)]
pub(super) struct Key0(Client);

impl Key0 {
    pub(super) fn calling(server: &Server, patience: Duration) -> Result<Self, DemoError> {
        let secret = Secret::new("the demo's internal secret", server.internal_secret.as_str())?;
        let client = Client::builder(format!("http://{}", server.authority()))
            .internal_secret(secret)
            .timeout(patience)
            .build()?;
        Ok(Self(client))
    }

    /// Asks for what these endpoints do once by themselves, however often they are asked.
    pub(super) async fn send(&self, path: &str, body: &Value) -> Result<Answer, DemoError> {
        let sent = self.0.post(path).json(body).allow_repeats().response().await;
        let (status, text) = match sent {
            Ok(response) => {
                (response.status(), String::from_utf8_lossy(response.bytes()).into_owned())
            }
            Err(error) => match error.status() {
                Some(status) => (status, error.to_string()),
                None => return Err(error.into()),
            },
        };
        Ok(Answer { status: StatusCode::from_u16(status)?, headers: HeaderMap::new(), text })
    }
}
