//! Requests with an `Idempotency-Key`: every case is played on tower and on actix-web, and both
//! must answer alike, to the byte.
#![cfg(all(
    feature = "actix",
    feature = "axum",
    feature = "idempotency",
    feature = "sqlite",
    feature = "testing",
    feature = "tower"
))]
mod keys;
mod only_tower;
mod outages;
mod restart;
mod retries;
mod shop;
mod stage;
mod wire;

/// One test for every case: on both frameworks, by the runtime's paused time.
#[macro_export]
macro_rules! on_both {
    ($($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                use $crate::idempotency::stage::{Framework, play};
                let one = play(Framework::Tower, super::$case);
                let other = play(Framework::Actix, super::$case);
                assert_eq!(one, other, "tower, actix");
            }
        )*
    };
}
