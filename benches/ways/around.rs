//! What a request costs besides the validation of its credential.

use std::hint::black_box;

use key0_auth::{Policy, RejectionKind, Validator, domain::Action};

use super::Way;
use crate::support::{HEADER, access_tokens, at_once, claims, sign};

pub(super) fn ways(size: usize) -> Vec<Way> {
    let validator = Validator::builder().access_tokens(access_tokens(0)).build();
    let validator = validator.expect("there is a key");
    let identity = |n| {
        let header = format!("Bearer {}", sign(HEADER, &claims(n)));
        at_once(validator.validate([header.as_bytes()], [])).expect("a good token")
    };
    let identities: Vec<_> = (0..size).map(identity).collect();

    let resources = |n| Policy::resource(format!("photo-collection-{n:04}"));
    let own = identities.iter().cloned().zip((0..size).map(resources)).collect();
    let other = Policy::resource("another");
    let staff = Policy::permission("photos", Action::Read);
    let refused = validator.clone();
    #[allow(unused_mut, reason = "there is more with axum")]
    let mut ways = vec![
        Way::new("policy, let in", own, |(identity, policy): &(_, Policy)| {
            black_box(policy.check(identity)).is_ok()
        })
        .without_memory(),
        Way::new("policy, another resource", identities.clone(), move |identity| {
            black_box(other.check(identity)).is_err()
        }),
        Way::new("policy, no such permission", identities.clone(), move |identity| {
            black_box(staff.check(identity)).is_err()
        }),
        Way::new("refusal as a response", vec![RejectionKind::InvalidToken.into()], move |why| {
            black_box(refused.responder().respond(why)).status == 401
        }),
    ];
    #[cfg(feature = "axum")]
    ways.push(extraction(&identities));
    ways
}

/// What a handler of axum does to get at the identity.
#[cfg(feature = "axum")]
fn extraction(identities: &[key0_auth::Identity]) -> Way {
    use axum::extract::FromRequestParts;
    use key0_auth::Identity;

    let parts = identities.iter().map(|identity| {
        let (mut parts, ()) = axum::http::Request::new(()).into_parts();
        parts.extensions.insert(identity.clone());
        std::cell::RefCell::new(parts)
    });
    Way::new("extraction", parts.collect(), |parts: &std::cell::RefCell<_>| {
        black_box(at_once(Identity::from_request_parts(&mut parts.borrow_mut(), &()))).is_ok()
    })
}
