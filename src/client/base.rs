use std::fmt;

use reqwest::Url;

use super::error::InvalidCall;
use crate::{domain::percent_decode_leniently, error::ConfigFault};

/// Everything that may stand in a segment of a path without being escaped (RFC 3986, section 2.3).
const UNRESERVED: &[u8] = b"-._~";

/// Where the server is. Every call goes to this host and below this path.
#[derive(Clone)]
pub(super) struct BaseUrl {
    url: Url,
    /// Without a slash at its end.
    path: Box<str>,
}

impl BaseUrl {
    pub(super) fn parse(text: &str, allow_plain_http: bool) -> Result<Self, ConfigFault> {
        let invalid = |reason: &str| Err(ConfigFault::invalid("the base URL", reason));
        // The parser repairs what it can; what needs it is no address that somebody checked.
        if !text.bytes().all(is_plain) {
            return invalid("it holds visible ASCII without a backslash, nothing else");
        }
        let Ok(url) = Url::parse(text) else {
            return invalid("it is a URL such as https://api.example.com");
        };
        if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
            return invalid("it begins with https:// or http:// and names a host");
        }
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return invalid("it names no user; credentials are set on the builder");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return invalid("it has no query and no fragment");
        }
        if url.scheme() == "http" && !is_loopback(&url) && !allow_plain_http {
            return invalid(
                "without TLS everybody on the way can read the credential: https is \
                            asked of every host but this one",
            );
        }
        let path = url.path().trim_end_matches('/').into();
        Ok(Self { url, path })
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The whole address of a path below this one.
    pub(super) fn join(&self, path: &str, query: &[(String, String)]) -> Result<Url, InvalidCall> {
        check_path(path)?;
        let mut url = self.url.clone();
        let (path, own_query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        url.set_path(&format!("{}{path}", self.path));
        url.set_query(own_query);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        // What was checked above can't lead elsewhere; this is for what was not thought of.
        let below = url.path().strip_prefix(&*self.path).is_some_and(|rest| rest.starts_with('/'));
        if below { Ok(url) } else { Err(InvalidCall::Path) }
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}

/// A text as one segment of a path, whatever it holds: slashes and dots of an id lead nowhere.
///
/// `.` and `..` can't be told from steps in a path, and an empty text names the whole collection.
/// The first two stay, the last one becomes `.`, and a call with one is refused.
///
/// ```
/// use key0_auth::client::segment;
///
/// assert_eq!(segment("order/1?"), "order%2F1%3F");
/// ```
pub fn segment(text: &str) -> String {
    if text.is_empty() {
        return ".".to_owned();
    }
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || UNRESERVED.contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

/// A path that begins with one slash, stays where it is, and means one thing to every server.
fn check_path(path: &str) -> Result<(), InvalidCall> {
    if !path.bytes().all(|byte| is_plain(byte) && byte != b'#') {
        return Err(InvalidCall::Path);
    }
    let path = path.split('?').next().unwrap_or_default();
    let below = path.strip_prefix('/').ok_or(InvalidCall::Path)?;
    let mut segments = below.split('/').peekable();
    while let Some(segment) = segments.next() {
        let empty_inside = segment.is_empty() && segments.peek().is_some();
        // Escaped dots are dots to some servers, and an escaped slash may be a slash to them.
        let decoded = percent_decode_leniently(segment);
        let climbs = decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(is_dots);
        if empty_inside || climbs {
            return Err(InvalidCall::Path);
        }
    }
    Ok(())
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'\\'
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &str, path: &str) -> Result<String, InvalidCall> {
        BaseUrl::parse(base, true).expect("an address").join(path, &[]).map(Into::into)
    }

    #[test]
    fn paths_stay_below_the_base() {
        for (base, path, whole) in [
            ("https://host", "/", "https://host/"),
            ("https://host", "/v1/x?a=b", "https://host/v1/x?a=b"),
            ("https://host/", "/v1/x", "https://host/v1/x"),
            ("https://host/below/", "/v1/", "https://host/below/v1/"),
            ("https://host/below", "/a%2Fb", "https://host/below/a%2Fb"),
            ("https://host", "/http://other", ""),
            ("https://host", "/...", "https://host/..."),
            ("https://host", "/a..b/.c", "https://host/a..b/.c"),
            ("https://host", "/x?back=/../y", "https://host/x?back=/../y"),
            ("https://host", "/100%", "https://host/100%"),
        ] {
            assert_eq!(joined(base, path).unwrap_or_default(), whole, "{path}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in [
            "",
            "v1",
            "//host",
            "/..",
            "/../keys",
            "/a/../../keys",
            "/.",
            "/a/./b",
            "/%2e%2e/keys",
            "/%2E%2E",
            "/.%2e/x",
            "/%2e",
            "/a%2f..%2fb",
            "/a%2F%2e%2e",
            "/..%5cb",
            "/a\\b",
            "/\\host",
            "https://other/",
            "http:/x",
            "@other/",
            ":80/x",
            ".other.com/",
            "/a#b",
            "/a b",
            "/a\n",
            "/\t/x",
            "/é",
            "/a//b",
            "?a=b",
            "/%2e%2e?a=b",
        ] {
            for base in ["https://host", "https://host/below"] {
                assert_eq!(joined(base, path), Err(InvalidCall::Path), "{path}");
            }
        }
    }

    #[test]
    fn queries_are_escaped() {
        let base = BaseUrl::parse("http://localhost:1", false).expect("an address");
        let query = [("walletId".to_owned(), "a&b=c#d".to_owned())];
        let url = base.join("/orders?x=1", &query).expect("a path");
        assert_eq!(url.as_str(), "http://localhost:1/orders?x=1&walletId=a%26b%3Dc%23d");
    }

    #[test]
    fn segments_are_one_segment() {
        assert_eq!(segment("a-b_c.d~9"), "a-b_c.d~9");
        assert_eq!(segment("../x é%"), "..%2Fx%20%C3%A9%25");
        for text in ["", ".", ".."] {
            let path = format!("/keys/{}", segment(text));
            assert_eq!(joined("https://host", &path), Err(InvalidCall::Path), "{text}");
        }
    }

    #[test]
    fn addresses_that_are_refused() {
        for (text, told) in [
            ("", "it is a URL"),
            ("host", "it is a URL"),
            ("/v1", "it is a URL"),
            ("ftp://host", "it begins with"),
            ("data:text", "it begins with"),
            ("https://user@host", "it names no user"),
            ("https://user:hush@host", "it names no user"),
            ("https://:hush@host", "it names no user"),
            ("https://@host", "it names no user"),
            ("https://host?a", "no query"),
            ("https://host/?", "no query"),
            ("https://host/#a", "no query"),
            ("https:\\\\host", "visible ASCII"),
            ("https://ho st", "visible ASCII"),
            (" https://host", "visible ASCII"),
            ("http://host", "without TLS"),
            ("http://10.0.0.1", "without TLS"),
            ("http://127.0.0.1.example.com", "without TLS"),
            ("http://localhost.example.com", "without TLS"),
            ("http://[::2]", "without TLS"),
        ] {
            let fault = BaseUrl::parse(text, false).expect_err(text).to_string();
            assert!(fault.contains(told) && !fault.contains("hush"), "{text}: {fault}");
        }
        for text in [
            "https://host",
            "https://host:8443/below",
            "http://localhost",
            "http://127.0.0.1:3000",
            "http://127.9.9.9",
            "http://[::1]:3000",
            "HTTP://LOCALHOST",
            "https://[::2]",
        ] {
            assert!(BaseUrl::parse(text, false).is_ok(), "{text}");
        }
        assert!(BaseUrl::parse("http://host", true).is_ok());
    }
}
