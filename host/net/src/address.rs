//! Reading and building multiaddrs: which path an address stands for, circuits, who is at the end.
//!
//! Pure helpers for the whole crate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use peerup_model::{PathKind, Transport};

/// The path that a connection with this address takes. Over a circuit, the address must name the relay.
pub fn path_of(address: &Multiaddr) -> PathKind {
    let mut relay = None;
    let mut transport = Transport::Tcp;
    for part in address {
        match part {
            Protocol::P2p(peer) => relay = Some(peer),
            Protocol::P2pCircuit => {
                if let Some(relay) = relay {
                    return PathKind::Relayed(relay);
                }
            }
            Protocol::QuicV1 | Protocol::Quic => transport = Transport::Quic,
            Protocol::Ws(_) | Protocol::Wss(_) => transport = Transport::Websocket,
            _ => {}
        }
    }
    PathKind::Direct(transport)
}

/// Whether the address goes over a relay.
pub(crate) fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The peer that the address names last.
pub(crate) fn last_peer(address: &Multiaddr) -> Option<PeerId> {
    address
        .iter()
        .filter_map(|part| match part {
            Protocol::P2p(peer) => Some(peer),
            _ => None,
        })
        .last()
}

/// The address with exactly this peer at its end.
pub(crate) fn with_peer(address: &Multiaddr, peer: PeerId) -> Multiaddr {
    let mut address = address.clone();
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address.with(Protocol::P2p(peer))
}

/// The address of the reservation on a relay that is reached at `address`.
pub(crate) fn circuit_on(address: &Multiaddr, relay: PeerId) -> Multiaddr {
    with_peer(address, relay).with(Protocol::P2pCircuit)
}

/// Whether an IP address is one machine's, and the same one's from everywhere on the internet.
///
/// Those reserved for documentation count: laboratories stand on them, and nobody else can be there. IPv4 in IPv6
/// (mapped, or by a translator) is what the IPv4 address is.
pub fn is_public_ip(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_canonical() {
            IpAddr::V4(ip) => is_public_v4(ip),
            IpAddr::V6(ip) => is_public_v6(ip),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [first, second, third, _] = ip.octets();
    let this_network = first == 0;
    let carrier = first == 100 && second & 0b1100_0000 == 0b0100_0000;
    let protocols = [first, second, third] == [192, 0, 0];
    let benchmarks = first == 198 && second & 0xfe == 18;
    let multicast_and_reserved = first >= 224;
    !(this_network
        || ip.is_private()
        || carrier
        || ip.is_loopback()
        || ip.is_link_local()
        || protocols
        || benchmarks
        || multicast_and_reserved)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let embedded =
        |high: u16, low: u16| is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match ip.segments() {
        // The well-known prefix of translators, and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, which ends at whatever machine the rest of the address names.
        [0x2001, 0, ..] => false,
        // The only block that is given out for unicast.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The IP address that the address begins with.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

/// Whether peers elsewhere could reach this address, as far as the address itself can say: a public IP address, or a
/// name that is not of the local network. For a circuit, the relay's address counts.
pub(crate) fn is_public(address: &Multiaddr) -> bool {
    if let Some(ip) = ip_of(address) {
        return is_public_ip(ip);
    }
    match address.iter().next() {
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) | Protocol::Dnsaddr(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name.contains('.') && !name.ends_with(".local") && !name.ends_with(".localhost")
        }
        _ => false,
    }
}

/// The address without this peer at its end.
pub(crate) fn without_peer(address: &Multiaddr, peer: PeerId) -> Multiaddr {
    let mut address = address.clone();
    if address.iter().last() == Some(Protocol::P2p(peer)) {
        address.pop();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_public_addresses_from_those_of_the_inside() {
        for ip in [
            "8.8.8.8",
            "203.0.113.9",
            "198.51.100.1",
            "192.0.2.1",
            "100.128.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public_ip(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "10.0.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.8",
            "100.64.0.1",
            "100.127.255.255",
            "198.18.0.1",
            "224.0.0.251",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::fb",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::808:808",
            "2002:a00:1::1",
            "2002:7f00:1::",
            "2001::1",
            "100::1",
        ] {
            assert!(!is_public_ip(ip.parse().unwrap()), "{ip}");
        }
        for address in [
            "/dns4/relay.example/tcp/443/wss",
            "/dnsaddr/a.b",
            "/ip4/203.0.113.9/tcp/1",
        ] {
            assert!(is_public(&address.parse().unwrap()), "{address}");
        }
        for address in [
            "/dns4/localhost/tcp/1",
            "/dns/printer.local/tcp/1",
            "/dns/a.LOCALHOST./tcp/1",
            "/memory/1",
            "/ip4/10.0.0.1/tcp/1",
            "/p2p-circuit",
        ] {
            assert!(!is_public(&address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn names_the_path_of_an_address() {
        let relay = PeerId::random();
        let peer = PeerId::random();
        for (address, path) in [
            ("/ip4/1.2.3.4/tcp/1".to_owned(), PathKind::Direct(Transport::Tcp)),
            (
                "/ip4/1.2.3.4/udp/1/quic-v1".to_owned(),
                PathKind::Direct(Transport::Quic),
            ),
            (
                "/dns/a.b/tcp/443/wss".to_owned(),
                PathKind::Direct(Transport::Websocket),
            ),
            (
                format!("/ip4/1.2.3.4/udp/1/quic-v1/p2p/{relay}/p2p-circuit"),
                PathKind::Relayed(relay),
            ),
            (
                format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/p2p/{peer}"),
                PathKind::Relayed(relay),
            ),
        ] {
            assert_eq!(path_of(&address.parse().unwrap()), path, "{address}");
        }
    }
}
