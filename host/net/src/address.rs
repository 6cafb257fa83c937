//! Reading and building multiaddrs: which path an address stands for, circuits, who is at the end.
//!
//! Pure helpers for the whole crate.

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

#[cfg(test)]
mod tests {
    use super::*;

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
