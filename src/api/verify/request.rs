use std::fmt;

use crate::{Rejection, auth::Sent};

/// Where nginx says what the original request was for, by the example of its manual. That says
/// nothing of the method, so a method beside it may be the client's own.
const ORIGINAL: (&str, Option<&str>) = ("x-original-uri", None);
/// Where Traefik and Caddy do, and our files for nginx.
const FORWARDED: (&str, Option<&str>) = ("x-forwarded-uri", Some("x-forwarded-method"));

/// A proxy's question, as an adapter shows it: whose headers are those of the original request.
pub struct VerifyRequest {
    method: String,
    query: Option<String>,
    rest: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
}

/// The request that the proxy asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Original {
    /// None where nobody but the client can have said it.
    pub(super) method: Option<String>,
    /// The path as it was sent.
    pub(super) path: String,
}

impl VerifyRequest {
    /// A question with this method and this query. `rest` is what stands in the path behind the
    /// place where the endpoint is, as Envoy sends it: the original path, whose query is the
    /// client's own then.
    pub fn new<'a>(
        method: &str,
        query: Option<&str>,
        rest: Option<&str>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let wanted =
            |name: &str| name.starts_with("x-") || name.eq_ignore_ascii_case("authorization");
        let headers = headers.into_iter().filter(|(name, _)| wanted(name));
        Self {
            method: method.to_owned(),
            query: query.map(str::to_owned),
            rest: rest.filter(|rest| !rest.is_empty()).map(str::to_owned),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |(known, _): &&(String, Vec<u8>)| known.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| &**value)
    }

    pub(super) fn sent<'a>(&'a self, name: &'a str) -> Sent<'a> {
        Sent::of(self.values(name))
    }

    /// The query that the proxy wrote. One that is the original request's own is the client's: some
    /// proxies hand it on where they are not told otherwise.
    pub(super) fn query(&self) -> Option<&str> {
        let query = self.query.as_deref().filter(|query| !query.is_empty())?;
        let is_query = |uri: &[u8]| match uri.iter().position(|byte| *byte == b'?') {
            Some(at) => &uri[at + 1..] == query.as_bytes(),
            None => false,
        };
        let mut uris = [ORIGINAL, FORWARDED].into_iter().flat_map(|(uri, _)| self.values(uri));
        let is_clients = self.rest.is_some() || uris.any(is_query);
        (!is_clients).then_some(query)
    }

    /// What the original request was for, where the proxy says so.
    pub(super) fn original(&self) -> Result<Option<Original>, Rejection> {
        if let Some(rest) = &self.rest {
            let path = path(rest)?;
            return Ok(Some(Original { method: Some(self.method.clone()), path }));
        }
        let [by_original, by_forwarded] = [self.told(ORIGINAL)?, self.told(FORWARDED)?];
        match (by_original, by_forwarded) {
            (Some(one), Some(other)) if one == other => Ok(Some(one)),
            // A proxy sets one of them. The other is the client's, and may be made up.
            (Some(_), Some(_)) => Err(refused("Two headers say differently what was requested")),
            (told, None) | (None, told) => Ok(told),
        }
    }

    fn told(
        &self,
        (uri, method): (&'static str, Option<&'static str>),
    ) -> Result<Option<Original>, Rejection> {
        let Some(uri) = self.once(uri)? else { return Ok(None) };
        let method = match method {
            Some(method) => self.once(method)?.map(str::to_owned),
            None => None,
        };
        let path = path(uri)?;
        Ok(Some(Original { method, path }))
    }

    /// A header that must not stand twice. An empty one counts as absent.
    fn once(&self, name: &'static str) -> Result<Option<&str>, Rejection> {
        match self.sent(name) {
            Sent::Never | Sent::Once(b"") => Ok(None),
            Sent::Once(value) => match str::from_utf8(value) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(refused("A header that says what was requested is no text")),
            },
            Sent::Repeatedly => Err(refused("A header that says what was requested stands twice")),
        }
    }
}

/// The path of a URI. What backends read in more than one way is refused.
fn path(uri: &str) -> Result<String, Rejection> {
    let path = uri.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(refused("What was requested does not begin with a slash"));
    }
    let escaped = path.to_ascii_lowercase();
    let doubtful = uri.contains('#')
        || path.contains('\\')
        || !path.bytes().all(|byte| byte.is_ascii_graphic())
        || ["%2f", "%5c", "%00"].iter().any(|escape| escaped.contains(escape));
    if doubtful {
        return Err(refused("What was requested has a fragment or an escaped slash"));
    }
    Ok(path.to_owned())
}

fn refused(detail: &'static str) -> Rejection {
    crate::api::body::invalid(detail)
}

/// Without the credential.
impl fmt::Debug for VerifyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyRequest")
            .field("method", &self.method)
            .field("query", &self.query)
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}
