//! Known addresses of peers: where each came from, when it was last seen or worked, and on which network it is good.
//!
//! Owned by the node's task. Bounded, since part of it comes from peers. Time comes in as Unix seconds, because the
//! entries outlive the process; reading and writing the file is `book_file`'s and the caller's.

use std::{
    cmp::Reverse,
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use peerup_paths::{AddressScope, scope};

use crate::{
    address::{is_circuit, last_peer, with_peer},
    snapshot::{AddressSource, KnownAddress},
};

/// Addresses kept for one peer; the one that is worth least goes first.
pub(super) const ADDRESSES_PER_PEER: usize = 16;
/// Peers for which addresses are kept; the one not seen for longest goes first.
pub(super) const PEERS: usize = 1024;
/// The longest address kept, in bytes. A circuit with two ids and a long DNS name stays below.
pub(super) const MAX_ADDRESS: usize = 512;
/// The longest name of a network kept, in bytes.
pub(super) const MAX_NETWORK: usize = 128;
/// How long an address is kept that nobody saw again.
const EXPIRY_S: u64 = 14 * 24 * 3_600;
/// The same for one that only mDNS announced: it belongs to a moment on one link.
const MDNS_EXPIRY_S: u64 = 10 * 60;
/// An address that is merely seen again is written to disk no more often than this.
const REFRESH_S: u64 = 3_600;

/// One address of a peer, as it is kept in memory and on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) address: Multiaddr,
    pub(super) source: AddressSource,
    /// When a connection to it was last made, in Unix seconds.
    pub(super) last_ok: Option<u64>,
    /// When it was last given, told, announced or used, in Unix seconds.
    pub(super) last_seen: u64,
    /// The network it is good on. `None` for an address that is good everywhere, and for a private one that was
    /// learned when the network had no name.
    pub(super) network: Option<String>,
    /// Given in this run: kept however long the run is.
    pub(super) given: bool,
}

impl Entry {
    fn expired(&self, now: u64) -> bool {
        let expiry = if self.source == AddressSource::Mdns {
            MDNS_EXPIRY_S
        } else {
            EXPIRY_S
        };
        !self.given && now.saturating_sub(self.last_seen) > expiry
    }
}

/// What is known about the network this machine is on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Present {
    /// Nobody watches it, or it has no name: private addresses without a network are good.
    #[default]
    Unnamed,
    /// Private addresses of this network are good.
    Named(String),
}

/// The address book.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The latest entry of each peer is its last one.
    peers: HashMap<PeerId, Vec<Entry>>,
    present: Present,
    dirty: bool,
}

impl Book {
    /// Adds an address that the operator or an invite gave.
    pub(super) fn give(&mut self, peer: PeerId, address: &Multiaddr, now: u64) {
        self.learn(peer, address, AddressSource::Operator, now);
    }

    /// Adds an address that was learned, or refreshes what is known about it. The stronger source stays.
    pub(super) fn learn(&mut self, peer: PeerId, address: &Multiaddr, source: AddressSource, now: u64) {
        let network = match &self.present {
            _ if !is_private(address) => None,
            Present::Named(network) => Some(network.clone()),
            Present::Unnamed => None,
        };
        self.insert(
            peer,
            Entry {
                address: with_peer(address, peer),
                source,
                last_ok: (source == AddressSource::Worked).then_some(now),
                last_seen: now,
                network,
                given: source == AddressSource::Operator,
            },
        );
    }

    /// Takes over entries of an earlier run. Does not count as a change.
    pub(super) fn restore(&mut self, entries: impl IntoIterator<Item = (PeerId, Entry)>) {
        let dirty = self.dirty;
        for (peer, entry) in entries {
            self.insert(peer, entry);
        }
        self.dirty = dirty;
    }

    /// Forgets an address whose mDNS announcement ran out. One known from elsewhere too stays.
    pub(super) fn expire(&mut self, peer: &PeerId, address: &Multiaddr) {
        let address = with_peer(address, *peer);
        if let Some(entries) = self.peers.get_mut(peer) {
            entries.retain(|entry| entry.address != address || entry.source != AddressSource::Mdns);
            if entries.is_empty() {
                self.peers.remove(peer);
            }
        }
    }

    /// Says which network this machine is on; `None` where that is not known and not watched.
    ///
    /// Private addresses that were learned before the network had a name get this one.
    pub(super) fn set_network(&mut self, network: Option<String>) {
        let network = network.filter(|name| name.len() <= MAX_NETWORK);
        if let Some(name) = &network {
            for entry in self.peers.values_mut().flatten() {
                if entry.network.is_none() && is_private(&entry.address) {
                    entry.network = Some(name.clone());
                    self.dirty = true;
                }
            }
        }
        self.present = network.map_or(Present::Unnamed, Present::Named);
    }

    /// Says that the network of before is the same as this one: its router only became known.
    pub(super) fn rename_network(&mut self, network: String) {
        if let Present::Named(before) = &self.present {
            for entry in self.peers.values_mut().flatten() {
                if entry.network.as_ref() == Some(before) {
                    entry.network = Some(network.clone());
                    self.dirty = true;
                }
            }
        }
        self.set_network(Some(network));
    }

    /// Direct addresses of the peer that are good on this network, each ending in its id: those that worked last
    /// first, then those seen last.
    pub(super) fn direct(&self, peer: &PeerId, now: u64) -> Vec<Multiaddr> {
        self.good(peer, now)
            .into_iter()
            .map(|entry| &entry.address)
            .filter(|address| !is_circuit(address))
            .cloned()
            .collect()
    }

    /// Relays that the peer is known to use, each with the address of the relay itself.
    pub(super) fn relays(&self, peer: &PeerId, now: u64) -> Vec<(PeerId, Multiaddr)> {
        self.good(peer, now)
            .into_iter()
            .map(|entry| &entry.address)
            .filter(|address| is_circuit(address))
            .map(relay_part)
            .filter_map(|relay| last_peer(&relay).map(|peer| (peer, relay)))
            .collect()
    }

    /// What [`Book::direct`] and [`Book::relays`] draw on, for people.
    pub(super) fn describe(&self, peer: &PeerId, now: u64) -> Vec<KnownAddress> {
        self.good(peer, now)
            .into_iter()
            .map(|entry| KnownAddress {
                address: entry.address.clone(),
                source: entry.source,
                age_s: now.saturating_sub(entry.last_seen),
            })
            .collect()
    }

    /// Drops what expired.
    pub(super) fn prune(&mut self, now: u64) {
        self.peers.retain(|_, entries| {
            let before = entries.len();
            entries.retain(|entry| !entry.expired(now));
            self.dirty |= entries.len() != before;
            !entries.is_empty()
        });
    }

    /// Whether there is something that should be written to disk.
    pub(super) fn dirty(&self) -> bool {
        self.dirty
    }

    /// Says that the content of now is being written.
    pub(super) fn mark_clean(&mut self) {
        self.dirty = false;
    }

    /// Says that writing failed, so that the next attempt is made.
    pub(super) fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Peers with their entries that are worth saving, the peer seen last first: what worked, or came from the
    /// operator or the peer itself.
    pub(super) fn worth_saving(&self, now: u64) -> Vec<(PeerId, Vec<&Entry>)> {
        let mut peers: Vec<_> = self
            .peers
            .iter()
            .map(|(peer, entries)| {
                let worth = entries.iter().filter(|entry| {
                    !entry.expired(now) && (entry.last_ok.is_some() || entry.source >= AddressSource::Told)
                });
                (*peer, worth.collect::<Vec<_>>())
            })
            .filter(|(_, entries)| !entries.is_empty())
            .collect();
        peers.sort_by_key(|(peer, entries)| {
            let seen = entries.iter().map(|entry| entry.last_seen).max();
            (Reverse(seen), peer.to_bytes())
        });
        peers
    }

    fn insert(&mut self, peer: PeerId, mut entry: Entry) {
        if entry.address.len() > MAX_ADDRESS {
            return;
        }
        self.make_room(&peer);
        let entries = self.peers.entry(peer).or_default();
        let known = entries
            .iter()
            .position(|known| known.address == entry.address && known.network == entry.network)
            .map(|at| entries.remove(at));
        self.dirty |= known.as_ref().is_none_or(|known| {
            known.source < entry.source
                || entry.last_seen.saturating_sub(known.last_seen) >= REFRESH_S
                || known.last_ok.is_none() && entry.last_ok.is_some()
        });
        if let Some(known) = known {
            entry.source = entry.source.max(known.source);
            entry.last_ok = entry.last_ok.max(known.last_ok);
            entry.last_seen = entry.last_seen.max(known.last_seen);
            entry.given |= known.given;
        }
        entries.push(entry);
        if entries.len() > ADDRESSES_PER_PEER {
            drop_least(entries);
        }
    }

    /// Drops the peer that was seen longest ago where a new one finds no place.
    fn make_room(&mut self, newcomer: &PeerId) {
        if self.peers.len() < PEERS || self.peers.contains_key(newcomer) {
            return;
        }
        let oldest = self
            .peers
            .iter()
            .min_by_key(|(_, entries)| {
                let given = entries.iter().any(|entry| entry.given);
                (given, entries.iter().map(|entry| entry.last_seen).max())
            })
            .map(|(peer, _)| *peer);
        if let Some(oldest) = oldest {
            self.peers.remove(&oldest);
        }
    }

    /// Entries of the peer that are good now, the best first.
    fn good(&self, peer: &PeerId, now: u64) -> Vec<&Entry> {
        let mut good: Vec<&Entry> = self
            .peers
            .get(peer)
            .into_iter()
            .flat_map(|entries| entries.iter().rev())
            .filter(|entry| !entry.expired(now) && self.is_good_here(entry))
            .collect();
        good.sort_by_key(|entry| Reverse((entry.last_ok, entry.last_seen)));
        // The same private address may be known from two networks, one of them by the operator.
        let mut seen = Vec::with_capacity(good.len());
        good.retain(|entry| {
            let new = !seen.contains(&&entry.address);
            seen.push(&entry.address);
            new
        });
        good
    }

    fn is_good_here(&self, entry: &Entry) -> bool {
        if entry.source == AddressSource::Operator || !is_private(&entry.address) {
            return true;
        }
        match &self.present {
            Present::Unnamed => entry.network.is_none(),
            Present::Named(network) => entry.network.as_ref() == Some(network),
        }
    }
}

/// The time that callers pass in: Unix seconds of the wall clock.
pub(super) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Drops the address that was seen longest ago. The operator's stay as long as there are others, and the one that
/// worked last does: a peer that tells many addresses must not push it out.
fn drop_least(entries: &mut Vec<Entry>) {
    let worked = entries.iter().filter_map(|entry| entry.last_ok).max();
    let least = entries
        .iter()
        .enumerate()
        .min_by_key(|(_, entry)| {
            let worked_last = worked.is_some() && entry.last_ok == worked;
            (
                entry.source == AddressSource::Operator,
                worked_last,
                entry.last_seen,
            )
        })
        .map(|(at, _)| at);
    if let Some(least) = least {
        entries.remove(least);
    }
}

/// The part of a circuit's address that leads to the relay.
fn relay_part(address: &Multiaddr) -> Multiaddr {
    address
        .iter()
        .take_while(|part| *part != Protocol::P2pCircuit)
        .collect()
}

/// Whether the address means something on one network only. Of a circuit, the relay's address counts. Loopback is
/// the same everywhere, and what a name stands for is asked anew each time.
pub(super) fn is_private(address: &Multiaddr) -> bool {
    let ip = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    });
    ip.is_some_and(|ip| {
        !matches!(
            scope(ip),
            AddressScope::Public | AddressScope::Loopback | AddressScope::Unusable
        )
    })
}

#[cfg(test)]
mod tests;
