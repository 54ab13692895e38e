//! Decides which addresses an outbound call may reach: public ones by https, and the operator's
//! allowed networks.
//!
//! Without this check, a customer's URL could reach what only this machine can reach, such as a
//! metadata service or a database (server-side request forgery). The resolved address is checked,
//! so no host name can bypass the check.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::outbound_http::resolver::Names;

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
/// Global unicast IPv6, and its networks that are not global or embed an arbitrary IPv4 address
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
            .map(|network| Self(canonical(network)))
            .map_err(|_| format!("{text} is not a network; give one such as 10.1.0.0/16, 192.168.7.2 or fd00::/8"))
    }
}

/// An IPv4 network written as IPv6 (`::ffff:10.0.0.0/104`) becomes IPv4, because addresses are
/// compared in that form.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    match (mapped.addr().to_ipv4_mapped(), mapped.prefix_len().checked_sub(96)) {
        (Some(address), Some(prefix)) => Ipv4Net::new(address, prefix).map_or(network, IpNet::V4),
        _ => network,
    }
}

/// The networks that services may be in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Networks {
    allowed: Arc<[Network]>,
    not_public: Arc<[IpNet]>,
    public_v6: IpNet,
    names: Names,
}

impl Networks {
    /// Public addresses and these networks.
    pub fn public_and(allowed: &[Network]) -> Self {
        let read = |text: &str| text.parse().unwrap_or_else(|_| unreachable!("{text} is a network"));
        Self {
            allowed: allowed.into(),
            not_public: NOT_PUBLIC_V4.into_iter().chain(NOT_PUBLIC_V6).map(read).collect(),
            public_v6: read(PUBLIC_V6),
            names: Names::default(),
        }
    }

    /// Whether an address may be called by this transport. The error says how to allow it.
    pub fn admit(&self, address: IpAddr, transport: Transport) -> Result<(), String> {
        // An IPv4 address written as IPv6 counts as IPv4.
        let address = address.to_canonical();
        if self.allowed.iter().any(|Network(network)| network.contains(&address)) {
            return Ok(());
        }
        let public = match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(_) => self.public_v6.contains(&address),
        } && !self.not_public.iter().any(|network| network.contains(&address));
        match (public, transport) {
            (true, Transport::Tls) => Ok(()),
            (true, Transport::Plain) => Err(format!(
                "{address} is a public address, and plain http is not encrypted; use https, or allow its network: TEXTBACK_ALLOW_HOSTS={address}"
            )),
            (false, _) => Err(format!(
                "{address} is not a public address; if this is intended, allow its network: TEXTBACK_ALLOW_HOSTS={address}"
            )),
        }
    }

    /// Looks up a host name. Each of its addresses must be admitted: a name with a forbidden
    /// address among others may be an attack. The error goes to the owner of the agent and contains
    /// no address, because the network may belong to another person.
    pub async fn look_up(&self, name: &str, transport: Transport) -> Result<Vec<SocketAddr>, String> {
        let found = match tokio::time::timeout(LOOK_UP_WITHIN, self.names.look_up(name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::debug!(name, %error, "the host name of an agent's service could not be resolved");
                return Err(format!("{name} can't be resolved: no name server knows an address for it"));
            }
            Err(_) => return Err(format!("{name} could not be resolved within {} s", LOOK_UP_WITHIN.as_secs())),
        };
        for address in &found {
            if let Err(refused) = self.admit(*address, transport) {
                tracing::warn!(name, refused, "the address of an agent's service was refused");
                return Err(format!(
                    "{name} resolves to an address that is not allowed; the operator finds it in the log and can allow its network (TEXTBACK_ALLOW_HOSTS)"
                ));
            }
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }
}

/// How long the look-up of a host name may take. A name server is asked twice within that time.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(10);

/// The transport of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// https.
    Tls,
    /// http.
    Plain,
}

/// Looks up host names for one transport.
pub(crate) struct Resolver(pub Networks, pub Transport);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (networks, transport) = (self.0.clone(), self.1);
        Box::pin(async move {
            let found = networks.look_up(name.as_str(), transport).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(networks: &Networks, address: &str) -> bool {
        networks.admit(address.parse().expect("an address"), Transport::Tls).is_ok()
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

    #[test]
    fn ipv4_written_as_ipv6_counts_as_ipv4() {
        for (given, network) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            ("::/0", "::/0"),
        ] {
            let read = given.parse::<Network>().expect("a network");
            assert_eq!(read, Network(network.parse().expect("a network")), "{given}");
        }
        let networks = Networks::public_and(&["::ffff:10.0.0.0/104".parse().expect("a network")]);
        assert!(admits(&networks, "10.2.3.4") && !admits(&networks, "192.168.0.1"));
    }

    #[test]
    fn plain_http_reaches_allowed_networks_only() {
        let allowed = ["10.1.0.0/16", "1.1.1.0/24"].map(|text| text.parse::<Network>().expect("a network"));
        let networks = Networks::public_and(&allowed);
        let plain = |address: &str| networks.admit(address.parse().expect("an address"), Transport::Plain);
        for reached in ["10.1.2.3", "1.1.1.1", "::ffff:10.1.2.3"] {
            assert_eq!(plain(reached), Ok(()), "{reached}");
        }
        for refused in ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "10.2.0.1", "127.0.0.1", "169.254.169.254"] {
            assert!(plain(refused).expect_err(refused).contains("TEXTBACK_ALLOW_HOSTS"), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_is_refused() {
        for transport in [Transport::Tls, Transport::Plain] {
            let name = || "localhost".parse::<Name>().expect("a name");
            let refused = Resolver(Networks::public_and(&[]), transport).resolve(name()).await.err().expect("refused");
            let refused = refused.to_string();
            assert!(refused.contains("localhost") && refused.contains("TEXTBACK_ALLOW_HOSTS"), "{refused}");
            assert!(!refused.contains("127.0.0.1") && !refused.contains("::1"), "no address is told: {refused}");
            let allowed = ["127.0.0.0/8", "::1"].map(|text| text.parse::<Network>().expect("a network"));
            assert!(Resolver(Networks::public_and(&allowed), transport).resolve(name()).await.is_ok());
        }
    }
}
