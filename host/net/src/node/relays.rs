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
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use peerup_model::{PathKind, Transport};
use peerup_paths::{
    AddressBackoffs, Command, MAX_HELD, NatTable, RelayHealth, RelayView, Reservation, Stage, hold,
};
use rand::{SeedableRng, rngs::StdRng};

use super::behaviour::NodeBehaviour;
use crate::{
    address::{circuit_on, is_circuit, path_of, with_peer},
    config::RelayAddress,
    error::{NOT_ADMITTED, root_cause},
    snapshot::{CircuitLimit, RelaySnapshot},
    streams::StreamsHandle,
};

/// Relays of one config; each costs a connection.
const MAX_RELAYS: usize = 16;
/// Addresses kept that a relay tells about itself.
const MAX_TOLD: usize = 8;
/// Relays whose limits are remembered, those of other nodes included.
const MAX_LIMITS: usize = 64;
/// The transports over which a relay is to see this node: what it sees is where a hole can be punched.
const VIEWS: [Transport; 2] = [Transport::Quic, Transport::Tcp];
/// The longest time until the choice of relays is looked at again while one of them fails.
const CHOICE_INTERVAL: Duration = Duration::from_secs(10);

type Machine = Reservation<ListenerId, StdRng>;

struct Relay {
    addresses: Vec<Multiaddr>,
    told_addresses: Vec<Multiaddr>,
    order: u32,
    held: bool,
    health: RelayHealth,
    machine: Machine,
    limit: Option<CircuitLimit>,
    since: Option<SystemTime>,
    told: bool,
    failed_attempts: u64,
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
    backoffs: AddressBackoffs<Multiaddr>,
    views: HashMap<ConnectionId, (PeerId, Multiaddr)>,
    limits: HashMap<PeerId, CircuitLimit>,
    chosen_at: Option<Instant>,
}

impl Relays {
    /// No relays yet. Without `reserve` they are only there to be dialled over.
    pub(super) fn new(reserve: bool) -> Self {
        Self {
            relays: HashMap::new(),
            reserve,
            backoffs: AddressBackoffs::new(),
            views: HashMap::new(),
            limits: HashMap::new(),
            chosen_at: None,
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
        for (order, relay) in (0_u32..).zip(wanted.into_iter().take(MAX_RELAYS)) {
            let addresses: Vec<_> = relay
                .addresses
                .iter()
                .map(|address| with_peer(address, relay.peer))
                .collect();
            let entry = match self.relays.remove(&relay.peer) {
                Some(entry) => Relay {
                    addresses,
                    order,
                    ..entry
                },
                None => Relay {
                    addresses,
                    told_addresses: Vec::new(),
                    order,
                    held: false,
                    health: RelayHealth::new(),
                    machine: Machine::new(now, StdRng::from_rng(&mut rand::rng())),
                    limit: None,
                    since: None,
                    told: false,
                    failed_attempts: 0,
                },
            };
            next.insert(relay.peer, entry);
        }
        let gone = std::mem::replace(&mut self.relays, next).into_keys().collect();
        self.choose(now);
        gone
    }

    /// Decides again on which relays to hold a reservation. Returns those whose connections are to be closed.
    fn choose(&mut self, now: Instant) -> Vec<PeerId> {
        self.chosen_at = Some(now);
        let mut views: Vec<_> = self
            .relays
            .iter()
            .map(|(peer, relay)| RelayView {
                id: *peer,
                order: relay.order,
                held: relay.held && relay.machine.stage() == Stage::Reserved,
                health: relay.health,
            })
            .collect();
        views.sort_unstable_by_key(|view| view.order);
        let chosen = hold(&views, MAX_HELD, now);
        let mut dropped = Vec::new();
        for (peer, relay) in &mut self.relays {
            let held = chosen.contains(peer);
            if held && !relay.held {
                relay.machine.reset(now);
            }
            if !held && relay.held {
                dropped.push(*peer);
            }
            relay.held = held;
        }
        dropped
    }

    /// Makes the relays that are held see this node over each transport that they are known to speak.
    ///
    /// One connection per transport stays open: it keeps the NAT's mapping alive, and tells whether UDP gets through.
    pub(super) fn look_around(
        &mut self,
        swarm: &mut Swarm<NodeBehaviour>,
        streams: &StreamsHandle,
        now: Instant,
    ) {
        if !self.reserve {
            return;
        }
        for (peer, relay) in self.relays.iter().filter(|(_, relay)| relay.held) {
            let conns = streams.connections(peer);
            if conns.is_empty() {
                continue;
            }
            for transport in VIEWS {
                let path = PathKind::Direct(transport);
                let seen = conns
                    .iter()
                    .find(|conn| conn.path() == path && !conn.is_superseded());
                if let Some(conn) = seen {
                    conn.keep();
                    continue;
                }
                let under_way = self
                    .views
                    .values()
                    .any(|(viewer, address)| viewer == peer && path_of(address) == path);
                let address = relay
                    .addresses
                    .iter()
                    .chain(&relay.told_addresses)
                    .find(|address| path_of(address) == path && self.backoffs.may_dial(address, now));
                let (Some(address), false) = (address, under_way) else {
                    continue;
                };
                let dial = DialOpts::peer_id(*peer)
                    .condition(PeerCondition::Always)
                    .addresses(vec![address.clone()])
                    .build();
                let connection = dial.connection_id();
                if swarm.dial(dial).is_ok() {
                    self.views.insert(connection, (*peer, address.clone()));
                }
            }
        }
    }

    /// Takes the outcome of a dial that was to make a relay see this node. Says whether it was one.
    pub(super) fn handle_view(
        &mut self,
        connection: ConnectionId,
        worked: bool,
        nat: &mut NatTable,
        now: Instant,
    ) -> bool {
        let Some((relay, address)) = self.views.remove(&connection) else {
            return false;
        };
        if path_of(&address) == PathKind::Direct(Transport::Quic) {
            nat.note_udp(relay, worked, now);
        }
        if worked {
            self.backoffs.handle_ok(&address);
        } else {
            self.backoffs.handle_failed(address, now, &mut rand::rng());
        }
        true
    }

    /// Takes addresses that a relay tells about itself.
    pub(super) fn handle_told(&mut self, peer: &PeerId, addresses: &[Multiaddr]) {
        if let Some(relay) = self.relays.get_mut(peer) {
            relay.told_addresses = addresses
                .iter()
                .filter(|address| !is_circuit(address))
                .map(|address| with_peer(address, *peer))
                .filter(|address| !relay.addresses.contains(address))
                .take(MAX_TOLD)
                .collect();
        }
    }

    /// Takes a round trip to a relay.
    pub(super) fn handle_rtt(&mut self, peer: &PeerId, rtt: Duration) {
        if let Some(relay) = self.relays.get_mut(peer) {
            relay.health.handle_rtt(rtt);
        }
    }

    /// Takes what a relay allows one circuit.
    pub(super) fn handle_limit(&mut self, peer: PeerId, limit: CircuitLimit) {
        if self.limits.len() < MAX_LIMITS || self.limits.contains_key(&peer) {
            self.limits.insert(peer, limit);
        }
    }

    /// What a relay allows one circuit, if it has said so.
    pub(super) fn limit(&self, peer: &PeerId) -> Option<CircuitLimit> {
        let own = self.relays.get(peer).and_then(|relay| relay.limit);
        self.limits.get(peer).copied().or(own)
    }

    /// Takes a change of the network: whatever waits is tried at once.
    pub(super) fn handle_network_change(&mut self, now: Instant) {
        self.backoffs.reset_all();
        for relay in self.relays.values_mut() {
            relay.machine.handle_network_change(now);
        }
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
            relay.health.handle_success(now);
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
        for relay in self.relays.values_mut().filter(|relay| relay.held) {
            relay.machine.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if !self.reserve {
            return None;
        }
        let failing = self.relays.len() > MAX_HELD
            && self
                .relays
                .values()
                .any(|relay| relay.health.is_failing(Instant::now()));
        let choice = self.chosen_at.filter(|_| failing).map(|at| at + CHOICE_INTERVAL);
        self.relays
            .values()
            .filter(|relay| relay.held)
            .filter_map(|relay| relay.machine.poll_timeout())
            .chain(choice)
            .min()
    }

    /// Carries out what the machines ask for.
    pub(super) fn run(&mut self, swarm: &mut Swarm<NodeBehaviour>, now: Instant) {
        if !self.reserve {
            return;
        }
        let mut failed = false;
        for relay in self.relays.values_mut() {
            let attempts = relay.machine.failed_attempts();
            if attempts != relay.failed_attempts {
                relay.failed_attempts = attempts;
                relay.health.handle_failure(now);
                failed = true;
            }
        }
        let due = self.chosen_at.is_none_or(|at| now >= at + CHOICE_INTERVAL);
        if (failed || due) && self.relays.len() > MAX_HELD {
            for peer in self.choose(now) {
                let _ = swarm.disconnect_peer_id(peer);
            }
        }
        for (peer, relay) in self.relays.iter_mut().filter(|(_, relay)| relay.held) {
            while let Some(command) = relay.machine.next_command() {
                match command {
                    // Each address by itself: one that refuses at once must not wait for one that never answers.
                    Command::Connect => {
                        for address in relay.addresses.iter().chain(&relay.told_addresses) {
                            let under_way = self
                                .views
                                .values()
                                .any(|(viewer, dialled)| viewer == peer && dialled == address);
                            if under_way {
                                continue;
                            }
                            let dial = DialOpts::peer_id(*peer)
                                .condition(PeerCondition::Always)
                                .addresses(vec![address.clone()])
                                .build();
                            let connection = dial.connection_id();
                            match swarm.dial(dial) {
                                Ok(()) => {
                                    self.views.insert(connection, (*peer, address.clone()));
                                }
                                Err(error) => {
                                    relay.machine.handle_connect_failed(&root_cause(&error), now);
                                }
                            }
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
                    true if relay.held => state_text(&relay.machine, now),
                    true => "in reserve: other relays hold the reservations".to_owned(),
                    false => "used for dialling only".to_owned(),
                },
                reserved: relay.machine.stage() == Stage::Reserved,
                held: relay.held,
                rtt: relay.health.rtt(),
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
