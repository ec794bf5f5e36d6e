use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    Rejection,
    api::{body::invalid, query::Query},
    domain::{ChallengeId, KeyId, PlanId, RequestId, ResourceId, Timestamp, TxHash},
    store::{IssuanceKey, PurchaseCursor, PurchaseFilter, PurchaseQuery, PurchaseState},
};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// What the query of `GET /purchases` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    limit: u32,
    filter: PurchaseFilter,
    after: Option<PurchaseCursor>,
}

impl Listing {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Rejection> {
        let query = Query::new(query);
        let mut listing = Self {
            limit: query.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT),
            filter: PurchaseFilter {
                challenge_id: query.parsed("challengeId", ChallengeId::new)?,
                request_id: query.parsed("requestId", RequestId::new)?,
                tx_hash: query.parsed("txHash", TxHash::new)?,
                key_id: query.parsed("keyId", KeyId::new)?,
                plan_id: query.parsed("planId", PlanId::new)?,
                resource_id: query.parsed("resourceId", ResourceId::new)?,
                state: query.get("state")?.map(|name| state(&name)).transpose()?,
            },
            after: None,
        };
        let cursor = query.get("cursor")?;
        listing.after = cursor.map(|cursor| listing.read_cursor(&cursor)).transpose()?;
        Ok(listing)
    }

    pub(super) fn query(&self, now: Timestamp) -> PurchaseQuery {
        let (filter, after) = (self.filter.clone(), self.after.clone());
        PurchaseQuery { filter, after, limit: self.limit, now }
    }

    /// A cursor of this listing as a caller is handed it: opaque, and of no use in another listing.
    pub(super) fn cursor(&self, cursor: &PurchaseCursor) -> String {
        let mut bytes = cursor.seen_at.as_micros().to_be_bytes().to_vec();
        bytes.push(u8::from(matches!(cursor.key, IssuanceKey::Request(_))));
        bytes.extend_from_slice(cursor.key.id().as_bytes());
        bytes.extend_from_slice(&self.checksum(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read_cursor(&self, cursor: &str) -> Result<PurchaseCursor, Rejection> {
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let (place, checksum) = bytes.split_last_chunk::<4>()?;
            if *checksum != self.checksum(place) {
                return None;
            }
            let (micros, key) = place.split_first_chunk::<8>()?;
            let (namespace, id) = key.split_first()?;
            let id = str::from_utf8(id).ok()?;
            let key = match namespace {
                0 => IssuanceKey::Challenge(ChallengeId::new(id).ok()?),
                _ => IssuanceKey::Request(RequestId::new(id).ok()?),
            };
            let seen_at = Timestamp::from_micros(i64::from_be_bytes(*micros));
            Some(PurchaseCursor { seen_at, key })
        };
        read().ok_or_else(|| invalid("cursor is not one of this listing"))
    }

    /// Tells a tampered cursor, and one of another listing, from a good one. It guards nothing: who may
    /// list may list from anywhere.
    fn checksum(&self, place: &[u8]) -> [u8; 4] {
        let mut hasher = crc32fast::Hasher::new();
        let filter = &self.filter;
        let texts = [
            filter.challenge_id.as_ref().map(ChallengeId::as_str),
            filter.request_id.as_ref().map(RequestId::as_str),
            filter.tx_hash.as_ref().map(TxHash::as_str),
            filter.key_id.as_ref().map(KeyId::as_str),
            filter.plan_id.as_ref().map(PlanId::as_str),
            filter.resource_id.as_ref().map(ResourceId::as_str),
            filter.state.map(PurchaseState::as_str),
        ];
        for (name, text) in (b'a'..).zip(texts) {
            if let Some(text) = text {
                hasher.update(&[0, name]);
                hasher.update(text.as_bytes());
            }
        }
        hasher.update(place);
        hasher.finalize().to_be_bytes()
    }
}

fn state(name: &str) -> Result<PurchaseState, Rejection> {
    let known = PurchaseState::ALL.iter().find(|state| state.as_str() == name);
    known.copied().ok_or_else(|| {
        let names: Vec<_> = PurchaseState::ALL.iter().map(|state| state.as_str()).collect();
        invalid(format!("state must be one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Listing, Rejection> {
        Listing::parse(Some(query))
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_and_in_its_own_listing_alone() {
        let seen_at = Timestamp::from_micros(1_795_000_000_123_456);
        for key in [
            IssuanceKey::Challenge("c".parse().expect("legal")),
            IssuanceKey::Request("r".parse().expect("legal")),
        ] {
            let place = PurchaseCursor { seen_at, key };
            for query in ["", "state=waiting", "planId=gold&limit=7", "requestId=a&txHash=0x1"] {
                let listing = parse(query).expect("legal");
                let cursor = listing.cursor(&place);
                let with = format!("{query}&cursor={cursor}");
                assert_eq!(parse(&with).expect("legal").after, Some(place.clone()), "{query}");
                assert!(parse(&format!("resourceId=x&cursor={cursor}")).is_err());
                assert!(parse(&format!("{query}&cursor={cursor}A")).is_err());
            }
        }
    }

    #[test]
    fn what_is_empty_or_unknown_does_not_count_and_what_can_not_be_meant_is_refused() {
        let plain = parse("").expect("legal");
        for same in ["limit=", "state=", "challengeId", "page=2", "&planId=&"] {
            assert_eq!(parse(same).expect("legal"), plain, "{same}");
        }
        for bad in
            ["limit=0", "limit=1001", "state=paid", "state=Issued", "planId=%20", "txHash=%ff"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
