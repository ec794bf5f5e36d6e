//! What the examples share, so that each of them shows its own subject alone.
#![allow(dead_code, reason = "each example uses a part of it")]

use std::{error::Error, net::SocketAddr, time::Duration};

use key0_auth::{
    apikey::KeyFormat,
    domain::{Claims, Clock, Secret, SystemClock},
    token::TokenIssuer,
};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What Key0 and the backend share: `KEY0_ACCESS_TOKEN_SECRET`, or one that is thrown away.
pub(crate) fn secret() -> Outcome<String> {
    match std::env::var("KEY0_ACCESS_TOKEN_SECRET") {
        Ok(secret) => Ok(secret),
        Err(_) => Ok(KeyFormat::default().generate()?.expose().to_owned()),
    }
}

/// A token as Key0 signs it for whoever has paid for `photo-1`; good for an hour.
pub(crate) fn token(secret: &str) -> Outcome<String> {
    let claims = Claims::new(
        "request-1".parse()?,
        "challenge-1".parse()?,
        "photo-1".parse()?,
        "basic".parse()?,
        "0xabc".parse()?,
        SystemClock.now().plus(Duration::from_secs(3600)),
    );
    Ok(TokenIssuer::hs256(&Secret::new("the secret", secret)?).access_token(&claims)?)
}

/// Where to listen: on the port `PORT`, or on a free one.
pub(crate) fn address() -> Outcome<SocketAddr> {
    let port = std::env::var("PORT").map_or(Ok(0), |port| port.parse())?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Says where the example listens, and with which credential it is to be tried.
pub(crate) fn announce(address: SocketAddr, credential: &str) {
    println!(
        "listening on    http://{address}\n\
         try             curl -i http://{address}/photos/photo-1\n\
         and             curl -i http://{address}/photos/photo-1 \
         -H 'Authorization: Bearer {credential}'"
    );
}
