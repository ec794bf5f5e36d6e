//! Purchases and events that an older version has kept, and did not list.

use std::{
    sync::{LazyLock, Weak},
    time::Duration,
};

use redis::Script;
use tokio::time::{Instant, sleep};

use super::{RedisStore, Shared, scripts};
use crate::error::StoreError;

/// How many names Redis looks through at a time, of which some are purchases and histories.
const LOOKED_THROUGH_AT_ONCE: u32 = 500;
/// How long others have the server to themselves in between.
const PAUSE: Duration = Duration::from_millis(5);

/// Lists them, besides all other work, unless that was done. Where it is broken off, or the user may not
/// `scan`, the next opening begins anew.
pub(super) fn start(store: Weak<Shared>) {
    tokio::spawn(async move {
        let listed = list_all(store).await;
        report(listed);
    });
}

async fn list_all(store: Weak<Shared>) -> Result<(), StoreError> {
    let opened = || store.upgrade().map(|shared| RedisStore { shared });
    let Some(first) = opened() else { return Ok(()) };
    let is_missing: bool = first.write(&first.call(&scripts::UNLISTED)).await?;
    drop(first);
    let mut cursor = if is_missing { Some(0) } else { None };
    while let Some(at) = cursor {
        let Some(store) = opened() else { return Ok(()) };
        cursor = store.list_some(at).await?;
        drop(store);
        sleep(PAUSE).await;
    }
    match opened() {
        Some(store) if is_missing => store.write(&store.call(&scripts::LISTED)).await,
        _ => Ok(()),
    }
}

impl RedisStore {
    /// Lists those of some names, and says where to go on.
    async fn list_some(&self, cursor: u64) -> Result<Option<u64>, StoreError> {
        let prefix = &self.shared.prefix;
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern(prefix));
        scan.arg("COUNT").arg(LOOKED_THROUGH_AT_ONCE);
        let deadline = Instant::now() + self.shared.write_timeout;
        let (next, names): (u64, Vec<Vec<u8>>) = self.shared.writes.query(&scan, deadline).await?;
        let slots: Vec<_> = names.iter().filter_map(|name| slot(prefix, name)).collect();
        self.list_these(&scripts::LIST_OLDER, &slots).await?;
        let keys: Vec<_> = names.iter().filter_map(|name| history(prefix, name)).collect();
        self.list_these(&scripts::LIST_OLDER_EVENTS, &keys).await?;
        Ok((next != 0).then_some(next))
    }

    async fn list_these(
        &self,
        script: &'static LazyLock<Script>,
        these: &[String],
    ) -> Result<(), StoreError> {
        if these.is_empty() {
            return Ok(());
        }
        let mut call = self.call(script);
        call.arg(these);
        self.write(&call).await
    }
}

/// Every name with this prefix, of which no letter is a wild card.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::new();
    for letter in prefix.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + "*"
}

fn slot(prefix: &str, name: &[u8]) -> Option<String> {
    let name = str::from_utf8(name).ok()?.strip_prefix(prefix)?;
    let by_challenge = || name.strip_prefix("payment:").map(|id| format!("challenge:{id}"));
    name.strip_prefix("issuance:").map(str::to_owned).or_else(by_challenge)
}

fn history(prefix: &str, name: &[u8]) -> Option<String> {
    let id = str::from_utf8(name).ok()?.strip_prefix(prefix)?.strip_prefix("history:");
    id.map(str::to_owned)
}

fn report(_listed: Result<(), StoreError>) {
    #[cfg(feature = "tracing")]
    if let Err(error) = _listed {
        let error = crate::error::chain(&error);
        tracing::warn!(error, "purchases and events of an older version are not listed yet");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_to_the_letter() {
        assert_eq!(pattern("key0:"), "key0:*");
        assert_eq!(pattern("a*[b]?\\"), "a\\*\\[b\\]\\?\\\\*");
        assert_eq!(slot("k:", b"k:issuance:request:r").as_deref(), Some("request:r"));
        assert_eq!(slot("k:", b"k:payment:c").as_deref(), Some("challenge:c"));
        assert_eq!(slot("k:", b"k:key:1"), None);
        assert_eq!(slot("k:", b"x:payment:c"), None);
    }
}
