//! Peers on the local network.
//!
//! Fed with what mDNS reports, by anybody on the network about anybody: a claim is worth a dial, no more.

use std::{collections::HashMap, net::IpAddr};

use libp2p::{Multiaddr, PeerId};

use super::event::{DiscoveryEvent, Source};
use crate::address::{ip_of, is_circuit, without_peer};

/// Peers that are kept.
const MAX_PEERS: usize = 256;
/// Addresses of one peer; a machine with more has them in as many networks, and this one is in few.
const MAX_ADDRESSES: usize = 8;

/// Peers and where they are.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    peers: HashMap<PeerId, Vec<Multiaddr>>,
}

impl Neighbours {
    /// Takes new claims; returns each listed peer that has a new address, with all it has.
    pub(super) fn handle_discovered(
        &mut self,
        found: Vec<(PeerId, Multiaddr)>,
        listed: impl Fn(&PeerId) -> bool,
    ) -> Vec<DiscoveryEvent> {
        let mut changed = Vec::new();
        for (peer, address) in found {
            // Who is not listed yet may be soon, and is not announced again until then.
            if is_dialable(&address)
                && self.make_room(&peer, &listed)
                && self.add(peer, without_peer(&address, peer))
                && listed(&peer)
                && !changed.contains(&peer)
            {
                changed.push(peer);
            }
        }
        let found = |peer| DiscoveryEvent::Found {
            addresses: self.peers.get(&peer).cloned().unwrap_or_default(),
            peer,
            source: Source::Mdns,
        };
        changed.into_iter().map(found).collect()
    }

    /// Where a peer says it is.
    pub(super) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.peers.get(peer).cloned().unwrap_or_default()
    }

    /// Takes claims that were not renewed; returns what is lost of it.
    pub(super) fn handle_expired(&mut self, lost: Vec<(PeerId, Multiaddr)>) -> Vec<DiscoveryEvent> {
        let mut events = Vec::new();
        for (peer, address) in lost {
            let address = without_peer(&address, peer);
            let Some(addresses) = self.peers.get_mut(&peer) else {
                continue;
            };
            let before = addresses.len();
            addresses.retain(|known| *known != address);
            if addresses.len() < before {
                if addresses.is_empty() {
                    self.peers.remove(&peer);
                }
                events.push(DiscoveryEvent::Lost {
                    peer,
                    addresses: vec![address],
                    source: Source::Mdns,
                });
            }
        }
        events
    }

    /// Returns whether there is room for the peer; strangers make room for one that is listed.
    fn make_room(&mut self, peer: &PeerId, listed: impl Fn(&PeerId) -> bool) -> bool {
        if self.peers.len() < MAX_PEERS || self.peers.contains_key(peer) {
            return true;
        }
        let stranger = self.peers.keys().find(|known| !listed(known)).copied();
        match stranger {
            Some(stranger) if listed(peer) => self.peers.remove(&stranger).is_some(),
            _ => false,
        }
    }

    /// Returns whether that is news.
    fn add(&mut self, peer: PeerId, address: Multiaddr) -> bool {
        let addresses = self.peers.entry(peer).or_default();
        let new = addresses.len() < MAX_ADDRESSES && !addresses.contains(&address);
        if new {
            addresses.push(address);
        }
        new
    }
}

/// Loopback is this machine for everybody; an IPv6 link-local address needs an interface, which libp2p cannot name.
fn is_dialable(address: &Multiaddr) -> bool {
    let usable = match ip_of(address) {
        Some(IpAddr::V4(ip)) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast(),
        Some(IpAddr::V6(ip)) => {
            !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local()
        }
        None => false,
    };
    usable && !is_circuit(address)
}
