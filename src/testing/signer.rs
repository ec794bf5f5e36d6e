use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::{
    AccessTokens, Identity, Rejection, Validator,
    domain::{Clock, Secret, SystemClock, Timestamp},
    token::{SYSTEM_TOKEN_SUBJECT, VerifyingKey},
};

/// Known to everybody who reads this: it opens nothing but tests.
const SECRET: &str = "the secret of key0_auth::testing, which opens nothing but tests";
const STRANGER: &str = "the secret of a stranger, with which nobody verifies anything";
/// How long a token lives, unless it is said.
const LIFE: Duration = Duration::from_secs(60 * 60);
/// How long a system token lives, unless it is said.
const SYSTEM_LIFE: Duration = Duration::from_secs(60);

/// Plays Key0's part: signs access tokens and system tokens with a shared secret.
///
/// ```
/// use key0_auth::{RejectionKind, testing::TokenSigner};
///
/// let signer = TokenSigner::new();
/// assert!(signer.token().resource("photo-1").validate().is_ok());
/// for (tampered, kind) in [
///     (signer.token().expired(), RejectionKind::TokenExpired),
///     (signer.token().without("exp"), RejectionKind::InvalidToken),
///     (signer.token().signed_by_a_stranger(), RejectionKind::InvalidToken),
///     (signer.system_token("backend-service"), RejectionKind::InvalidToken),
/// ] {
///     assert_eq!(tampered.validate().expect_err("it is tampered with").kind(), kind);
/// }
/// ```
#[derive(Debug, Clone)]
pub struct TokenSigner {
    secret: Secret,
    clock: Arc<dyn Clock>,
}

/// A token to be signed: good, unless a method makes it bad.
#[derive(Debug, Clone)]
#[must_use]
pub struct TestToken {
    signer: TokenSigner,
    now: Timestamp,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    stranger: bool,
    tampered: bool,
}

impl TokenSigner {
    /// Signs with a secret of its own, at the system's time.
    pub fn new() -> Self {
        match Secret::new("the secret of the tests", SECRET) {
            Ok(secret) => Self::with(secret),
            Err(fault) => panic!("{fault}"),
        }
    }

    /// Signs with this secret.
    pub fn with(secret: Secret) -> Self {
        Self { secret, clock: Arc::new(SystemClock) }
    }

    /// Sets where the time comes from; the system's clock by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What verifies its tokens.
    pub fn access_tokens(&self) -> AccessTokens {
        match AccessTokens::builder().key(VerifyingKey::hs256(&self.secret)).build() {
            Ok(tokens) => tokens,
            Err(error) => panic!("{error}"),
        }
    }

    /// An agent's token: for `photo-1` and the plan `basic`, an hour long.
    pub fn token(&self) -> TestToken {
        let claims = [
            ("sub", "test-request".into()),
            ("jti", uuid::Uuid::now_v7().hyphenated().to_string().into()),
            ("resourceId", "photo-1".into()),
            ("planId", "basic".into()),
            ("txHash", "0x7e57".into()),
        ];
        self.start(claims, LIFE)
    }

    /// A token with which Key0 proves itself to the service of this name, a minute long.
    pub fn system_token(&self, audience: &str) -> TestToken {
        let claims = [
            ("sub", SYSTEM_TOKEN_SUBJECT.into()),
            ("jti", uuid::Uuid::now_v7().hyphenated().to_string().into()),
            ("resourceId", audience.into()),
            ("planId", "system".into()),
            ("txHash", "system-auth".into()),
        ];
        self.start(claims, SYSTEM_LIFE)
    }

    fn start(&self, claims: [(&str, Value); 5], life: Duration) -> TestToken {
        let now = self.clock.now();
        let claims = claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let header = [("alg".to_owned(), "HS256".into())].into_iter().collect();
        let signer = self.clone();
        let token = TestToken { signer, now, header, claims, stranger: false, tampered: false };
        token.claim("iat", seconds(now)).expires_in(life)
    }
}

impl Default for TokenSigner {
    fn default() -> Self {
        Self::new()
    }
}

impl TestToken {
    /// Sets what was bought; `default` opens everything.
    pub fn resource(self, id: &str) -> Self {
        self.claim("resourceId", id)
    }

    /// Sets the plan that was bought.
    pub fn plan(self, id: &str) -> Self {
        self.claim("planId", id)
    }

    /// Sets the agent's request.
    pub fn request_id(self, id: &str) -> Self {
        self.claim("sub", id)
    }

    /// Sets the payment's challenge.
    pub fn challenge_id(self, id: &str) -> Self {
        self.claim("jti", id)
    }

    /// Sets the payment on the chain.
    pub fn tx_hash(self, hash: &str) -> Self {
        self.claim("txHash", hash)
    }

    /// Sets how long it lives from now on.
    pub fn expires_in(self, life: Duration) -> Self {
        let end = seconds(self.now.plus(life));
        self.claim("exp", end)
    }

    /// Expires it now.
    pub fn expired(self) -> Self {
        self.expires_in(Duration::ZERO)
    }

    /// Makes it valid in an hour, and for an hour (`nbf`).
    pub fn not_yet_valid(self) -> Self {
        let start = seconds(self.now.plus(LIFE));
        self.claim("nbf", start).expires_in(2 * LIFE)
    }

    /// Sets any claim to any value.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets any member of the header, as `alg` or `crit`. It is signed with HMAC-SHA256 anyway.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Signs with a secret that nobody trusts.
    pub fn signed_by_a_stranger(mut self) -> Self {
        self.stranger = true;
        self
    }

    /// Changes it after it was signed, so that it claims everything.
    pub fn tampered(mut self) -> Self {
        self.tampered = true;
        self
    }

    /// The token's text.
    pub fn sign(&self) -> String {
        let encode = |part: String| URL_SAFE_NO_PAD.encode(part);
        let header = encode(Value::Object(self.header.clone()).to_string());
        let payload = encode(Value::Object(self.claims.clone()).to_string());
        let secret = match self.stranger {
            true => STRANGER.as_bytes(),
            false => self.signer.secret.expose_bytes(),
        };
        let signature = sign(secret, &format!("{header}.{payload}"));
        let payload = if self.tampered {
            let claims = self.clone().resource("default").claim("tampered", true).claims;
            encode(Value::Object(claims).to_string())
        } else {
            payload
        };
        format!("{header}.{payload}.{signature}")
    }

    /// The value of an `Authorization` header that carries it.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.sign())
    }

    /// What a [`Validator`] makes of it that trusts its signer: the way to an [`Identity`] of an
    /// agent, for handlers that ask for one.
    ///
    /// # Errors
    ///
    /// The reason to refuse it.
    pub fn validate(&self) -> Result<Identity, Rejection> {
        let validator = Validator::builder()
            .access_tokens(self.signer.access_tokens())
            .clock(self.signer.clock.clone())
            .build();
        let validator = match validator {
            Ok(validator) => validator,
            Err(error) => panic!("{error}"),
        };
        let header = self.bearer();
        let mut validating = pin!(validator.validate([header.as_bytes()], []));
        match validating.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(validated) => validated,
            Poll::Pending => unreachable!("nobody is asked about an access token"),
        }
    }
}

fn sign(secret: &[u8], input: &str) -> String {
    match Hmac::<Sha256>::new_from_slice(secret) {
        Ok(mac) => {
            URL_SAFE_NO_PAD.encode(mac.chain_update(input.as_bytes()).finalize().into_bytes())
        }
        Err(_) => unreachable!("HMAC takes a key of any length"),
    }
}

/// Whole seconds where that is exact, else with a fraction.
fn seconds(at: Timestamp) -> Value {
    if at == Timestamp::from_seconds(at.as_seconds()) {
        json!(at.as_seconds())
    } else {
        json!(at.as_micros() as f64 / 1e6)
    }
}
