//! The task that owns the swarm.
//!
//! Inboxes: commands of the handle, timers of dials and relays, events of the swarm. It never awaits a consumer:
//! while it waits, connections over TCP stand still.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{
        ConnectedPoint,
        transport::{ListenerId, PortUse},
    },
    identify, ping,
    relay::client,
    swarm::{
        ConnectionId, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use peerup_model::{PathKind, PathPolicy, Transport};
use peerup_trust::Role;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    behaviour::{NodeBehaviour, NodeBehaviourEvent},
    book::{AddressSource, Book, unix_now},
    command::NodeCommand,
    describe,
    dial::{DialContext, Dials},
    discovery::{Clock, Discovery, DiscoveryEvent},
    listen::{is_wildcard, lacks_family, listen},
    relays::{RelayChange, Relays},
};
use crate::{
    address::{is_circuit, path_of},
    config::NodeConfig,
    error::{StartError, root_cause},
    gate::{Gate, GateCounters},
    policy::PolicyHandle,
    protocols::ProtocolTable,
    snapshot::{CircuitLimit, NodeEvent, NodeSnapshot, NodeStatus},
    streams::{InboundStream, Streams, StreamsHandle},
    transport::swarm_with,
    warm,
};

/// Pings without an answer after which a connection is given up.
const MAX_MISSES: u8 = 2;
/// Characters kept of what a peer calls its software.
const MAX_AGENT: usize = 64;
/// Addresses taken from one identify message.
const MAX_IDENTIFY_ADDRESSES: usize = 8;
/// How long connections may take to close in order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the handle needs of a new node.
pub(super) struct NodeParts {
    pub(super) peer_id: PeerId,
    pub(super) streams: StreamsHandle,
    pub(super) gate: Arc<GateCounters>,
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
    misses: HashMap<ConnectionId, u8>,
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
        let (streams, handle, inbound) = Streams::new(policy.clone(), table, config.limits);
        let gate = Gate::new(policy.clone());
        let counters = gate.counters();
        let agent = config.agent;
        let discovery = Discovery::new(config.keypair.clone());
        let mut swarm = swarm_with(config.keypair, |key, relay| {
            NodeBehaviour::new(key, agent, relay, (gate, streams), config.discovery)
        })
        .await?;
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
        for address in config.external {
            swarm.add_external_address(address);
        }
        let mut relays = Relays::new(config.reserve);
        relays.set(config.relays, Instant::now());
        let parts = NodeParts {
            peer_id: *swarm.local_peer_id(),
            streams: handle.clone(),
            gate: counters,
            inbound,
        };
        let mut actor = Self {
            swarm,
            policy,
            streams: handle,
            commands,
            status,
            events,
            book: Book::default(),
            relays,
            dials: Dials::default(),
            listeners,
            misses: HashMap::new(),
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
            let timeout = earliest(self.relays.poll_timeout(), self.dials.poll_timeout());
            let timeout = earliest(timeout, self.discovery.poll_timeout());
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
                () = sleep_until(timeout) => self.handle_timeout(),
                event = self.swarm.select_next_some() => self.handle_event(event),
            }
        }
        self.close().await;
    }

    async fn close(&mut self) {
        self.commands.close();
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
        self.relays.run(&mut self.swarm, Instant::now());
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
            now: Instant::now(),
        };
        act(&mut self.dials, &mut cx);
    }

    fn handle_command(&mut self, command: NodeCommand) {
        match command {
            NodeCommand::Dial { peer, policy, reply } => {
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
            NodeCommand::AddAddress { peer, address } => self.book.give(peer, &address, unix_now()),
            NodeCommand::SetRelays { relays } => {
                for gone in self.relays.set(relays, Instant::now()) {
                    let _ = self.swarm.disconnect_peer_id(gone);
                }
                self.note_relays();
            }
            NodeCommand::Snapshot { reply } => {
                let _ = reply.send(self.snapshot());
            }
            NodeCommand::Shutdown { reply } => drop(reply),
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
                ..
            } => self.handle_established(peer_id, connection_id, &endpoint, num_established.get() == 1, now),
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
                if let Some(peer) = peer_id {
                    self.relays.handle_connect_failed(&peer, &error.to_string(), now);
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
        if !path.is_relayed() {
            self.relays.handle_connected(&peer, now);
            if let ConnectedPoint::Dialer { address, .. } = endpoint
                && matches!(self.policy.role(&peer), Some(Role::Member(_)))
            {
                self.book.learn(peer, address, AddressSource::Worked, unix_now());
            }
        }
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
        self.misses.remove(&connection);
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

    /// Dials the known direct addresses of a member that is connected over a relay only.
    fn try_direct(&mut self, peer: PeerId) {
        let direct = self
            .streams
            .connections(&peer)
            .iter()
            .any(|conn| !conn.path().is_relayed());
        let addresses = self.book.direct(&peer, unix_now());
        if direct || addresses.is_empty() {
            return;
        }
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addresses)
            .build();
        if let Err(error) = self.swarm.dial(dial) {
            tracing::debug!(%peer, %error, "no direct dial");
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
            NodeBehaviourEvent::Ping(event) => self.handle_ping(event),
            NodeBehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            }) => self.handle_identify(peer_id, connection_id, info),
            NodeBehaviourEvent::Relay(client::Event::ReservationReqAccepted {
                relay_peer_id, limit, ..
            }) => {
                let limit = limit.map(|limit| CircuitLimit {
                    duration: limit.duration(),
                    bytes: limit.data_in_bytes(),
                });
                self.relays.handle_reserved(&relay_peer_id, limit, now);
            }
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
            NodeBehaviourEvent::Dcutr(event) => {
                tracing::debug!(peer = %event.remote_peer_id, result = ?event.result, "hole punching ended");
            }
            _ => {}
        }
    }

    fn handle_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(rtt) => {
                self.misses.remove(&event.connection);
                self.streams.note_answer(&event.peer, event.connection, rtt);
                self.review_path(event.peer);
            }
            Err(ping::Failure::Unsupported) => {}
            Err(failure) => {
                let misses = self.misses.entry(event.connection).or_default();
                *misses = misses.saturating_add(1);
                if *misses >= MAX_MISSES {
                    tracing::info!(peer = %event.peer, %failure, "closes a connection that does not answer");
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }

    fn handle_identify(&mut self, peer: PeerId, connection: ConnectionId, info: identify::Info) {
        let agent = info
            .agent_version
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_AGENT)
            .collect();
        self.agents.insert(peer, agent);
        self.confirm(&peer, true);
        match self.policy.role(&peer) {
            Some(Role::Member(_)) => {
                for address in info.listen_addrs.iter().take(MAX_IDENTIFY_ADDRESSES) {
                    self.book.learn(peer, address, AddressSource::Told, unix_now());
                }
                self.try_direct(peer);
            }
            Some(Role::Infra) => {
                self.note_server(peer, connection, &info);
                self.report_observed(peer, connection, info.observed_addr);
            }
            _ => {}
        }
    }

    /// Offers the address that a relay sees for hole punching, where the connection shows the listen port's mapping.
    fn report_observed(&mut self, peer: PeerId, connection: ConnectionId, observed: Multiaddr) {
        let conns = self.streams.connections(&peer);
        let Some(conn) = conns.iter().find(|conn| conn.id() == connection) else {
            return;
        };
        let seen = path_of(&observed);
        let punchable = matches!(seen, PathKind::Direct(Transport::Quic | Transport::Tcp));
        if punchable
            && conn.path() == seen
            && conn.port_use() == Some(PortUse::Reuse)
            && !is_circuit(&observed)
        {
            self.swarm.behaviour_mut().observed.report(observed);
        }
    }

    /// Uses what discovery found.
    fn take_findings(&mut self) {
        while let Some(event) = self.discovery.next_event() {
            match event {
                DiscoveryEvent::Found {
                    peer,
                    addresses,
                    source,
                } => {
                    tracing::debug!(%peer, ?addresses, ?source, "found a peer");
                    for address in &addresses {
                        self.book.learn(peer, address);
                    }
                    if self.streams.is_connected(&peer) {
                        self.try_direct(peer);
                    }
                }
                DiscoveryEvent::Lost {
                    peer,
                    addresses,
                    source,
                } => tracing::debug!(%peer, ?addresses, ?source, "lost a peer"),
                event => tracing::debug!(?event, "discovery"),
            }
        }
    }

    /// A relay may keep addresses of peers.
    fn note_server(&mut self, peer: PeerId, connection: ConnectionId, info: &identify::Info) {
        let conns = self.streams.connections(&peer);
        if let Some(conn) = conns.iter().find(|conn| conn.id() == connection) {
            let kad = &mut self.swarm.behaviour_mut().kad;
            self.discovery
                .handle_identify(peer, conn.address(), &info.protocols, kad, Instant::now());
        }
    }

    fn note_relays(&mut self) {
        let relays: Vec<_> = self.relays.addresses().map(|(peer, _)| peer).collect();
        self.discovery
            .set_relays(relays, &mut self.swarm.behaviour_mut().kad);
    }

    fn note_addresses(&mut self) {
        let addresses: Vec<_> = self.swarm.external_addresses().cloned().collect();
        self.discovery.set_addresses(addresses, Instant::now());
    }

    fn snapshot(&self) -> NodeSnapshot {
        NodeSnapshot {
            peer_id: *self.swarm.local_peer_id(),
            listen: self.swarm.listeners().cloned().collect(),
            external: self.swarm.external_addresses().cloned().collect(),
            relays: self.relays.snapshot(Instant::now()),
            peers: describe::peers(&self.streams, &self.agents),
        }
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
