use std::{fmt, sync::Arc};

use actix_web::{
    FromRequest, Handler, Responder as Respond, Route,
    dev::HttpServiceFactory,
    guard,
    http::Method,
    web::{self, ServiceConfig},
};

use super::fallback;
use crate::auth::Responder;

/// Routes by path and method, whose callers are told of an unknown path first, of a wrong method
/// next, and only then of their credential.
///
/// That order can't be had from a middleware around an `App`, a `Scope` or a `Resource`: it runs
/// before the path or the method is known. Here every middleware is around single routes.
///
/// Patterns are actix-web's own. Of two that match a path the first one is taken, and so is the
/// first of two handlers for one path and method.
///
/// ```
/// use actix_web::{App, web::Path};
/// use key0_auth::{actix::Routes, auth::Responder};
///
/// async fn photo(id: Path<String>) -> String {
///     format!("photo {id}")
/// }
/// let routes = Routes::new().get("/photos/{id}", photo);
/// let app = App::new().configure(routes.with_problem_fallbacks(&Responder::default()));
/// # let _ = app;
/// ```
#[must_use]
pub struct Routes {
    resources: Vec<Resource>,
    services: Vec<AddService>,
}

type AddService = Box<dyn FnOnce(&mut ServiceConfig)>;

/// All routes of one path.
struct Resource {
    path: String,
    methods: Vec<Method>,
    routes: Vec<Route>,
}

impl Routes {
    /// No routes yet.
    pub fn new() -> Self {
        Self { resources: Vec::new(), services: Vec::new() }
    }

    /// Answers `GET`, and `HEAD` with the same head.
    pub fn get<F, Args>(self, path: &str, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Respond + 'static,
    {
        self.route(path, Method::GET, web::to(handler))
    }

    /// Answers `POST`.
    pub fn post<F, Args>(self, path: &str, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Respond + 'static,
    {
        self.route(path, Method::POST, web::to(handler))
    }

    /// Answers `PUT`.
    pub fn put<F, Args>(self, path: &str, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Respond + 'static,
    {
        self.route(path, Method::PUT, web::to(handler))
    }

    /// Answers `PATCH`.
    pub fn patch<F, Args>(self, path: &str, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Respond + 'static,
    {
        self.route(path, Method::PATCH, web::to(handler))
    }

    /// Answers `DELETE`.
    pub fn delete<F, Args>(self, path: &str, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Respond + 'static,
    {
        self.route(path, Method::DELETE, web::to(handler))
    }

    /// Answers any method with a route, whose own guards are asked, too. A route for `GET` gets
    /// `HEAD` as well.
    pub fn route(mut self, path: &str, method: Method, route: Route) -> Self {
        let mut methods = vec![method.clone()];
        let route = if method == Method::GET {
            methods.push(Method::HEAD);
            route.guard(guard::Any(guard::Get()).or(guard::Head()))
        } else {
            route.method(method)
        };
        self.add(Resource { path: path.to_owned(), methods, routes: vec![route] });
        self
    }

    /// Adds a service of actix-web, as a `Scope` or files, behind these routes: what they match they
    /// answer. It brings its own middlewares and its own 405: [`each`](Self::each) does not change it.
    ///
    /// ```
    /// use actix_web::web;
    /// use key0_auth::actix::Routes;
    ///
    /// let admin = web::scope("/admin").route("/health", web::get().to(async || "fine"));
    /// let routes = Routes::new().get("/health", async || "fine").service(admin);
    /// # let _ = routes;
    /// ```
    pub fn service(mut self, service: impl HttpServiceFactory + 'static) -> Self {
        self.services.push(Box::new(move |config| {
            config.service(service);
        }));
        self
    }

    /// Changes every route that is there already; for middlewares above all.
    ///
    /// ```
    /// # use key0_auth::{AccessTokens, Identity, Validator, actix::{AuthMiddleware, Routes}};
    /// # let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
    /// # let auth = AuthMiddleware::new(Validator::builder().access_tokens(tokens).build()?);
    /// let routes = Routes::new()
    ///     .get("/photos", async |_: Identity| "sold")
    ///     .each(|route| route.wrap(auth.clone()))
    ///     .get("/health", async || "open");
    /// # let _ = routes;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn each(mut self, change: impl Fn(Route) -> Route) -> Self {
        for resource in &mut self.resources {
            resource.routes = resource.routes.drain(..).map(&change).collect();
        }
        self
    }

    /// These routes, and then the others.
    pub fn merge(mut self, others: Self) -> Self {
        for resource in others.resources {
            self.add(resource);
        }
        self.services.extend(others.services);
        self
    }

    /// The routes for [`App::configure`](actix_web::App::configure) or that of a `Scope`, with a
    /// 404 for unknown paths and, for wrong methods, a 405 whose `Allow` lists the methods that there
    /// are. Both have a body in the form of `responder`'s other refusals.
    ///
    /// ```
    /// use key0_auth::{actix::Routes, auth::Responder};
    ///
    /// let routes = Routes::new().get("/health", async || "fine");
    /// let app = actix_web::App::new()
    ///     .configure(routes.with_problem_fallbacks(&Responder::default()));
    /// # let _ = app;
    /// ```
    pub fn with_problem_fallbacks(
        self,
        responder: &Responder,
    ) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let responder = Arc::new(responder.clone());
        move |config| {
            for Resource { path, methods, routes } in self.resources {
                let fallback = fallback::method_not_allowed(&methods, Arc::clone(&responder));
                let resource = web::resource(path).default_service(fallback);
                config.service(routes.into_iter().fold(resource, actix_web::Resource::route));
            }
            for add in self.services {
                add(config);
            }
            config.default_service(fallback::not_found(responder));
        }
    }

    fn add(&mut self, added: Resource) {
        match self.resources.iter_mut().find(|known| known.path == added.path) {
            Some(known) => {
                let new = added.methods.into_iter().filter(|new| !known.methods.contains(new));
                let new: Vec<_> = new.collect();
                known.methods.extend(new);
                known.routes.extend(added.routes);
            }
            None => self.resources.push(added),
        }
    }
}

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resources = self.resources.iter();
        f.debug_map()
            .entries(resources.map(|resource| (&resource.path, &resource.methods)))
            .finish()
    }
}
