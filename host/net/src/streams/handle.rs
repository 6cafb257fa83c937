//! What the rest of the program holds of the streams: live connections, opening, counters.
//!
//! Clones share one registry. Reading it takes a short read lock that is never held across an await.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::task::AtomicWaker;
use libp2p::{PeerId, StreamProtocol, swarm::ConnectionId};
use peerup_model::{PathKind, PathPolicy};
use peerup_paths::{choose, superseded};
use peerup_trust::Role;
use tokio::sync::{mpsc, oneshot};

use super::peer_stream::PeerStream;
use super::{Conn, OpenStreamError, StreamGuard, conn::OpenRequest};
use crate::{policy::PolicyHandle, protocols::ProtocolTable};

/// Inbound streams that wait to be taken by the daemon. Past this, new ones are reset.
const INBOUND_QUEUE: usize = 1024;
/// Inbound streams of one peer at a time, over all its connections.
const INBOUND_PER_PEER: usize = 256;
/// Streams on one connection at a time before this node opens no more. The multiplexer kills a connection that goes
/// over its own limit of 1024, which the peer's streams and libp2p's own count towards as well.
const STREAMS_PER_CONNECTION: usize = 700;

/// How long a connection without streams lives on after a better one has taken its place: the peer may be opening a
/// stream on it that is not known here yet.
const RETIRE_DELAY: Duration = Duration::from_secs(2);

/// Bounds on streams; the defaults fit a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Inbound streams waiting to be taken.
    pub inbound_queue: usize,
    /// Inbound streams of one peer at a time.
    pub inbound_per_peer: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            inbound_queue: INBOUND_QUEUE,
            inbound_per_peer: INBOUND_PER_PEER,
        }
    }
}

/// A stream that a peer opened. Service streams are raw bytes from the first one on.
#[derive(Debug)]
pub struct InboundStream {
    /// Who opened it, as authenticated by the handshake.
    pub peer: PeerId,
    /// What the peer is allowed to be here, checked when the stream came in.
    pub role: Role,
    /// Which protocol was agreed on.
    pub protocol: StreamProtocol,
    /// How the stream gets here.
    pub path: PathKind,
    /// Which connection carries it.
    pub connection: ConnectionId,
    /// The bytes.
    pub stream: PeerStream,
}

/// What has happened to streams since the node started.
#[derive(Debug, Default)]
pub struct StreamCounters {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) opened: AtomicU64,
}

impl StreamCounters {
    /// Inbound streams handed on.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Inbound streams reset because the queue or the peer's share was full, or the peer lost its right.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Outbound streams opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct PeerConns {
    pub(super) conns: Vec<Arc<Conn>>,
    pub(super) inbound: Arc<AtomicUsize>,
}

/// The registry of live connections.
pub(super) struct Shared {
    pub(super) peers: RwLock<HashMap<PeerId, PeerConns>>,
    pub(super) counters: StreamCounters,
    pub(super) limits: StreamLimits,
    pub(super) policy: PolicyHandle,
    pub(super) table: ProtocolTable,
    core: OnceLock<CoreProtocols>,
    retired: Mutex<VecDeque<(Instant, PeerId, ConnectionId)>>,
    pub(super) waker: AtomicWaker,
}

/// The protocols that the owner of the swarm serves itself, and where their streams go.
struct CoreProtocols {
    protocols: &'static [&'static str],
    queue: mpsc::Sender<InboundStream>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(policy: PolicyHandle, table: ProtocolTable, limits: StreamLimits) -> Self {
        Self {
            peers: RwLock::default(),
            counters: StreamCounters::default(),
            limits,
            policy,
            table,
            core: OnceLock::new(),
            retired: Mutex::default(),
            waker: AtomicWaker::new(),
        }
    }

    /// The queue of the streams of one protocol: the core's own, or else the given one.
    pub(super) fn queue_for<'a>(
        &'a self,
        protocol: &StreamProtocol,
        others: &'a mpsc::Sender<InboundStream>,
    ) -> &'a mpsc::Sender<InboundStream> {
        self.core
            .get()
            .filter(|core| core.protocols.contains(&protocol.as_ref()))
            .map_or(others, |core| &core.queue)
    }

    /// Asks the behaviour to close a connection that nobody needs any more.
    pub(super) fn retire(&self, conn: &Conn) {
        if conn.is_closed() {
            return;
        }
        self.retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back((Instant::now() + RETIRE_DELAY, conn.peer(), conn.id()));
        self.waker.wake();
    }

    /// The next connection to retire whose time has come, or else when to look again.
    pub(super) fn next_retired(&self, now: Instant) -> Result<(PeerId, ConnectionId), Option<Instant>> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        match retired.front() {
            Some((due, peer, id)) if *due <= now => {
                let next = (*peer, *id);
                retired.pop_front();
                Ok(next)
            }
            other => Err(other.map(|(due, ..)| *due)),
        }
    }

    /// Marks the peer's superseded connections, and retires those that carry no stream.
    pub(super) fn supersede(&self, peer: &PeerId) {
        let conns = self.conns(peer);
        let candidates: Vec<_> = conns
            .iter()
            .enumerate()
            .map(|(index, conn)| conn.candidate(index))
            .collect();
        for conn in superseded(&candidates)
            .into_iter()
            .filter_map(|index| conns.get(index))
        {
            let news = !conn.superseded.swap(true, Ordering::Relaxed);
            if news && conn.streams() == 0 {
                self.retire(conn);
            }
        }
    }

    /// Marks all but the oldest live direct connection of each transport.
    fn supersede_duplicates(&self, peer: &PeerId) {
        let mut kept = Vec::new();
        for conn in self.conns(peer) {
            if conn.path().is_relayed() || !conn.is_live() {
                continue;
            }
            if kept.contains(&conn.path()) {
                conn.superseded.store(true, Ordering::Relaxed);
            } else {
                kept.push(conn.path());
            }
        }
    }

    fn conns(&self, peer: &PeerId) -> Vec<Arc<Conn>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(peer).map(|peer| peer.conns.clone()).unwrap_or_default()
    }
}

/// Opens streams and looks at live connections, from any task. Clones are handles to the same registry.
#[derive(Debug, Clone)]
pub struct StreamsHandle {
    pub(super) shared: Arc<Shared>,
}

impl StreamsHandle {
    /// Has the streams of these protocols go to a queue of this length instead of the common one. Works once.
    pub(crate) fn divert(
        &self,
        protocols: &'static [&'static str],
        length: usize,
    ) -> mpsc::Receiver<InboundStream> {
        let (queue, receiver) = mpsc::channel(length);
        let _ = self.shared.core.set(CoreProtocols { protocols, queue });
        receiver
    }

    /// The live connections to a peer, oldest first.
    pub fn connections(&self, peer: &PeerId) -> Vec<Arc<Conn>> {
        self.shared.conns(peer)
    }

    /// All live connections.
    pub fn all(&self) -> Vec<Arc<Conn>> {
        let peers = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers
            .values()
            .flat_map(|peer| peer.conns.iter().cloned())
            .collect()
    }

    /// The peers with a live connection.
    pub fn peers(&self) -> Vec<PeerId> {
        let peers = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.keys().copied().collect()
    }

    /// Whether any connection to the peer exists.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        let peers = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.contains_key(peer)
    }

    /// The connection that a new stream to the peer takes, if the policy allows one.
    pub fn choose(&self, peer: &PeerId, policy: PathPolicy) -> Option<Arc<Conn>> {
        let conns = self.shared.conns(peer);
        let candidates: Vec<_> = conns
            .iter()
            .enumerate()
            .filter(|(_, conn)| !conn.is_closed() && (conn.path().is_relayed() || !conn.is_superseded()))
            .map(|(index, conn)| conn.candidate(index))
            .collect();
        conns.get(choose(&candidates, policy)?).cloned()
    }

    /// One live connection by its id.
    pub(crate) fn find(&self, peer: &PeerId, connection: ConnectionId) -> Option<Arc<Conn>> {
        let conns = self.shared.conns(peer);
        conns.into_iter().find(|conn| conn.id() == connection)
    }

    /// Whether an unsuspected connection lives, direct and relayed.
    pub(crate) fn live_kinds(&self, peer: &PeerId) -> (bool, bool) {
        let conns = self.shared.conns(peer);
        let good = |relayed: bool| {
            conns
                .iter()
                .any(|conn| conn.path().is_relayed() == relayed && conn.is_live() && !conn.is_suspect())
        };
        (good(false), good(true))
    }

    /// Opens a stream over the best live connection. Never dials.
    pub async fn open(
        &self,
        peer: &PeerId,
        protocol: &str,
        policy: PathPolicy,
    ) -> Result<PeerStream, OpenStreamError> {
        let conn = self.choose(peer, policy).ok_or(OpenStreamError::NotConnected)?;
        self.open_on(&conn, protocol).await
    }

    /// Opens a stream over this connection. Cancel safe: a stream that opens too late is dropped.
    pub async fn open_on(&self, conn: &Arc<Conn>, protocol: &str) -> Result<PeerStream, OpenStreamError> {
        let protocol =
            StreamProtocol::try_from_owned(protocol.to_owned()).map_err(|_| OpenStreamError::Protocol)?;
        let guard = StreamGuard::outbound(conn.clone(), self.shared.clone(), STREAMS_PER_CONNECTION)
            .ok_or(OpenStreamError::Busy)?;
        let (reply, answer) = oneshot::channel();
        let request = OpenRequest {
            protocol,
            guard,
            reply,
        };
        conn.requests
            .send(request)
            .await
            .map_err(|_| OpenStreamError::ConnectionClosed)?;
        let stream = answer.await.map_err(|_| OpenStreamError::ConnectionClosed)??;
        self.shared.counters.opened.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    /// Records that the peer answered on a connection.
    pub fn note_answer(&self, peer: &PeerId, connection: ConnectionId, rtt: Duration) {
        if let Some(conn) = self
            .shared
            .conns(peer)
            .iter()
            .find(|conn| conn.id() == connection)
        {
            conn.note_answer(rtt);
        }
    }

    /// Has new streams and the keep-alive leave all but one of several like connections to a peer.
    ///
    /// Two nodes that dial each other at once get two. Only one side may tidy up, or each closes what the other
    /// keeps: the caller makes sure that it is the side with the smaller peer id.
    pub(crate) fn supersede_duplicates(&self, peer: &PeerId) {
        self.shared.supersede_duplicates(peer);
    }

    /// What has happened to streams so far.
    pub fn counters(&self) -> &StreamCounters {
        &self.shared.counters
    }
}

/// Makes the queue for inbound streams.
pub(super) fn inbound_queue(
    limits: StreamLimits,
) -> (mpsc::Sender<InboundStream>, mpsc::Receiver<InboundStream>) {
    mpsc::channel(limits.inbound_queue.max(1))
}
