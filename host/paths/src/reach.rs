//! From how far away an IP address can be reached.
//!
//! A pure function of the address, used by whatever sorts candidates or refuses to dial them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressScope {
    /// This machine only.
    Loopback,
    /// The same link only.
    LinkLocal,
    /// A private network of RFC 1918.
    Private,
    /// The network between a carrier's customers and its NAT, RFC 6598; some overlay networks use it too.
    Cgnat,
    /// A unique local IPv6 network, RFC 4193.
    UniqueLocal,
    /// Everywhere. Documentation and benchmark ranges count as public: labs play the internet with them.
    Public,
    /// Nowhere: unspecified, multicast, broadcast, reserved.
    Unusable,
}

/// Returns from where the address can be reached. An IPv4 address mapped into IPv6 counts as the IPv4 one.
pub fn scope(ip: IpAddr) -> AddressScope {
    match ip {
        IpAddr::V4(ip) => scope_v4(ip),
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or_else(|| scope_v6(ip), scope_v4),
    }
}

fn scope_v4(ip: Ipv4Addr) -> AddressScope {
    let [a, b, ..] = ip.octets();
    match (a, b) {
        (0 | 224..=255, _) => AddressScope::Unusable,
        (127, _) => AddressScope::Loopback,
        (169, 254) => AddressScope::LinkLocal,
        (100, 64..=127) => AddressScope::Cgnat,
        _ if ip.is_private() => AddressScope::Private,
        _ => AddressScope::Public,
    }
}

fn scope_v6(ip: Ipv6Addr) -> AddressScope {
    if ip.is_loopback() {
        AddressScope::Loopback
    } else if ip.is_unspecified() || ip.is_multicast() {
        AddressScope::Unusable
    } else if ip.is_unicast_link_local() {
        AddressScope::LinkLocal
    } else if ip.is_unique_local() {
        AddressScope::UniqueLocal
    } else {
        AddressScope::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_addresses_by_how_far_they_reach() {
        for (ip, expected) in [
            ("127.0.0.1", AddressScope::Loopback),
            ("127.255.255.255", AddressScope::Loopback),
            ("::1", AddressScope::Loopback),
            ("::ffff:127.0.0.1", AddressScope::Loopback),
            ("169.254.1.1", AddressScope::LinkLocal),
            ("fe80::1", AddressScope::LinkLocal),
            ("10.1.2.3", AddressScope::Private),
            ("172.15.0.1", AddressScope::Public),
            ("172.16.0.1", AddressScope::Private),
            ("172.31.255.255", AddressScope::Private),
            ("172.32.0.1", AddressScope::Public),
            ("192.168.0.1", AddressScope::Private),
            ("::ffff:192.168.0.1", AddressScope::Private),
            ("100.63.255.255", AddressScope::Public),
            ("100.64.0.0", AddressScope::Cgnat),
            ("100.127.255.255", AddressScope::Cgnat),
            ("100.128.0.0", AddressScope::Public),
            ("fc00::1", AddressScope::UniqueLocal),
            ("fd12::1", AddressScope::UniqueLocal),
            ("192.0.2.1", AddressScope::Public),
            ("198.51.100.1", AddressScope::Public),
            ("203.0.113.1", AddressScope::Public),
            ("2001:db8::1", AddressScope::Public),
            ("2a00::1", AddressScope::Public),
            ("0.0.0.0", AddressScope::Unusable),
            ("::", AddressScope::Unusable),
            ("224.0.0.251", AddressScope::Unusable),
            ("ff02::fb", AddressScope::Unusable),
            ("240.0.0.1", AddressScope::Unusable),
            ("255.255.255.255", AddressScope::Unusable),
            ("::ffff:0.0.0.0", AddressScope::Unusable),
        ] {
            assert_eq!(scope(ip.parse().unwrap()), expected, "{ip}");
        }
    }
}
