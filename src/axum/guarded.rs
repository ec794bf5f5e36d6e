use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::Body,
    extract::Request,
    handler::{Handler, HandlerService},
};
use axum_core::response::Response;
use http::request::Parts;
use pin_project_lite::pin_project;

use crate::{
    AuthLayer,
    guard::Guard,
    tower::{ResponseBody, ResponseFuture, service::answer},
};

impl AuthLayer {
    /// The same guard around one handler, in place of a layer around routes.
    ///
    /// It checks and answers as the layer does, and costs a little less: no service of its own stands
    /// around the handler's. Prefer the layer all the same where you can: `route_layer` guards every
    /// route that stands above it, and a handler that nobody has wrapped is open, one for another method
    /// or a fallback of the same route as well. [`assert_guarded`](crate::testing::assert_guarded) and
    /// [`assert_sold`](crate::testing::assert_sold) find it if its method and path are in their list. If
    /// it takes an [`Identity`](crate::Identity), it answers 500; an `Option<Identity>` is `None`.
    ///
    /// **All layers of the router are outside of it.** One that asks who the caller is, such as
    /// [`IdempotencyLayer`](crate::IdempotencyLayer), or that keeps answers, belongs inside:
    /// `auth.guard(handler.layer(idempotency))`.
    ///
    /// An unknown path is a 404 and a wrong method a 405 before any credential is read. After
    /// [`sold`](Self::sold), a route without that parameter is a 500, and the log says why.
    ///
    /// ```
    /// use axum::{Router, extract::Path, routing::get};
    /// use key0_auth::{AccessTokens, AuthLayer, Validator};
    ///
    /// // Whoever gets here has bought this photo.
    /// async fn photo(Path(id): Path<String>) -> String {
    ///     format!("photo {id}")
    /// }
    /// async fn photos() -> &'static str {
    ///     "photos"
    /// }
    /// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
    /// let auth = AuthLayer::new(Validator::builder().access_tokens(tokens).build()?);
    /// let sold = auth.clone().sold("id");
    /// let router: Router = Router::new()
    ///     .route("/photos", get(auth.guard(photos)))
    ///     .route("/photos/{id}", get(sold.guard(photo)));
    /// # let _ = router;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn guard<H>(&self, handler: H) -> Guarded<H> {
        Guarded { handler, guard: self.shared_guard() }
    }
}

/// A handler behind the guard of an [`AuthLayer`]: see [`AuthLayer::guard`].
#[derive(Clone)]
#[must_use]
pub struct Guarded<H> {
    handler: H,
    guard: Arc<Guard<Parts>>,
}

impl<H, T, S> Handler<T, S> for Guarded<H>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    type Future = GuardedFuture<H, T, S>;

    fn call(self, request: Request, state: S) -> Self::Future {
        // Never boxed, and always ready.
        let mut inner = self.handler.with_state(state);
        GuardedFuture { answer: answer(&mut inner, self.guard, request) }
    }
}

pin_project! {
    /// The response of a [`Guarded`] handler.
    pub struct GuardedFuture<H, T, S>
    where
        H: Handler<T, S>,
        S: Clone,
        S: Send,
        S: Sync,
        S: 'static,
    {
        #[pin]
        answer: ResponseFuture<HandlerService<H, T, S>, Body>,
    }
}

impl<H, T, S> Future for GuardedFuture<H, T, S>
where
    H: Handler<T, S>,
    S: Clone + Send + Sync + 'static,
{
    type Output = Response;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let answered: Result<_, Infallible> = ready!(self.project().answer.poll(cx));
        let Ok(response) = answered;
        Poll::Ready(response.map(ResponseBody::into_axum))
    }
}

impl<H> fmt::Debug for Guarded<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl<H, T, S> fmt::Debug for GuardedFuture<H, T, S>
where
    H: Handler<T, S>,
    S: Clone + Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedFuture").finish_non_exhaustive()
    }
}
