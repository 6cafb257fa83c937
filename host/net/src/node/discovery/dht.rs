//! The private DHT: the node's own record on its relays, and the records of peers.
//!
//! Relays take part while they are configured, connected and speak the protocol; a query never makes libp2p dial
//! one. Whatever a relay answers is checked against the signature of the peer that it is about.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    identity::Keypair,
    kad::{GetRecordOk, GetRecordResult, PeerRecord, PutRecordResult, QueryId, Quorum, Record, RecordKey},
};
use peerup_model::KAD_PROTOCOL;
use peerup_trust::{AddressRecord, record_key};

use super::event::{Clock, DiscoveryEvent, Kad, Source};
use crate::address::is_public;

/// How often the record is sent again; it holds for three times as long.
const REPUBLISH: Duration = Duration::from_secs(600);
/// How long after a failure it is sent again.
const RETRY: Duration = Duration::from_secs(30);
/// Lookups under way.
const MAX_LOOKUPS: usize = 64;
/// How long a peer that no relay knows is not looked up again.
const NEGATIVE: Duration = Duration::from_secs(30);
/// Peers of which that is remembered.
const MAX_NEGATIVE: usize = 256;

/// A lookup under way.
struct Lookup {
    peer: PeerId,
    best: Option<AddressRecord>,
}

/// The node's part in the DHT.
pub(super) struct Dht {
    keypair: Keypair,
    relays: HashSet<PeerId>,
    /// Relays that are connected and speak the protocol: those in libp2p's table.
    servers: HashSet<PeerId>,
    addresses: Vec<Multiaddr>,
    /// Whether relays may hold a record of this node.
    told: bool,
    publish_at: Option<Instant>,
    publishing: Option<QueryId>,
    lookups: HashMap<QueryId, Lookup>,
    unknown: HashMap<PeerId, Instant>,
}

impl Dht {
    pub(super) fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            relays: HashSet::new(),
            servers: HashSet::new(),
            addresses: Vec::new(),
            told: false,
            publish_at: None,
            publishing: None,
            lookups: HashMap::new(),
            unknown: HashMap::new(),
        }
    }

    pub(super) fn set_relays(&mut self, relays: HashSet<PeerId>, kad: &mut Kad) {
        self.relays = relays;
        let gone: Vec<_> = self.servers.difference(&self.relays).copied().collect();
        for peer in gone {
            self.handle_disconnected(&peer, kad);
        }
    }

    /// A relay that serves the DHT joins; one that serves it no more leaves.
    pub(super) fn handle_identify(
        &mut self,
        peer: PeerId,
        address: &Multiaddr,
        protocols: &[StreamProtocol],
        kad: &mut Kad,
        publish_at: Instant,
    ) {
        if !protocols.iter().any(|protocol| protocol.as_ref() == KAD_PROTOCOL) {
            self.handle_disconnected(&peer, kad);
            return;
        }
        let Some(kad) = kad.as_mut().filter(|_| self.relays.contains(&peer)) else {
            return;
        };
        kad.add_address(&peer, address.clone());
        if self.servers.insert(peer) {
            tracing::debug!(relay = %peer, "a relay keeps addresses of peers");
            // What nobody knew before, this one may.
            self.unknown.clear();
            self.publish_by(publish_at);
        }
    }

    pub(super) fn handle_disconnected(&mut self, peer: &PeerId, kad: &mut Kad) {
        if self.servers.remove(peer)
            && let Some(kad) = kad.as_mut()
        {
            kad.remove_peer(peer);
        }
    }

    pub(super) fn set_addresses(&mut self, addresses: Vec<Multiaddr>, publish_at: Instant) {
        let same = addresses.len() == self.addresses.len()
            && addresses.iter().all(|address| self.addresses.contains(address));
        if !same {
            self.addresses = addresses;
            self.publish_by(publish_at);
        }
    }

    fn publish_by(&mut self, at: Instant) {
        self.publish_at = Some(self.publish_at.map_or(at, |planned| planned.min(at)));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.publish_at.filter(|_| !self.servers.is_empty())
    }

    pub(super) fn handle_timeout(&mut self, kad: &mut Kad, clock: Clock) {
        if self.poll_timeout().is_none_or(|at| at > clock.now) {
            return;
        }
        let Some(kad) = kad.as_mut() else {
            self.publish_at = None;
            return;
        };
        self.publish_at = Some(clock.now + REPUBLISH);
        if self.addresses.is_empty() && !self.told {
            return;
        }
        let value = match AddressRecord::seal(&self.keypair, &self.addresses, clock.wall) {
            Ok(value) => value,
            Err(error) => {
                tracing::warn!(%error, "this node's addresses cannot be published");
                return;
            }
        };
        let key = record_key(&self.keypair.public().to_peer_id());
        let record = Record::new(RecordKey::new(&key), value);
        let servers: Vec<_> = self.servers.iter().copied().collect();
        tracing::debug!(
            addresses = self.addresses.len(),
            relays = servers.len(),
            "publishes this node's addresses"
        );
        self.told = true;
        // Every relay is to have it: peers ask whichever they are connected to.
        self.publishing = Some(kad.put_record_to(record, servers.into_iter(), Quorum::All));
    }

    pub(super) fn handle_put(&mut self, id: QueryId, result: PutRecordResult, now: Instant) {
        if self.publishing != Some(id) {
            return;
        }
        self.publishing = None;
        if let Err(error) = result {
            tracing::debug!(%error, "not every relay took this node's addresses");
            self.publish_by(now + RETRY);
        }
    }

    pub(super) fn lookup(&mut self, peer: PeerId, kad: &mut Kad, now: Instant) {
        let Some(kad) = kad.as_mut() else {
            return;
        };
        self.unknown.retain(|_, until| *until > now);
        let under_way = self.lookups.values().any(|lookup| lookup.peer == peer);
        if self.servers.is_empty()
            || under_way
            || self.unknown.contains_key(&peer)
            || self.lookups.len() >= MAX_LOOKUPS
        {
            return;
        }
        let id = kad.get_record(RecordKey::new(&record_key(&peer)));
        self.lookups.insert(id, Lookup { peer, best: None });
    }

    /// Takes one relay's answer, or the end of a lookup. The first good record counts at once, a later one on top.
    pub(super) fn handle_record(
        &mut self,
        id: QueryId,
        result: GetRecordResult,
        last: bool,
        clock: Clock,
    ) -> Option<DiscoveryEvent> {
        let lookup = self.lookups.get_mut(&id)?;
        let peer = lookup.peer;
        let mut found = None;
        if let Ok(GetRecordOk::FoundRecord(PeerRecord { peer: from, record })) = result {
            match AddressRecord::open(&peer, &record.value, clock.wall) {
                Ok(record) if lookup.best.as_ref().is_none_or(|best| record.is_newer_than(best)) => {
                    // A member must not send this node to machines of its own local network.
                    let public = record.addresses.iter().filter(|address| is_public(address));
                    found = Some(DiscoveryEvent::Found {
                        peer,
                        addresses: public.cloned().collect(),
                        source: Source::Dht,
                    });
                    lookup.best = Some(record);
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%peer, relay = ?from, %error, "a relay gave out a bad record"),
            }
        }
        if last
            && self
                .lookups
                .remove(&id)
                .is_some_and(|lookup| lookup.best.is_none())
            && self.unknown.len() < MAX_NEGATIVE
        {
            self.unknown.insert(peer, clock.now + NEGATIVE);
        }
        found
    }
}
