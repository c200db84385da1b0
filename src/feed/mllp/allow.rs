//! Which addresses may connect.
//!
//! Promises: an address that no network holds may not; an IPv4 address is one whether the socket
//! says it as IPv4 or as IPv6 (`::ffff:10.0.0.1`).
//! Knows nothing of: who is behind an address. Whoever can send from it, or routes to it, is.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow(Vec<IpNet>);

/// What is wrong with a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANetwork {
    /// Neither an address nor a network.
    #[error("is no address and no network, such as \"10.20.0.0/16\" or \"fd00::/8\"")]
    Unreadable,
    /// Bits are set behind the prefix: which of two networks is meant cannot be told.
    #[error("has bits behind its prefix; the network is \"{0}\", one address is \"{1}\"")]
    HostBits(IpNet, IpAddr),
    /// An IPv4 address in the form of an IPv6 one.
    #[error("is an IPv4 address written as IPv6; write it as IPv4")]
    Mapped,
}

/// Reads `10.20.0.0/16`, `fd00::/8` or one address.
///
/// # Errors
/// It is none.
pub fn network(text: &str) -> Result<IpNet, NotANetwork> {
    let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (_, Ok(address)) => IpNet::from(address),
        _ => return Err(NotANetwork::Unreadable),
    };
    if net.addr().to_canonical() != net.addr() {
        return Err(NotANetwork::Mapped);
    }
    if net.trunc() != net {
        return Err(NotANetwork::HostBits(net.trunc(), net.addr()));
    }
    Ok(net)
}

impl Allow {
    /// These networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(IpNet::aggregate(&networks))
    }

    /// Whether an address is in one of them.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allow(networks: &[&str]) -> Allow {
        Allow::new(networks.iter().map(|text| network(text).unwrap()).collect())
    }

    #[test]
    fn who_is_in_no_network_may_not_connect() {
        let some = allow(&["10.20.0.0/16", "192.0.2.7", "fd00:1::/32"]);
        for (address, may) in [
            ("10.20.255.255", true),
            ("10.21.0.0", false),
            ("10.19.255.255", false),
            ("::ffff:10.20.3.4", true),
            ("::ffff:10.21.3.4", false),
            ("::10.20.3.4", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("fd00:1::9", true),
            ("fd00:2::9", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(some.has(address.parse().unwrap()), may, "{address}");
        }
        assert!(!allow(&[]).has("10.20.0.1".parse().unwrap()));
        assert!(allow(&["0.0.0.0/0"]).has("::ffff:1.2.3.4".parse().unwrap()));
        assert!(!allow(&["0.0.0.0/0"]).has("fd00::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_said_with_what_would_be() {
        let said = |text: &str| network(text).unwrap_err().to_string();
        for text in ["", "10.20.0.0/33", "10.20/16", "sender.example", "10.20.0.1-9", "::1/129"] {
            assert_eq!(network(text), Err(NotANetwork::Unreadable), "{text}");
        }
        assert!(said("10.20.3.0/16").contains("the network is \"10.20.0.0/16\""));
        assert!(said("fd00::1/8").contains("one address is \"fd00::1\""));
        assert_eq!(network("::ffff:10.20.0.1"), Err(NotANetwork::Mapped));
        assert_eq!(network("::ffff:10.20.0.0/112"), Err(NotANetwork::Mapped));
    }

    proptest! {
        /// By the bits, as the standard defines a prefix (RFC 4632, section 3.1).
        #[test]
        fn a_network_holds_what_begins_as_it_does(address: u32, net: u32, prefix in 0_u32..=32) {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            let text = format!("{}/{prefix}", std::net::Ipv4Addr::from(net & mask));
            let holds = allow(&[&text]).has(IpAddr::from(std::net::Ipv4Addr::from(address)));
            prop_assert_eq!(holds, address & mask == net & mask);
        }
    }
}
