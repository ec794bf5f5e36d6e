//! What every adapter does with a request around its handler, in the words of no framework:
//! validate it, clean its headers, hand its proof on. Two adapters that share this can't disagree.

mod fault;
mod refused;
mod request;
#[cfg(any(feature = "axum", feature = "actix"))]
mod request_id;
mod requirement;
mod response;
mod validate;

pub(crate) use fault::fault;
#[cfg(any(feature = "axum", feature = "actix"))]
pub(crate) use fault::{NotBehind, extra_claims};
pub(crate) use refused::{Refused, report};
pub(crate) use request::{
    GatewayHeaders, HeaderTreatment, IncomingRequest, PathParameter, RemovedHeaders, X_API_KEY,
};
#[cfg(any(feature = "axum", feature = "actix"))]
pub(crate) use request_id::RequestId;
#[cfg(feature = "idempotency")]
pub(crate) use response::RefusalForm;
pub(crate) use response::{
    BODY_HEADERS, PRIVATE, Provisional, VARY_BY_CREDENTIAL, is_never_kept, varies_by_credential,
};
#[cfg(any(feature = "axum", feature = "actix"))]
pub(crate) use validate::Anonymous;
pub(crate) use validate::{Guard, Outcome, admit_internal};
