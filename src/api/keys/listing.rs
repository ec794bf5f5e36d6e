use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    Rejection,
    api::body::invalid,
    apikey::KeyKind,
    domain::{KeyId, Timestamp},
    store::{KeyCursor, KeyQuery},
};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// What the query of `GET /keys` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    kind: KeyKind,
    status: Status,
    limit: u32,
    after: Option<KeyCursor>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    InForce,
    All,
}

impl Listing {
    /// None of the values needs an escape, so none is read.
    pub(super) fn parse(query: &str) -> Result<Self, Rejection> {
        let [mut kind, mut status, mut limit, mut cursor] = [None; 4];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // An empty value counts as absent, and so does what this version does not know.
            if value.is_empty() {
                continue;
            }
            let known = match name {
                "kind" => &mut kind,
                "status" => &mut status,
                "limit" => &mut limit,
                "cursor" => &mut cursor,
                _ => continue,
            };
            if known.replace(value).is_some() {
                return Err(invalid("A parameter of the listing stands twice"));
            }
        }
        let mut listing = Self {
            kind: match kind {
                None | Some("integrator") => KeyKind::Integrator,
                Some("payment") => KeyKind::Payment,
                Some(_) => return Err(invalid("kind must be integrator or payment")),
            },
            status: match status {
                None | Some("active") => Status::InForce,
                Some("all") => Status::All,
                Some(_) => return Err(invalid("status must be active or all")),
            },
            limit: limit.map_or(Ok(DEFAULT_LIMIT), read_limit)?,
            after: None,
        };
        listing.after = cursor.map(|cursor| listing.read_cursor(cursor)).transpose()?;
        Ok(listing)
    }

    pub(super) fn query(&self, now: Timestamp) -> KeyQuery {
        KeyQuery {
            kind: self.kind,
            in_force_at: (self.status == Status::InForce).then_some(now),
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
        hasher.update(place);
        hasher.finalize().to_be_bytes()
    }
}

fn read_limit(text: &str) -> Result<u32, Rejection> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse().ok().filter(|limit| digits && (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| invalid("limit must be a number from 1 to 1000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> KeyCursor {
        let id = KeyId::new("0198c0de-0000-7000-8000-000000000001").expect("legal");
        KeyCursor { created_at: Timestamp::from_micros(1_795_000_000_123_456), id }
    }

    #[test]
    fn a_cursor_comes_back_as_the_place_it_was() {
        for query in ["", "kind=payment", "status=all", "kind=payment&status=all&limit=7"] {
            let listing = Listing::parse(query).expect("legal");
            let with = format!("{query}&cursor={}", listing.cursor(&place()));
            assert_eq!(Listing::parse(&with).expect("legal").after, Some(place()), "{query}");
        }
    }

    #[test]
    fn a_bent_cursor_and_one_of_another_listing_are_refused() {
        let cursor = Listing::parse("").expect("legal").cursor(&place());
        let refused = |query: String| Listing::parse(&query).is_err();
        for at in 0..cursor.len() {
            let mut tampered = cursor.clone().into_bytes();
            tampered[at] = if tampered[at] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(tampered).expect("ascii");
            assert!(refused(format!("cursor={tampered}")), "{at}");
            assert!(at == 0 || refused(format!("cursor={}", &cursor[..at])), "{at}");
        }
        assert!(refused(format!("cursor={cursor}=")));
        assert!(refused(format!("cursor={cursor}A")));
        assert!(refused(format!("kind=payment&cursor={cursor}")));
        assert!(refused(format!("status=all&cursor={cursor}")));
        assert!(!refused(format!("status=active&cursor={cursor}")));
    }

    #[test]
    fn parameters_are_read_strictly() {
        let absent = ["limit=", "limit", "kind=", "cursor=", "Kind=payment", "page=2"];
        let known = ["limit=1", "limit=1000", "limit=007", "&kind=integrator&", "status=active"];
        for good in absent.into_iter().chain(known) {
            assert!(Listing::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=+1",
            "limit=-1",
            "limit=1.0",
            "limit=99999999999",
            "limit=1&limit=1",
            "kind=master",
            "status=revoked",
            "kind=payment&kind=payment",
        ] {
            assert!(Listing::parse(bad).is_err(), "{bad}");
        }
    }
}
