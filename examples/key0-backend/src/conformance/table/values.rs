use std::{collections::BTreeMap, time::Duration};

use key0_auth::{
    apikey::KeyFormat,
    domain::{Clock, Secret, SystemClock, Timestamp},
};
use serde_json::Value;

use super::{
    TableError,
    case::{Step, placeholders},
    tokens::{self, TokenVariant},
};
use crate::call::Call;

/// More than a body may be: 64 KiB and a byte, and no JSON.
const TOO_MUCH: usize = 64 * 1024 + 1;
/// How many lists stand in each other in a body that asks for a deep stack.
const DEEP: usize = 20_000;
/// How long a key lives that is not revoked, as when this process is killed.
const KEY_LIFE: Duration = Duration::from_secs(600);

/// What is known of a backend that is checked from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) tokens: Option<Secret>,
    pub(crate) previous_tokens: Option<Secret>,
    pub(crate) internal: Option<Secret>,
    pub(crate) previous_internal: Option<Secret>,
    pub(crate) master: Option<Secret>,
    pub(crate) gateway: Option<Secret>,
    pub(crate) verify: Option<Secret>,
    /// What system tokens must be meant for.
    pub(crate) audience: String,
    /// A key that the store can't look up.
    pub(crate) unreachable: Option<String>,
}

/// The values for what stands as `${name}` in a case.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    /// Stands in every id of this run, so that they are unmistakable.
    run: String,
    known: Known,
    unknown: String,
    stranger: [u8; 32],
    variants: BTreeMap<String, TokenVariant>,
    kept: BTreeMap<String, String>,
    /// When tokens are signed; the present, unless it is held.
    held: Option<Timestamp>,
}

impl Values {
    pub(crate) fn new(known: Known) -> Result<Self, TableError> {
        let mut stranger = [0; 32];
        getrandom::fill(&mut stranger)?;
        Ok(Self {
            run: format!("conformance-{}", uuid::Uuid::now_v7().simple()),
            known,
            unknown: KeyFormat::default().generate()?.expose().to_owned(),
            stranger,
            variants: tokens::variants()?,
            kept: BTreeMap::new(),
            held: None,
        })
    }

    /// Signs tokens as of this time from now on.
    pub(crate) fn hold(&mut self, now: Timestamp) {
        self.held = Some(now);
    }

    /// What earlier cases have kept.
    pub(crate) fn kept(&self) -> &BTreeMap<String, String> {
        &self.kept
    }

    pub(crate) fn keep(&mut self, name: &str, value: String) {
        self.kept.insert(name.to_owned(), value);
    }

    /// The value of a name, or why there is none.
    pub(crate) fn get(&self, name: &str) -> Result<String, String> {
        let missing = |what: &str| format!("no {what} is given");
        let now = self.held.unwrap_or_else(|| SystemClock.now());
        if let Some(kept) = self.kept.get(name) {
            return Ok(kept.clone());
        }
        let Known { tokens, previous_tokens, internal, previous_internal, .. } = &self.known;
        let Known { master, gateway, verify, audience, unreachable, .. } = &self.known;
        let signing = || tokens.as_ref().ok_or_else(|| missing("access token secret"));
        let signed = |token: Option<String>| token.ok_or("the token can't be signed".to_owned());
        let internal = || internal.as_ref().map(text).ok_or_else(|| missing("internal secret"));
        let master = || master.as_ref().map(text).ok_or_else(|| missing("master key"));
        if let Some(variant) = name.strip_prefix("token.").and_then(|name| self.variants.get(name))
        {
            let fill = |text: &str| self.fill(text).unwrap_or_default();
            return Ok(match variant.needs_no_secret() {
                true => variant.make(&self.stranger, now, fill),
                false => variant.make(signing()?.expose_bytes(), now, fill),
            });
        }
        match name {
            "run" => Ok(self.run.clone()),
            "RUN" => Ok(self.run.to_uppercase()),
            "token" => signed(tokens::good(signing()?, &self.run, "photo-1", now)),
            "tokenForAll" => signed(tokens::good(signing()?, &self.run, "default", now)),
            "tokenOfPreviousSecret" => {
                let previous = previous_tokens.as_ref();
                let previous = previous.ok_or_else(|| missing("previous access token secret"))?;
                signed(tokens::good(previous, &self.run, "photo-1", now))
            }
            "systemToken" => signed(tokens::system(signing()?, audience, now)),
            "systemTokenForAnother" => {
                signed(tokens::system(signing()?, &format!("{audience}-and-another"), now))
            }
            "tokenSecret" => match std::str::from_utf8(signing()?.expose_bytes()) {
                Ok(text) if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                    Ok(text.to_owned())
                }
                _ => Err("the access token secret can't stand in a header".to_owned()),
            },
            "gatewaySecret" => {
                gateway.as_ref().map(text).ok_or_else(|| missing("secret of the gateway"))
            }
            // Where none is asked for, whatever is sent will do.
            "verifySecret" => Ok(verify.as_ref().map_or_else(|| "none".to_owned(), text)),
            "internalSecret" => internal(),
            "previousInternalSecret" => {
                let previous = previous_internal.as_ref().map(text);
                previous.ok_or_else(|| missing("previous internal secret"))
            }
            "internalSecret.start" => Ok(cut(&internal()?).to_owned()),
            "internalSecret.more" => Ok(format!("{}x", internal()?)),
            "masterKey" => master(),
            "masterKey.start" => Ok(cut(&master()?).to_owned()),
            "unknownKey" => Ok(self.unknown.clone()),
            "mistypedKey" => Ok(format!("{}{}", cut(&self.unknown), other_than(&self.unknown))),
            "unreachableKey" => unreachable.clone().ok_or_else(|| missing("--unreachable-key")),
            "soon" => Ok(now.plus(KEY_LIFE).to_string()),
            "audience" => Ok(audience.clone()),
            "pad" => Ok("x".repeat(8 * 1024)),
            "longId" => Ok("x".repeat(257)),
            "longRequestId" => Ok("x".repeat(4_097)),
            "tooMuch" => Ok("{".repeat(TOO_MUCH)),
            "deep" => Ok("[".repeat(DEEP)),
            _ => Err(format!("{name} was not made by the case that makes it")),
        }
    }

    /// The request of a step, its path changed by `at`.
    pub(crate) fn call(&self, step: &Step, at: impl Fn(&str) -> String) -> Result<Call, String> {
        let (method, path) = step.line();
        let mut call = Call::new(method, &at(&self.fill(path)?));
        for (name, values) in &step.headers {
            for value in values.as_slice() {
                call = call.header(name, self.fill(value)?);
            }
        }
        call.body = match &step.body {
            None => String::new(),
            Some(Value::String(text)) => self.fill(text)?,
            Some(json) => self.fill_json(json)?.to_string(),
        };
        Ok(call)
    }

    /// The text with every value filled in.
    pub(crate) fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = text.to_owned();
        for name in placeholders(text) {
            filled = filled.replace(&format!("${{{name}}}"), &self.get(name)?);
        }
        Ok(filled)
    }

    /// The same in every text of a JSON value.
    pub(crate) fn fill_json(&self, value: &Value) -> Result<Value, String> {
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
    pub(crate) fn redact(&self, text: &str) -> String {
        let known = &self.known;
        let secrets = [&known.tokens, &known.previous_tokens, &known.internal];
        let others = [&known.previous_internal, &known.master, &known.gateway, &known.verify];
        let secrets = secrets.into_iter().chain(others).flatten();
        let secrets = secrets.filter_map(|secret| std::str::from_utf8(secret.expose_bytes()).ok());
        let kept = self.kept.iter().filter(|(name, _)| name.ends_with("Key"));
        let secrets = secrets.chain(kept.map(|(_, key)| key.as_str()));
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }
}

fn text(secret: &Secret) -> String {
    String::from_utf8_lossy(secret.expose_bytes()).into_owned()
}

/// All but the last character.
fn cut(text: &str) -> &str {
    text.char_indices().next_back().map_or("", |(last, _)| &text[..last])
}

/// A character that is not the last one of a text.
fn other_than(text: &str) -> char {
    if text.ends_with('a') { 'b' } else { 'a' }
}
