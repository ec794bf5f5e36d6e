//! Routes behind no guard: what their handlers leave unread of a body costs no client its next request.
#![cfg(all(feature = "axum", feature = "actix"))]

use std::{net::SocketAddr, sync::Arc};

use actix_web::{App, HttpServer};
use axum::Router;
use key0_auth::{
    AccessTokens, ApiKeys, MemoryStore, Validator,
    actix::{self as on_actix, Routes},
    api::{CredentialApi, IssueToken, KeysApi, PaymentReceived, Verify, VerifyRules},
    apikey::IssuanceSecrets,
    auth::Responder,
    axum as on_axum,
    domain::{Secret, SecretSet, SystemClock},
    store::DeniedTokens,
};

use crate::pool::Pool;

/// The endpoints that can be had without a guard.
#[derive(Clone)]
struct Open {
    verify: Verify,
    issue_token: IssueToken,
    payments: PaymentReceived,
    keys: KeysApi,
    credential: CredentialApi,
}

impl Open {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let keys = Arc::new(ApiKeys::new(store.clone()));
        let secret = Secret::new("a test's secret", "the internal secret of these tests").unwrap();
        let issuance = IssuanceSecrets::new(&SecretSet::new(secret));
        let tokens = AccessTokens::hs256("the access token secret of these tests").unwrap();
        let validator = Validator::builder().access_tokens(tokens).build().unwrap();
        let denied = DeniedTokens::new(store.clone());
        Self {
            credential: CredentialApi::new(validator.clone(), store.clone(), denied),
            verify: Verify::new(validator, VerifyRules::builder().build().unwrap()),
            issue_token: IssueToken::new(store.clone(), keys.clone(), issuance),
            payments: PaymentReceived::new(store.clone(), Arc::new(SystemClock)),
            keys: KeysApi::new(store, keys),
        }
    }

    fn axum(&self) -> Router {
        let router = Router::new()
            .route("/issue", on_axum::dangerous_issue_token(self.issue_token.clone()))
            .route("/paid", on_axum::dangerous_payment_received(self.payments.clone()))
            .merge(on_axum::dangerous_keys_routes(self.keys.clone()))
            .merge(on_axum::credential_routes(self.credential.clone()))
            .merge(on_axum::verify_routes(self.verify.clone()));
        on_axum::with_problem_fallbacks(router, &Responder::default())
    }

    fn actix(&self) -> Routes {
        let post = actix_web::http::Method::POST;
        let issue_token = on_actix::dangerous_issue_token(self.issue_token.clone());
        let payments = on_actix::dangerous_payment_received(self.payments.clone());
        Routes::new()
            .route("/issue", post.clone(), issue_token)
            .route("/paid", post, payments)
            .merge(on_actix::dangerous_keys_routes(self.keys.clone()))
            .merge(on_actix::credential_routes(self.credential.clone()))
            .merge(on_actix::verify_routes(self.verify.clone()))
    }

    /// On both frameworks.
    async fn serve(&self) -> [SocketAddr; 2] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let by_axum = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, self.axum()).into_future());
        let open = self.clone();
        let server = HttpServer::new(move || {
            App::new().configure(open.actix().with_problem_fallbacks(&Responder::default()))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let by_actix = server.addrs()[0];
        tokio::spawn(server.run());
        [by_axum, by_actix]
    }
}

#[tokio::test]
async fn a_client_that_keeps_its_connection_loses_no_request() {
    let gateway = "x-key0-internal-token: any\r\n";
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let json = "content-type: application/json\r\n";
    let proxied = format!("{gateway}{json}");
    let gzip = format!("{json}content-encoding: gzip\r\n");
    for address in Open::new().serve().await {
        let mut pool = Pool::new(address);
        for (line, headers, status, least) in [
            ("POST /issue", &*proxied, 403, 0),
            ("POST /issue", "", 415, 0),
            ("POST /issue", json, 413, 100_000),
            ("POST /paid", &proxied, 403, 0),
            ("POST /keys", &proxied, 403, 0),
            ("POST /keys", &gzip, 415, 0),
            ("GET /keys", "", 200, 0),
            ("GET /keys/unknown", "", 404, 0),
            ("DELETE /keys/unknown", gateway, 403, 0),
            ("DELETE /keys/unknown", "", 404, 0),
            ("DELETE /keys", "", 400, 0),
            ("POST /credential/revoke", gateway, 403, 0),
            ("POST /credential/revoke", "", 415, 0),
            ("POST /credential/revoke", form, 413, 100_000),
            ("GET /credential", "", 401, 0),
            ("GET /verify?resource=photo-1", "", 401, 0),
            ("POST /verify/nowhere", "", 403, 0),
        ] {
            for length in [200, 20_000, 100_000, 1_000_000] {
                if length < least {
                    continue;
                }
                let body = vec![b'x'; length];
                for number in 0..5 {
                    let head = format!("{line} HTTP/1.1\r\n{headers}");
                    let answer = pool.send(&head, &body).await;
                    let case = format!("{line} {length} {number} at {address}");
                    let told = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
                    assert_eq!(told, status, "{case}");
                }
            }
        }
    }
}
