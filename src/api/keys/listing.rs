use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    Rejection,
    api::{body::invalid, query::Query},
    apikey::KeyKind,
    domain::{KeyId, PlanId, ResourceId, Timestamp},
    store::{KeyCursor, KeyFilter, KeyQuery},
};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;
const MAX_IDLE_DAYS: u32 = 3_650;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the query of `GET /keys` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    kind: KeyKind,
    status: Status,
    limit: u32,
    filter: KeyFilter,
    idle_days: Option<u32>,
    after: Option<KeyCursor>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    InForce,
    All,
}

impl Listing {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Rejection> {
        let query = Query::new(query);
        let mut listing = Self {
            kind: match query.get("kind")?.as_deref() {
                None | Some("integrator") => KeyKind::Integrator,
                Some("payment") => KeyKind::Payment,
                Some(_) => return Err(invalid("kind must be integrator or payment")),
            },
            status: match query.get("status")?.as_deref() {
                None | Some("active") => Status::InForce,
                Some("all") => Status::All,
                Some(_) => return Err(invalid("status must be active or all")),
            },
            limit: query.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT),
            filter: KeyFilter {
                label: text(&query, "label")?,
                prefix: text(&query, "prefix")?,
                plan_id: query.parsed("planId", PlanId::new)?,
                resource_id: query.parsed("resourceId", ResourceId::new)?,
                idle_since: None,
            },
            idle_days: query.number("idleDays", 1..=MAX_IDLE_DAYS)?,
            after: None,
        };
        let cursor = query.get("cursor")?;
        listing.after = cursor.map(|cursor| listing.read_cursor(&cursor)).transpose()?;
        Ok(listing)
    }

    pub(super) fn query(&self, now: Timestamp) -> KeyQuery {
        let idle_since = self.idle_days.map(|days| now.minus(DAY.saturating_mul(days)));
        KeyQuery {
            kind: self.kind,
            in_force_at: (self.status == Status::InForce).then_some(now),
            filter: KeyFilter { idle_since, ..self.filter.clone() },
            after: self.after.clone(),
            limit: self.limit,
        }
    }

    /// A place in this listing as a caller is handed it: opaque, and of no use in another listing.
    pub(super) fn cursor(&self, place: &KeyCursor) -> String {
        let mut bytes = place.created_at.as_micros().to_be_bytes().to_vec();
        bytes.extend_from_slice(place.id.as_str().as_bytes());
        bytes.extend_from_slice(&self.checksum(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read_cursor(&self, cursor: &str) -> Result<KeyCursor, Rejection> {
        let place = || {
            let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let (place, checksum) = bytes.split_last_chunk::<4>()?;
            if *checksum != self.checksum(place) {
                return None;
            }
            let (micros, id) = place.split_first_chunk::<8>()?;
            let created_at = Timestamp::from_micros(i64::from_be_bytes(*micros));
            let id = KeyId::new(str::from_utf8(id).ok()?).ok()?;
            Some(KeyCursor { created_at, id })
        };
        place().ok_or_else(|| invalid("cursor is not one of this listing"))
    }

    /// Tells a tampered cursor, and one of another listing, from a good one. It guards nothing: who may
    /// list may list from anywhere.
    fn checksum(&self, place: &[u8]) -> [u8; 4] {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.kind.as_str().as_bytes());
        hasher.update(&[u8::from(self.status == Status::All)]);
        let KeyFilter { label, prefix, plan_id, resource_id, .. } = &self.filter;
        let texts = [
            label.as_deref(),
            prefix.as_deref(),
            plan_id.as_ref().map(PlanId::as_str),
            resource_id.as_ref().map(ResourceId::as_str),
        ];
        for (name, text) in (b'a'..).zip(texts) {
            if let Some(text) = text {
                hasher.update(&[0, name]);
                hasher.update(text.as_bytes());
            }
        }
        if let Some(days) = self.idle_days {
            hasher.update(&days.to_be_bytes());
        }
        hasher.update(place);
        hasher.finalize().to_be_bytes()
    }
}

/// A text as labels and shown keys are: no store need look for what none of them can hold.
fn text(query: &Query<'_>, name: &str) -> Result<Option<String>, Rejection> {
    let text = query.get(name)?;
    match text.as_deref().is_some_and(|text| text.contains(char::is_control)) {
        true => Err(invalid(format!("{name} holds a control character"))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> KeyCursor {
        let id = KeyId::new("0198c0de-0000-7000-8000-000000000001").expect("legal");
        KeyCursor { created_at: Timestamp::from_micros(1_795_000_000_123_456), id }
    }

    fn parse(query: &str) -> Result<Listing, Rejection> {
        Listing::parse(Some(query))
    }

    #[test]
    fn a_cursor_comes_back_as_the_place_it_was() {
        for query in ["", "kind=payment", "status=all", "kind=payment&planId=gold&limit=7"] {
            let listing = parse(query).expect("legal");
            let with = format!("{query}&cursor={}", listing.cursor(&place()));
            assert_eq!(parse(&with).expect("legal").after, Some(place()), "{query}");
        }
    }

    #[test]
    fn a_bent_cursor_and_one_of_another_listing_are_refused() {
        let cursor = parse("").expect("legal").cursor(&place());
        let refused = |query: String| parse(&query).is_err();
        for at in 0..cursor.len() {
            let mut tampered = cursor.clone().into_bytes();
            tampered[at] = if tampered[at] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(tampered).expect("ascii");
            assert!(refused(format!("cursor={tampered}")), "{at}");
            assert!(at == 0 || refused(format!("cursor={}", &cursor[..at])), "{at}");
        }
        assert!(refused(format!("cursor={cursor}=")));
        assert!(refused(format!("cursor={cursor}A")));
        for other in ["kind=payment", "status=all", "label=a", "prefix=a", "planId=a", "idleDays=1"]
        {
            assert!(refused(format!("{other}&cursor={cursor}")), "{other}");
        }
        assert!(!refused(format!("status=active&cursor={cursor}")));
    }

    #[test]
    fn what_is_empty_or_unknown_does_not_count() {
        let plain = parse("").expect("legal");
        for same in ["limit=", "limit", "kind=", "cursor=", "page=2", "label=", "&kind=integrator&"]
        {
            assert_eq!(parse(same).expect("legal"), plain, "{same}");
        }
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=1&limit=1",
            "kind=master",
            "status=revoked",
            "kind=payment&kind=payment",
            "idleDays=0",
            "idleDays=3651",
            "planId=%20",
            "label=%ff",
            "label=a%00b",
            "prefix=ak_%0A",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
