//! An actix-web application that sells photos and shows its list to everybody.
//!
//! ```sh
//! cargo run --features actix --example actix_app
//! ```

mod common;

use actix_web::{App, HttpServer, web::Path};
use key0_auth::{
    AccessTokens, Identity, Validator,
    actix::{AuthMiddleware, Routes},
};

#[actix_web::main]
async fn main() -> common::Outcome {
    let secret = common::secret()?;
    let tokens = AccessTokens::hs256(&*secret)?;
    // Built once; the clones in the workers share it.
    let validator = Validator::builder().access_tokens(tokens).build()?;
    let auth = AuthMiddleware::new(validator.clone());

    let server = HttpServer::new(move || {
        let (sold, optional) = (auth.clone().sold("id"), auth.clone().optional());
        let sold = Routes::new().get("/photos/{id}", photo).each(|route| route.wrap(sold.clone()));
        let open = Routes::new().get("/photos", photos).each(|route| route.wrap(optional.clone()));
        // An unknown path is a 404 and a wrong method a 405, whoever asks.
        App::new().configure(sold.merge(open).with_problem_fallbacks(validator.responder()))
    })
    .bind(common::address()?)?;

    for address in server.addrs() {
        common::announce(address, &common::token(&secret)?);
    }
    Ok(server.run().await?)
}

/// Whoever gets here has bought this photo.
async fn photo(id: Path<String>) -> String {
    format!("photo {id}")
}

/// Behind an optional middleware there may be nobody; a bad credential is refused all the same.
async fn photos(identity: Option<Identity>) -> String {
    match identity.as_ref().and_then(Identity::resource_id) {
        Some(bought) => format!("photo-1 photo-2, and you have bought {bought}"),
        None => "photo-1 photo-2".to_owned(),
    }
}
