//! Ids for requests that bring none of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use http::HeaderValue;
use uuid::{Builder, Uuid};

/// Makes UUIDs of version 7 that count up from a random number, which is asked for once: an id
/// must be another one than all others, and need not be hard to guess.
#[derive(Debug, Clone)]
pub(crate) struct RequestIds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: u128,
    made: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared { start: Uuid::now_v7().as_u128(), made: AtomicU64::new(0) }))
    }

    pub(crate) fn next(&self) -> HeaderValue {
        let made = self.0.made.fetch_add(1, Ordering::Relaxed);
        let number = self.0.start.wrapping_add(made.into());
        let [.., a, b, c, d, e, f, g, h, i, j] = number.to_be_bytes();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let id = Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j]);
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.into_uuid().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_id_is_another_one_over_clones_and_over_processes() {
        let ids = RequestIds::new();
        let (clone, other) = (ids.clone(), RequestIds::new());
        let made: HashSet<_> = (0..3_000)
            .map(|n| [&ids, &clone, &other][n % 3].next().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(made.len(), 3_000);
        assert!(made.iter().all(|id| Uuid::try_parse(id).unwrap().get_version_num() == 7));
    }
}
