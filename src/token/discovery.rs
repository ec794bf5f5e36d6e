use reqwest::Url;
use serde::Deserialize;

use super::fetch::{self, FetchError, Fetcher};

/// An issuer of tokens, and where it may tell of itself.
#[derive(PartialEq, Eq)]
pub(super) struct Issuer {
    name: Box<str>,
    metadata: [Url; 2],
}

/// What counts of its metadata.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    pub(super) fn new(name: &str) -> Result<Self, &'static str> {
        let url = fetch::address(name)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("an issuer has neither a query nor a fragment");
        }
        let path = url.path().trim_end_matches('/');
        let at = |path: String| {
            let mut at = url.clone();
            at.set_path(&path);
            at
        };
        Ok(Self {
            name: name.into(),
            metadata: [
                // RFC 8414, section 3: before the issuer's path. OpenID's stands behind it.
                at(format!("/.well-known/oauth-authorization-server{path}")),
                at(format!("{path}/.well-known/openid-configuration")),
            ],
        })
    }

    /// The URL of its JWK set.
    pub(super) async fn find_keys(&self, fetcher: &Fetcher) -> Result<Url, FetchError> {
        let [first, second] = &self.metadata;
        match self.read(fetcher, first).await {
            Ok(url) => Ok(url),
            // What the second place tells is the better reason, as most providers have it.
            Err(_) => self.read(fetcher, second).await,
        }
    }

    async fn read(&self, fetcher: &Fetcher, at: &Url) -> Result<Url, FetchError> {
        let document = fetcher.get(at.clone()).await?;
        let metadata: Metadata = serde_json::from_slice(&document.body)
            .map_err(|_| FetchError::Unusable("it is no metadata of an issuer"))?;
        if *metadata.issuer != *self.name {
            let reason = "it names another issuer (compared exactly: a slash at its end counts)";
            return Err(FetchError::Unusable(reason));
        }
        fetch::address(&metadata.jwks_uri).map_err(FetchError::Unusable)
    }
}
