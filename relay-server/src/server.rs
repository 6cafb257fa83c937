//! A running relay: the actor that owns the swarm, and the handle to it.
//!
//! The actor's inboxes: a stop token, finished admit tasks, a tick for expiry, commands of the handle, notes that the
//! list of authorised peers changed, inbound admit streams, the swarm. It awaits none of their consumers.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use libp2p::core::transport::ListenerId;
use libp2p::metrics::Registry;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{PeerId, Swarm, TransportError, kad, ping};
use multiaddr::Multiaddr;
use peerup_config::RelayConfig;
use peerup_model::ADMIT_PROTOCOL;
use peerup_net::{Audience, GateCounters, InboundStream, ProtocolTable, StreamLimits, Streams};
use peerup_trust::{IdentityError, KeyFileError, Role, load_identity};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::address;
use crate::admit::answer_admit;
use crate::asn::{AsnError, AsnTable};
use crate::control::{RelayCommand, RelayControl, load_asn};
use crate::membership::Membership;
use crate::metrics::Meters;
use crate::quiet::Quiet;
use crate::records;
use crate::reload::{self, Reloaded};
use crate::snapshot::{ConnectedPeer, RelaySnapshot};
use crate::swarm::{Behaviour, BehaviourEvent, build};
use crate::watch::{FileStamp, watch_file};

/// How long a listener may take to say where it listens.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an "any address" listener may take when another one stands already.
const INTERFACE_TIMEOUT: Duration = Duration::from_millis(500);
/// How often expired admissions are looked for.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);
/// Admit requests that wait or run; each is one small frame.
const ADMIT_QUEUE: usize = 64;
/// Admit requests of one peer at a time.
const ADMITS_PER_PEER: usize = 4;
/// Pings that may fail in a row before a connection counts as dead.
const MAX_FAILED_PINGS: u8 = 2;
/// Commands that wait for the actor; who sends more waits.
const COMMAND_QUEUE: usize = 32;
/// How long connections may take to close at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the actor may take to end before it is cut off.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The identity key cannot be used.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// The list of authorised peers cannot be used.
    #[error(transparent)]
    AuthorizedKeys(#[from] Box<KeyFileError>),
    /// The table of AS numbers cannot be used.
    #[error(transparent)]
    AsnTable(#[from] AsnError),
    /// An address to listen on cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address as the config has it.
        address: Multiaddr,
        /// What the system says.
        source: io::Error,
    },
    /// The transports cannot be set up.
    #[error(transparent)]
    Transport(#[from] peerup_net::TransportError),
    /// The admit protocol cannot be offered.
    #[error("cannot offer the admit protocol: {0}")]
    Protocol(#[from] peerup_net::RegisterError),
}

/// A handle to a running relay. Dropping it ends the relay without waiting for that.
#[derive(Debug)]
pub struct Relay {
    peer_id: PeerId,
    addresses: Vec<Multiaddr>,
    control: RelayControl,
    stop: CancellationToken,
    done: CancellationToken,
    actor: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay within the current tokio runtime, and returns when it listens.
    ///
    /// # Errors
    ///
    /// See [`StartError`]; nothing is left running then. Of several addresses, those that this machine
    /// has no network for (IPv6, as a rule) are left out with a warning as long as one is left.
    pub async fn start(config: RelayConfig) -> Result<Self, StartError> {
        let key = load_identity(&config.key_file)?;
        let path = config.security.authorized_keys_file.clone();
        let seen = FileStamp::of(&path).await;
        let meters = Arc::<Meters>::default();
        let asn = load_asn(config.resources.asn_table.clone()).await?;
        let asn_prefixes = asn.as_ref().map_or(0, |table| table.len());
        let (membership, rules) = Membership::start(&config, asn, meters.clone())?;
        if !config.security.enable_connection_gating {
            tracing::warn!(
                "the gate is off: every stranger may use this relay; remove `enable_connection_gating: false`"
            );
        }
        let table = ProtocolTable::new();
        table.register(ADMIT_PROTOCOL, Audience::Members)?;
        let limits = StreamLimits {
            inbound_queue: ADMIT_QUEUE,
            inbound_per_peer: ADMITS_PER_PEER,
        };
        let (streams, _, inbound) = Streams::new(membership.policy(), table, limits);
        let relay_config = rules.relay_config(&config.resources);
        let peer_id = key.public().to_peer_id();
        let mut transports = Registry::default();
        let policy = membership.policy();
        let mut swarm = build(key, policy, streams, relay_config, rules, &mut transports).await?;
        let listeners = listen(&mut swarm, &config.network.listen_addresses).await?;
        let own_addresses = config.network.external_addresses.is_empty();
        let addresses = announce(&mut swarm, &config.network.external_addresses, peer_id);

        let (stop, done) = (CancellationToken::new(), CancellationToken::new());
        let (note, notes) = mpsc::channel(1);
        let (sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let control = RelayControl::new(sender, meters.clone(), transports);
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_file(path, seen, note));
        let actor = RelayActor {
            swarm,
            membership: Arc::new(membership),
            inbound,
            notes,
            commands,
            tasks,
            meters,
            gate: Arc::default(),
            listeners: (listeners, listeners),
            connections: HashMap::new(),
            started: std::time::Instant::now(),
            asn_prefixes,
            started_with: config.clone(),
            in_force: config,
            waits_for_restart: Vec::new(),
            failed_pings: HashMap::new(),
            own_addresses,
            strangers: Quiet::new(std::time::Instant::now()),
            stop: stop.clone(),
        };
        let ended = done.clone().drop_guard();
        let actor = tokio::spawn(async move {
            let _ended = ended;
            actor.run().await;
        });
        Ok(Self {
            peer_id,
            addresses,
            control,
            stop,
            done,
            actor,
        })
    }

    /// Returns the relay's peer id.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Returns the full multiaddrs to hand out, the first the best.
    pub fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    /// Returns the way to ask it.
    pub fn control(&self) -> RelayControl {
        self.control.clone()
    }

    /// Returns when the relay has ended, which by itself it only does after a bug. Cancel safe.
    pub async fn ended(&self) {
        self.done.cancelled().await;
    }

    /// Closes all connections and ends the relay, within five seconds.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if timeout(SHUTDOWN_TIMEOUT, &mut self.actor).await.is_err() {
            tracing::warn!("the relay did not end in time and is cut off");
            self.actor.abort();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Checks what a start reads before it listens, and returns how many peers are authorised.
///
/// # Errors
///
/// As [`Relay::start`], without [`StartError::Listen`] and [`StartError::Transport`].
pub fn check(config: &RelayConfig) -> Result<usize, StartError> {
    load_identity(&config.key_file)?;
    if let Some(path) = &config.resources.asn_table {
        AsnTable::load(path)?;
    }
    let (membership, _) = Membership::start(config, None, Arc::default())?;
    Ok(membership.count())
}

/// Listens everywhere, and returns how many listeners there are when each of them stands.
async fn listen(swarm: &mut Swarm<Behaviour>, addresses: &[Multiaddr]) -> Result<usize, StartError> {
    let mut waiting: HashMap<ListenerId, &Multiaddr> = HashMap::new();
    let mut left_out = None;
    for address in addresses {
        match swarm.listen_on(address.clone()) {
            Ok(id) => {
                waiting.insert(id, address);
            }
            Err(error) => {
                let failed = StartError::Listen {
                    address: address.clone(),
                    source: listen_error(error),
                };
                if !no_such_network(&failed) {
                    return Err(failed);
                }
                tracing::warn!("{failed}; left out");
                left_out = Some(failed);
            }
        }
    }
    if let (true, Some(failed)) = (waiting.is_empty(), left_out) {
        return Err(failed);
    }
    let listeners = waiting.len();
    let mut deadline = Instant::now() + LISTEN_TIMEOUT;
    while !waiting.is_empty() {
        let Ok(event) = timeout_at(deadline, swarm.select_next_some()).await else {
            break;
        };
        match event {
            SwarmEvent::NewListenAddr { listener_id, .. } => {
                waiting.remove(&listener_id);
                if !waiting.values().any(|address| address::is_concrete(address)) {
                    deadline = deadline.min(Instant::now() + INTERFACE_TIMEOUT);
                }
            }
            SwarmEvent::ListenerClosed {
                listener_id, reason, ..
            } => {
                if let Some(address) = waiting.remove(&listener_id) {
                    let source = reason.err().unwrap_or_else(|| io::ErrorKind::NotConnected.into());
                    return Err(StartError::Listen {
                        address: address.clone(),
                        source,
                    });
                }
            }
            _ => {}
        }
    }
    for silent in waiting.into_values() {
        // Bound, but no interface has an address of that kind (yet): a machine without IPv6, as a rule.
        if swarm.listeners().next().is_none() || address::is_concrete(silent) {
            let source = io::Error::new(
                io::ErrorKind::TimedOut,
                "no interface of this machine has such an address",
            );
            return Err(StartError::Listen {
                address: silent.clone(),
                source,
            });
        }
        tracing::warn!("no interface has an address for {silent} yet");
    }
    // The addresses of the other interfaces follow at once.
    while let Some(Some(_)) = swarm.next().now_or_never() {}
    Ok(listeners)
}

fn listen_error(error: TransportError<io::Error>) -> io::Error {
    match error {
        TransportError::Other(error) => flatten(error),
        TransportError::MultiaddrNotSupported(_) => io::Error::new(
            io::ErrorKind::Unsupported,
            "no transport here speaks that address (TCP, QUIC and WebSocket do)",
        ),
    }
}

/// libp2p wraps errors once for each layer of transports, in types that hide the system's error from everything
/// but their text; its number tells what happened.
fn flatten(error: io::Error) -> io::Error {
    let text = error.to_string();
    let number = text
        .rsplit_once("(os error ")
        .and_then(|(_, rest)| rest.split_once(')'));
    match number.and_then(|(number, _)| number.parse().ok()) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error,
    }
}

fn no_such_network(error: &StartError) -> bool {
    let StartError::Listen { source, address } = error else {
        return false;
    };
    let v6 = address
        .iter()
        .any(|part| matches!(part, multiaddr::Protocol::Ip6(_)));
    // EAFNOSUPPORT has no kind of its own.
    v6 && (source.kind() == io::ErrorKind::AddrNotAvailable || source.raw_os_error() == Some(97))
}

/// Tells libp2p, which tells the peers, under which addresses to reach the relay. Returns them in full.
fn announce(swarm: &mut Swarm<Behaviour>, external: &[Multiaddr], peer: PeerId) -> Vec<Multiaddr> {
    let mut addresses = external.to_vec();
    if external.is_empty() {
        addresses = swarm
            .listeners()
            .filter(|address| worth_announcing(address))
            .cloned()
            .collect();
        addresses.sort_by_key(address::preference);
        tracing::warn!(
            "no external address is configured: peers get the addresses of this machine's interfaces; set \
             network.external_addresses to what they reach from outside"
        );
    }
    for address in &addresses {
        swarm.add_external_address(address.clone());
    }
    addresses
        .into_iter()
        .map(|address| address::with_peer(address, peer))
        .collect()
}

fn worth_announcing(address: &Multiaddr) -> bool {
    address::is_concrete(address)
        && !address.iter().any(|part| match part {
            // Means another machine on each link.
            multiaddr::Protocol::Ip6(ip) => ip.is_unicast_link_local(),
            _ => false,
        })
}

struct RelayActor {
    swarm: Swarm<Behaviour>,
    membership: Arc<Membership>,
    inbound: mpsc::Receiver<InboundStream>,
    notes: mpsc::Receiver<()>,
    commands: mpsc::Receiver<RelayCommand>,
    /// The watcher of the list, and a task for each admit request; bounded by [`ADMIT_QUEUE`].
    tasks: JoinSet<()>,
    meters: Arc<Meters>,
    gate: Arc<GateCounters>,
    /// Listeners that stand, and those at the start.
    listeners: (usize, usize),
    connections: HashMap<ConnectionId, Connection>,
    started: std::time::Instant,
    asn_prefixes: usize,
    started_with: RelayConfig,
    in_force: RelayConfig,
    waits_for_restart: Vec<&'static str>,
    failed_pings: HashMap<ConnectionId, u8>,
    /// Whether the addresses of this machine's interfaces are announced.
    own_addresses: bool,
    /// Anybody can be refused as often as it likes.
    strangers: Quiet,
    stop: CancellationToken,
}

/// One connection, as the actor keeps it.
struct Connection {
    peer: PeerId,
    address: Multiaddr,
    since: std::time::Instant,
}

impl RelayActor {
    async fn run(mut self) {
        self.gate = self.swarm.behaviour().gate.counters();
        let mut review = interval(REVIEW_INTERVAL);
        review.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!("a task of the relay failed: {error}");
                    }
                }
                _ = review.tick() => self.membership.review(),
                Some(command) = self.commands.recv() => self.handle_command(command),
                Some(()) = self.notes.recv() => self.read_list(),
                Some(stream) = self.inbound.recv(), if self.tasks.len() <= ADMIT_QUEUE => {
                    self.tasks.spawn(answer_admit(Arc::clone(&self.membership), stream));
                }
                event = self.swarm.select_next_some() => self.handle_event(event),
            }
        }
        self.close().await;
    }

    /// Reading the list blocks: it has a task, which ends before the next is begun.
    fn read_list(&mut self) {
        let membership = Arc::clone(&self.membership);
        self.tasks.spawn(async move { membership.reload().await });
    }

    fn handle_command(&mut self, command: RelayCommand) {
        match command {
            RelayCommand::Health { reply } => {
                let _ = reply.send(self.listeners);
            }
            RelayCommand::Snapshot { reply } => {
                let _ = reply.send(self.snapshot());
            }
            RelayCommand::Disconnect { peer, reply } => {
                let connections = self.connections.values().filter(|one| one.peer == peer).count();
                // It may have gone by itself meanwhile.
                let _ = self.swarm.disconnect_peer_id(peer);
                let _ = reply.send(connections);
            }
            RelayCommand::Reload { config, asn, reply } => {
                let reloaded = self.reload(*config, asn);
                let membership = Arc::clone(&self.membership);
                // Answered when the list has been read as well: who asks looks at what became of it.
                self.tasks.spawn(async move {
                    membership.reload().await;
                    let _ = reply.send(reloaded);
                });
            }
            #[cfg(debug_assertions)]
            #[expect(clippy::disallowed_methods, reason = "standing still is the point of it")]
            RelayCommand::Stall { time } => std::thread::sleep(time),
        }
    }

    fn reload(&mut self, config: RelayConfig, asn: Option<Arc<AsnTable>>) -> Reloaded {
        let reloaded = reload::compare(&self.started_with, &self.in_force, &config);
        self.asn_prefixes = asn.as_ref().map_or(0, |table| table.len());
        // The time of a reservation is libp2p's as well, which keeps that of the start.
        let live = RelayConfig {
            resources: reload::limits_in_force(&self.started_with, &config),
            ..config.clone()
        };
        self.membership.set(&live, asn);
        self.waits_for_restart.clone_from(&reloaded.waits_for_restart);
        self.in_force = config;
        for change in &reloaded.live {
            tracing::info!(change, "in force");
        }
        for change in &reloaded.waits_for_restart {
            tracing::warn!(change, "changed in the config; in force after the next start");
        }
        reloaded
    }

    fn snapshot(&self) -> RelaySnapshot {
        let (reservations, guests) = self.membership.counts();
        let mut peers: std::collections::BTreeMap<PeerId, ConnectedPeer> = std::collections::BTreeMap::new();
        for connection in self.connections.values() {
            let age = connection.since.elapsed();
            let entry = peers.entry(connection.peer).or_insert_with(|| ConnectedPeer {
                peer: connection.peer,
                connections: 0,
                address: connection.address.clone(),
                age,
            });
            entry.connections += 1;
            if age > entry.age {
                entry.age = age;
                entry.address.clone_from(&connection.address);
            }
        }
        let (listeners, listeners_wanted) = self.listeners;
        RelaySnapshot {
            peer_id: *self.swarm.local_peer_id(),
            uptime: self.started.elapsed(),
            listeners,
            listeners_wanted,
            peers: peers.into_values().collect(),
            members: self.membership.count(),
            guests,
            reservations,
            circuits: self.meters.open_circuits(),
            asn_prefixes: self.asn_prefixes,
            limits: reload::limits_in_force(&self.started_with, &self.in_force),
            waits_for_restart: self.waits_for_restart.clone(),
            checks: Vec::new(),
            list_problem: self.membership.list_problem(),
            gate: self.gate.clone(),
        }
    }

    fn handle_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.handle_ping(event),
            SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) => {
                self.meters.count_event(&event);
                tracing::debug!(?event, "relay");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Kad(kad::Event::InboundRequest {
                request:
                    kad::InboundRequest::PutRecord {
                        source,
                        record: Some(record),
                        ..
                    },
            })) => self.handle_record(source, record),
            SwarmEvent::Behaviour(BehaviourEvent::Autonat(event)) => {
                tracing::debug!(peer = %event.client, address = %event.tested_addr, result = ?event.result, "dialled back");
            }
            SwarmEvent::NewListenAddr { address, .. } if self.own_addresses && worth_announcing(&address) => {
                tracing::info!(%address, "listening");
                self.swarm.add_external_address(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } if self.own_addresses => {
                self.swarm.remove_external_address(&address);
            }
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                self.listeners.0 = self.listeners.0.saturating_sub(1);
                tracing::error!(?addresses, ?reason, "a listener closed");
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let connection = Connection {
                    peer: peer_id,
                    address: endpoint.get_remote_address().clone(),
                    since: std::time::Instant::now(),
                };
                self.connections.insert(connection_id, connection);
                tracing::info!(peer = %peer_id, from = %endpoint.get_remote_address(), "connected");
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                ..
            } => {
                self.failed_pings.remove(&connection_id);
                self.connections.remove(&connection_id);
                if num_established == 0 {
                    tracing::info!(peer = %peer_id, "disconnected");
                }
            }
            SwarmEvent::IncomingConnectionError {
                peer_id: Some(peer),
                error,
                send_back_addr,
                ..
            } => {
                if let Some(left_out) = self.strangers.admit(std::time::Instant::now()) {
                    tracing::info!(%peer, from = %send_back_addr, left_out, "refused: {error}");
                }
            }
            _ => {}
        }
    }

    /// A peer sends what others are to know of its addresses. It is told nothing of a refusal: libp2p has answered.
    fn handle_record(&mut self, source: PeerId, record: kad::Record) {
        if !matches!(self.membership.policy().role(&source), Some(Role::Member(_))) {
            return;
        }
        let now = (std::time::Instant::now(), Timestamp::now());
        let store = self.swarm.behaviour_mut().kad.store_mut();
        match records::keep(store, source, record, now) {
            Ok(()) => tracing::debug!(peer = %source, "keeps the addresses of a peer"),
            Err(refused) => tracing::debug!(peer = %source, "does not keep a record: {refused}"),
        }
    }

    /// A peer that vanished leaves a TCP connection that nobody else notices.
    fn handle_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(_) | Err(ping::Failure::Unsupported) => {
                self.failed_pings.remove(&event.connection);
            }
            Err(_) => {
                let failed = self.failed_pings.entry(event.connection).or_default();
                *failed = failed.saturating_add(1);
                if *failed >= MAX_FAILED_PINGS {
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }

    /// Closes every connection in order, so that peers look for another relay at once.
    async fn close(mut self) {
        self.tasks.abort_all();
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // It may have gone by itself meanwhile.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while self.swarm.connected_peers().next().is_some() {
            if timeout_at(deadline, self.swarm.next()).await.is_err() {
                tracing::debug!("some connections did not close in time");
                break;
            }
        }
    }
}
