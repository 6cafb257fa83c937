//! What is known of one live connection, shared by its handler, the behaviour, its streams and the handle.
//!
//! Made by the behaviour, dropped with the last stream. Everything that changes is atomic: no lock on the data path.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, StreamProtocol, core::transport::PortUse, swarm::ConnectionId};
use peerup_model::PathKind;
use peerup_paths::{BudgetLeft, Candidate, CircuitBudget, LimitKind};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::peer_stream::PeerStream;
use super::{OpenStreamError, handle::Shared, handler::TRUSTED_ANSWER};
use crate::snapshot::CircuitLimit;

/// A connection counts as live for this long after the last answer: three probes of an idle one.
const LIVE_WINDOW: Duration = Duration::from_secs(30);

/// Least and most time that a stream may take to open before another path is tried beside it.
const PATIENCE_FLOOR: Duration = Duration::from_millis(250);
const PATIENCE_CAP: Duration = Duration::from_millis(1_500);
/// What a round trip is taken for before it was measured.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(150);

/// No answer or round trip recorded yet.
const NEVER: u64 = u64::MAX;

/// One request to open a stream, on its way to the connection's handler.
pub(super) struct OpenRequest {
    pub(super) protocol: StreamProtocol,
    pub(super) guard: StreamGuard,
    pub(super) reply: oneshot::Sender<Result<PeerStream, OpenStreamError>>,
}

/// One live connection.
#[derive(Debug)]
pub struct Conn {
    id: ConnectionId,
    peer: PeerId,
    path: PathKind,
    address: Multiaddr,
    // None if the peer dialled.
    port_use: Option<PortUse>,
    opened: Instant,
    pub(super) requests: mpsc::Sender<OpenRequest>,
    pub(super) superseded: AtomicBool,
    closed: CancellationToken,
    suspect: AtomicBool,
    kept: AtomicBool,
    rtt_micros: AtomicU64,
    answered_millis: AtomicU64,
    streams: AtomicUsize,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    limit: OnceLock<CircuitLimit>,
}

impl Conn {
    pub(super) fn new(
        id: ConnectionId,
        peer: PeerId,
        path: PathKind,
        address: Multiaddr,
        port_use: Option<PortUse>,
        requests: mpsc::Sender<OpenRequest>,
    ) -> Self {
        Self {
            id,
            peer,
            path,
            address,
            port_use,
            opened: Instant::now(),
            requests,
            superseded: AtomicBool::new(false),
            closed: CancellationToken::new(),
            suspect: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            rtt_micros: AtomicU64::new(NEVER),
            answered_millis: AtomicU64::new(NEVER),
            streams: AtomicUsize::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            limit: OnceLock::new(),
        }
    }

    /// libp2p's id of the connection, unique in this process.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Who is at the other end.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// How the connection gets there.
    pub fn path(&self) -> PathKind {
        self.path
    }

    /// The remote address; for a relayed inbound connection it names the peer only.
    pub fn address(&self) -> &Multiaddr {
        &self.address
    }

    /// Whether this node dialled from its listen port or from another one; none if the peer dialled.
    pub fn port_use(&self) -> Option<PortUse> {
        self.port_use
    }

    /// When the connection was established.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Last measured round trip.
    pub fn rtt(&self) -> Option<Duration> {
        match self.rtt_micros.load(Ordering::Relaxed) {
            NEVER => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// When the peer last answered: a ping, or any byte on a stream; none before the first answer.
    pub fn last_answer(&self) -> Option<Instant> {
        match self.answered_millis.load(Ordering::Relaxed) {
            NEVER => None,
            millis => Some(self.opened + Duration::from_millis(millis)),
        }
    }

    /// Streams in use or being opened, both directions together.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Payload bytes read from streams of this connection.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Payload bytes written to streams of this connection.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Whether the peer answered lately; a new connection has the benefit of the doubt.
    pub fn is_live(&self) -> bool {
        !self.is_closed() && self.last_answer().unwrap_or(self.opened).elapsed() < LIVE_WINDOW
    }

    /// How long opening a stream may take before another path is tried beside it; none where the connection has
    /// just answered.
    pub(crate) fn patience(&self) -> Option<Duration> {
        if self.answered_within(TRUSTED_ANSWER) {
            return None;
        }
        let usual = self.rtt().unwrap_or(UNKNOWN_ROUND_TRIP) * 4 + PATIENCE_FLOOR;
        Some(usual.min(PATIENCE_CAP))
    }

    pub(super) fn answered_within(&self, window: Duration) -> bool {
        self.last_answer().is_some_and(|at| at.elapsed() < window)
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Resolves when the connection has ended, for its streams: a yamux connection that this side closes leaves
    /// whoever reads from one of them waiting for ever.
    pub(super) fn closed(&self) -> WaitForCancellationFutureOwned {
        self.closed.clone().cancelled_owned()
    }

    /// Whether a better connection has taken its place: a direct one that of a circuit, or an older one of its kind.
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Relaxed)
    }

    /// Whether a probe or a new stream on it is overdue: new streams take another path until it answers.
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// What the relay allows this circuit; none for a direct connection or where the relay said nothing.
    pub fn limit(&self) -> Option<CircuitLimit> {
        self.limit.get().copied()
    }

    /// What is left of the circuit; none where nothing limits it.
    pub fn budget(&self) -> Option<BudgetLeft> {
        let budget = self.circuit_budget()?;
        Some(budget.left(self.bytes_in() + self.bytes_out(), Instant::now()))
    }

    /// Which limit of its relay the circuit has run into, if it looks like one.
    pub fn exhausted_by(&self) -> Option<LimitKind> {
        let budget = self.circuit_budget()?;
        budget.exhausted_by(self.bytes_in() + self.bytes_out(), Instant::now())
    }

    fn circuit_budget(&self) -> Option<CircuitBudget> {
        let limit = self.limit()?;
        Some(CircuitBudget {
            bytes: limit.bytes,
            duration: limit.duration,
            opened: self.opened,
        })
    }

    pub(super) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// Keeps a connection to a relay although no stream needs it.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_limit(&self, limit: CircuitLimit) {
        // A relay tells its limits once for each circuit.
        let _ = self.limit.set(limit);
    }

    pub(crate) fn set_suspect(&self, suspect: bool) {
        self.suspect.store(suspect, Ordering::Relaxed);
    }

    pub(crate) fn note_answer(&self, rtt: Duration) {
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(NEVER - 1);
        self.rtt_micros.store(micros, Ordering::Relaxed);
        self.note_life();
    }

    fn note_life(&self) {
        let millis = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.answered_millis.store(millis, Ordering::Relaxed);
        if self.is_suspect() {
            self.set_suspect(false);
        }
    }

    /// Takes the connection for ended, before or after libp2p does, and ends its streams with a reset.
    pub(crate) fn mark_closed(&self) {
        self.closed.cancel();
    }

    pub(crate) fn count_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        self.note_life();
    }

    pub(crate) fn count_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn candidate(self: &Arc<Self>, index: usize) -> Candidate<usize> {
        Candidate {
            id: index,
            path: self.path,
            rtt: self.rtt(),
            opened: self.opened,
            live: self.is_live(),
            suspect: self.is_suspect(),
        }
    }
}

/// Counts one stream on its connection for as long as it lives.
///
/// The last guard of a superseded connection asks the behaviour to close that connection.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    conn: Arc<Conn>,
    shared: Arc<Shared>,
    inbound: Option<Arc<AtomicUsize>>,
}

impl StreamGuard {
    /// Counts a stream that this node opens; none if the connection carries `limit` streams already.
    pub(super) fn outbound(conn: Arc<Conn>, shared: Arc<Shared>, limit: usize) -> Option<Self> {
        if conn.streams.fetch_add(1, Ordering::AcqRel) >= limit {
            conn.streams.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Self {
            conn,
            shared,
            inbound: None,
        })
    }

    /// Counts a stream that the peer opened; none if the peer has `limit` of them open already.
    pub(super) fn inbound(
        conn: Arc<Conn>,
        shared: Arc<Shared>,
        peer_count: Arc<AtomicUsize>,
        limit: usize,
    ) -> Option<Self> {
        if peer_count.fetch_add(1, Ordering::AcqRel) >= limit {
            peer_count.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        conn.streams.fetch_add(1, Ordering::AcqRel);
        Some(Self {
            conn,
            shared,
            inbound: Some(peer_count),
        })
    }

    /// The connection that carries the stream.
    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        if let Some(count) = &self.inbound {
            count.fetch_sub(1, Ordering::AcqRel);
        }
        let last = self.conn.streams.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && self.conn.is_superseded() {
            self.shared.retire(&self.conn);
        }
    }
}
