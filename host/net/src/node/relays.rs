//! The configured relays: one reservation machine each, and the carrying out of what it asks for.
//!
//! Owned by the node's task, which feeds it swarm events. It never removes a relay's listener: libp2p's client
//! cannot bear that while a request is in flight. It closes the connection instead.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::transport::ListenerId,
    swarm::dial_opts::{DialOpts, PeerCondition},
};
use peerup_paths::{Command, Reservation, Stage};
use rand::{SeedableRng, rngs::StdRng};

use super::behaviour::NodeBehaviour;
use crate::{
    address::{circuit_on, with_peer},
    config::RelayAddress,
    error::{NOT_ADMITTED, root_cause},
    snapshot::{CircuitLimit, RelaySnapshot},
};

/// Relays of one config; each costs a connection.
const MAX_RELAYS: usize = 16;

type Machine = Reservation<ListenerId, StdRng>;

struct Relay {
    addresses: Vec<Multiaddr>,
    machine: Machine,
    limit: Option<CircuitLimit>,
    since: Option<SystemTime>,
    told: bool,
}

/// What changed for a relay since the last look.
pub(super) enum RelayChange {
    Reserved(PeerId),
    Lost(PeerId, String),
}

/// All configured relays.
pub(super) struct Relays {
    relays: HashMap<PeerId, Relay>,
    reserve: bool,
}

impl Relays {
    /// No relays yet. Without `reserve` they are only there to be dialled over.
    pub(super) fn new(reserve: bool) -> Self {
        Self {
            relays: HashMap::new(),
            reserve,
        }
    }

    /// Replaces the set. Returns those that are gone, whose connections are to be closed.
    pub(super) fn set(&mut self, wanted: Vec<RelayAddress>, now: Instant) -> Vec<PeerId> {
        if wanted.len() > MAX_RELAYS {
            tracing::warn!(
                configured = wanted.len(),
                used = MAX_RELAYS,
                "too many relays; the last are not used"
            );
        }
        let mut next = HashMap::new();
        for relay in wanted.into_iter().take(MAX_RELAYS) {
            let addresses: Vec<_> = relay
                .addresses
                .iter()
                .map(|address| with_peer(address, relay.peer))
                .collect();
            let entry = match self.relays.remove(&relay.peer) {
                Some(entry) => Relay { addresses, ..entry },
                None => Relay {
                    addresses,
                    machine: Machine::new(now, StdRng::from_rng(&mut rand::rng())),
                    limit: None,
                    since: None,
                    told: false,
                },
            };
            next.insert(relay.peer, entry);
        }
        std::mem::replace(&mut self.relays, next).into_keys().collect()
    }

    /// The configured relays with their addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (PeerId, &[Multiaddr])> {
        self.relays
            .iter()
            .map(|(peer, relay)| (*peer, relay.addresses.as_slice()))
    }

    pub(super) fn reserved(&self) -> usize {
        self.relays
            .values()
            .filter(|relay| relay.machine.stage() == Stage::Reserved)
            .count()
    }

    pub(super) fn owns(&self, listener: ListenerId) -> bool {
        self.relays.values().any(|relay| relay.machine.owns(&listener))
    }

    pub(super) fn handle_connected(&mut self, peer: &PeerId, now: Instant) {
        if let Some(relay) = self.relays.get_mut(peer) {
            relay.machine.handle_connected(now);
        }
    }

    pub(super) fn handle_connect_failed(&mut self, peer: &PeerId, reason: &str, now: Instant) {
        if let Some(relay) = self.relays.get_mut(peer) {
            relay.machine.handle_connect_failed(reason, now);
        }
    }

    pub(super) fn handle_reserved(&mut self, peer: &PeerId, limit: Option<CircuitLimit>, now: Instant) {
        if let Some(relay) = self.relays.get_mut(peer) {
            relay.machine.handle_reserved(now);
            relay.limit = limit;
        }
    }

    pub(super) fn handle_listener_closed(&mut self, listener: ListenerId, reason: &str, now: Instant) {
        for relay in self.relays.values_mut() {
            relay.machine.handle_listener_closed(&listener, reason, now);
        }
    }

    pub(super) fn handle_disconnected(&mut self, peer: &PeerId, reason: &str, now: Instant) {
        if let Some(relay) = self.relays.get_mut(peer) {
            let asked = relay.machine.stage() == Stage::Requesting;
            let reason = if asked { NOT_ADMITTED } else { reason };
            relay.machine.handle_disconnected(reason, now);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for relay in self.relays.values_mut() {
            relay.machine.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if !self.reserve {
            return None;
        }
        self.relays
            .values()
            .filter_map(|relay| relay.machine.poll_timeout())
            .min()
    }

    /// Carries out what the machines ask for.
    pub(super) fn run(&mut self, swarm: &mut Swarm<NodeBehaviour>, now: Instant) {
        if !self.reserve {
            return;
        }
        for (peer, relay) in &mut self.relays {
            while let Some(command) = relay.machine.next_command() {
                match command {
                    Command::Connect => {
                        let dial = DialOpts::peer_id(*peer)
                            .condition(PeerCondition::NotDialing)
                            .addresses(relay.addresses.clone())
                            .build();
                        if let Err(error) = swarm.dial(dial) {
                            relay.machine.handle_connect_failed(&root_cause(&error), now);
                        }
                    }
                    Command::Listen => listen(swarm, *peer, relay, now),
                    Command::CloseConnection => {
                        if swarm.disconnect_peer_id(*peer).is_err() {
                            relay.machine.handle_disconnected("the connection was gone", now);
                        }
                    }
                }
            }
        }
    }

    /// Returns what changed since the last call, each change once.
    pub(super) fn changes(&mut self) -> Vec<RelayChange> {
        let mut changes = Vec::new();
        for (peer, relay) in &mut self.relays {
            let reserved = relay.machine.stage() == Stage::Reserved;
            if reserved == relay.told {
                continue;
            }
            relay.told = reserved;
            relay.since = reserved.then(SystemTime::now);
            changes.push(if reserved {
                RelayChange::Reserved(*peer)
            } else {
                let reason = relay.machine.last_failure().unwrap_or("unknown").to_owned();
                RelayChange::Lost(*peer, reason)
            });
        }
        changes
    }

    pub(super) fn snapshot(&self, now: Instant) -> Vec<RelaySnapshot> {
        let mut snapshots: Vec<_> = self
            .relays
            .iter()
            .map(|(peer, relay)| RelaySnapshot {
                peer: *peer,
                addresses: relay.addresses.clone(),
                state: match self.reserve {
                    true => state_text(&relay.machine, now),
                    false => "used for dialling only".to_owned(),
                },
                reserved: relay.machine.stage() == Stage::Reserved,
                since: relay.since,
                last_error: relay.machine.last_failure().map(str::to_owned),
                limit: relay.limit,
            })
            .collect();
        snapshots.sort_unstable_by_key(|relay| relay.peer);
        snapshots
    }
}

fn listen(swarm: &mut Swarm<NodeBehaviour>, peer: PeerId, relay: &mut Relay, now: Instant) {
    let Some(address) = relay.addresses.first() else {
        relay
            .machine
            .handle_listen_failed("no address of the relay is configured", now);
        return;
    };
    match swarm.listen_on(circuit_on(address, peer)) {
        Ok(listener) => relay.machine.handle_listener_opened(listener),
        Err(error) => relay.machine.handle_listen_failed(&root_cause(&error), now),
    }
}

fn state_text(machine: &Machine, now: Instant) -> String {
    match machine.stage() {
        Stage::Reserved => "reserved".to_owned(),
        Stage::Connecting => "connecting".to_owned(),
        Stage::Requesting => "asking for a reservation".to_owned(),
        Stage::Closing => "closing a stuck connection".to_owned(),
        Stage::Waiting => {
            let left = machine
                .poll_timeout()
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            format!("waiting {} s before the next attempt", left.as_secs_f64().ceil())
        }
    }
}
