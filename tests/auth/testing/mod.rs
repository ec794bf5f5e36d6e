//! The helpers that users have for their tests.

mod guarded;
mod tokens;
