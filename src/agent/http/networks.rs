//! Where agents' services may be: public addresses, and networks that the operator allows; it looks names up and calls nobody.
//!
//! Without this an agent's address could make us fetch what only we can reach: a metadata service, a database's port.
//! It is checked on the address that a connection goes to, after the name was looked up, so that no name can lead it astray.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// IPv4 that is not global, of IANA's registry
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>), and multicast.
const NOT_PUBLIC_V4: [&str; 15] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// Global unicast IPv6, and what in it is not global or leads to an IPv4 address of anybody's choice
/// (<https://www.iana.org/assignments/iana-ipv6-special-registry>).
const PUBLIC_V6: &str = "2000::/3";
const NOT_PUBLIC_V6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// A network in CIDR notation, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network
            .map(Self)
            .map_err(|_| format!("{text} is no network; write it like 10.1.0.0/16, 192.168.7.2 or fd00::/8"))
    }
}

/// Where services may be. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Networks {
    allowed: Arc<[Network]>,
    not_public: Arc<[IpNet]>,
    public_v6: IpNet,
}

impl Networks {
    /// Public addresses and these networks.
    pub fn public_and(allowed: &[Network]) -> Self {
        let read = |text: &str| text.parse().unwrap_or_else(|_| unreachable!("{text} is a network"));
        Self {
            allowed: allowed.into(),
            not_public: NOT_PUBLIC_V4.into_iter().chain(NOT_PUBLIC_V6).map(read).collect(),
            public_v6: read(PUBLIC_V6),
        }
    }

    /// Whether an address may be called; the error tells how to allow it.
    pub fn admit(&self, address: IpAddr) -> Result<(), String> {
        // An IPv4 address in IPv6's clothes is what it is.
        let address = address.to_canonical();
        let public = match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(_) => self.public_v6.contains(&address),
        } && !self.not_public.iter().any(|network| network.contains(&address));
        if public || self.allowed.iter().any(|Network(network)| network.contains(&address)) {
            return Ok(());
        }
        Err(format!(
            "{address} is not a public address; if it is meant, allow its network: TEXTBACK_ALLOW_HOSTS={address}"
        ))
    }
}

impl Resolve for Networks {
    fn resolve(&self, name: Name) -> Resolving {
        let networks = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One address that is not admitted among others is a name that somebody plays with.
            for address in &found {
                networks.admit(address.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(networks: &Networks, address: &str) -> bool {
        networks.admit(address.parse().expect("an address")).is_ok()
    }

    #[test]
    fn only_public_addresses_are_reached() {
        let networks = Networks::public_and(&[]);
        for public in ["1.1.1.1", "54.172.60.0", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(admits(&networks, public), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(!admits(&networks, private), "{private}");
        }
    }

    #[test]
    fn allowed_networks_are_reached_too() {
        let allowed: Vec<Network> =
            ["10.1.0.0/16", "::1"].iter().map(|text| text.parse().expect("a network")).collect();
        let networks = Networks::public_and(&allowed);
        assert!(admits(&networks, "10.1.255.1") && admits(&networks, "::1"));
        assert!(!admits(&networks, "10.2.0.1") && !admits(&networks, "127.0.0.1"));
        assert!("localhost".parse::<Network>().is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_private_address_is_not_followed() {
        let name = || "localhost".parse::<Name>().expect("a name");
        let refused = Networks::public_and(&[]).resolve(name()).await.err().expect("refused");
        assert!(refused.to_string().contains("TEXTBACK_ALLOW_HOSTS"), "{refused}");
        let allowed: Vec<Network> =
            ["127.0.0.0/8", "::1"].iter().map(|text| text.parse().expect("a network")).collect();
        assert!(Networks::public_and(&allowed).resolve(name()).await.is_ok());
    }
}
