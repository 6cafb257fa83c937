//! Finding peers, being found, and learning how: mDNS, the private DHT on the relays, UPnP.
//!
//! Owned by the node's task, which feeds it the events of the behaviours, carries out its timer, and takes what it
//! found with [`Discovery::next_event`]. It dials nobody and keeps no address book. Bounded throughout, since all of
//! it comes from others.

mod dht;
mod event;
mod neighbours;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, StreamProtocol, identity::Keypair, kad, mdns, upnp};

pub(super) use self::event::{Clock, DiscoveryEvent, Gateway, Source};
use self::{dht::Dht, event::Kad, neighbours::Neighbours};
use crate::{
    address::{ip_of, is_circuit, is_public, without_peer},
    policy::PolicyHandle,
};

/// Findings that wait for the node's task, which takes all of them after each event.
const QUEUE: usize = 256;
/// How long a change of the node's own addresses waits for the next, so that several make one record.
const DEBOUNCE: Duration = Duration::from_secs(2);

/// Every way that a node has to find peers.
pub(super) struct Discovery {
    local: PeerId,
    neighbours: Neighbours,
    dht: Dht,
    events: VecDeque<DiscoveryEvent>,
}

impl Discovery {
    /// Nothing is known yet. The key signs the node's own record.
    pub(super) fn new(keypair: Keypair) -> Self {
        Self {
            local: keypair.public().to_peer_id(),
            neighbours: Neighbours::default(),
            dht: Dht::new(keypair),
            events: VecDeque::new(),
        }
    }

    /// Takes over which relays are configured. Those that are gone are asked no more.
    pub(super) fn set_relays(&mut self, relays: impl IntoIterator<Item = PeerId>, kad: &mut Kad) {
        self.dht.set_relays(relays.into_iter().collect(), kad);
    }

    /// A peer has said which protocols it speaks, on a direct connection with this address at the other end.
    pub(super) fn handle_identify(
        &mut self,
        peer: PeerId,
        address: &Multiaddr,
        protocols: &[StreamProtocol],
        kad: &mut Kad,
        now: Instant,
    ) {
        self.dht
            .handle_identify(peer, address, protocols, kad, now + DEBOUNCE);
    }

    /// The last direct connection to a peer has closed.
    pub(super) fn handle_disconnected(&mut self, peer: &PeerId, kad: &mut Kad) {
        self.dht.handle_disconnected(peer, kad);
    }

    /// Takes over where this node can be reached; those addresses that mean nothing elsewhere are left out. Peers
    /// learn of a change about two seconds later.
    pub(super) fn set_addresses(&mut self, addresses: impl IntoIterator<Item = Multiaddr>, now: Instant) {
        let addresses = addresses.into_iter().filter(is_public);
        // Direct addresses first: a record has a bound, and circuits are known from elsewhere, too.
        let (mut own, circuits): (Vec<_>, Vec<_>) = addresses
            .map(|address| without_peer(&address, self.local))
            .partition(|address| !is_circuit(address));
        own.extend(circuits);
        self.dht.set_addresses(own, now + DEBOUNCE);
    }

    /// Looks the peer's record up, unless that is under way or has just failed.
    pub(super) fn lookup(&mut self, peer: PeerId, kad: &mut Kad, now: Instant) {
        self.dht.lookup(peer, kad, now);
    }

    /// Where a peer says it is on the local network.
    pub(super) fn neighbour(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.neighbours.addresses(peer)
    }

    /// Takes what mDNS found or lost. Of peers that the policy does not list nothing is told.
    pub(super) fn handle_mdns(&mut self, event: mdns::Event, policy: &PolicyHandle) {
        let events = match event {
            mdns::Event::Discovered(found) => self
                .neighbours
                .handle_discovered(found, |peer| *peer != self.local && policy.role(peer).is_some()),
            mdns::Event::Expired(lost) => self.neighbours.handle_expired(lost),
        };
        for event in events {
            self.push(event);
        }
    }

    /// Takes what the DHT's behaviour reports.
    pub(super) fn handle_kad(&mut self, event: kad::Event, clock: Clock) {
        let kad::Event::OutboundQueryProgressed { id, result, step, .. } = event else {
            return;
        };
        match result {
            kad::QueryResult::GetRecord(result) => {
                if let Some(event) = self.dht.handle_record(id, result, step.last, clock) {
                    self.push(event);
                }
            }
            kad::QueryResult::PutRecord(result) => self.dht.handle_put(id, result, clock.now),
            _ => {}
        }
    }

    /// Takes what the router said.
    pub(super) fn handle_upnp(&mut self, event: upnp::Event) {
        match event {
            upnp::Event::NewExternalAddr {
                local_addr,
                external_addr,
            } => {
                tracing::info!(address = %external_addr, local = %local_addr, "the router lets connections in");
                if let Some(ip) = ip_of(&external_addr) {
                    self.push(DiscoveryEvent::Gateway(Gateway::Public(ip)));
                }
                self.push(DiscoveryEvent::External {
                    address: external_addr,
                });
            }
            upnp::Event::ExpiredExternalAddr { external_addr, .. } => {
                tracing::info!(address = %external_addr, "the router lets connections in no more");
                self.push(DiscoveryEvent::ExternalLost {
                    address: external_addr,
                });
            }
            upnp::Event::GatewayNotFound => {
                tracing::debug!("no router answers to UPnP");
                self.push(DiscoveryEvent::Gateway(Gateway::Absent));
            }
            upnp::Event::NonRoutableGateway => {
                tracing::info!(
                    "the router has no public address: the provider shares one among its customers"
                );
                self.push(DiscoveryEvent::Gateway(Gateway::Private));
            }
        }
    }

    /// Sends the node's record out when it is time to.
    pub(super) fn handle_timeout(&mut self, kad: &mut Kad, clock: Clock) {
        self.dht.handle_timeout(kad, clock);
    }

    /// When [`Discovery::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.dht.poll_timeout()
    }

    /// The next finding.
    pub(super) fn next_event(&mut self) -> Option<DiscoveryEvent> {
        self.events.pop_front()
    }

    fn push(&mut self, event: DiscoveryEvent) {
        if self.events.len() < QUEUE {
            self.events.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests;
