use std::{net::SocketAddr, str::FromStr};

use http::{Uri, uri::Scheme};

/// Where a backend is reached, as `http://127.0.0.1:3000` or `http://host/below/here`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    authority: String,
    prefix: String,
}

/// A text that can't be the address of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidTarget {
    #[error("it begins with http:// and names a host")]
    NoUrl,
    #[error("https is not spoken here: run it next to the backend, behind its TLS, over http")]
    Https,
    #[error("it holds no user, no query and no fragment")]
    TooMuch,
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://")) {
            return Err(InvalidTarget::Https);
        }
        let url: Uri = text.parse().map_err(|_| InvalidTarget::NoUrl)?;
        let (Some(scheme), Some(authority)) = (url.scheme(), url.authority()) else {
            return Err(InvalidTarget::NoUrl);
        };
        if *scheme != Scheme::HTTP || authority.host().is_empty() {
            return Err(InvalidTarget::NoUrl);
        }
        if text.contains(['?', '#', '@']) {
            return Err(InvalidTarget::TooMuch);
        }
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            authority: format!("{}:{port}", authority.host()),
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl Target {
    /// The backend that listens here.
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self { authority: address.to_string(), prefix: String::new() }
    }

    /// The host and the port.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// A path of the contract as this backend has it.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("HTTP://localhost/", "http://localhost:80"),
            ("http://[::1]:3000/below/", "http://[::1]:3000/below"),
        ] {
            let target = text.parse::<Target>().map(|target| target.to_string());
            assert_eq!(target, Ok(shown.to_owned()));
        }
        let below: Result<Target, _> = "http://host/below/".parse();
        assert_eq!(below.map(|target| target.path("/keys")), Ok("/below/keys".to_owned()));
    }

    #[test]
    fn what_is_no_address() {
        for (text, fault) in [
            ("https://localhost", InvalidTarget::Https),
            ("HTTPS://localhost", InvalidTarget::Https),
            ("localhost:3000", InvalidTarget::NoUrl),
            ("/keys", InvalidTarget::NoUrl),
            ("ftp://localhost", InvalidTarget::NoUrl),
            ("", InvalidTarget::NoUrl),
            ("http://user@localhost", InvalidTarget::TooMuch),
            ("http://localhost/?a=b", InvalidTarget::TooMuch),
            ("http://localhost/#a", InvalidTarget::TooMuch),
        ] {
            assert_eq!(text.parse::<Target>(), Err(fault), "{text}");
        }
    }
}
