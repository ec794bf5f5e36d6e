use std::fmt;

use uuid::Uuid;

use super::{identity::Identity, source::trim};
use crate::{
    Rejection, RejectionKind,
    domain::{PlanId, RouteTemplate, SecretSet, TxHash},
    error::{ConfigError, ConfigFault},
    metrics,
};

const PLAN: &str = "x-key0-plan-id";
const TX_HASH: &str = "x-key0-tx-hash";
const AMOUNT: &str = "x-key0-amount";
const PAYER: &str = "x-key0-payer";

/// Where no route is sold per call, whatever is declared: administration, partners, and what belongs
/// to another credential.
const NEVER_SOLD: [&str; 6] = ["internal", "keys", "purchases", "audit", "v1", "credential"];
/// The longest claim that is read, in bytes.
const MAX_CLAIM_BYTES: usize = 256;

/// Requests that Key0's gateway proxies once a buyer has paid for the call: which secret proves them,
/// and which routes are sold that way.
///
/// The gateway sends a static secret in `X-Key0-Internal-Token`, which binds nothing: it hands on
/// whatever method, path and headers the buyer sent, and does not compare the payment with a price.
/// So it opens the declared routes and nothing else: where a path that matches a template leads to
/// another route, as `/photos/stats` beside `/photos/{id}` does, it stays closed. Never opened,
/// whatever is declared, are `/internal`, `/keys`, `/purchases`, `/audit`, `/v1` and `/credential`.
///
/// With a good token, `Authorization`, `X-Api-Key`, `Cookie` and `Payment-Signature` are not
/// validated and don't reach the handler. With a bad one the request is refused
/// ([`InvalidInternalAuth`](RejectionKind::InvalidInternalAuth), 401), whatever else it carries. The
/// identity opens every resource that the route's handler asks for, and has no role and no permission.
///
/// The secret must differ from all others: hand it to
/// [`check_secrets_differ`](crate::domain::check_secrets_differ) along with them.
///
/// ```
/// use key0_auth::{AccessTokens, Validator, auth::Gateway, domain::{Secret, SecretSet}};
///
/// let secret = Secret::new("GATEWAY_SECRET", "a secret for Key0's gateway alone")?;
/// let gateway = Gateway::builder(SecretSet::new(secret))
///     .route("photo", "GET /api/photos/{id}")
///     .build()?;
/// let validator = Validator::builder()
///     .access_tokens(AccessTokens::hs256("a secret that Key0 shares with this backend")?)
///     .gateway(gateway)
///     .build()?;
/// # let _ = validator;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Gateway {
    secrets: SecretSet,
    routes: Vec<SoldRoute>,
    trusts_payment_headers: bool,
}

#[derive(Debug, Clone)]
struct SoldRoute {
    id: PlanId,
    template: RouteTemplate,
}

/// How often a header was sent, and its value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sent<'a> {
    Never,
    Once(&'a [u8]),
    Repeatedly,
}

impl<'a> Sent<'a> {
    pub(crate) fn of(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Never,
            (Some(value), None) => Self::Once(trim(value)),
            (Some(_), Some(_)) => Self::Repeatedly,
        }
    }
}

impl Gateway {
    /// The header by which the gateway proves itself, in lower case.
    pub const TOKEN_HEADER: &str = "x-key0-internal-token";

    /// Checks, by the values of [`TOKEN_HEADER`](Self::TOKEN_HEADER), that a request does not come
    /// from a buyer through Key0's gateway. For an endpoint that is behind no guard and not sold.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions), 403, whatever the token.
    pub fn check_direct<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Rejection> {
        match tokens.into_iter().next() {
            None => Ok(()),
            Some(_) => Err(Self::not_direct()),
        }
    }

    /// The refusal of a request that comes through the gateway.
    pub(crate) fn not_direct() -> Rejection {
        let rejection = Rejection::new(RejectionKind::InsufficientPermissions);
        rejection.cause(Proxied).for_gateway()
    }

    /// Starts with the secret of the gateway and the previous ones, and no route.
    pub fn builder(secrets: SecretSet) -> GatewayBuilder {
        GatewayBuilder { secrets, routes: Vec::new(), trusts_payment_headers: false }
    }

    /// Validates a request by its method, its path as it was sent, the pattern of its route where the
    /// router tells it, and its headers. None where it does not come from a gateway.
    pub(crate) fn validate<'a>(
        &self,
        method: &str,
        path: &str,
        pattern: impl FnOnce() -> Option<String>,
        header: impl Fn(&'static str) -> Sent<'a>,
    ) -> Option<Result<Identity, Rejection>> {
        let known = match header(Self::TOKEN_HEADER) {
            Sent::Never => return None,
            Sent::Once(token) => self.secrets.matches(token),
            Sent::Repeatedly => false,
        };
        let result = if known {
            let call = self.find_route(method, path, pattern().as_deref(), header);
            call.map(Identity::from_gateway).ok_or_else(|| {
                Rejection::new(RejectionKind::InsufficientPermissions)
                    .detail("This request is not sold per call")
            })
        } else {
            Err(RejectionKind::InvalidInternalAuth.into())
        };
        match &result {
            Ok(_) => metrics::accepted("gateway"),
            Err(rejection) => metrics::validation("gateway", rejection.kind().code()),
        }
        Some(result)
    }

    fn find_route<'a>(
        &self,
        method: &str,
        path: &str,
        pattern: Option<&str>,
        header: impl Fn(&'static str) -> Sent<'a>,
    ) -> Option<GatewayCall> {
        let segments = crate::domain::path_segments(path)?;
        if segments.first().is_some_and(|first| is_never_sold(first)) {
            return None;
        }
        let payment = match self.trusts_payment_headers {
            true => Some(ClaimedPayment::read(header)?),
            false => None,
        };
        let paid_for =
            |route: &&SoldRoute| payment.as_ref().is_none_or(|payment| payment.plan_id == route.id);
        let matching = |route: &&SoldRoute| {
            let template = &route.template;
            template.matches(method, path).is_some()
                && pattern.is_none_or(|pattern| template.path().is_routed_as(pattern, path))
        };
        let route = self.routes.iter().filter(paid_for).find(matching)?;
        Some(GatewayCall { route_id: route.id.clone(), payment, call: Uuid::now_v7() })
    }
}

/// Why the gateway is refused where nothing is sold per call.
#[derive(Debug, thiserror::Error)]
#[error("the request carries the token of Key0's gateway")]
pub(crate) struct Proxied;

fn is_never_sold(first_segment: &str) -> bool {
    NEVER_SOLD.iter().any(|name| name.eq_ignore_ascii_case(first_segment))
}

/// A call that Key0's gateway hands on, of which it says that it was paid for.
#[derive(Debug, Clone)]
pub struct GatewayCall {
    route_id: PlanId,
    payment: Option<ClaimedPayment>,
    call: Uuid,
}

impl GatewayCall {
    /// The id of the declared route that the request matches: the claimed one where the headers of
    /// the payment are [trusted](GatewayBuilder::trust_payment_headers), else the first.
    pub fn route_id(&self) -> &PlanId {
        &self.route_id
    }

    /// What is claimed of the payment, where that is [trusted](GatewayBuilder::trust_payment_headers).
    pub fn claimed_payment(&self) -> Option<&ClaimedPayment> {
        self.payment.as_ref()
    }

    /// Each call is a purchase of its own.
    pub(super) fn lasting_id(&self) -> String {
        match self.payment.as_ref().and_then(ClaimedPayment::tx_hash) {
            Some(hash) => format!("gateway tx {}", hash.normalized()),
            None => format!("gateway call {}", self.call),
        }
    }
}

/// What the headers of a proxied request say of its payment. Claims: nobody has checked them against
/// the chain, and a gateway that hands on a buyer's own headers hands on what the buyer made up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedPayment {
    plan_id: PlanId,
    tx_hash: Option<TxHash>,
    amount: Option<Box<str>>,
    payer: Option<Box<str>>,
}

impl ClaimedPayment {
    /// None without a plan, and where a header stands twice or can't be read: of two, one may be the
    /// buyer's own.
    fn read<'a>(header: impl Fn(&'static str) -> Sent<'a>) -> Option<Self> {
        let text = |name| match header(name) {
            Sent::Never => Some(None),
            Sent::Once(value) => {
                let text = str::from_utf8(value).ok()?;
                let legal = text.len() <= MAX_CLAIM_BYTES && !text.contains(char::is_control);
                legal.then_some(Some(text))
            }
            Sent::Repeatedly => None,
        };
        let tx_hash = match text(TX_HASH)? {
            Some(hash) => Some(TxHash::new(hash).ok()?),
            None => None,
        };
        Some(Self {
            plan_id: PlanId::new(text(PLAN)??).ok()?,
            tx_hash,
            amount: text(AMOUNT)?.map(Into::into),
            payer: text(PAYER)?.map(Into::into),
        })
    }

    /// The plan, which is the id of the route that the request matches (`X-Key0-Plan-Id`).
    pub fn plan_id(&self) -> &PlanId {
        &self.plan_id
    }

    /// The payment on the chain (`X-Key0-Tx-Hash`).
    pub fn tx_hash(&self) -> Option<&TxHash> {
        self.tx_hash.as_ref()
    }

    /// What was paid, as the gateway writes it (`X-Key0-Amount`).
    pub fn amount(&self) -> Option<&str> {
        self.amount.as_deref()
    }

    /// Who paid, as the gateway writes it (`X-Key0-Payer`).
    pub fn payer(&self) -> Option<&str> {
        self.payer.as_deref()
    }
}

/// Collects what a [`Gateway`] opens.
#[must_use]
pub struct GatewayBuilder {
    secrets: SecretSet,
    routes: Vec<(String, String)>,
    trusts_payment_headers: bool,
}

impl GatewayBuilder {
    /// Declares a route as sold per call: its id, and method and path as [`RouteTemplate`] reads
    /// them.
    pub fn route(mut self, id: impl Into<String>, template: impl Into<String>) -> Self {
        self.routes.push((id.into(), template.into()));
        self
    }

    /// Declares the routes of a list, with commas or line ends between them:
    /// `photo=GET /api/photos/{id}, data=GET /api/data/{id}`.
    pub fn routes(self, list: &str) -> Self {
        let items = list.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
        items.fold(self, |builder, item| {
            let (id, template) = item.split_once('=').unwrap_or(("", item));
            builder.route(id.trim(), template.trim())
        })
    }

    /// Reads `X-Key0-Plan-Id`, `-Tx-Hash`, `-Amount` and `-Payer` as claims; ignored by default.
    ///
    /// A request must then name the id of a declared route as its plan and match the template of that
    /// very route. Right only where two things are known of the gateway in use: it sets these headers
    /// itself on every way into this backend, and it removes those that a buyer sent.
    pub fn trust_payment_headers(mut self) -> Self {
        self.trusts_payment_headers = true;
        self
    }

    /// Checks the routes.
    ///
    /// # Errors
    ///
    /// Fails without a route, with an id that is none or stands twice, with a template that can't be
    /// read, and with one of what is never sold: see [`Gateway`].
    pub fn build(self) -> Result<Gateway, ConfigError> {
        const NAME: &str = "the routes of the gateway";
        let mut faults = Vec::new();
        let mut routes: Vec<SoldRoute> = Vec::new();
        if self.routes.is_empty() {
            faults.push(ConfigFault::missing(NAME, "the gateway would open nothing"));
        }
        for (id, template) in &self.routes {
            let mut fault = |reason| faults.push(ConfigFault::invalid(NAME, reason));
            if id.is_empty() {
                fault(format!("{template:?} has no id, as photo=GET /api/photos/{{id}} has"));
                continue;
            }
            let Ok(plan) = PlanId::new(id) else {
                fault(format!("the id {id:?} is not 1 to 256 visible ascii characters"));
                continue;
            };
            if routes.iter().any(|known| known.id == plan) {
                fault(format!("the id {id:?} stands twice"));
            }
            match RouteTemplate::new(NAME, template) {
                Ok(template) if template.path().first_literal().is_some_and(is_never_sold) => {
                    fault(format!("{template} is never sold per call"));
                }
                Ok(template) => routes.push(SoldRoute { id: plan, template }),
                Err(fault) => faults.push(fault),
            }
        }
        ConfigError::check(faults)?;
        let trusts_payment_headers = self.trusts_payment_headers;
        Ok(Gateway { secrets: self.secrets, routes, trusts_payment_headers })
    }
}

impl fmt::Debug for GatewayBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayBuilder").field("routes", &self.routes).finish_non_exhaustive()
    }
}
