//! Forward-auth: a proxy asks about a request before it hands it on.

mod policy;
mod request;

use std::{borrow::Cow, fmt, fmt::Write, sync::Arc};

use self::{
    policy::{Asked, GuardedRoute},
    request::Original,
};
use super::{Reply, body::invalid, form};
use crate::{
    Identity, Policy, Rejection, RejectionKind, Validator,
    auth::Sent,
    domain::{PathTemplate, SecretSet},
    error::{ConfigError, ConfigFault},
    policy::combine,
};

pub use self::request::VerifyRequest;

/// The header that carries the proxy's secret, in lower case.
const SECRET: &str = "x-verify-auth";
/// Where a refusal in nginx's style has its code.
const CODE: &str = "x-key0-code";

/// What is told of a caller, each in a header of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallerField {
    /// `X-Key0-Caller-Kind`: `access_token`, `payment_key`, `integrator_key`, `bootstrap_key`,
    /// `fallback` or `gateway`.
    Kind,
    /// `X-Key0-Caller-Id`: who it is, as [`Identity::subject`] says. What is not visible ASCII in it
    /// is percent-encoded.
    Id,
    /// `X-Key0-Resource-Id`: what was bought.
    ResourceId,
    /// `X-Key0-Plan-Id`: the plan that was bought.
    PlanId,
    /// `X-Key0-Expires-At`: until when the credential is good, as `2026-11-29T12:00:00.000Z`.
    ExpiresAt,
}

impl CallerField {
    /// Every field.
    pub const ALL: [Self; 5] =
        [Self::Kind, Self::Id, Self::ResourceId, Self::PlanId, Self::ExpiresAt];

    fn default_header(self) -> &'static str {
        match self {
            Self::Kind => "x-key0-caller-kind",
            Self::Id => "x-key0-caller-id",
            Self::ResourceId => "x-key0-resource-id",
            Self::PlanId => "x-key0-plan-id",
            Self::ExpiresAt => "x-key0-expires-at",
        }
    }

    /// Empty where there is nothing to tell.
    fn of(self, identity: &Identity) -> String {
        match self {
            Self::Kind => identity.kind().as_str().to_owned(),
            Self::Id => visible(identity.subject()),
            Self::ResourceId => identity.resource_id().map(ToString::to_string).unwrap_or_default(),
            Self::PlanId => identity.plan_id().map(ToString::to_string).unwrap_or_default(),
            Self::ExpiresAt => identity.expires_at().map(|at| at.to_string()).unwrap_or_default(),
        }
    }
}

/// A text as it can stand in a header and be read back from it.
fn visible(text: &str) -> String {
    text.bytes().fold(String::new(), |mut visible, byte| {
        if byte.is_ascii_graphic() && byte != b'%' {
            visible.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(visible, "%{byte:02X}");
        }
        visible
    })
}

/// Answers a proxy whether the request that it is about to hand on may pass (forward-auth: nginx's
/// `auth_request`, Caddy's `forward_auth`, Traefik's `ForwardAuth`, Envoy's `ext_authz`). So backends
/// in any language are guarded by the rules of this crate.
///
/// The proxy's request carries the headers of the original one, and says what to ask of its caller:
///
/// - by a query: `?resource=photo-1`, `?plan=gold`, `?permission=dpp:read`, all of those that stand
///   there. A proxy that puts parts of the client's path into that query must escape them;
/// - or by a table of this endpoint ([`VerifyRulesBuilder::route`]) over the method and the path of the
///   original request, which the proxy sends in `X-Forwarded-Method` and `X-Forwarded-Uri` or in
///   `X-Original-URI` alone, or as its own method and what stands behind the
///   endpoint in its own path. Without a method the callers are asked for all that is asked at that
///   path.
///
/// A proxy that names no policy is refused (403), and one that names what was requested in a doubtful
/// way (400): an absolute URI, a fragment, an escaped slash, or one of the headers twice.
///
/// The answer is a 204 that tells who calls, or the refusal as the guarded route itself would give
/// it. All headers of [`CallerField`] stand in every 204, empty where there is nothing to tell, so
/// that a proxy that copies them overwrites what the client has sent. With `?style=nginx` the answer
/// is one of 204, 401 and 403, since nginx makes a 500 of all else; `X-Key0-Code` holds the code of
/// a refusal, an outage's among them.
///
/// Who may ask is up to whoever mounts it: an operator's own listener, or
/// [a secret](VerifyRulesBuilder::secret) that the proxy sends in `X-Verify-Auth`.
///
/// ```
/// use key0_auth::{AccessTokens, Validator, api::{Verify, VerifyRules}};
///
/// let rules = VerifyRules::builder().route("GET /api/photos/{id}", "resource={id}").build()?;
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
/// let validator = Validator::builder().access_tokens(tokens).build()?;
/// let verify = Verify::new(validator, rules);
/// # let _ = verify;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Verify {
    validator: Validator,
    rules: VerifyRules,
}

/// What a [`Verify`] asks and tells. Cheap to clone.
///
/// ```
/// use key0_auth::api::{CallerField, VerifyRules};
///
/// let rules = VerifyRules::builder()
///     .route("GET /photos/{id}", "resource={id}")
///     .route("* /orders", "permission=orders:read")
///     .header(CallerField::Id, "X-User")
///     .build()?;
/// # let _ = rules;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct VerifyRules(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    secrets: Option<SecretSet>,
    routes: Vec<GuardedRoute>,
    headers: Vec<(CallerField, Cow<'static, str>)>,
}

/// What a request is asked for, and the routes that say so.
struct Question {
    policies: Vec<Policy>,
    /// The table says so, so that the original request is known.
    original: Option<Original>,
}

impl Verify {
    /// Answers by this validator and these rules.
    pub fn new(validator: Validator, rules: VerifyRules) -> Self {
        Self { validator, rules }
    }

    /// Whether proxies must prove themselves by a [secret](VerifyRulesBuilder::secret).
    pub fn asks_for_secret(&self) -> bool {
        self.rules.0.secrets.is_some()
    }

    /// Answers a question. Every answer is final, refusals among them.
    pub async fn handle(&self, request: &VerifyRequest) -> Reply {
        let by_nginx = request.query().is_some_and(|query| {
            form::pairs(query).is_some_and(|pairs| pairs.iter().any(|pair| *pair == style_nginx()))
        });
        match self.verify(request).await {
            Ok(identity) => self.passed(&identity),
            Err(rejection) => {
                let refusal = self.validator.responder().respond(&rejection);
                let headers = refusal.headers.into_iter();
                let headers = headers.map(|(name, value)| (name.into(), value)).collect();
                let mut reply = Reply { status: refusal.status, headers, body: refusal.body };
                if by_nginx {
                    reply.headers.push((CODE.into(), rejection.kind().code().to_owned()));
                    if reply.status != 401 {
                        reply.status = 403;
                    }
                }
                reply
            }
        }
    }

    fn passed(&self, identity: &Identity) -> Reply {
        let mut reply = Reply::empty();
        let headers = self.rules.0.headers.iter();
        reply.headers.extend(headers.map(|(field, name)| (name.clone(), field.of(identity))));
        reply
    }

    async fn verify(&self, request: &VerifyRequest) -> Result<Identity, Rejection> {
        if let Some(secrets) = &self.rules.0.secrets {
            let known = match request.sent(SECRET) {
                Sent::Once(secret) => secrets.matches(secret),
                Sent::Never | Sent::Repeatedly => false,
            };
            if !known {
                return Err(RejectionKind::InvalidInternalAuth.into());
            }
        }
        let original = request.original()?;
        let path = original.as_ref().map(|original| original.path.clone());
        let validated = match self.question(request, original) {
            Ok(question) => self.ask(request, &question).await,
            Err(rejection) => Err(rejection),
        };
        validated.map_err(|rejection| match path {
            Some(path) => rejection.instance(&path),
            None => rejection,
        })
    }

    /// What the proxy asks of the caller.
    fn question(
        &self,
        request: &VerifyRequest,
        original: Option<Original>,
    ) -> Result<Question, Rejection> {
        let pairs = form::pairs(request.query().unwrap_or_default())
            .ok_or_else(|| invalid("The query of the proxy can't be read"))?;
        let pairs = pairs.into_iter().filter(|pair| *pair != style_nginx());
        let asked =
            Asked::read(pairs).map_err(|reason| invalid(format!("The proxy's {reason}")))?;
        if let Some(asked) = asked {
            let none = PathTemplate::no_parameters();
            let policies = asked.policy(&none).into_iter().collect();
            return Ok(Question { policies, original: None });
        }
        let policies = original.as_ref().map(|original| self.look_up(original));
        match policies {
            Some(policies) if !policies.is_empty() => Ok(Question { policies, original }),
            _ => Err(Rejection::new(RejectionKind::InsufficientPermissions)
                .detail("The proxy names no policy for this request")),
        }
    }

    /// What the table asks at a path: by the first route that matches, or by every route of the path
    /// where the method is not known.
    fn look_up(&self, original: &Original) -> Vec<Policy> {
        let matching = self.rules.0.routes.iter().filter_map(|route| {
            let parameters = match &original.method {
                Some(method) => route.template.matches(method, &original.path),
                None => route.template.path().matches(&original.path),
            };
            route.asked.policy(&parameters?)
        });
        matching.take(if original.method.is_some() { 1 } else { usize::MAX }).collect()
    }

    async fn ask(
        &self,
        request: &VerifyRequest,
        question: &Question,
    ) -> Result<Identity, Rejection> {
        let identity = match self.by_gateway(request, question) {
            Some(decided) => decided,
            None => {
                let key = request.values("x-api-key");
                self.validator.validate(request.values("authorization"), key).await
            }
        };
        let policies = &question.policies;
        let identity = identity.map_err(|rejection| {
            rejection.purchases(combine(policies.iter().map(Policy::purchases)))
        })?;
        for policy in policies {
            policy.check(&identity)?;
        }
        Ok(identity)
    }

    /// Key0's gateway proves a call of a declared route. Where the proxy does not say what is called,
    /// the client may have done so: that proves nothing.
    fn by_gateway(
        &self,
        request: &VerifyRequest,
        question: &Question,
    ) -> Option<Result<Identity, Rejection>> {
        let gateway = self.validator.gateway()?;
        let original = question.original.as_ref();
        let method = original.and_then(|original| original.method.as_deref()).unwrap_or_default();
        let path = original.map_or("", |original| &original.path);
        // The router is that of the application behind the proxy.
        let validated = gateway.validate(method, path, || None, |name| request.sent(name))?;
        Some(validated.map_err(Rejection::for_gateway))
    }
}

fn style_nginx() -> (String, String) {
    ("style".to_owned(), "nginx".to_owned())
}

impl VerifyRules {
    /// Starts without a secret and without a table.
    pub fn builder() -> VerifyRulesBuilder {
        VerifyRulesBuilder { secrets: None, routes: Vec::new(), headers: Vec::new() }
    }
}

/// Collects [`VerifyRules`].
#[must_use]
pub struct VerifyRulesBuilder {
    secrets: Option<SecretSet>,
    routes: Vec<(String, String)>,
    headers: Vec<(CallerField, String)>,
}

impl VerifyRulesBuilder {
    /// Asks every proxy for one of these secrets, in `X-Verify-Auth`.
    pub fn secret(mut self, secrets: SecretSet) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// Adds a route of the application behind the proxy: method and path as
    /// [`RouteTemplate`](crate::domain::RouteTemplate) reads them, and what is asked of its callers,
    /// as a query: `resource={id}`, `plan=gold&resource={id}`, `permission=dpp:read`. What stands in
    /// braces is a parameter of the path.
    pub fn route(mut self, template: impl Into<String>, asked: impl Into<String>) -> Self {
        self.routes.push((template.into(), asked.into()));
        self
    }

    /// Tells a field in a header of another name.
    pub fn header(mut self, field: CallerField, name: &str) -> Self {
        self.headers.push((field, name.to_ascii_lowercase()));
        self
    }

    /// Checks the routes and the headers.
    ///
    /// # Errors
    ///
    /// Fails with a route whose template or whose policy can't be read, or of whose callers nothing
    /// is asked, and with a header whose name is none (RFC 9110, section 5.6.2) or stands twice.
    pub fn build(self) -> Result<VerifyRules, ConfigError> {
        const HEADERS: &str = "the headers of a verified request";
        let mut faults = Vec::new();
        let mut routes = Vec::new();
        for (template, asked) in &self.routes {
            match GuardedRoute::new(template, asked) {
                Ok(route) => routes.push(route),
                Err(fault) => faults.push(fault),
            }
        }
        let mut headers = Vec::new();
        for field in CallerField::ALL {
            let own = self.headers.iter().rev().find(|(known, _)| *known == field);
            let name: Cow<'static, str> = match own {
                Some((_, name)) => name.clone().into(),
                None => field.default_header().into(),
            };
            let is_taken = headers.iter().any(|(_, known)| *known == name);
            if !crate::auth::is_header_name(&name) || is_taken {
                faults
                    .push(ConfigFault::invalid(HEADERS, format!("{name:?} is not one of its own")));
            }
            headers.push((field, name));
        }
        ConfigError::check(faults)?;
        Ok(VerifyRules(Arc::new(Rules { secrets: self.secrets, routes, headers })))
    }
}

impl fmt::Debug for VerifyRulesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyRulesBuilder").field("routes", &self.routes).finish_non_exhaustive()
    }
}
