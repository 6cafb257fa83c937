//! Known addresses of peers: those the operator gave, and those that peers told about themselves.
//!
//! Owned by the node's task. Bounded, since part of it comes from peers.

use std::collections::{HashMap, VecDeque};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::address::{is_circuit, last_peer, with_peer};

/// Addresses kept for one peer from each source; the oldest goes first.
const ADDRESSES_PER_PEER: usize = 16;
/// Peers for which learned addresses are kept.
const PEERS: usize = 1024;

#[derive(Debug, Default)]
struct Entry {
    given: VecDeque<Multiaddr>,
    learned: VecDeque<Multiaddr>,
}

/// The address book.
#[derive(Debug, Default)]
pub(super) struct Book {
    peers: HashMap<PeerId, Entry>,
}

impl Book {
    /// Adds an address that the operator or an invite gave.
    pub(super) fn give(&mut self, peer: PeerId, address: &Multiaddr) {
        push(
            &mut self.peers.entry(peer).or_default().given,
            with_peer(address, peer),
        );
    }

    /// Adds an address that was seen to work or that the peer told about itself.
    pub(super) fn learn(&mut self, peer: PeerId, address: &Multiaddr) {
        if self.peers.len() >= PEERS && !self.peers.contains_key(&peer) {
            return;
        }
        let address = with_peer(address, peer);
        let entry = self.peers.entry(peer).or_default();
        if !entry.given.contains(&address) {
            push(&mut entry.learned, address);
        }
    }

    /// Direct addresses of the peer, latest first, each ending in its id.
    pub(super) fn direct(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.all(peer)
            .filter(|address| !is_circuit(address))
            .cloned()
            .collect()
    }

    /// Relays that the peer is known to use, each with the address of the relay itself.
    pub(super) fn relays(&self, peer: &PeerId) -> Vec<(PeerId, Multiaddr)> {
        self.all(peer)
            .filter_map(|address| {
                let relay: Multiaddr = address
                    .iter()
                    .take_while(|part| *part != Protocol::P2pCircuit)
                    .collect();
                (is_circuit(address) && !relay.is_empty())
                    .then(|| last_peer(&relay).map(|peer| (peer, relay.clone())))
                    .flatten()
            })
            .collect()
    }

    fn all(&self, peer: &PeerId) -> impl Iterator<Item = &Multiaddr> {
        self.peers
            .get(peer)
            .into_iter()
            .flat_map(|entry| entry.given.iter().rev().chain(entry.learned.iter().rev()))
    }
}

fn push(list: &mut VecDeque<Multiaddr>, address: Multiaddr) {
    list.retain(|known| *known != address);
    list.push_back(address);
    if list.len() > ADDRESSES_PER_PEER {
        list.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_latest_addresses_and_tells_circuits_apart() {
        let mut book = Book::default();
        let (peer, relay) = (PeerId::random(), PeerId::random());
        for port in 1..=40 {
            book.learn(peer, &format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap());
        }
        let direct = book.direct(&peer);
        assert_eq!(direct.len(), ADDRESSES_PER_PEER);
        assert_eq!(
            direct[0],
            format!("/ip4/10.0.0.1/tcp/40/p2p/{peer}").parse().unwrap()
        );
        let circuit = format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/p2p/{peer}");
        book.give(peer, &circuit.parse().unwrap());
        assert_eq!(book.direct(&peer).len(), ADDRESSES_PER_PEER);
        let relays = book.relays(&peer);
        assert_eq!(
            relays,
            vec![(relay, format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}").parse().unwrap())]
        );
    }
}
