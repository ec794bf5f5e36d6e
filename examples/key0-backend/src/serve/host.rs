//! The `Host` of a request (RFC 9112, section 3.2).

use std::net::Ipv6Addr;

use http::{Request, Version, header::HOST};
use key0_auth::{Rejection, RejectionKind};

/// Refuses a request without exactly one, and one whose host is none.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Rejection> {
    let mut hosts = request.headers().get_all(HOST).into_iter();
    let refused = |detail| Err(Rejection::new(RejectionKind::InvalidBody).detail(detail));
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => refused("The Host header names no host"),
        _ if request.version() != Version::HTTP_11 => Ok(()),
        _ => refused("A request needs exactly one Host header"),
    }
}

/// A name or an address, and a port where there is one (RFC 3986, section 3.2.2). It may be empty.
fn is_host(value: &[u8]) -> bool {
    let Ok(value) = str::from_utf8(value) else { return false };
    let literal = value.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (is_host, port) = match literal {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let end = value.find(':').unwrap_or(value.len());
            let (name, port) = value.split_at(end);
            let is_part =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
            (name.bytes().all(is_part), port)
        }
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port = digits.len() < port.len() || port.is_empty();
    is_host && is_port && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_port() {
        for host in [
            "",
            "a",
            "a.example:80",
            "a:",
            "127.0.0.1:3000",
            "[::1]",
            "[::1]:80",
            "my_host",
            "a%20b",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a, b", "a/../b@c", "a@b", "a:80:80", "a:x", "::1", "[::1", "[::1]80", "[a]",
            "a/b", "a?b", "a#b", "\"a\"", "<a>", "é", "a\tb", "http://a",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
