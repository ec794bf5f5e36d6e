//! What the listeners do besides answering: whose word on addresses they take, what they log, how
//! they end.

use std::{net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use key0_auth::error::ConfigFault;

use super::variables::{Variables, invalid};

/// How the listeners behave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Serving {
    /// Whose `X-Forwarded-For` is believed.
    pub(crate) proxies: Proxies,
    pub(crate) access_log: AccessLog,
    /// Whether `/ready` succeeds without the store.
    pub(crate) ready_ignores_store: bool,
    /// How long connections are still taken after the signal to stop.
    pub(crate) shutdown_delay: Duration,
}

/// Which requests get their line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AccessLog {
    #[default]
    All,
    /// Those that were refused, and those that failed.
    Refused,
    /// None but those that met a fault of the server.
    Off,
}

/// Networks of proxies. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proxies(Arc<[Network]>);

/// An address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Serving {
    pub(super) fn read(variables: &Variables, faults: &mut Vec<ConfigFault>) -> Self {
        let delay = variables.number("SHUTDOWN_DELAY_SECONDS", 0, 0..=300, faults);
        Self {
            proxies: Proxies::read(variables, faults),
            access_log: AccessLog::read(variables, faults),
            ready_ignores_store: variables.flag("READY_IGNORES_STORE", faults),
            shutdown_delay: Duration::from_secs(delay),
        }
    }
}

impl AccessLog {
    fn read(variables: &Variables, faults: &mut Vec<ConfigFault>) -> Self {
        const NAME: &str = "ACCESS_LOG";
        match variables.get(NAME) {
            None | Some("all") => Self::All,
            Some("refused") => Self::Refused,
            Some("off") => Self::Off,
            Some(_) => {
                faults.push(invalid(NAME, "it is all, refused or off"));
                Self::All
            }
        }
    }
}

impl Proxies {
    fn read(variables: &Variables, faults: &mut Vec<ConfigFault>) -> Self {
        const NAME: &str = "TRUSTED_PROXIES";
        let networks = variables.get(NAME).unwrap_or_default().split(',').map(str::trim);
        let networks: Option<Vec<_>> =
            networks.filter(|text| !text.is_empty()).map(Network::parse).collect();
        if networks.is_none() {
            faults.push(invalid(NAME, "it is a list of networks, as 10.0.0.0/8, fd00::/8"));
        }
        Self(networks.unwrap_or_default().into())
    }

    /// One, by its address.
    #[cfg(test)]
    pub(crate) fn of(address: IpAddr) -> Self {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Self(Arc::new([Network { address, bits }]))
    }

    /// Whether this is the address of one of them.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client's address: the last one in `forwarded` (the values of `X-Forwarded-For`, in
    /// order) that is not a proxy's, where the peer is a proxy; else the peer's own.
    pub(crate) fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        for hop in forwarded.rev().flat_map(|value| value.rsplit(',')) {
            if !self.contain(client) {
                break;
            }
            // Whoever is not named by an address can't be told from the proxy that names it.
            let Ok(address) = IpAddr::from_str(hop.trim()) else { break };
            client = address.to_canonical();
        }
        client
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address = IpAddr::from_str(address).ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        (bits <= all).then_some(Self { address, bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        // Bits that don't count are shifted out.
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let rest = 32 - u32::from(self.bits);
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(rest).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let rest = 128 - u32::from(self.bits);
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(rest).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn proxies(networks: &[&str]) -> Proxies {
        Proxies(networks.iter().map(|text| Network::parse(text).unwrap()).collect())
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let all = proxies(&["10.0.0.0/8", "192.168.1.7", "fd00::/8", "2001:db8::1/128"]);
        for inside in ["10.255.0.1", "192.168.1.7", "fdff::1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert!(all.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.168.1.8", "fe00::1", "2001:db8::2", "::1"] {
            assert!(!all.contain(outside.parse().unwrap()), "{outside}");
        }
        assert!(proxies(&["0.0.0.0/0"]).contain([203, 0, 113, 9].into()));
        for bad in
            ["10.0.0.0/33", "fd00::/129", "10.0.0/8", "localhost", "/8", "10.0.0.0/", "::/-1"]
        {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_a_client_claims_of_itself_is_not_believed() {
        let proxies = proxies(&["10.0.0.0/8"]);
        let client = |peer: &str, forwarded: &[&str]| {
            proxies.client(peer.parse().unwrap(), forwarded.iter().copied()).to_string()
        };
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, <script>"]), "10.0.0.1");
    }
}
