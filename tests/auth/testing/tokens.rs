//! Tokens, clocks and identities.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use key0_auth::{
    AccessTokens, InternalAuth, Policy,
    RejectionKind::{self, InvalidToken, TokenExpired},
    Validator,
    auth::{IdentityKind, InternalStrategy},
    domain::{Action, Clock, Permissions, Role, Secret},
    testing::{FakeClock, TestToken, TokenSigner, buyer, operator, partner},
};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3_600);

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[track_caller]
fn refused(token: TestToken) -> RejectionKind {
    token.validate().expect_err("a tampered token").kind()
}

#[test]
fn a_clock_goes_where_it_is_set() {
    let clock = FakeClock::new();
    assert_eq!(clock.now(), FakeClock::START);
    clock.advance(HOUR);
    assert_eq!(clock.now(), FakeClock::START.plus(HOUR));
    clock.turn_back(2 * HOUR);
    assert_eq!(clock.now(), FakeClock::START.minus(HOUR));
    clock.set(FakeClock::START);
    assert_eq!(FakeClock::at(clock.now()).now(), FakeClock::START);
}

#[test]
fn a_token_is_good_and_says_what_it_is_told() {
    let clock = FakeClock::new();
    let minter = TokenSigner::new().clock(clock.clone());
    let identity = minter.token().validate().unwrap();
    assert!(identity.opens("photo-1") && !identity.opens("photo-2"));
    assert_eq!(identity.plan_id().unwrap(), "basic");
    assert_eq!(identity.expires_at(), Some(FakeClock::START.plus(HOUR)));
    let token = minter
        .token()
        .resource("default")
        .plan("gold")
        .request_id("r-1")
        .challenge_id("c-1")
        .tx_hash("0x1")
        .claim("color", "red")
        .header("kid", "any")
        .expires_in(Duration::from_millis(1_500));
    let identity = token.validate().unwrap();
    assert_eq!(identity.kind(), IdentityKind::AccessToken);
    let start = FakeClock::START.as_seconds();
    assert_eq!(
        claims(&token.sign()),
        json!({
            "sub": "r-1", "jti": "c-1", "resourceId": "default", "planId": "gold", "txHash": "0x1",
            "color": "red", "iat": start, "exp": start as f64 + 1.5,
        })
    );
    clock.advance(Duration::from_millis(1_499));
    assert!(token.validate().is_ok());
    clock.advance(Duration::from_millis(1));
    assert_eq!(refused(token), TokenExpired);
}

#[test]
fn each_variation_is_refused_for_its_own_reason() {
    let minter = TokenSigner::new();
    for (token, kind, told) in [
        (minter.token().expired(), TokenExpired, "has expired"),
        (minter.token().not_yet_valid(), InvalidToken, "not valid yet"),
        (minter.token().without("exp"), InvalidToken, "exp is missing"),
        (minter.token().without("sub"), InvalidToken, "sub is missing"),
        (minter.token().resource(""), InvalidToken, "resourceId is not valid"),
        (minter.token().claim("exp", "soon"), InvalidToken, "exp is not valid"),
        (minter.token().claim("cnf", json!({})), InvalidToken, "sender-constrained"),
        (minter.token().header("alg", "none"), InvalidToken, "signature"),
        (minter.token().header("crit", json!(["exp"])), InvalidToken, "malformed"),
        (minter.token().signed_by_a_stranger(), InvalidToken, "signature"),
        (minter.token().tampered(), InvalidToken, "signature"),
        (minter.system_token("shop"), InvalidToken, "system token"),
    ] {
        let refused = token.validate().expect_err(told);
        assert_eq!(refused.kind(), kind);
        assert!(refused.message().contains(told), "{told}: {}", refused.message());
    }
    assert_eq!(claims(&minter.token().tampered().sign())["resourceId"], "default");
    let ids =
        [minter.token().sign(), minter.token().sign()].map(|token| claims(&token)["jti"].take());
    assert_ne!(ids[0], ids[1], "each token has a challenge of its own");
}

/// What this crate itself accepts from Key0 is what is minted.
#[tokio::test]
async fn system_tokens_open_internal_endpoints() {
    let clock = FakeClock::new();
    let secret = Secret::new("a secret", "a secret that Key0 shares with this backend").unwrap();
    let minter = TokenSigner::with(secret).clock(clock.clone());
    let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend").unwrap();
    let internal = InternalAuth::builder().signed_jwt(tokens, "shop").clock(clock).build().unwrap();
    let validate = |token: TestToken| {
        let header = token.bearer();
        internal.validate([header.as_bytes()], []).map(|caller| caller.strategy())
    };
    assert_eq!(validate(minter.system_token("shop")).unwrap(), InternalStrategy::SignedJwt);
    for tampered in [
        minter.system_token("another-shop"),
        minter.system_token("shop").expired(),
        minter.system_token("shop").without("iat"),
        minter.system_token("shop").expires_in(HOUR),
        minter.token(),
    ] {
        assert!(validate(tampered).is_err());
    }
    assert!(TokenSigner::new().token().validate().is_ok());
    let foreign = TokenSigner::new().token().bearer();
    let validator = Validator::builder().access_tokens(minter.access_tokens()).build().unwrap();
    let validated = validator.validate([foreign.as_bytes()], []).await;
    assert!(validated.is_err(), "two signers don't trust each other");
}

#[tokio::test]
async fn identities_are_what_they_are_asked_to_be() {
    let bought = buyer("photo-1", "gold").await;
    assert_eq!(bought.kind(), IdentityKind::PaymentKey);
    assert_eq!(bought.plan_id().unwrap(), "gold");
    assert!(Policy::resource("photo-1").check(&bought).is_ok());
    assert!(Policy::resource("photo-2").check(&bought).is_err());
    assert!(Policy::role(Role::Read).check(&bought).is_err());

    let minter = partner(Role::Minter, None).await;
    assert_eq!(minter.kind(), IdentityKind::IntegratorKey);
    assert!(minter.allows("dpp", Action::Create) && !minter.opens("photo-1"));
    let permissions: Permissions = serde_json::from_value(json!({ "dpp": ["read"] })).unwrap();
    let limited = partner(Role::Minter, permissions).await;
    assert!(limited.allows("dpp", Action::Read) && !limited.allows("dpp", Action::Create));

    let master = operator(Role::Master).await;
    assert_eq!((master.kind(), master.role()), (IdentityKind::BootstrapKey, Some(Role::Master)));
}

#[tokio::test]
#[should_panic(expected = "is no id")]
async fn a_buyer_of_nothing_is_no_buyer() {
    let _ = buyer("", "gold").await;
}
