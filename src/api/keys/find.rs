use serde_json::Value;

use super::{KeyView, KeysApi, Operator, Parts, not_found};
use crate::{
    Rejection, RejectionKind,
    api::body::{self, FieldErrors, Members, Reply, outage},
    apikey::{KeyDigest, KeyKind, KeyRecord},
    domain::Credential,
    error::FieldError,
    store::{KeyFilter, KeyQuery},
    token::CompactJws,
};

/// The longest form in which a key is shown, in bytes.
const MAX_DISPLAY_BYTES: usize = 64;
/// How many keys are looked at in one step.
const PAGE: u32 = 1_000;
/// How many keys are named where several are shown alike.
const MOST_NAMED: usize = 5;

/// By what a key is looked for.
enum Sought {
    Digest(KeyDigest),
    Display(String),
}

impl KeysApi {
    /// `POST /keys/find`: the key that this is, in whatever state. The body has exactly one of
    /// `key`, `digest` (SHA-256 in hexadecimal) and `display` (as `ak_1a2B…`). A key is found by
    /// its former secret, too, as long as that is known.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request. Whatever `key` is, it is never repeated.
    pub async fn find(&self, operator: &Operator, body: &[u8]) -> Result<Reply, Rejection> {
        operator.check_may_change()?;
        let parts = &self.0;
        let record = match parts.sought(body)? {
            Sought::Digest(digest) => {
                let found = async { parts.registry.find(&digest).await.map_err(outage) };
                body::within(super::READ_DEADLINE, found).await?
            }
            Sought::Display(display) => body::in_time(parts.shown_as(&display)).await?,
        };
        Ok(Reply::json(200, &KeyView::new(&record.ok_or_else(not_found)?)))
    }
}

impl Parts {
    fn sought(&self, body: &[u8]) -> Result<Sought, Rejection> {
        let mut members = Members::parse(body)?;
        let [key, digest, display] = ["key", "digest", "display"].map(|name| members.take(name));
        let one = "exactly one of key, digest and display is required";
        members.finish(Some(()), FieldErrors::default(), one)?;
        match (key, digest, display) {
            (Some(Value::String(key)), None, None) => self.digest_of(&key).map(Sought::Digest),
            (None, Some(Value::String(digest)), None) => {
                let bytes = super::new_key::bytes_of_hex(&digest);
                let bytes =
                    bytes.ok_or_else(|| wrong("digest", "digest must be 64 hexadecimal digits"))?;
                Ok(Sought::Digest(KeyDigest::from_bytes(bytes)))
            }
            (None, None, Some(Value::String(display)))
                if (1..=MAX_DISPLAY_BYTES).contains(&display.len())
                    && !display.contains(char::is_control) =>
            {
                Ok(Sought::Display(display))
            }
            (None, None, Some(_)) => {
                Err(wrong("display", "display must be a text such as ak_1a2B…"))
            }
            (None, None, None) => Err(FieldError::required("key").with_message(one).into()),
            (Some(_), None, None) => Err(wrong("key", one)),
            (None, Some(_), None) => Err(wrong("digest", one)),
            (Some(_), Some(_), _) => Err(wrong("digest", one)),
            (_, _, Some(_)) => Err(wrong("display", one)),
        }
    }

    /// The digest of a key; for anything else, what it is.
    fn digest_of(&self, key: &str) -> Result<KeyDigest, Rejection> {
        let credential = Credential::try_from(key).map_err(|_| {
            wrong("key", "key is no credential: it is too long, or not visible ASCII")
        })?;
        let digest = KeyDigest::of(key);
        if self.keys.is_bootstrap(&digest) {
            return Err(wrong("key", "key comes from the configuration, and has no record"));
        }
        if CompactJws::split(credential).is_some() {
            return Err(wrong("key", "key is an access token, and no API key"));
        }
        if self.keys.key_format().recognise(key).is_none() {
            return Err(wrong("key", "key has none of the known shapes, or is mistyped"));
        }
        Ok(digest)
    }

    /// The key that is shown so, among those of both kinds.
    async fn shown_as(&self, display: &str) -> Result<Option<KeyRecord>, Rejection> {
        let whole = format!("{}…", display.trim_end_matches('…'));
        let mut found: Vec<KeyRecord> = Vec::new();
        'kinds: for kind in [KeyKind::Integrator, KeyKind::Payment] {
            let filter = KeyFilter { prefix: Some(whole.clone()), ..KeyFilter::default() };
            let mut query = KeyQuery { kind, in_force_at: None, filter, after: None, limit: PAGE };
            loop {
                let page = self.page(&query).await?.1;
                found.extend(page.keys);
                if found.len() > MOST_NAMED {
                    break 'kinds;
                }
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
        }
        if found.len() > 1 {
            let ids: Vec<_> = found.iter().take(MOST_NAMED).map(|key| key.id.as_str()).collect();
            return Err(Rejection::new(RejectionKind::RequestConflict)
                .detail(format!("Several keys are shown so: {}", ids.join(", "))));
        }
        Ok(found.pop())
    }
}

fn wrong(path: &'static str, message: &'static str) -> Rejection {
    FieldError::invalid(path, message).into()
}
