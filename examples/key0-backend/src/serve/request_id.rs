//! Ids for requests that bring none of their own.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use http::HeaderValue;
use uuid::Builder;

/// Makes UUIDs of version 7 whose random part is a count under a keyed hash. The key is random and
/// asked for once; without it nobody learns from two ids how many requests lie between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestIds(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    key: RandomState,
    made: AtomicU64,
}

impl RequestIds {
    pub(crate) fn next(&self) -> HeaderValue {
        let made = self.0.made.fetch_add(1, Ordering::Relaxed);
        let half = |which: u8| u128::from(self.0.key.hash_one((made, which)));
        let [a, b, c, d, e, f, g, h, i, j, ..] = (half(0) << 64 | half(1)).to_be_bytes();
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

    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_id_is_another_one_over_clones_and_over_processes() {
        let ids = RequestIds::default();
        let (clone, other) = (ids.clone(), RequestIds::default());
        let made: HashSet<_> = (0..3_000)
            .map(|n| [&ids, &clone, &other][n % 3].next().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(made.len(), 3_000);
        assert!(made.iter().all(|id| Uuid::try_parse(id).unwrap().get_version_num() == 7));
    }

    #[test]
    fn two_ids_do_not_tell_how_many_lie_between_them() {
        let ids = RequestIds::default();
        let made: Vec<_> = (0..1_000)
            .map(|_| Uuid::try_parse(ids.next().to_str().unwrap()).unwrap().as_u128())
            .collect();
        // The 62 bits behind the version and the variant.
        let steps = made.windows(2).map(|two| (two[1] as u64).wrapping_sub(two[0] as u64) << 2);
        assert_eq!(steps.collect::<HashSet<_>>().len(), 999);
    }
}
