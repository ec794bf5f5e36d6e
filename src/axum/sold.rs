use axum::extract::Path;
use axum_core::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::extract::identity;
use crate::{AuthLayer, Policy, Rejection, RejectionKind, Sold, guard};

impl AuthLayer {
    /// Asks for a credential that was bought for the resource that a path parameter names, decoded
    /// as [`Path`](axum::extract::Path) does it, or for every resource.
    ///
    /// For `route_layer` around routes that have the parameter. A route without it answers 500 and
    /// says so in the log; [`assert_sold`](crate::testing::assert_sold) finds it.
    ///
    /// ```
    /// use axum::{Router, extract::Path, routing::get};
    /// use key0_auth::{AccessTokens, AuthLayer, Validator};
    ///
    /// // Whoever gets here has bought this photo.
    /// async fn photo(Path(id): Path<String>) -> String {
    ///     format!("photo {id}")
    /// }
    /// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
    /// let sold = AuthLayer::new(Validator::builder().access_tokens(tokens).build()?).sold("id");
    /// let router: Router = Router::new().route("/photos/{id}", get(photo)).route_layer(sold);
    /// # let _ = router;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn sold(self, parameter: &str) -> Self {
        self.path_policy(parameter, |id| Policy::resource(id))
    }

    /// Asks the identity to satisfy a policy that depends on a path parameter, decoded as
    /// [`Path`](axum::extract::Path) does it. Else as [`sold`](Self::sold).
    ///
    /// ```
    /// # use key0_auth::{AccessTokens, AuthLayer, Validator};
    /// use key0_auth::{Policy, domain::Action};
    ///
    /// # let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
    /// # let validator = Validator::builder().access_tokens(tokens).build()?;
    /// // For those who have bought the photo with a plan, and for the staff.
    /// let sold = AuthLayer::new(validator).path_policy("id", |id| {
    ///     let bought = Policy::resource(id).and(Policy::plan("gold"));
    ///     bought.or(Policy::permission("photos", Action::Read))
    /// });
    /// # let _ = sold;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn path_policy<F>(mut self, parameter: &str, policy: F) -> Self
    where
        F: Fn(&str) -> Policy + Send + Sync + 'static,
    {
        self.guard_mut().require_by_path(parameter, policy);
        self
    }
}

/// A [`Path`](axum::extract::Path) whose resource the caller has bought, for handlers behind an
/// [`AuthLayer`] that does not ask for it by [`sold`](AuthLayer::sold). What a type of path stands
/// for says [`Sold`].
///
/// ```
/// use axum::{Router, extract::Path, routing::get};
/// use key0_auth::{AccessTokens, AuthLayer, Validator, axum::Bought};
///
/// async fn photo(Bought(Path(id)): Bought<Path<String>>) -> String {
///     format!("photo {id}")
/// }
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
/// let auth = AuthLayer::new(Validator::builder().access_tokens(tokens).build()?);
/// let router: Router = Router::new().route("/photos/{id}", get(photo)).route_layer(auth);
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Bought<P>(pub P);

impl<S, T> FromRequestParts<S> for Bought<Path<T>>
where
    S: Send + Sync,
    T: DeserializeOwned + Sold + Send,
{
    type Rejection = Rejection;

    /// The parameters of the path.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions) where the caller has not
    /// bought it, [`NotFound`](RejectionKind::NotFound) for parameters that are not of this type,
    /// and as [`Identity`](crate::Identity) fails.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let identity = identity(parts)?;
        let path = Path::<T>::from_request_parts(parts, state).await;
        let Path(parameters) = path.map_err(|error| match error.status().is_server_error() {
            true => guard::fault(error),
            false => Rejection::new(RejectionKind::NotFound).cause(error),
        })?;
        Policy::resource(parameters.resource_id()).check(&identity)?;
        Ok(Self(Path(parameters)))
    }
}
