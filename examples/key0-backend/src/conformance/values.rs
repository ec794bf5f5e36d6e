use std::{collections::BTreeMap, time::Duration};

use key0_auth::{
    apikey::KeyFormat,
    domain::{Clock, Secret, SystemClock},
};
use serde_json::Value;

use super::{
    ConformanceError,
    case::placeholders,
    options::ConformanceOptions,
    secrets::ConformanceSecrets,
    tokens::{self, Bent},
};

/// More than a body may be: 64 KiB and a byte, and no JSON.
const TOO_MUCH: usize = 64 * 1024 + 1;
/// How many lists stand in each other in a body that asks for a deep stack.
const DEEP: usize = 20_000;
/// How long a key lives that is not revoked, as when this process is killed.
const KEY_LIFE: Duration = Duration::from_secs(600);

/// The values for what stands as `${name}` in a case.
#[derive(Debug)]
pub(super) struct Values {
    /// Stands in every id of this run, so that they are unmistakable.
    run: String,
    tokens: Option<Secret>,
    internal: Option<String>,
    master: Option<String>,
    gateway: Option<String>,
    verify: Option<String>,
    audience: String,
    unreachable: Option<String>,
    unknown: String,
    stranger: [u8; 32],
    bent: BTreeMap<String, Bent>,
    kept: BTreeMap<String, String>,
}

impl Values {
    pub(super) fn new(
        options: &ConformanceOptions,
        known: &ConformanceSecrets,
    ) -> Result<Self, ConformanceError> {
        let mut stranger = [0; 32];
        getrandom::fill(&mut stranger)?;
        let text = |secret: &Option<Secret>| {
            let secret = secret.as_ref()?;
            Some(String::from_utf8_lossy(secret.expose_bytes()).into_owned())
        };
        Ok(Self {
            run: format!("conformance-{}", uuid::Uuid::now_v7().simple()),
            tokens: known.tokens.clone(),
            internal: text(&known.internal),
            master: text(&known.master),
            gateway: text(&known.gateway),
            verify: text(&known.verify),
            audience: known.audience.clone(),
            unreachable: options.unreachable_key.clone(),
            unknown: KeyFormat::default().generate()?.expose().to_owned(),
            stranger,
            bent: tokens::bent()?,
            kept: BTreeMap::new(),
        })
    }

    pub(super) fn keep(&mut self, name: &str, value: String) {
        self.kept.insert(name.to_owned(), value);
    }

    /// The value of a name, or why there is none.
    pub(super) fn get(&self, name: &str) -> Result<String, String> {
        let missing = |what: &str| Err(format!("no {what} is given"));
        let now = SystemClock.now();
        if let Some(kept) = self.kept.get(name) {
            return Ok(kept.clone());
        }
        if let Some(bent) = name.strip_prefix("token.").and_then(|name| self.bent.get(name)) {
            let fill = |text: &str| self.fill(text).unwrap_or_default();
            return match &self.tokens {
                _ if bent.needs_no_secret() => Ok(bent.make(&self.stranger, now, fill)),
                Some(secret) => Ok(bent.make(secret.expose_bytes(), now, fill)),
                None => missing("access token secret"),
            };
        }
        let of_tokens = |make: &dyn Fn(&Secret) -> Option<String>| match &self.tokens {
            None => missing("access token secret"),
            Some(secret) => make(secret).ok_or_else(|| "the token can't be signed".to_owned()),
        };
        let of_internal = |make: &dyn Fn(&str) -> String| match &self.internal {
            None => missing("internal secret"),
            Some(secret) => Ok(make(secret)),
        };
        let of_master = |make: &dyn Fn(&str) -> String| match &self.master {
            None => missing("master key"),
            Some(key) => Ok(make(key)),
        };
        match name {
            "run" => Ok(self.run.clone()),
            "RUN" => Ok(self.run.to_uppercase()),
            "token" => of_tokens(&|secret| tokens::good(secret, &self.run, "photo-1", now)),
            "tokenForAll" => of_tokens(&|secret| tokens::good(secret, &self.run, "default", now)),
            "systemToken" => of_tokens(&|secret| tokens::system(secret, &self.audience, now)),
            "systemTokenForAnother" => {
                let another = format!("{}-and-another", self.audience);
                of_tokens(&|secret| tokens::system(secret, &another, now))
            }
            "tokenSecret" => match &self.tokens {
                None => missing("access token secret"),
                Some(secret) => match std::str::from_utf8(secret.expose_bytes()) {
                    Ok(text) if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                        Ok(text.to_owned())
                    }
                    _ => Err("the access token secret can't stand in a header".to_owned()),
                },
            },
            "gatewaySecret" => match &self.gateway {
                None => missing("secret of the gateway"),
                Some(secret) => Ok(secret.clone()),
            },
            // Where none is asked for, whatever is sent will do.
            "verifySecret" => Ok(self.verify.clone().unwrap_or_else(|| "none".to_owned())),
            "internalSecret" => of_internal(&str::to_owned),
            "internalSecret.start" => of_internal(&|secret| cut(secret).to_owned()),
            "internalSecret.more" => of_internal(&|secret| format!("{secret}x")),
            "masterKey" => of_master(&str::to_owned),
            "masterKey.start" => of_master(&|key| cut(key).to_owned()),
            "unknownKey" => Ok(self.unknown.clone()),
            "mistypedKey" => Ok(format!("{}{}", cut(&self.unknown), other_than(&self.unknown))),
            "unreachableKey" => match &self.unreachable {
                None => missing("--unreachable-key"),
                Some(key) => Ok(key.clone()),
            },
            "soon" => Ok(now.plus(KEY_LIFE).to_string()),
            "audience" => Ok(self.audience.clone()),
            "pad" => Ok("x".repeat(8 * 1024)),
            "longId" => Ok("x".repeat(257)),
            "longRequestId" => Ok("x".repeat(4_097)),
            "tooMuch" => Ok("{".repeat(TOO_MUCH)),
            "deep" => Ok("[".repeat(DEEP)),
            _ => Err(format!("{name} was not made by the case that makes it")),
        }
    }

    /// The text with every value filled in.
    pub(super) fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = text.to_owned();
        for name in placeholders(text) {
            filled = filled.replace(&format!("${{{name}}}"), &self.get(name)?);
        }
        Ok(filled)
    }

    /// The same in every text of a JSON value.
    pub(super) fn fill_json(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => self.fill(text)?.into(),
            Value::Array(items) => {
                items.iter().map(|item| self.fill_json(item)).collect::<Result<_, _>>()?
            }
            Value::Object(members) => members
                .iter()
                .map(|(name, item)| Ok((name.clone(), self.fill_json(item)?)))
                .collect::<Result<_, String>>()?,
            other => other.clone(),
        })
    }

    /// The text without the secrets that this run knows.
    pub(super) fn redact(&self, text: &str) -> String {
        let tokens = self.tokens.as_ref().and_then(|s| std::str::from_utf8(s.expose_bytes()).ok());
        let secrets = [&self.internal, &self.master, &self.gateway, &self.verify];
        let secrets = secrets.map(Option::as_deref).into_iter().chain([tokens]);
        let kept = self.kept.iter().filter(|(name, _)| name.ends_with("Key"));
        let secrets = secrets.flatten().chain(kept.map(|(_, key)| key.as_str()));
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }
}

/// All but the last character.
fn cut(text: &str) -> &str {
    text.char_indices().next_back().map_or("", |(last, _)| &text[..last])
}

/// A character that is not the last one of a text.
fn other_than(text: &str) -> char {
    if text.ends_with('a') { 'b' } else { 'a' }
}
