#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::json;

use super::*;
use crate::{
    InternalAuth,
    auth::InternalStrategy,
    domain::{Secret, SecretSet},
    testing::FakeClock,
    token::{
        Algorithm, TokenIssuer, VerifyingKey,
        jwks::tests::{file, jwk, now},
        remote::tests::{Answer, Provider},
    },
};

const ISSUER: &str = "https://id.example.com/realms/shop";
const AUDIENCE: &str = "https://photos.example.com";

fn rules() -> Rules {
    Rules {
        issuer: ISSUER.into(),
        audience: Some(AUDIENCE.into()),
        client_ids: vec!["key0".into(), "key0-next".into()],
        scope: Some("issue".into()),
    }
}

/// Good claims with these changed; `null` removes one.
fn with(changes: &Value) -> Map<String, Value> {
    let mut claims = json!({
        "iss": ISSUER, "aud": [AUDIENCE, "others"], "client_id": "key0", "sub": "service-account",
        "scope": "openid issue", "iat": now().as_seconds(), "exp": now().as_seconds() + 3_600,
    });
    let Some(claims) = claims.as_object_mut() else { unreachable!() };
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.remove(name),
            value => claims.insert(name.clone(), value.clone()),
        };
    }
    claims.clone()
}

#[test]
fn each_rule_is_needed() {
    let at = |seconds: i64| now().as_seconds() + seconds;
    for good in [
        json!({}),
        json!({"aud": AUDIENCE}),
        // As Auth0 and Keycloak, Entra, Okta and Cognito write them.
        json!({"client_id": null, "azp": "key0-next"}),
        json!({"client_id": null, "appid": "key0", "scope": null, "roles": ["issue"]}),
        json!({"client_id": null, "cid": "key0", "scope": null, "scp": ["openid", "issue"]}),
        json!({"client_id": null, "sub": "key0", "scope": null, "scp": "openid issue"}),
        json!({"token_use": "access"}),
        json!({"typ": "Bearer"}),
        json!({"iat": null}),
        json!({"iat": at(60)}),
        json!({"nbf": at(0), "exp": at(1)}),
        json!({"exp": at(0) as f64 + 0.5}),
    ] {
        assert!(rules().check(&with(&good), now()).is_ok(), "{good}");
    }
    for bad in [
        json!({"exp": null}),
        json!({"exp": at(0)}),
        json!({"exp": "4002825965"}),
        json!({"nbf": at(1)}),
        json!({"iat": at(61)}),
        json!({"iat": "now"}),
        json!({"iss": null}),
        json!({"iss": format!("{ISSUER}/")}),
        json!({"iss": [ISSUER]}),
        json!({"iss": "https://id.example.com/realms/other"}),
        json!({"aud": null}),
        json!({"aud": "others"}),
        json!({"aud": format!("others {AUDIENCE}")}),
        json!({"aud": [AUDIENCE, 1]}),
        json!({"aud": {AUDIENCE: true}}),
        json!({"client_id": "stranger"}),
        json!({"client_id": "stranger", "azp": "key0"}),
        json!({"client_id": ["key0"]}),
        json!({"client_id": null}),
        json!({"client_id": null, "azp": "stranger", "sub": "key0"}),
        json!({"scope": null}),
        json!({"scope": "issued"}),
        json!({"scope": ["issue"]}),
        json!({"scp": 1}),
        json!({"roles": "issue"}),
        json!({"scope": null, "roles": "issuer"}),
        json!({"cnf": {"jkt": "x"}}),
        json!({"token_use": "id"}),
        json!({"typ": "ID"}),
        json!({"typ": "Refresh"}),
        json!({"nonce": "n"}),
        json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
    ] {
        assert!(rules().check(&with(&bad), now()).is_err(), "{bad}");
    }
    // What is not asked for does not count.
    let lax = Rules { audience: None, scope: None, ..rules() };
    assert!(lax.check(&with(&json!({"aud": "account", "scope": null})), now()).is_ok());
    let lax = Rules { client_ids: Vec::new(), ..rules() };
    assert!(lax.check(&with(&json!({"client_id": "stranger"})), now()).is_ok());
}

#[tokio::test]
async fn one_of_the_rules_that_tell_services_apart_is_required() {
    let keys = || RemoteKeys::new("THE_KEYS", "https://id.example.com/jwks.json").unwrap();
    let error = OAuthTokens::new(ISSUER, keys()).scope("issue").build().unwrap_err();
    assert!(error.to_string().contains("an OAuth audience or client id is required"), "{error}");
    assert!(OAuthTokens::new(ISSUER, keys()).client_id("key0").build().is_ok());
    for empty in [
        OAuthTokens::new("", keys()).audience(AUDIENCE),
        OAuthTokens::new(ISSUER, keys()).audience(""),
        OAuthTokens::new(ISSUER, keys()).audience(AUDIENCE).client_id(""),
        OAuthTokens::new(ISSUER, keys()).audience(AUDIENCE).scope(""),
    ] {
        assert!(empty.build().is_err());
    }
}

fn signer(kid: &str) -> TokenIssuer {
    let key = file("ed25519-private");
    TokenIssuer::from_pem("ed25519", Algorithm::EdDsa, &key).unwrap().kid(kid)
}

#[tokio::test]
async fn keys_are_found_through_the_issuer_that_says_so_itself() {
    let provider = Provider::start(Answer::Hang).await;
    let origin = provider.url.trim_end_matches("/jwks.json").to_owned();
    let set = json!({"keys": [jwk("ed25519", Some("a"))]}).to_string();
    let metadata =
        |issuer: &str, keys: &str| json!({"issuer": issuer, "jwks_uri": keys}).to_string();
    let (slash, none) = (format!("{origin}/realm/"), format!("{origin}/realm"));
    let (oauth, openid) = (
        "/.well-known/oauth-authorization-server/realm".to_owned(),
        "/realm/.well-known/openid-configuration".to_owned(),
    );
    let keys = provider.url.clone();
    for (issuer, path, says, keys, found) in [
        (&none, &oauth, &none, &keys, true),
        (&none, &openid, &none, &keys, true),
        (&slash, &openid, &slash, &keys, true),
        (&none, &openid, &slash, &keys, false),
        (&slash, &openid, &none, &keys, false),
        (&none, &openid, &none, &"http://id.example.com/jwks.json".to_owned(), false),
        (&none, &"/elsewhere".to_owned(), &none, &keys, false),
    ] {
        let pages = vec![(path.clone(), metadata(says, keys)), ("/jwks.json".into(), set.clone())];
        provider.turn(Answer::Pages(pages));
        let known = RemoteKeys::of_issuer("THE_ISSUER", issuer).unwrap().ready().await;
        assert_eq!(known, found, "{issuer} at {path} says {says}, {keys}");
    }
    for bad in ["http://id.example.com", "id.example.com", "https://id.example.com/?a=b"] {
        assert!(RemoteKeys::of_issuer("THE_ISSUER", bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn of_all_strategies_any_one_opens_and_none_stands_in_for_another() {
    let provider = Provider::start(Answer::Set(vec![("ed25519", "a")])).await;
    let keys = RemoteKeys::new("THE_KEYS", &provider.url).unwrap();
    let oauth = OAuthTokens::new(ISSUER, keys.clone()).audience(AUDIENCE).build().unwrap();
    let secret = |text: &str| Secret::new("a test secret", text).unwrap();
    let shared = "the secret that Key0 signs its tokens with";
    let tokens = AccessTokens::builder().key(VerifyingKey::hs256(&secret(shared))).build().unwrap();
    let internal = InternalAuth::builder()
        .shared_secret(SecretSet::new(secret("the secret of the internal endpoints")))
        .signed_jwt(tokens, "backend-service")
        .oauth(oauth)
        .clock(FakeClock::at(now()))
        .build()
        .unwrap();
    let validate = |token: &str| {
        let header = format!("Bearer {token}");
        let outcome = internal.validate([header.as_bytes()], []);
        outcome.map(|caller| caller.strategy()).map_err(|refusal| refusal.kind())
    };
    let by_provider = signer("a").sign(&with(&json!({}))).unwrap();
    // Nothing was fetched yet.
    assert_eq!(validate(&by_provider), Err(RejectionKind::StoreUnavailable));
    assert!(keys.ready().await);
    let minute = Duration::from_secs(60);
    let system = |audience: &str| {
        TokenIssuer::hs256(&secret(shared)).system_token(audience, now(), minute).unwrap()
    };
    assert_eq!(validate(&by_provider), Ok(InternalStrategy::OAuth));
    assert_eq!(validate(&system("backend-service")), Ok(InternalStrategy::SignedJwt));
    assert_eq!(
        validate("the secret of the internal endpoints"),
        Ok(InternalStrategy::SharedSecret)
    );
    let refused = Err(RejectionKind::InvalidInternalAuth);
    assert_eq!(validate(&system(AUDIENCE)), refused);
    let claims = with(&json!({"aud": "backend-service"}));
    assert_eq!(validate(&signer("a").sign(&claims).unwrap()), refused);
    let by_secret = TokenIssuer::hs256(&secret(shared)).sign(&with(&json!({}))).unwrap();
    assert_eq!(validate(&by_secret), refused);
    let system_of_provider = signer("a").system_token("backend-service", now(), minute).unwrap();
    assert_eq!(validate(&system_of_provider), refused);
    // A name that is not known yet: other keys may say otherwise.
    let rotated = signer("b").sign(&with(&json!({}))).unwrap();
    assert_eq!(validate(&rotated), Err(RejectionKind::StoreUnavailable));
    assert_eq!(validate(&by_provider), Ok(InternalStrategy::OAuth));
}
