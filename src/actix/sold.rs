use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web::Path};
use serde::de::DeserializeOwned;

use super::extract::identity;
use crate::{Policy, Rejection, RejectionKind, Sold};

/// A [`Path`] whose resource the caller has bought, for handlers behind an
/// [`AuthMiddleware`](super::AuthMiddleware) that does not ask for it by
/// [`sold`](super::AuthMiddleware::sold). What a type of path stands for says [`Sold`].
///
/// ```
/// use actix_web::web::Path;
/// use key0_auth::actix::{Bought, Routes};
///
/// async fn photo(Bought(id): Bought<Path<String>>) -> String {
///     format!("photo {id}")
/// }
/// let routes = Routes::new().get("/photos/{id}", photo);
/// # let _ = routes;
/// ```
#[derive(Debug)]
pub struct Bought<P>(pub P);

impl<T: DeserializeOwned + Sold + 'static> FromRequest for Bought<Path<T>> {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    /// The parameters of the path.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions) where the caller has not
    /// bought it, [`NotFound`](RejectionKind::NotFound) for parameters that are not of this type,
    /// and as [`Identity`](crate::Identity) fails.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(bought(request).map(|parameters: T| Self(Path::from(parameters))))
    }
}

fn bought<T: DeserializeOwned + Sold>(request: &HttpRequest) -> Result<T, Rejection> {
    let identity = identity(request)?;
    let not_found = || Rejection::new(RejectionKind::NotFound);
    let parameters: T =
        request.match_info().load().map_err(|error| not_found().cause(Mismatch(error)))?;
    // What actix-web puts in the place of escaped bytes that are no text.
    if parameters.resource_id().contains(char::REPLACEMENT_CHARACTER) {
        return Err(not_found());
    }
    Policy::resource(parameters.resource_id()).check(&identity)?;
    Ok(parameters)
}

#[derive(Debug, thiserror::Error)]
#[error("the path is not of the handler's type")]
struct Mismatch(#[source] serde::de::value::Error);
