use async_trait::async_trait;
use key0_auth::{Rejection, domain::Timestamp};
use redis::{Script, ScriptInvocation};

use super::{Redis, scripts};
use crate::partner::store::{Answer, Asked, Fault, Keys, once::forgotten_until};

/// What a script makes of an effect.
pub(super) enum Effect {
    /// What is told of it, and whether it had been carried out before.
    Done(String, bool),
    /// The reason, and what belongs to it.
    Refused(String, String),
}

impl Redis {
    /// A call of a script that has an effect once.
    pub(super) fn effect(
        &self,
        script: &'static Script,
        asked: Option<&Asked>,
        now: Timestamp,
    ) -> ScriptInvocation<'static> {
        let mut call = self.call(script);
        call.arg(asked.map(slot).unwrap_or_default());
        call.arg(asked.map_or(&[][..], |asked| &asked.fingerprint));
        let forgotten = asked.map_or(now, |asked| asked.forgotten_until(now));
        call.arg(now.as_micros()).arg(forgotten.as_micros());
        call
    }

    /// Carries an effect out, or finds what was told of it before.
    pub(super) async fn once(
        &self,
        call: &ScriptInvocation<'_>,
        asked: Option<&Asked>,
    ) -> Result<Effect, Fault> {
        let (state, what, text): (String, Vec<u8>, String) = self.write(call).await?;
        match (&*state, asked) {
            ("done", _) => Ok(Effect::Done(text, false)),
            ("kept", Some(asked)) => {
                let answer = asked.replay(array(&what)?, text)?;
                Ok(Effect::Done(answer.body, true))
            }
            ("refused", _) => Ok(Effect::Refused(String::from_utf8_lossy(&what).into(), text)),
            _ => Err(Fault::Unreadable("state")),
        }
    }
}

impl Effect {
    /// What is answered where it was carried out, or the refusal.
    pub(super) fn answer(
        self,
        body: impl FnOnce(String) -> Result<String, Fault>,
        refusal: impl FnOnce(&str, &str) -> Option<Rejection>,
    ) -> Result<Answer, Fault> {
        match self {
            // A whole body was copied from another engine.
            Self::Done(text, replayed) if text.starts_with('{') => {
                Ok(Answer { body: text, replayed })
            }
            Self::Done(text, replayed) => Ok(Answer { body: body(text)?, replayed }),
            Self::Refused(why, detail) => {
                Err(refusal(&why, &detail).map_or(Fault::Unreadable("refusal"), Fault::from))
            }
        }
    }
}

#[async_trait]
impl Keys for Redis {
    async fn check_key(&self, asked: Asked, now: Timestamp) -> Result<(), Fault> {
        let mut call = self.call(&scripts::CHECK_KEY);
        let kept: (Option<Vec<u8>>, Option<String>, Option<i64>) =
            self.read(call.arg(slot(&asked))).await?;
        let (Some(fingerprint), Some(answer), Some(created_at)) = kept else { return Ok(()) };
        if Timestamp::from_micros(created_at) <= asked.forgotten_until(now) {
            return Ok(());
        }
        asked.replay(array(&fingerprint)?, answer).map(drop)
    }

    async fn forget_keys(&self, now: Timestamp, limit: u32) -> Result<u32, Fault> {
        self.some(&scripts::FORGET_KEYS, forgotten_until(now), limit).await
    }
}

/// The length tells where the caller ends.
fn slot(asked: &Asked) -> String {
    format!("{}:{}:{}", asked.caller.len(), asked.caller, asked.key)
}

fn array(bytes: &[u8]) -> Result<[u8; 32], Fault> {
    bytes.try_into().map_err(|_| Fault::Unreadable("fingerprint"))
}
