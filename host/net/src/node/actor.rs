//! The task that owns the swarm.
//!
//! Inboxes: commands of the handle, timers of dials and relays, events of the swarm. It never awaits a consumer:
//! while it waits, connections over TCP stand still.

mod change;
mod explain;
mod liveness;
mod sightings;
mod upgrades;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{ConnectedPoint, transport::ListenerId},
    identify, ping,
    relay::client,
    swarm::{ConnectionId, SwarmEvent},
};
use peerup_model::{HOLE_PUNCH_PROTOCOL, PathKind, PathPolicy, REACH_PROTOCOL, Transport};
use peerup_paths::{AddressBackoffs, Liveness, NatTable, PathInfo};
use peerup_trust::Role;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    behaviour::{NodeBehaviour, NodeBehaviourEvent},
    book::{Book, unix_now},
    book_file,
    command::NodeCommand,
    describe,
    dial::{DialContext, Dials, transport_text},
    discovery::{Clock, Discovery},
    listen::{is_wildcard, lacks_family, listen},
    members::Members,
    relays::{RelayChange, Relays},
};
use crate::{
    address::{ip_of, path_of},
    config::{DiscoveryConfig, NodeConfig},
    counters::{DialOutcome, NodeCounters},
    error::{StartError, root_cause},
    gate::{Gate, GateCounters, GateDecision},
    netwatch::{NetEvent, NetWatch},
    policy::PolicyHandle,
    protocols::{Audience, ProtocolTable},
    snapshot::{AddressSource, CircuitLimit, NodeEvent, NodeHealth, NodeSnapshot, NodeStatus},
    streams::{InboundStream, Streams, StreamsHandle},
    transport::swarm_with,
    warm,
};

/// What the core itself serves to members.
const CORE_PROTOCOLS: &[&str] = &[HOLE_PUNCH_PROTOCOL, REACH_PROTOCOL];
/// Streams of the core's protocols that wait for the task; each is a small exchange.
const CORE_QUEUE: usize = 64;
/// How long relays are not dialled while the TCP listener has no address yet: an interface may be down.
const LISTEN_PATIENCE: Duration = Duration::from_millis(500);
/// Exchanges and probes under way at once; past this, new ones are left out and tried again later.
const MAX_TASKS: usize = 512;
/// Addresses seen by relays that are kept.
const MAX_SEEN: usize = 32;
/// Characters kept of what a peer calls its software.
const MAX_AGENT: usize = 64;
/// Addresses taken from one identify message.
const MAX_IDENTIFY_ADDRESSES: usize = 8;
/// How long connections may take to close in order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a task of the node brings back.
enum TaskOutcome {
    /// A ping on one connection.
    Probe {
        peer: PeerId,
        connection: ConnectionId,
        rtt: Option<Duration>,
    },
    /// What a member says of itself. `asked` if this node opened the stream.
    Told {
        peer: PeerId,
        told: Result<PathInfo, String>,
        asked: bool,
    },
    /// An exchange of hole punching: now is the moment to dial.
    Punch {
        peer: PeerId,
        theirs: Result<Vec<Multiaddr>, String>,
        as_listener: bool,
    },
    /// The address book was written.
    Saved(io::Result<()>),
}

/// What the handle needs of a new node.
pub(super) struct NodeParts {
    pub(super) peer_id: PeerId,
    pub(super) streams: StreamsHandle,
    pub(super) gate: Arc<GateCounters>,
    pub(super) counters: Arc<NodeCounters>,
    pub(super) decisions: broadcast::Sender<GateDecision>,
    pub(super) inbound: mpsc::Receiver<InboundStream>,
}

/// The owner of the swarm.
pub(super) struct NodeActor {
    swarm: Swarm<NodeBehaviour>,
    policy: PolicyHandle,
    streams: StreamsHandle,
    commands: mpsc::Receiver<NodeCommand>,
    status: watch::Sender<NodeStatus>,
    events: broadcast::Sender<NodeEvent>,
    book: Book,
    relays: Relays,
    dials: Dials,
    listeners: HashMap<ListenerId, bool>,
    /// Listeners at the start.
    wanted: usize,
    counters: Arc<NodeCounters>,
    connections: HashMap<ConnectionId, PeerId>,
    members: Members,
    liveness: Liveness<ConnectionId>,
    nat: NatTable,
    /// Addresses that relays see this node under, by relay and transport.
    seen: HashMap<(PeerId, Transport), Multiaddr>,
    /// Addresses that the operator gave.
    external: Vec<Multiaddr>,
    backoffs: AddressBackoffs<Multiaddr>,
    /// Whether direct paths are unwanted, and for which peers it is the other way round.
    relay_only: (bool, HashSet<PeerId>),
    /// Whether peers are looked for on the local network or in the DHT.
    searching: bool,
    core: mpsc::Receiver<InboundStream>,
    tasks: JoinSet<TaskOutcome>,
    net: Option<(NetWatch, mpsc::Receiver<NetEvent>)>,
    book_path: Option<PathBuf>,
    saving: bool,
    save_at: Instant,
    /// How long dialling relays may wait for the TCP listener; none once it stands or none is needed.
    listening_by: Option<Instant>,
    agents: HashMap<PeerId, String>,
    paths: HashMap<PeerId, PathKind>,
    confirming: Vec<(PeerId, oneshot::Sender<bool>)>,
    warming: JoinHandle<()>,
    discovery: Discovery,
}

impl NodeActor {
    pub(super) async fn new(
        config: NodeConfig,
        policy: PolicyHandle,
        table: ProtocolTable,
        commands: mpsc::Receiver<NodeCommand>,
        status: watch::Sender<NodeStatus>,
        events: broadcast::Sender<NodeEvent>,
    ) -> Result<(Self, NodeParts), StartError> {
        // Pays for the first TLS handshake now rather than in the first dial, without holding up the start.
        let warming = tokio::task::spawn_blocking(warm::warm_up);
        for protocol in CORE_PROTOCOLS {
            // A table that serves them already is one of an earlier node of the same owner.
            let _ = table.register(protocol, Audience::Members);
        }
        let (streams, handle, inbound) = Streams::new(policy.clone(), table, config.limits);
        let core = handle.divert(CORE_PROTOCOLS, CORE_QUEUE);
        let gate = Gate::new(policy.clone());
        let gate_counters = gate.counters();
        let counters = Arc::<NodeCounters>::default();
        let decisions = gate.decisions();
        let agent = config.agent;
        let discovery = Discovery::new(config.keypair.clone());
        let ways = ways_to_be_found(config.discovery, &config.listen);
        let mut swarm = swarm_with(config.keypair, |key, relay| {
            NodeBehaviour::new(key, agent, relay, (gate, streams), ways)
        })
        .await?;
        let waits_for_tcp = config
            .listen
            .iter()
            .any(|address| path_of(address) == PathKind::Direct(Transport::Tcp));
        let mut listeners = HashMap::new();
        let several = config.listen.len() > 1;
        for address in config.listen {
            if several && lacks_family(&address) {
                tracing::warn!(%address, "this machine has no such network; the other addresses are listened on");
                continue;
            }
            // A wildcard stands once it is bound: an interface may get its address later.
            let stands = is_wildcard(&address);
            listeners.insert(listen(&mut swarm, address)?, stands);
        }
        for address in &config.external {
            swarm.add_external_address(address.clone());
        }
        let mut book = Book::default();
        if let Some(path) = config.address_book.clone() {
            let loaded = tokio::task::spawn_blocking(move || book_file::load(&path, unix_now())).await;
            book.restore(loaded.unwrap_or_default());
        }
        let mut relays = Relays::new(config.reserve);
        relays.set(config.relays, Instant::now());
        let parts = NodeParts {
            peer_id: *swarm.local_peer_id(),
            streams: handle.clone(),
            gate: gate_counters,
            counters: counters.clone(),
            decisions,
            inbound,
        };
        let mut actor = Self {
            swarm,
            policy,
            streams: handle,
            commands,
            status,
            events,
            book,
            relays,
            dials: Dials::default(),
            wanted: listeners.len(),
            listeners,
            counters,
            connections: HashMap::new(),
            members: Members::default(),
            liveness: Liveness::new(),
            nat: NatTable::new(),
            seen: HashMap::new(),
            external: config.external,
            backoffs: AddressBackoffs::new(),
            relay_only: (false, HashSet::new()),
            searching: ways.mdns || ways.dht,
            core,
            tasks: JoinSet::new(),
            net: config.watch_network.then(NetWatch::start),
            book_path: config.address_book,
            saving: false,
            save_at: Instant::now(),
            listening_by: waits_for_tcp.then(|| Instant::now() + LISTEN_PATIENCE),
            agents: HashMap::new(),
            paths: HashMap::new(),
            confirming: Vec::new(),
            warming,
            discovery,
        };
        actor.note_relays();
        actor.note_addresses();
        Ok((actor, parts))
    }

    /// Runs until the last handle is gone or a shutdown was asked for.
    pub(super) async fn run(mut self) {
        loop {
            self.settle();
            let timeout = self.poll_timeout();
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    None => break,
                    Some(NodeCommand::Shutdown { reply }) => {
                        self.close().await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => self.handle_command(command),
                },
                Some(outcome) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Ok(outcome) = outcome {
                        self.handle_outcome(outcome);
                    }
                }
                () = sleep_until(timeout) => self.handle_timeout(),
                Some(event) = next_net_event(&mut self.net) => self.handle_net_event(event, Instant::now()),
                Some(stream) = self.core.recv() => self.serve_core(stream, Instant::now()),
                event = self.swarm.select_next_some() => self.handle_event(event),
            }
        }
        self.close().await;
    }

    /// Whether listening stands, so that dials go out from the listen port: a relay that sees another port gives an
    /// address that nobody can punch a hole to.
    fn may_dial_relays(&mut self, now: Instant) -> bool {
        if self.listening_by.is_some_and(|until| now >= until) {
            self.listening_by = None;
        }
        self.listening_by.is_none()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let save_at = (self.book_path.is_some() && !self.saving).then_some(self.save_at);
        [
            self.relays.poll_timeout(),
            self.dials.poll_timeout(),
            self.discovery.poll_timeout(),
            self.members.poll_timeout(),
            self.liveness.poll_timeout(),
            save_at,
            self.listening_by,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn handle_outcome(&mut self, outcome: TaskOutcome) {
        let now = Instant::now();
        match outcome {
            TaskOutcome::Probe {
                peer,
                connection,
                rtt,
            } => self.handle_probe(peer, connection, rtt, now),
            TaskOutcome::Told { peer, told, asked } => self.handle_told(peer, told, asked, now),
            TaskOutcome::Punch {
                peer,
                theirs,
                as_listener,
            } => self.handle_punch(peer, theirs, as_listener, now),
            TaskOutcome::Saved(outcome) => {
                self.saving = false;
                if let Err(error) = outcome {
                    tracing::warn!(%error, "the address book could not be saved");
                    self.book.mark_dirty();
                }
            }
        }
    }

    async fn close(&mut self) {
        self.commands.close();
        self.net = None;
        self.tasks.abort_all();
        self.save_book_last().await;
        self.dials.close();
        self.confirming.clear();
        for listener in self.listeners.keys() {
            self.swarm.remove_listener(*listener);
        }
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let drained = async {
            while self.swarm.network_info().num_peers() > 0 {
                let _ = self.swarm.select_next_some().await;
            }
            let _ = (&mut self.warming).await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, drained).await.is_err() {
            tracing::warn!("connections did not close in time");
        }
    }

    /// Carries out what the relays' machines ask for and publishes what changed.
    fn settle(&mut self) {
        let now = Instant::now();
        if self.may_dial_relays(now) {
            self.relays.run(&mut self.swarm, now);
            self.relays.look_around(&mut self.swarm, &self.streams, now);
        }
        self.run_upgrades(now);
        self.run_liveness(now);
        self.save_book(now);
        for change in self.relays.changes() {
            let event = match change {
                RelayChange::Reserved(relay) => {
                    tracing::info!(%relay, "reserved on a relay");
                    NodeEvent::RelayReserved { relay }
                }
                RelayChange::Lost(relay, reason) => {
                    tracing::info!(%relay, reason, "lost the reservation on a relay");
                    NodeEvent::RelayLost { relay, reason }
                }
            };
            let _ = self.events.send(event);
        }
        let status = NodeStatus {
            listening: self.listeners.values().all(|up| *up),
            reserved_relays: self.relays.reserved(),
            connected_peers: self.swarm.network_info().num_peers(),
        };
        self.status.send_if_modified(|current| {
            let changed = *current != status;
            *current = status;
            changed
        });
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        self.relays.handle_timeout(now);
        self.members.handle_timeout(now);
        self.gather_answers();
        self.liveness.handle_timeout(now);
        self.with_dials(|dials, cx| dials.handle_timeout(cx));
        let kad = &mut self.swarm.behaviour_mut().kad;
        self.discovery.handle_timeout(kad, Clock::read());
    }

    fn with_dials(&mut self, act: impl FnOnce(&mut Dials, &mut DialContext<'_>)) {
        let mut cx = DialContext {
            swarm: &mut self.swarm,
            book: &self.book,
            relays: &self.relays,
            streams: &self.streams,
            backoffs: &self.backoffs,
            search: self.searching,
            now: Instant::now(),
        };
        act(&mut self.dials, &mut cx);
    }

    fn handle_command(&mut self, command: NodeCommand) {
        match command {
            NodeCommand::Dial { peer, policy, reply } => {
                // A peer may have been announced before it was listed here.
                for address in self.discovery.neighbour(&peer) {
                    self.book.learn(peer, &address, AddressSource::Mdns, unix_now());
                }
                let kad = &mut self.swarm.behaviour_mut().kad;
                self.discovery.lookup(peer, kad, Instant::now());
                self.with_dials(|dials, cx| dials.start(peer, policy, reply, cx));
            }
            NodeCommand::Confirm { peer, reply } => self.confirm_later(peer, reply),
            NodeCommand::Disconnect { peer, reply } => {
                let _ = self.swarm.disconnect_peer_id(peer);
                let _ = reply.send(());
            }
            NodeCommand::Close { connection } => {
                self.swarm.close_connection(connection);
            }
            NodeCommand::Probe { connection } => {
                self.liveness.probe(connection, Instant::now());
                if let Some(peer) = self.connections.get(&connection).copied() {
                    self.review_member(&peer, Instant::now());
                    self.review_path(peer);
                }
            }
            NodeCommand::ResetBackoffs => self.reset_backoffs(Instant::now()),
            NodeCommand::SetRelayOnly {
                everybody,
                exceptions,
            } => {
                self.relay_only = (everybody, exceptions);
                self.note_wishes(Instant::now());
            }
            NodeCommand::Explain { peer, reply } => {
                let _ = reply.send(Box::new(self.explain(&peer)));
            }
            NodeCommand::AddAddress { peer, address } => self.book.give(peer, &address, unix_now()),
            NodeCommand::SetRelays { relays } => {
                for gone in self.relays.set(relays, Instant::now()) {
                    let _ = self.swarm.disconnect_peer_id(gone);
                }
                self.note_relays();
            }
            NodeCommand::SetExternal { addresses } => self.set_external(addresses),
            NodeCommand::Snapshot { reply } => {
                let _ = reply.send(self.snapshot());
            }
            NodeCommand::Health { reply } => {
                let _ = reply.send(NodeHealth {
                    listeners: self.listeners.len(),
                    wanted: self.wanted,
                });
            }
            #[cfg(debug_assertions)]
            #[expect(clippy::disallowed_methods, reason = "standing still is the point of it")]
            NodeCommand::Stall { time } => std::thread::sleep(time),
            NodeCommand::Shutdown { reply } => drop(reply),
        }
    }

    fn set_external(&mut self, addresses: Vec<Multiaddr>) {
        let before = std::mem::replace(&mut self.external, addresses);
        for gone in before.iter().filter(|address| !self.external.contains(address)) {
            self.swarm.remove_external_address(gone);
        }
        for new in self.external.iter().filter(|address| !before.contains(address)) {
            self.swarm.add_external_address(new.clone());
        }
    }

    fn confirm_later(&mut self, peer: PeerId, reply: oneshot::Sender<bool>) {
        if self.agents.contains_key(&peer) {
            let _ = reply.send(true);
        } else if !self.streams.is_connected(&peer) {
            let _ = reply.send(false);
        } else {
            self.confirming.retain(|(_, reply)| !reply.is_closed());
            self.confirming.push((peer, reply));
        }
    }

    fn confirm(&mut self, peer: &PeerId, answered: bool) {
        let (of_peer, others) = std::mem::take(&mut self.confirming)
            .into_iter()
            .partition(|(waiting, _)| waiting == peer);
        self.confirming = others;
        let of_peer: Vec<(PeerId, oneshot::Sender<bool>)> = of_peer;
        for (_, reply) in of_peer {
            let _ = reply.send(answered);
        }
    }

    fn handle_event(&mut self, event: SwarmEvent<NodeBehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour_event(event, now),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                num_established,
                concurrent_dial_errors,
                ..
            } => {
                if let ConnectedPoint::Dialer { address, .. } = &endpoint {
                    self.counters.count_dial(address, DialOutcome::Connected);
                }
                for (address, _) in concurrent_dial_errors.iter().flatten() {
                    self.counters.count_dial(address, DialOutcome::Failed);
                }
                self.handle_established(peer_id, connection_id, &endpoint, num_established.get() == 1, now);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                cause,
                ..
            } => {
                let reason = cause.map_or_else(
                    || "the connection was closed".to_owned(),
                    |cause| root_cause(&cause),
                );
                self.handle_closed(peer_id, connection_id, num_established == 0, &reason, now);
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
            } => {
                self.counters.count_failure(&error);
                self.relays.handle_view(connection_id, false, &mut self.nat, now);
                if let Some(peer) = peer_id {
                    self.relays.handle_connect_failed(&peer, &error.to_string(), now);
                    self.note_dial_failure(peer, connection_id, &error, now);
                }
                self.with_dials(|dials, cx| dials.handle_dial_failed(peer_id, connection_id, &error, cx));
            }
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                ..
            } => {
                tracing::debug!(address = %send_back_addr, %error, "an inbound connection failed");
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                tracing::info!(%address, "listening");
                let loopback_of_many = ip_of(&address).is_some_and(|ip| ip.is_loopback())
                    && self.listeners.get(&listener_id) == Some(&true);
                if path_of(&address) == PathKind::Direct(Transport::Tcp) && !loopback_of_many {
                    self.listening_by = None;
                }
                if let Some(up) = self.listeners.get_mut(&listener_id) {
                    *up = true;
                }
            }
            SwarmEvent::ListenerClosed {
                listener_id, reason, ..
            } => {
                let reason = match reason {
                    Ok(()) => "the relay ended the reservation".to_owned(),
                    Err(error) => root_cause(&error),
                };
                if self.listeners.remove(&listener_id).is_some() {
                    tracing::warn!(reason, "a listener closed");
                }
                self.relays.handle_listener_closed(listener_id, &reason, now);
            }
            SwarmEvent::ExternalAddrConfirmed { address } => {
                tracing::info!(%address, "reachable from outside");
                self.note_addresses();
            }
            SwarmEvent::ExternalAddrExpired { .. } => self.note_addresses(),
            SwarmEvent::ListenerError { listener_id, error } if !self.relays.owns(listener_id) => {
                tracing::debug!(%error, "a listener reports an error");
            }
            _ => {}
        }
    }

    fn handle_established(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        first: bool,
        now: Instant,
    ) {
        let path = match endpoint {
            ConnectedPoint::Dialer { address, .. } => path_of(address),
            ConnectedPoint::Listener { local_addr, .. } => path_of(local_addr),
        };
        self.connections.insert(connection, peer);
        self.liveness.insert(connection, now);
        self.relays.handle_view(connection, true, &mut self.nat, now);
        let member = matches!(self.policy.role(&peer), Some(Role::Member(_)));
        let mut punched = false;
        if member {
            self.members.enter(peer, now);
            self.members.set_connected(&peer, true);
            if let ConnectedPoint::Dialer { address, .. } = endpoint {
                punched = self.note_dial_success(peer, connection, address, now);
            }
        }
        match path {
            PathKind::Relayed(relay) => {
                self.doubt_direct(&peer, now);
                let conn = self.streams.find(&peer, connection);
                if let (Some(conn), Some(limit)) = (conn, self.relays.limit(&relay)) {
                    conn.set_limit(limit);
                }
            }
            PathKind::Direct(_) => {
                self.relays.handle_connected(&peer, now);
                // A hole that was punched closes again: its address is no use to a plain dial.
                if let ConnectedPoint::Dialer { address, .. } = endpoint
                    && member
                    && !punched
                {
                    self.book.learn(peer, address, AddressSource::Worked, unix_now());
                }
            }
        }
        self.note_wishes_of(peer, now);
        self.review_member(&peer, now);
        self.tidy(&peer);
        if first {
            let _ = self.events.send(NodeEvent::PeerConnected { peer, path });
            self.paths.insert(peer, path);
        } else {
            self.review_path(peer);
        }
        self.with_dials(|dials, cx| dials.handle_connected(peer, connection, path, cx));
    }

    fn handle_closed(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        last: bool,
        reason: &str,
        now: Instant,
    ) {
        self.connections.remove(&connection);
        self.liveness.remove(&connection);
        self.review_member(&peer, now);
        let direct = self
            .streams
            .connections(&peer)
            .iter()
            .any(|conn| !conn.path().is_relayed());
        if !direct {
            self.relays.handle_disconnected(&peer, reason, now);
            let kad = &mut self.swarm.behaviour_mut().kad;
            self.discovery.handle_disconnected(&peer, kad);
        }
        if last {
            self.agents.remove(&peer);
            self.paths.remove(&peer);
            self.members.set_connected(&peer, false);
            self.confirm(&peer, false);
            let _ = self.events.send(NodeEvent::PeerDisconnected { peer });
        } else {
            self.tidy(&peer);
            self.review_path(peer);
        }
    }

    /// Leaves all but one of several like connections. Both ends see the same ids, so exactly one of them does it.
    fn tidy(&self, peer: &PeerId) {
        if self.swarm.local_peer_id() < peer {
            self.streams.supersede_duplicates(peer);
        }
    }

    /// Tells every member's machine whether a direct path is wanted.
    fn note_wishes(&mut self, now: Instant) {
        let (everybody, exceptions) = &self.relay_only;
        for (peer, member) in self.members.iter_mut() {
            member
                .upgrade
                .set_wanted(*everybody == exceptions.contains(peer), now);
        }
    }

    fn note_wishes_of(&mut self, peer: PeerId, now: Instant) {
        let wanted = self.relay_only.0 == self.relay_only.1.contains(&peer);
        if let Some(member) = self.members.get_mut(&peer) {
            member.upgrade.set_wanted(wanted, now);
        }
    }

    fn review_path(&mut self, peer: PeerId) {
        let Some(conn) = self.streams.choose(&peer, PathPolicy::PreferDirect) else {
            return;
        };
        let path = conn.path();
        if self.paths.insert(peer, path) != Some(path) {
            tracing::info!(%peer, ?path, "new streams take another path");
            let _ = self.events.send(NodeEvent::PathChanged { peer, path });
        }
    }

    fn handle_behaviour_event(&mut self, event: NodeBehaviourEvent, now: Instant) {
        match event {
            NodeBehaviourEvent::Ping(event) => self.handle_ping(event, now),
            NodeBehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            }) => self.handle_identify(peer_id, connection_id, info),
            NodeBehaviourEvent::Relay(client::Event::ReservationReqAccepted {
                relay_peer_id, limit, ..
            }) => {
                let limit = limit.map(|limit| circuit_limit(limit.duration(), limit.data_in_bytes()));
                self.relays.handle_reserved(&relay_peer_id, limit, now);
                self.note_addresses();
            }
            NodeBehaviourEvent::Relay(client::Event::OutboundCircuitEstablished {
                relay_peer_id,
                limit: Some(limit),
            }) => self.relays.handle_limit(
                relay_peer_id,
                circuit_limit(limit.duration(), limit.data_in_bytes()),
            ),
            NodeBehaviourEvent::Mdns4(event) | NodeBehaviourEvent::Mdns6(event) => {
                self.discovery.handle_mdns(event, &self.policy);
                self.take_findings();
            }
            NodeBehaviourEvent::Kad(event) => {
                self.discovery.handle_kad(event, Clock::read());
                self.take_findings();
            }
            NodeBehaviourEvent::Upnp(event) => {
                self.discovery.handle_upnp(event);
                self.take_findings();
            }
            NodeBehaviourEvent::Autonat(event) => {
                tracing::debug!(address = %event.tested_addr, relay = %event.server, result = ?event.result, "a relay dialled back");
            }
            _ => {}
        }
    }

    fn handle_ping(&mut self, event: ping::Event, now: Instant) {
        match event.result {
            Ok(rtt) => self.handle_answer(event.peer, event.connection, rtt, now),
            // The peer may serve another ping at the moment; the node's own probe decides.
            Err(ping::Failure::Timeout) => self.liveness.probe(event.connection, now),
            Err(_) => {}
        }
    }

    fn snapshot(&self) -> NodeSnapshot {
        NodeSnapshot {
            peer_id: *self.swarm.local_peer_id(),
            listen: self.swarm.listeners().cloned().collect(),
            external: self.swarm.external_addresses().cloned().collect(),
            relays: self.relays.snapshot(Instant::now()),
            peers: describe::peers(&self.streams, &self.agents),
            nat: self.nat.verdict(Instant::now()),
        }
    }
}

/// The next news of the network; none for ever where it is not watched.
async fn next_net_event(net: &mut Option<(NetWatch, mpsc::Receiver<NetEvent>)>) -> Option<NetEvent> {
    match net {
        Some((_, events)) => {
            let event = events.recv().await;
            if event.is_none() {
                *net = None;
            }
            event
        }
        None => std::future::pending().await,
    }
}

/// The ways to find peers and to be found that mean anything: a node that listens on this machine only, or nowhere, has
/// nothing to announce to a network and no port to have opened.
fn ways_to_be_found(wanted: DiscoveryConfig, listen: &[Multiaddr]) -> DiscoveryConfig {
    let inside = listen
        .iter()
        .all(|address| ip_of(address).is_some_and(|ip| ip.is_loopback()));
    DiscoveryConfig {
        mdns: wanted.mdns && !inside,
        upnp: wanted.upnp && !inside,
        ..wanted
    }
}

/// What a relay allows; it says 0 where there is no limit.
fn circuit_limit(duration: Option<Duration>, bytes: Option<u64>) -> CircuitLimit {
    CircuitLimit {
        duration: duration.filter(|duration| !duration.is_zero()),
        bytes: bytes.filter(|bytes| *bytes > 0),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
