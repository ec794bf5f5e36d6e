//! The requests of the load: the same bytes for every server that is compared.

use std::sync::Arc;

use crate::{load::Requests, support};

/// One request for a photo, as an agent sends it.
pub fn photo(id: &str, credential: Option<&str>) -> Vec<u8> {
    let credential = credential.map(|text| format!("authorization: Bearer {text}\r\n"));
    let credential = credential.unwrap_or_default();
    format!(
        "GET /api/photos/{id} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n\
         user-agent: agent/1.0\r\n{credential}\r\n"
    )
    .into_bytes()
}

/// With tokens, each another and for another photo.
pub fn with_tokens() -> Requests {
    let tokens = support::tokens().into_iter().enumerate();
    Arc::new(tokens.map(|(n, token)| photo(&support::resource(n), Some(&token))).collect())
}

/// With each of these keys in turn.
pub fn with_keys(keys: &[String]) -> Requests {
    Arc::new(keys.iter().map(|key| photo(support::PHOTO, Some(key))).collect())
}

/// First one of those, then one of these.
pub fn mixed(those: &Requests, these: &Requests) -> Requests {
    let pairs = those.iter().zip(these.iter().cycle());
    Arc::new(pairs.flat_map(|(one, other)| [one.clone(), other.clone()]).collect())
}
