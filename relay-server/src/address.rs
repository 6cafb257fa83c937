//! Addresses to hand out: complete, and reachable at least from the next machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use libp2p::PeerId;
use multiaddr::{Multiaddr, Protocol};
use peerup_config::NetworkConfig;

/// Returns the address with the peer at its end, once.
pub(crate) fn with_peer(address: Multiaddr, peer: PeerId) -> Multiaddr {
    match address.iter().last() {
        Some(Protocol::P2p(_)) => address,
        _ => address.with(Protocol::P2p(peer)),
    }
}

/// Tells whether the address names one machine and one port, rather than all of them or any.
pub(crate) fn is_concrete(address: &Multiaddr) -> bool {
    !address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        Protocol::Tcp(port) | Protocol::Udp(port) => port == 0,
        _ => false,
    })
}

/// Orders addresses of interfaces: those that other machines reach first, then IPv4 and TCP, which work in
/// most places.
pub(crate) fn preference(address: &Multiaddr) -> (bool, bool, bool) {
    let has = |wanted: fn(&Protocol<'_>) -> bool| address.iter().any(|part| wanted(&part));
    let loopback = has(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    });
    (
        loopback,
        has(|part| matches!(part, Protocol::Ip6(_))),
        has(|part| matches!(part, Protocol::Udp(_))),
    )
}

/// Returns the addresses that a relay with this config has, as far as one can tell without running it: the
/// external ones, or else those it listens on with this machine's own IP address in place of "any".
pub(crate) fn expected(network: &NetworkConfig, peer: PeerId) -> Vec<Multiaddr> {
    let known = if network.external_addresses.is_empty() {
        let own = own_ips();
        network
            .listen_addresses
            .iter()
            .map(|address| with_own_ip(address, own))
            .collect()
    } else {
        network.external_addresses.clone()
    };
    known
        .into_iter()
        .filter(is_concrete)
        .map(|address| with_peer(address, peer))
        .collect()
}

fn with_own_ip(address: &Multiaddr, (v4, v6): (Option<Ipv4Addr>, Option<Ipv6Addr>)) -> Multiaddr {
    address
        .iter()
        .map(|part| match part {
            Protocol::Ip4(ip) if ip.is_unspecified() => Protocol::Ip4(v4.unwrap_or(ip)),
            Protocol::Ip6(ip) if ip.is_unspecified() => Protocol::Ip6(v6.unwrap_or(ip)),
            other => other,
        })
        .collect()
}

/// Returns the addresses that this machine would send from to the rest of the world.
fn own_ips() -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let v4 = match source_towards(
        (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
        (Ipv4Addr::UNSPECIFIED, 0).into(),
    ) {
        Some(IpAddr::V4(ip)) => Some(ip),
        _ => None,
    };
    let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let v6 = match source_towards((documentation, 9).into(), (Ipv6Addr::UNSPECIFIED, 0).into()) {
        Some(IpAddr::V6(ip)) => Some(ip),
        _ => None,
    };
    (v4, v6)
}

/// Asks the routing table; connecting a UDP socket sends nothing.
fn source_towards(target: SocketAddr, any: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(listen: &[&str], external: &[&str]) -> NetworkConfig {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        NetworkConfig {
            listen_addresses: parse(listen),
            external_addresses: parse(external),
        }
    }

    #[test]
    fn hands_out_the_external_addresses_where_there_are_some() {
        let peer = PeerId::random();
        let network = network(&["/ip4/0.0.0.0/tcp/7777"], &["/dns4/relay.example.org/tcp/7777"]);

        let addresses = expected(&network, peer);

        assert_eq!(
            addresses,
            vec![
                format!("/dns4/relay.example.org/tcp/7777/p2p/{peer}")
                    .parse()
                    .unwrap()
            ]
        );
    }

    #[test]
    fn hands_out_no_address_that_names_no_machine_or_port() {
        let network = network(
            &[
                "/ip4/0.0.0.0/tcp/7777",
                "/ip6/::/tcp/7777",
                "/ip4/127.0.0.1/tcp/0",
            ],
            &[],
        );

        assert!(expected(&network, PeerId::random()).iter().all(is_concrete));
    }
}
