//! Fetches JSON documents of an identity provider, and trusts neither their size nor their pace.

use std::{fmt, time::Duration};

use reqwest::{Client, Url, header::CACHE_CONTROL, redirect};

use crate::error::{ConfigFault, chain};

/// The largest document that is read.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// How long a connection may take, and a whole answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 3;

/// Where documents are fetched.
#[derive(Clone)]
pub(super) struct Fetcher(Client);

/// A document, and for how long its sender wants it to be kept.
pub(super) struct Document {
    pub(super) body: Vec<u8>,
    pub(super) fresh_for: Option<Duration>,
}

/// Why a document was not had. For the log alone.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the provider could not be asked")]
    Http(#[source] reqwest::Error),
    #[error("the provider answered {0}")]
    Status(u16),
    #[error("the answer is larger than 1 MiB")]
    TooLarge,
    #[error("the answer can't be used: {0}")]
    Unusable(&'static str),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// A redirect that leads elsewhere than to the host that was asked.
#[derive(Debug, thiserror::Error)]
#[error("the redirect leads to another host, or there are too many")]
struct Elsewhere;

impl Fetcher {
    pub(super) fn new(name: &str) -> Result<Self, ConfigFault> {
        let follow = redirect::Policy::custom(|attempt| {
            let is_same = attempt.previous().first().is_some_and(|asked| {
                let of = |url: &Url| url.origin();
                of(asked) == of(attempt.url())
            });
            if is_same && attempt.previous().len() <= MAX_REDIRECTS {
                attempt.follow()
            } else {
                attempt.error(Elsewhere)
            }
        });
        Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(follow)
            .referer(false)
            .user_agent(concat!("key0-auth/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(|error| ConfigFault::invalid(name, chain(&error.without_url())))
    }

    pub(super) async fn get(&self, url: Url) -> Result<Document, FetchError> {
        let mut answer = self.0.get(url).header("accept", "application/json").send().await?;
        if !answer.status().is_success() {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let cache_control = answer.headers().get_all(CACHE_CONTROL).iter();
        let fresh_for = fresh_for(cache_control.filter_map(|value| value.to_str().ok()));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Document { body, fresh_for })
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher(..)")
    }
}

/// An address over TLS, or on this machine.
pub(super) fn address(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "it is no URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user or a password");
    }
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if is_loopback(host) => Ok(url),
        ("http", Some(_)) => Err("it begins with https:// (http:// is for loopback alone)"),
        _ => Err("it begins with https://"),
    }
}

fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// `Cache-Control` (RFC 9111, section 5.2.2), as far as it says how long: the shortest time counts.
/// `s-maxage` is for caches that others share.
fn fresh_for<'a>(values: impl Iterator<Item = &'a str>) -> Option<Duration> {
    let directives = values.flat_map(|value| value.split(','));
    let times = directives.filter_map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match &*name.trim().to_ascii_lowercase() {
            "no-store" | "no-cache" => Some(Duration::ZERO),
            "max-age" => seconds(value.trim().trim_matches('"')),
            _ => None,
        }
    });
    times.min()
}

/// A number of seconds; one that is too large counts as the largest (RFC 9111, section 1.2.2).
fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_time_of_cache_control_counts() {
        let seconds =
            |values: &[&str]| fresh_for(values.iter().copied()).map(|time| time.as_secs());
        for (values, told) in [
            (&["max-age=600"][..], Some(600)),
            (&["public, Max-Age = \"600\" , must-revalidate"], Some(600)),
            (&["max-age=0"], Some(0)),
            (&["no-store"], Some(0)),
            (&["no-cache"], Some(0)),
            (&["no-cache=\"set-cookie\", max-age=600"], Some(0)),
            (&["max-age=600, no-store"], Some(0)),
            (&["no-store, max-age=600"], Some(0)),
            // For shared caches alone.
            (&["s-maxage=60"], None),
            (&["s-maxage=60, max-age=600"], Some(600)),
            // Twice, in one header or in two.
            (&["max-age=600, max-age=300"], Some(300)),
            (&["max-age=300", "max-age=600"], Some(300)),
            (&["max-age=600", "no-store"], Some(0)),
            // Absurd numbers.
            (&["max-age=18446744073709551616"], Some(u64::MAX)),
            (&["max-age=99999999999999999999999999999999999999"], Some(u64::MAX)),
            (&["max-age=-1"], None),
            (&["max-age=+1"], None),
            (&["max-age=1.5"], None),
            (&["max-age="], None),
            (&["max-age"], None),
            (&["max-age=ten, max-age=10"], Some(10)),
            (&["x-max-age=5", "", ",,"], None),
            (&[], None),
        ] {
            assert_eq!(seconds(values), told, "{values:?}");
        }
    }
}
