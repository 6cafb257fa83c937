//! A node: the handle that everybody holds, in front of the task that owns the swarm.
//!
//! The handle opens streams without going through the task when a connection exists; the task dials when none does.
//! Clones share one node. The node ends with [`Node::shutdown`] or when the last handle is dropped.

mod actor;
mod behaviour;
mod book;
mod book_file;
mod command;
mod describe;
mod dial;
mod discovery;
mod listen;
mod members;
mod probe;
mod punch;
mod reach;
mod relays;

use std::{
    collections::HashSet,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};
use peerup_model::PathPolicy;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use self::{actor::NodeActor, command::NodeCommand};
use crate::{
    config::{NodeConfig, RelayAddress},
    counters::NodeCounters,
    error::{OpenError, StartError},
    gate::{GateCounters, GateDecision},
    policy::PolicyHandle,
    protocols::ProtocolTable,
    snapshot::{NodeEvent, NodeHealth, NodeSnapshot, NodeStatus, PeerReport},
    streams::{Conn, InboundStream, OpenStreamError, PeerStream, StreamsHandle},
};

/// How long opening a stream may take, dialling included.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that the other side closes within this time after the handshake was refused by its gate.
const REFUSAL_WINDOW: Duration = Duration::from_secs(1);
/// Commands that wait for the task; senders wait past this.
const COMMAND_QUEUE: usize = 256;
/// Events that a slow subscriber may lag behind before it misses some.
const EVENT_QUEUE: usize = 256;
/// How long the node may take to listen on all its addresses.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an orderly shutdown may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(2_500);

/// A running node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    peer_id: PeerId,
    policy: PolicyHandle,
    commands: mpsc::Sender<NodeCommand>,
    streams: StreamsHandle,
    gate: Arc<GateCounters>,
    counters: Arc<NodeCounters>,
    decisions: broadcast::Sender<GateDecision>,
    status: watch::Receiver<NodeStatus>,
    events: broadcast::Sender<NodeEvent>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    /// Starts a node and returns once it listens on every address of the config.
    ///
    /// The receiver gets the streams that peers open; it must be drained, or new ones are reset. Must run inside a
    /// tokio runtime.
    pub async fn start(
        config: NodeConfig,
        policy: PolicyHandle,
        table: ProtocolTable,
    ) -> Result<(Self, mpsc::Receiver<InboundStream>), StartError> {
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let (events, _) = broadcast::channel(EVENT_QUEUE);
        let (status_sender, status) = watch::channel(NodeStatus::default());
        let (actor, parts) = NodeActor::new(
            config,
            policy.clone(),
            table,
            command_queue,
            status_sender,
            events.clone(),
        )
        .await?;
        let node = Self {
            inner: Arc::new(Inner {
                peer_id: parts.peer_id,
                policy,
                commands,
                streams: parts.streams,
                gate: parts.gate,
                counters: parts.counters,
                decisions: parts.decisions,
                status,
                events,
                task: Mutex::new(Some(tokio::spawn(actor.run()))),
            }),
        };
        let mut status = node.watch();
        let listening = timeout(LISTEN_TIMEOUT, status.wait_for(|status| status.listening)).await;
        match listening {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(StartError::Ended),
            // An interface may be down yet: the listener exists and gets its address later.
            Err(_) => tracing::warn!("not every listen address has come up"),
        }
        Ok((node, parts.inbound))
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.inner.peer_id
    }

    /// Opens a stream to a peer over the best path that the policy allows; dials if there is none.
    ///
    /// Takes at most 15 seconds. Cancel safe: a stream that opens too late is dropped.
    pub async fn open(
        &self,
        peer: PeerId,
        protocol: &str,
        policy: PathPolicy,
    ) -> Result<PeerStream, OpenError> {
        let deadline = Instant::now() + OPEN_TIMEOUT;
        match timeout_at(deadline, self.open_within(peer, protocol, policy)).await {
            Ok(result) => result,
            Err(_) => Err(OpenError::Timeout {
                peer,
                attempts: Vec::new(),
            }),
        }
    }

    async fn open_within(
        &self,
        peer: PeerId,
        protocol: &str,
        policy: PathPolicy,
    ) -> Result<PeerStream, OpenError> {
        if !protocol.starts_with('/') {
            return Err(OpenError::Protocol {
                protocol: protocol.to_owned(),
            });
        }
        let mut retried = false;
        loop {
            let (conn, dialled) = match self.best(&peer, policy) {
                Some(conn) => (conn, false),
                None => (self.dial(peer, policy).await?, true),
            };
            let error = match self.open_patiently(&conn, protocol, policy).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let closed = matches!(error, OpenStreamError::ConnectionClosed | OpenStreamError::Io(_));
            let young = dialled && conn.opened().elapsed() < REFUSAL_WINDOW;
            // Closed although another path exists: that was the other side tidying up, not its gate.
            if closed
                && young
                && self
                    .inner
                    .streams
                    .choose(&peer, policy)
                    .is_none_or(|other| other.id() == conn.id())
            {
                return Err(OpenError::NotAuthorized { peer });
            }
            if error.is_connection_level() && !retried {
                retried = true;
                self.close(&conn).await;
                continue;
            }
            return Err(match error {
                OpenStreamError::UnsupportedProtocol => OpenError::UnsupportedProtocol {
                    peer,
                    protocol: protocol.to_owned(),
                },
                OpenStreamError::Busy => OpenError::Busy { peer },
                OpenStreamError::Protocol => OpenError::Protocol {
                    protocol: protocol.to_owned(),
                },
                source => OpenError::Broken { peer, source },
            });
        }
    }

    /// The connection that a new stream takes, unless an answer on it is overdue.
    fn best(&self, peer: &PeerId, policy: PathPolicy) -> Option<Arc<Conn>> {
        let conn = self.inner.streams.choose(peer, policy)?;
        (!conn.is_suspect()).then_some(conn)
    }

    /// Opens a stream on a connection; where that takes longer than it should, tries another path beside it.
    async fn open_patiently(
        &self,
        conn: &Arc<Conn>,
        protocol: &str,
        policy: PathPolicy,
    ) -> Result<PeerStream, OpenStreamError> {
        let mut first = pin!(self.inner.streams.open_on(conn, protocol));
        let Some(patience) = conn.patience() else {
            return first.await;
        };
        if let Ok(opened) = timeout(patience, &mut first).await {
            return opened;
        }
        tracing::debug!(peer = %conn.peer(), path = ?conn.path(), "a stream is slow to open, another path is tried");
        conn.set_suspect(true);
        let _ = self
            .send(NodeCommand::Probe {
                connection: conn.id(),
            })
            .await;
        let mut other = pin!(self.open_elsewhere(conn, protocol, policy));
        tokio::select! {
            biased;
            opened = &mut first => match opened {
                Err(error) if error.is_connection_level() => other.await.map_err(|_| error),
                opened => opened,
            },
            opened = &mut other => match opened {
                Ok(stream) => Ok(stream),
                // The peer closes what it accepts: its gate has changed its mind, and waiting changes nothing.
                Err(Some(error @ OpenStreamError::ConnectionClosed)) => Err(error),
                Err(_) => first.await,
            },
        }
    }

    /// Opens a stream on any other connection, dialling for one. Fails without an error where none could be had.
    async fn open_elsewhere(
        &self,
        slow: &Conn,
        protocol: &str,
        policy: PathPolicy,
    ) -> Result<PeerStream, Option<OpenStreamError>> {
        let peer = slow.peer();
        if self.best(&peer, policy).is_none() {
            match self.dial(peer, policy).await {
                Ok(_) => {}
                Err(OpenError::NotAuthorized { .. }) => return Err(Some(OpenStreamError::ConnectionClosed)),
                Err(_) => return Err(None),
            }
        }
        let other = self
            .best(&peer, policy)
            .filter(|conn| conn.id() != slow.id())
            .ok_or(None)?;
        self.inner.streams.open_on(&other, protocol).await.map_err(Some)
    }

    async fn dial(&self, peer: PeerId, policy: PathPolicy) -> Result<Arc<Conn>, OpenError> {
        if self.inner.policy.role(&peer).is_none() {
            return Err(OpenError::NotListed { peer });
        }
        let (reply, answer) = oneshot::channel();
        let command = NodeCommand::Dial { peer, policy, reply };
        self.send(command).await?;
        answer.await.map_err(|_| OpenError::Closed)??;
        // A connection that is gone already was closed by the other side's gate.
        self.inner
            .streams
            .choose(&peer, policy)
            .ok_or(OpenError::NotAuthorized { peer })
    }

    /// Connects to a peer, if it is not connected, and waits until it has answered on the connection.
    pub async fn connect(&self, peer: PeerId) -> Result<(), OpenError> {
        self.connect_over(peer, PathPolicy::PreferDirect).await
    }

    /// Like [`Node::connect`], with a connection over a path that the policy allows.
    pub async fn connect_over(&self, peer: PeerId, policy: PathPolicy) -> Result<(), OpenError> {
        let deadline = Instant::now() + OPEN_TIMEOUT;
        let connect = async {
            if self.inner.streams.choose(&peer, policy).is_none() {
                self.dial(peer, policy).await?;
            }
            let (reply, answer) = oneshot::channel();
            self.send(NodeCommand::Confirm { peer, reply }).await?;
            match answer.await {
                Ok(true) => Ok(()),
                Ok(false) => Err(OpenError::NotAuthorized { peer }),
                Err(_) => Err(OpenError::Closed),
            }
        };
        match timeout_at(deadline, connect).await {
            Ok(result) => result,
            Err(_) => Err(OpenError::Timeout {
                peer,
                attempts: Vec::new(),
            }),
        }
    }

    /// Closes every connection to a peer. Its streams are reset.
    pub async fn disconnect(&self, peer: PeerId) {
        let (reply, answer) = oneshot::channel();
        if self.send(NodeCommand::Disconnect { peer, reply }).await.is_ok() {
            let _ = answer.await;
        }
    }

    async fn close(&self, conn: &Conn) {
        let _ = self
            .send(NodeCommand::Close {
                connection: conn.id(),
            })
            .await;
    }

    /// Remembers an address for later dials, such as one from the config or an invite.
    pub async fn add_address(&self, peer: PeerId, address: Multiaddr) {
        let _ = self.send(NodeCommand::AddAddress { peer, address }).await;
    }

    /// Replaces the relays to keep a reservation on. Relays that stay keep their reservation.
    pub async fn set_relays(&self, relays: Vec<RelayAddress>) {
        let _ = self.send(NodeCommand::SetRelays { relays }).await;
    }

    /// Replaces the addresses to announce besides those that are found out.
    pub async fn set_external(&self, addresses: Vec<Multiaddr>) {
        let _ = self.send(NodeCommand::SetExternal { addresses }).await;
    }

    /// Explains the path to a peer: its connections, both sides' candidates, what was tried and what comes next.
    pub async fn explain(&self, peer: PeerId) -> Result<PeerReport, OpenError> {
        let (reply, answer) = oneshot::channel();
        self.send(NodeCommand::Explain { peer, reply }).await?;
        answer.await.map(|report| *report).map_err(|_| OpenError::Closed)
    }

    /// Forgets every waiting time and tries everything again, as after a change of the network.
    pub async fn reset_backoffs(&self) {
        let _ = self.send(NodeCommand::ResetBackoffs).await;
    }

    /// Says whether direct paths are unwanted, so that none is tried for, and for which peers it is the other way
    /// round.
    pub async fn set_relay_only(&self, everybody: bool, exceptions: HashSet<PeerId>) {
        let command = NodeCommand::SetRelayOnly {
            everybody,
            exceptions,
        };
        let _ = self.send(command).await;
    }

    /// Describes the node as it is now.
    pub async fn snapshot(&self) -> Result<NodeSnapshot, OpenError> {
        let (reply, answer) = oneshot::channel();
        self.send(NodeCommand::Snapshot { reply }).await?;
        answer.await.map_err(|_| OpenError::Closed)
    }

    /// A cheap status to wait on.
    pub fn watch(&self) -> watch::Receiver<NodeStatus> {
        self.inner.status.clone()
    }

    /// Events from now on. A subscriber that lags behind misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.inner.events.subscribe()
    }

    /// Decisions of the gate from now on. A subscriber that lags behind misses the oldest.
    pub fn decisions(&self) -> broadcast::Receiver<GateDecision> {
        self.inner.decisions.subscribe()
    }

    /// The live connections and stream counters.
    pub fn streams(&self) -> &StreamsHandle {
        &self.inner.streams
    }

    /// What the gate has done so far.
    pub fn gate(&self) -> &GateCounters {
        &self.inner.gate
    }

    /// Dials and attempts to punch a hole so far.
    pub fn counters(&self) -> &NodeCounters {
        &self.inner.counters
    }

    /// Asks the node's task whether it is alive, and what it listens on. Waits for as long as the task stands still.
    pub async fn health(&self) -> Result<NodeHealth, OpenError> {
        let (reply, answer) = oneshot::channel();
        self.send(NodeCommand::Health { reply }).await?;
        answer.await.map_err(|_| OpenError::Closed)
    }

    /// Makes the node's task stand still, so that a test sees what notices that.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub async fn stall(&self, time: Duration) {
        let _ = self.send(NodeCommand::Stall { time }).await;
    }

    /// Stops listening, closes every connection and waits for the task, three seconds at most.
    pub async fn shutdown(&self) {
        let (reply, answer) = oneshot::channel();
        if self.send(NodeCommand::Shutdown { reply }).await.is_ok() {
            let _ = timeout(SHUTDOWN_TIMEOUT + Duration::from_millis(300), answer).await;
        }
        let task = self
            .inner
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut task) = task
            && timeout(Duration::from_millis(200), &mut task).await.is_err()
        {
            task.abort();
        }
    }

    async fn send(&self, command: NodeCommand) -> Result<(), OpenError> {
        self.inner
            .commands
            .send(command)
            .await
            .map_err(|_| OpenError::Closed)
    }
}
