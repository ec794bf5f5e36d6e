//! The cache in front of a key store: what it remembers, what it must never remember, and how it
//! holds up against a crowd and a bad store.

mod bad_store;
mod crowd;
mod fence;
mod hearing;
mod remembering;
mod support;
