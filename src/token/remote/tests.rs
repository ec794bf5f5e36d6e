#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::AtomicUsize;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    AccessTokens, RejectionKind, Validator,
    auth::{Fallback, FallbackError, FallbackGrant, IdentityKind},
    domain::{Credential, Secret},
    token::jwks::tests::{jwk, now, signed},
};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);
/// How long a condition is waited for.
const AT_MOST: Duration = Duration::from_secs(60);

/// How a provider answers.
#[derive(Debug, Clone)]
pub(in crate::token) enum Answer {
    Set(Vec<(&'static str, &'static str)>),
    Text(&'static str, String),
    /// By path; any other is not found.
    Pages(Vec<(String, String)>),
    Hang,
    Drip,
    Endless,
}

/// An identity provider on loopback.
pub(in crate::token) struct Provider {
    pub(in crate::token) url: String,
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    sent: AtomicUsize,
}

impl Provider {
    pub(in crate::token) async fn start(answer: Answer) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(Self {
            url: format!("http://{}/jwks.json", listener.local_addr().unwrap()),
            answer: Mutex::new(answer),
            asked: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
        });
        let serves = Arc::clone(&provider);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serves).answer(stream));
            }
        });
        provider
    }

    pub(in crate::token) fn turn(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let mut head = [0; 2_048];
        let length = stream.read(&mut head).await.unwrap_or_default();
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        let Some(path) = head.split(' ').nth(1) else { return };
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.lock().unwrap().clone();
        let (head, body) = match answer {
            Answer::Set(keys) => {
                let keys: Vec<_> = keys.iter().map(|(name, kid)| jwk(name, Some(kid))).collect();
                (
                    "200 OK\r\ncache-control: public, max-age=1".into(),
                    json!({"keys": keys}).to_string(),
                )
            }
            Answer::Text(head, body) => (head.to_owned(), body),
            Answer::Pages(pages) => match pages.into_iter().find(|(at, _)| at == path) {
                Some((_, body)) => ("200 OK".to_owned(), body),
                None => ("404 Not Found".to_owned(), String::new()),
            },
            Answer::Hang => return tokio::time::sleep(NEVER).await,
            Answer::Drip => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{").await;
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                return;
            }
            Answer::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{").await;
                while stream.write_all(&[b' '; 4_096]).await.is_ok() {
                    self.sent.fetch_add(4_096, Ordering::SeqCst);
                }
                return;
            }
        };
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let _ = stream.write_all(text.as_bytes()).await;
    }
}

fn keys(provider: &Provider, timing: Timing) -> (RemoteKeys, AccessTokens) {
    let keys = RemoteKeys::with_timing("THE_KEYS", &provider.url, timing).unwrap();
    // With keys that come and go, nothing is remembered, whoever asks for it.
    let builder = AccessTokens::builder().remote_keys(keys.clone()).remember_verified(10);
    (keys, builder.build().unwrap())
}

fn patient() -> Timing {
    Timing { patience: AT_MOST, ..Timing::default() }
}

/// What a token meets that may wait, as `Validator` lets it.
async fn outcome(tokens: &AccessTokens, token: &str) -> Result<(), RejectionKind> {
    let credential = Credential::try_from(token).unwrap();
    let validate =
        || tokens.validate(credential, now()).map(drop).map_err(|refusal| refusal.kind());
    if validate() == Err(RejectionKind::StoreUnavailable) {
        tokens.settle(credential).await;
    }
    validate()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(AT_MOST, waits).await.expect(what);
}

#[tokio::test]
async fn a_key_can_be_used_as_soon_as_it_is_published() {
    let provider = Provider::start(Answer::Set(vec![("ed25519", "a")])).await;
    let (keys, tokens) = keys(&provider, patient());
    assert!(keys.ready().await);
    assert_eq!(outcome(&tokens, &signed("ed25519", Some("a"))).await, Ok(()));
    provider.turn(Answer::Set(vec![("ed25519", "a"), ("p256", "b")]));
    let fresh = signed("p256", Some("b"));
    // All wait for the same fetch.
    let tokens = Arc::new(tokens);
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let (tokens, fresh) = (Arc::clone(&tokens), fresh.clone());
            tokio::spawn(async move { outcome(&tokens, &fresh).await })
        })
        .collect();
    for one in crowd {
        assert_eq!(one.await.unwrap(), Ok(()));
    }
    assert_eq!(outcome(&tokens, &signed("ed25519", Some("a"))).await, Ok(()));
    assert_eq!(provider.asked(), 2);
    // A known name that another key has signed under is no reason to ask.
    let forged = signed("p256", Some("a"));
    assert_eq!(outcome(&tokens, &forged).await, Err(RejectionKind::InvalidToken));
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn however_many_names_are_made_up_they_are_asked_for_once() {
    let provider = Provider::start(Answer::Set(vec![("ed25519", "a")])).await;
    let (keys, tokens) = keys(&provider, Timing { ask_every: NEVER, ..patient() });
    assert!(keys.ready().await);
    let first = signed("p256", Some("of nobody"));
    assert_eq!(outcome(&tokens, &first).await, Err(RejectionKind::InvalidToken));
    for n in 0..2_000 {
        // Looked for once, the answer is known; others may have been published since.
        assert_eq!(outcome(&tokens, &first).await, Err(RejectionKind::InvalidToken));
        let other = first.replacen(first.split('.').next().unwrap(), &header(n), 1);
        assert_eq!(outcome(&tokens, &other).await, Err(RejectionKind::StoreUnavailable));
    }
    assert_eq!(outcome(&tokens, &signed("ed25519", Some("a"))).await, Ok(()));
    assert_eq!(provider.asked(), 2);
    let too_long = signed("p256", Some(&"x".repeat(MAX_KID_BYTES + 1)));
    assert_eq!(outcome(&tokens, &too_long).await, Err(RejectionKind::InvalidToken));
    assert!(keys.asked().unknown.len() <= MAX_KIDS && keys.asked().next.len() <= MAX_KIDS);
}

fn header(n: usize) -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"made up {n}"}}"#))
}

/// The application's own tokens have names that no set has.
#[tokio::test]
async fn made_up_names_keep_no_token_from_the_fallback() {
    #[derive(Debug)]
    struct Ours;
    #[async_trait::async_trait]
    impl Fallback for Ours {
        async fn validate(
            &self,
            credential: Credential<'_>,
        ) -> Result<Option<FallbackGrant>, FallbackError> {
            let is_ours = credential.expose().starts_with(&header(1));
            Ok(is_ours.then(|| FallbackGrant::new("ours")))
        }
    }
    let provider = Provider::start(Answer::Set(vec![("ed25519", "a")])).await;
    let (keys, tokens) = keys(&provider, Timing { ask_every: NEVER, ..patient() });
    let validator = Validator::builder().access_tokens(tokens).fallback(Ours).build().unwrap();
    let kind = async |n: usize| {
        let signed = signed("p256", Some("x"));
        let token = signed.replacen(signed.split('.').next().unwrap(), &header(n), 1);
        let header = format!("Bearer {token}");
        let validated = validator.validate([header.as_bytes()], [&b""[..]; 0]).await;
        validated.map(|identity| identity.kind()).map_err(|refusal| refusal.kind())
    };
    provider.turn(Answer::Hang);
    assert_eq!(kind(1).await, Err(RejectionKind::StoreUnavailable), "it may be the provider's");
    provider.turn(Answer::Set(vec![("ed25519", "a")]));
    until("a set is had", async || keys.is_known()).await;
    for n in 2..20 {
        assert!(kind(n).await.is_err());
    }
    assert_eq!(kind(1).await, Ok(IdentityKind::Fallback));
}

/// Whoever can't sign learns so at once, and nobody is asked for a key that is known.
#[tokio::test]
async fn a_name_of_our_own_is_looked_for_nowhere_else() {
    let provider = Provider::start(Answer::Set(vec![("ed25519", "a")])).await;
    let keys = RemoteKeys::with_timing("THE_KEYS", &provider.url, patient()).unwrap();
    let own =
        VerifyingKey::hs256(&Secret::new("own", "a secret of at least 32 bytes, our own").unwrap());
    let tokens =
        AccessTokens::builder().key(own.kid("b")).remote_keys(keys.clone()).build().unwrap();
    assert!(keys.ready().await);
    let forged = signed("p256", Some("b"));
    assert_eq!(outcome(&tokens, &forged).await, Err(RejectionKind::InvalidToken));
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_name_is_asked_for_again_after_a_while() {
    let provider = Provider::start(Answer::Set(vec![("ed25519", "a")])).await;
    let (keys, tokens) = keys(&provider, Timing { ask_every: Duration::ZERO, ..patient() });
    assert!(keys.ready().await);
    let fresh = signed("p256", Some("b"));
    assert!(outcome(&tokens, &fresh).await.is_err());
    assert_eq!(outcome(&tokens, &signed("ed25519", Some("a"))).await, Ok(()));
    provider.turn(Answer::Set(vec![("p256", "b")]));
    assert_eq!(outcome(&tokens, &fresh).await, Ok(()));
    // What is no longer published is no longer a key.
    assert!(outcome(&tokens, &signed("ed25519", Some("a"))).await.is_err());
}

const OF_A: (&str, &str) = ("ed25519", "a");
const OF_B: (&str, &str) = ("p256", "b");
const OF_C: (&str, &str) = ("rsa2048", "c");

/// What is answered to tokens under the kids `a`, `b` and `c` while the provider answers so, one
/// answer after the other.
async fn told_of(answers: impl IntoIterator<Item = (Answer, [Result<(), RejectionKind>; 3])>) {
    let provider = Provider::start(Answer::Set(vec![OF_A])).await;
    let (keys, tokens) = keys(&provider, Timing { ask_every: NEVER, ..patient() });
    assert!(keys.ready().await);
    let signed = [OF_A, OF_B, OF_C].map(|(name, kid)| signed(name, Some(kid)));
    // Each token comes long after the one before.
    let told = async |kid: usize| {
        {
            let mut asked = keys.asked();
            asked.last = None;
            asked.unknown.clear();
        }
        outcome(&tokens, &signed[kid]).await
    };
    for (answer, [a, b, c]) in answers {
        provider.turn(answer.clone());
        // The unknown one first: it is what makes it fetch.
        for (kid, expected) in [(2, c), (1, b), (0, a)] {
            assert_eq!(told(kid).await, expected, "{kid}, {answer:?}");
        }
    }
    // Some was on its way when the rest was given up.
    assert!(provider.sent.load(Ordering::SeqCst) < 32 * fetch::MAX_BYTES);
    provider.turn(Answer::Set(vec![OF_B, OF_C]));
    until("the new key", async || told(2).await.is_ok()).await;
    assert_eq!(told(1).await, Ok(()));
    assert_eq!(told(0).await, REFUSED);
}

const REFUSED: Result<(), RejectionKind> = Err(RejectionKind::InvalidToken);

#[tokio::test]
async fn rotation_outage_and_poison() {
    const UNDECIDED: Result<(), RejectionKind> = Err(RejectionKind::StoreUnavailable);
    let text = |status, body: &str| Answer::Text(status, body.to_owned());
    let elsewhere = json!({"keys": [jwk("p256", Some("b"))]}).to_string();
    let of_b = (Answer::Set(vec![OF_B]), [REFUSED, Ok(()), REFUSED]);
    // What `b` alone is known of stays so, and nothing more is decided.
    let spoilt = |answer| [of_b.clone(), (answer, [UNDECIDED, Ok(()), UNDECIDED])];
    tokio::join!(
        told_of([
            (Answer::Set(vec![OF_A]), [Ok(()), REFUSED, REFUSED]),
            // The new key is published before it is used, the old one goes later.
            (Answer::Set(vec![OF_A, OF_B]), [Ok(()), Ok(()), REFUSED]),
            of_b.clone(),
        ]),
        told_of(spoilt(text("500 Internal Server Error", "{}"))),
        told_of(spoilt(text("404 Not Found", &elsewhere))),
        told_of(spoilt(text("200 OK", "<html>Down for maintenance</html>"))),
        told_of(spoilt(text("200 OK", r#"{"keys":[]}"#))),
        told_of(spoilt(text("200 OK", r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#))),
        told_of(spoilt(text("200 OK", r#"{"keys":[{"kty":"OKP""#))),
        told_of(spoilt(Answer::Hang)),
        told_of(spoilt(Answer::Drip)),
        told_of(spoilt(Answer::Endless)),
    );
}

/// The old key stays in use, and the new one is used a second after it was published.
#[tokio::test]
async fn a_rotation_refuses_no_good_token() {
    let provider = Provider::start(Answer::Set(vec![OF_A])).await;
    let (keys, tokens) = keys(&provider, patient());
    assert!(keys.ready().await);
    let tokens = Arc::new(tokens);
    let [old, new] = [OF_A, OF_B].map(|(name, kid)| signed(name, Some(kid)));
    let rotated = Arc::new(AtomicBool::new(false));
    let send = |token: &str| {
        let (tokens, token) = (Arc::clone(&tokens), token.to_owned());
        async move { assert_eq!(outcome(&tokens, &token).await, Ok(())) }
    };
    let (goes_on, ends) = (Arc::clone(&tokens), Arc::clone(&rotated));
    let of_old = old.clone();
    let all_along = tokio::spawn(async move {
        while !ends.load(Ordering::SeqCst) {
            assert_eq!(outcome(&goes_on, &of_old).await, Ok(()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    provider.turn(Answer::Set(vec![OF_A, OF_B]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let crowd = (0..100).map(|n| tokio::spawn(send(if n % 2 == 0 { &new } else { &old })));
    for one in crowd.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    rotated.store(true, Ordering::SeqCst);
    all_along.await.unwrap();
    assert_eq!(provider.asked(), 2);
}

/// Within 30 seconds of a clock that this test holds.
#[tokio::test]
async fn ten_thousand_made_up_names_cost_four_fetches_at_most() {
    let provider = Provider::start(Answer::Set(vec![("ed25519", "a")])).await;
    let (keys, tokens) = keys(&provider, Timing::default());
    assert!(keys.ready().await);
    let (good, forged) = (signed("ed25519", Some("a")), signed("p256", Some("of nobody")));
    let (_, rest) = forged.split_once('.').unwrap();
    // While a blocking task runs, a clock that stands still does not go on by itself.
    let (held, holds) = std::sync::mpsc::channel::<()>();
    let holding = tokio::task::spawn_blocking(move || holds.recv());
    tokio::time::pause();
    for n in 0..10_000 {
        let token = format!("{}.{rest}", header(n));
        let refused = tokens.validate(Credential::try_from(&*token).unwrap(), now());
        assert!(refused.is_err());
        assert!(tokens.validate(Credential::try_from(&*good).unwrap(), now()).is_ok());
        let ends = std::time::Instant::now() + AT_MOST;
        while keys.asked().is_running || !keys.asked().next.is_empty() {
            assert!(std::time::Instant::now() < ends, "the fetch does not end");
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_millis(3)).await;
    }
    drop(held);
    let _ = holding.await;
    assert!((2..=4).contains(&provider.asked()), "{}", provider.asked());
}

#[tokio::test]
async fn a_start_without_the_provider_is_tried_again_by_itself() {
    let provider = Provider::start(Answer::Text("503 Service Unavailable", String::new())).await;
    let timing = Timing { first_retry: Duration::from_millis(20), ask_every: NEVER, ..patient() };
    let (keys, tokens) = keys(&provider, timing);
    assert!(!keys.ready().await);
    let token = signed("ed25519", None);
    let credential = Credential::try_from(&*token).unwrap();
    let told = tokens.validate(credential, now()).unwrap_err();
    assert_eq!(told.kind(), RejectionKind::StoreUnavailable);
    provider.turn(Answer::Set(vec![("ed25519", "a")]));
    until("the keys", async || keys.is_known()).await;
    assert!(tokens.validate(credential, now()).is_ok());
}

#[tokio::test]
async fn a_redirect_leads_to_no_other_host() {
    let other = Provider::start(Answer::Set(vec![("ed25519", "a")])).await;
    let location = format!("302 Found\r\nlocation: {}", other.url);
    let provider =
        Provider::start(Answer::Text(Box::leak(location.into_boxed_str()), String::new())).await;
    let (keys, _) = keys(&provider, patient());
    assert!(!keys.ready().await);
    assert_eq!((provider.asked(), other.asked()), (1, 0));
    // In a circle on its own host it ends as well.
    provider.turn(Answer::Text("302 Found\r\nlocation: /elsewhere", String::new()));
    assert!(keys.fetch().await.is_err());
    assert!(provider.asked() < 10);
}

#[tokio::test]
async fn a_request_waits_for_the_key_and_is_never_refused_for_an_outage() {
    use crate::{InternalAuth, Validator};

    let provider = Provider::start(Answer::Set(vec![("ed25519", "a")])).await;
    let timing = Timing { ask_every: Duration::ZERO, ..patient() };
    let (keys, tokens) = keys(&provider, timing);
    let tokens = Arc::new(tokens);
    let clock = crate::testing::FakeClock::at(now());
    let validator = Validator::builder().access_tokens(Arc::clone(&tokens)).clock(clock.clone());
    let validator = validator.build().unwrap();
    let bearer = |token: String| format!("Bearer {token}");
    let validate = async |token: &str| {
        let outcome = validator.validate([token.as_bytes()], []).await;
        outcome.map(drop).map_err(|refusal| refusal.kind())
    };
    // The first request starts the fetch.
    assert_eq!(validate(&bearer(signed("ed25519", Some("a")))).await, Ok(()));
    provider.turn(Answer::Set(vec![("p256", "b")]));
    assert_eq!(validate(&bearer(signed("p256", Some("b")))).await, Ok(()));
    provider.turn(Answer::Text("500 Internal Server Error", String::new()));
    let unknown = bearer(signed("rsa2048", Some("c")));
    assert_eq!(validate(&unknown).await, Err(RejectionKind::StoreUnavailable));
    let internal = InternalAuth::builder().signed_jwt(tokens, "backend-service").clock(clock);
    let refusal = internal.build().unwrap().validate([unknown.as_bytes()], []).unwrap_err();
    assert_eq!(refusal.kind(), RejectionKind::StoreUnavailable);
    assert!(keys.is_known());
}

#[tokio::test]
async fn what_nobody_holds_asks_no_more() {
    let provider = Provider::start(Answer::Set(vec![("ed25519", "a")])).await;
    let (keys, tokens) = keys(&provider, patient());
    assert!(keys.ready().await);
    let shared = Arc::downgrade(&keys.0);
    drop((keys, tokens));
    until("the end", async || shared.strong_count() == 0).await;
    assert_eq!(provider.asked(), 1);
}

#[test]
fn only_addresses_that_can_be_trusted_are_taken() {
    for good in [
        "https://id.example.com/jwks.json",
        "https://id.example.com:8443/a?b=c",
        "http://127.0.0.1:8080/jwks",
        "http://[::1]/jwks",
        "http://localhost/jwks",
    ] {
        assert!(RemoteKeys::new("THE_KEYS", good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "id.example.com/jwks.json",
        "http://id.example.com/jwks.json",
        "http://127.0.0.1.example.com/jwks",
        "http://localhost.example.com/jwks",
        "https://user:secret@id.example.com/jwks",
        "file:///etc/jwks.json",
        "ftp://id.example.com/jwks.json",
    ] {
        let fault = RemoteKeys::new("THE_KEYS", bad).unwrap_err().to_string();
        assert!(fault.starts_with("THE_KEYS is not valid: "), "{fault}");
        assert!(!fault.contains("secret"), "{fault}");
    }
}
