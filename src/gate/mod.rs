//! What every adapter does with a request around its handler, in the words of no framework: judge
//! it, clean its headers, hand its proof on. Two adapters that share this can't disagree.

#[cfg(feature = "idempotency")]
mod form;
mod headers;
mod internal;
mod judge;
mod refusal;
mod request;

#[cfg(feature = "idempotency")]
pub(crate) use form::InForm;
pub(crate) use headers::{Treatment, X_API_KEY};
pub(crate) use internal::admit_internal;
pub(crate) use judge::{Gate, Verdict};
pub(crate) use refusal::{OF_THE_BODY, Provisional};
pub(crate) use request::Arriving;
