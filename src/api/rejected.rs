//! What the audit log tells of requests to operators' endpoints that were refused for who sent them:
//! the first few, and how many there were besides.

use std::{
    collections::HashMap,
    fmt::Write,
    net::IpAddr,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use super::AuditApi;
use crate::{
    Rejection,
    auth::Caller,
    domain::{Actor, Clock, RouteName, Timestamp},
    error::StoreError,
    store::AuditEvent,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// How many are told one by one each minute that come of one caller, or of one address where the caller
/// is not known.
const OF_ONE_A_MINUTE: u32 = 3;
/// Whose keys somebody has handed out.
const OPERATORS: [&str; 2] = ["integrator_key", "bootstrap_key"];
/// How many each hour of all callers with such keys, and as many of all others: whoever knows none must
/// not hide what is done with one.
const OF_ALL_AN_HOUR: u32 = 60;

/// Who sent a request, for [`AuditApi`]: an address that a middleware of the application's own has found
/// out, as that which a trusted proxy tells, and has put into the request's extensions.
///
/// ```
/// use axum::{extract::Request, middleware::Next, response::Response};
/// use key0_auth::api::ClientAddress;
///
/// /// Believes the proxy that stands in front, and no client: the proxy sets this header itself.
/// async fn tell_address(mut request: Request, next: Next) -> Response {
///     let told = request.headers().get("x-real-ip").and_then(|value| value.to_str().ok());
///     if let Some(address) = told.and_then(|text| text.parse().ok()) {
///         request.extensions_mut().insert(ClientAddress(address));
///     }
///     next.run(request).await
/// }
/// # let _ = tell_address;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// A request to an endpoint for operators.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    /// The template: a path may hold what a caller took for an id.
    pub(crate) route: Option<RouteName>,
    pub(crate) address: Option<IpAddr>,
}

/// What of the rejections is told one by one, and how many are not.
#[derive(Debug, Default)]
pub(super) struct Budget {
    minute_began: Duration,
    hour_began: Duration,
    of_one: HashMap<String, u32>,
    unknown: u32,
    known: u32,
    /// How many are only counted, of this hour and of those before.
    more: u64,
    due: u64,
}

impl Budget {
    fn advance(&mut self, now: Duration) {
        if now.saturating_sub(self.minute_began) >= MINUTE {
            self.minute_began = now;
            self.of_one.clear();
        }
        if now.saturating_sub(self.hour_began) >= HOUR {
            self.hour_began = now;
            (self.unknown, self.known) = (0, 0);
            self.due += std::mem::take(&mut self.more);
        }
    }

    /// Whether this one is told by itself; else it is counted.
    fn admits(&mut self, who: String, is_known: bool) -> bool {
        let of_all = if is_known { &mut self.known } else { &mut self.unknown };
        // Nobody is looked for whom there is no room for, and so the map stays small.
        if *of_all < OF_ALL_AN_HOUR {
            let of_one = self.of_one.entry(who).or_default();
            if *of_one < OF_ONE_A_MINUTE {
                *of_one += 1;
                *of_all += 1;
                return true;
            }
        }
        self.more += 1;
        false
    }
}

impl AuditApi {
    /// Notes a request that was refused with 401 or 403, without making the caller wait. Must be called
    /// within a runtime.
    pub(crate) fn note_rejection(
        &self,
        rejection: &Rejection,
        caller: Option<&Caller>,
        asked: &Asked,
    ) {
        if !matches!(rejection.kind().status(), 401 | 403) {
            return;
        }
        let who = caller.map(Caller::to_string);
        let who = who.or_else(|| asked.address.map(|address| address.to_string()));
        {
            let mut budget = self.advanced();
            // Whoever bought something is not known for that: anybody can buy.
            let is_known = caller.is_some_and(|caller| OPERATORS.contains(&caller.kind()));
            if !budget.admits(who.unwrap_or_default(), is_known) {
                return;
            }
        }
        let Some(event) = self.event(rejection, caller, asked) else { return };
        let api = self.clone();
        tokio::spawn(async move {
            // An outage must not hide that there was one.
            if api.log.note_rejection(&event).await.is_err() {
                api.advanced().more += 1;
            }
        });
    }

    /// Notes how many rejected requests were only counted within the hours that are over, in one event.
    /// To be called every now and then.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    pub async fn note_counted(&self) -> Result<(), StoreError> {
        let count = self.advanced().due;
        let Ok(route) = RouteName::new("*") else { return Ok(()) };
        if count == 0 {
            return Ok(());
        }
        let reason = format!("{count} more were rejected");
        let event =
            AuditEvent::of_rejection(&route, &Actor::anonymous(), self.steady.now(), &reason);
        self.log.note_rejection(&event).await?;
        // Only now: whoever calls may give up meanwhile.
        let mut budget = self.advanced();
        budget.due = budget.due.saturating_sub(count);
        Ok(())
    }

    /// The same, for the hour that goes on as well: at the end of a process, which else takes its count
    /// along.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    pub async fn note_rest(&self) -> Result<(), StoreError> {
        {
            let mut budget = self.advanced();
            budget.due += std::mem::take(&mut budget.more);
        }
        self.note_counted().await
    }

    fn advanced(&self) -> MutexGuard<'_, Budget> {
        let wall = || self.steady.now().since(Timestamp::from_seconds(0));
        let now = self.steady.monotonic().unwrap_or_else(wall);
        let mut budget = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        budget.advance(now);
        budget
    }

    fn event(
        &self,
        rejection: &Rejection,
        caller: Option<&Caller>,
        asked: &Asked,
    ) -> Option<AuditEvent> {
        let route = asked.route.clone().or_else(|| RouteName::new("*").ok())?;
        let key = caller.filter(|caller| caller.kind().ends_with("_key"));
        // Others' ids are their own choice, and could be the name of an operator.
        let by = key.and_then(|key| Actor::new(key.id()).ok()).unwrap_or_else(Actor::anonymous);
        let (status, code) = (rejection.kind().status(), rejection.kind().code());
        let mut reason = format!("{status} {code}, {}", asked.method);
        if let Some(caller) = caller.filter(|_| key.is_none()) {
            let _ = write!(reason, ", by {caller}");
        }
        if let Some(address) = asked.address {
            let _ = write!(reason, ", from {address}");
        }
        Some(AuditEvent::of_rejection(&route, &by, self.steady.now(), &reason))
    }
}

/// A method that HTTP knows; others may be as long as a head, and hold anything.
pub(crate) fn method_name(method: &str) -> &'static str {
    const KNOWN: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}
