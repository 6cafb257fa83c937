//! The streams of one connection: asks for those that somebody wants, takes those that the peer opens.
//!
//! Driven by the connection's task. It blocks on nobody: a full inbound queue resets the one stream that found it
//! full. Streams of services are raw bytes without a header, so there is no room for a polite answer.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::task::AtomicWaker;
use libp2p::{
    Stream, StreamProtocol,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
            ProtocolsChange,
        },
    },
};
use peerup_trust::Role;
use tokio::sync::{mpsc, oneshot};

use super::peer_stream::PeerStream;
use super::{
    Conn, InboundStream, NEGOTIATION_TIMEOUT, OpenStreamError, StreamGuard,
    conn::OpenRequest,
    handle::Shared,
    upgrade::{Ask, Offer},
};

/// How long a connection of a pairing identity is kept without a stream.
const PAIRING_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A connection that answered within this time is trusted to be alive, so a stream of a protocol that the peer is
/// known to serve needs no answer before it is used. Short: bytes that go into a path which died meanwhile are lost
/// with the stream, while one that waits for its answer can still take another path.
pub(super) const TRUSTED_ANSWER: Duration = Duration::from_secs(2);

/// What comes back with a negotiated or failed outbound stream.
pub struct Pending {
    guard: StreamGuard,
    reply: oneshot::Sender<Result<PeerStream, OpenStreamError>>,
}

/// The handler of one connection.
pub struct Handler {
    conn: Arc<Conn>,
    shared: Arc<Shared>,
    requests: mpsc::Receiver<OpenRequest>,
    inbound: mpsc::Sender<InboundStream>,
    peer_inbound: Arc<AtomicUsize>,
    role: Option<Role>,
    offered: Arc<[StreamProtocol]>,
    seen: (u64, u64),
    policy_waker: Arc<AtomicWaker>,
    table_waker: Arc<AtomicWaker>,
    remote_protocols: HashSet<StreamProtocol>,
}

impl Handler {
    pub(super) fn new(
        conn: Arc<Conn>,
        shared: Arc<Shared>,
        requests: mpsc::Receiver<OpenRequest>,
        inbound: mpsc::Sender<InboundStream>,
        peer_inbound: Arc<AtomicUsize>,
    ) -> Self {
        let policy_waker = shared.policy.subscribe();
        let table_waker = shared.table.subscribe();
        let mut handler = Self {
            conn,
            requests,
            inbound,
            peer_inbound,
            role: None,
            offered: Arc::new([]),
            seen: (0, 0),
            policy_waker,
            table_waker,
            remote_protocols: HashSet::new(),
            shared,
        };
        handler.refresh();
        handler
    }

    fn generations(&self) -> (u64, u64) {
        (self.shared.policy.generation(), self.shared.table.generation())
    }

    fn refresh(&mut self) {
        self.seen = self.generations();
        self.role = self.shared.policy.role(&self.conn.peer());
        self.offered = match &self.role {
            Some(role) => self.shared.table.for_role(role),
            None => Arc::new([]),
        };
    }

    fn take(&self, stream: Stream, protocol: StreamProtocol) {
        if let Err(reason) = self.try_take(stream, protocol.clone()) {
            // Dropping the stream resets it; the connection and its other streams live on.
            self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(peer = %self.conn.peer(), %protocol, reason, "resets an inbound stream");
        }
    }

    fn try_take(&self, stream: Stream, protocol: StreamProtocol) -> Result<(), &'static str> {
        // The list may be older than the policy, so the right is checked again.
        let role = self
            .shared
            .policy
            .role(&self.conn.peer())
            .ok_or("the peer has lost its right")?;
        if !self.shared.table.allows(&role, protocol.as_ref()) {
            return Err("the peer may not use this protocol any more");
        }
        let guard = StreamGuard::inbound(
            self.conn.clone(),
            self.shared.clone(),
            self.peer_inbound.clone(),
            self.shared.limits.inbound_per_peer,
        )
        .ok_or("the peer has as many streams open as it may")?;
        let stream = InboundStream {
            peer: self.conn.peer(),
            role,
            protocol,
            path: self.conn.path(),
            connection: self.conn.id(),
            stream: PeerStream::new(stream, guard),
        };
        let queue = self.shared.queue_for(&stream.protocol, &self.inbound);
        queue.try_send(stream).map_err(|_| "the queue is full")?;
        self.shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Ask;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Pending;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer, ()> {
        let offer = Offer {
            protocols: self.offered.clone(),
        };
        SubstreamProtocol::new(offer, ()).with_timeout(NEGOTIATION_TIMEOUT)
    }

    fn connection_keep_alive(&self) -> bool {
        match &self.role {
            Some(Role::Member(_)) => !self.conn.is_superseded(),
            Some(Role::Pairing) => self.conn.opened().elapsed() < PAIRING_KEEP_ALIVE,
            // A relay sees from where this node comes, over each transport, as long as the connection lives.
            Some(Role::Infra) => self.conn.is_kept() && !self.conn.is_superseded(),
            _ => false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Ask, Pending, Infallible>> {
        if let Poll::Ready(Some(request)) = self.requests.poll_recv(cx) {
            let served = self.remote_protocols.contains(&request.protocol);
            let wait = !served || !self.conn.answered_within(TRUSTED_ANSWER);
            let ask = Ask {
                protocol: request.protocol,
                wait,
            };
            let pending = Pending {
                guard: request.guard,
                reply: request.reply,
            };
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(ask, pending).with_timeout(NEGOTIATION_TIMEOUT),
            });
        }
        self.policy_waker.register(cx.waker());
        self.table_waker.register(cx.waker());
        if self.generations() != self.seen {
            self.refresh();
            // The list of protocols is read before the handler is polled; have it read once more.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Ask, (), Pending>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => self.take(stream, protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: Pending { guard, reply },
            }) => {
                let result = match stream {
                    Some(stream) => {
                        let mut stream = PeerStream::new(stream, guard);
                        stream.announce();
                        Ok(stream)
                    }
                    None => Err(OpenStreamError::UnsupportedProtocol),
                };
                // Nobody waits any more: the stream is dropped with the result.
                let _ = reply.send(result);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError {
                info: Pending { reply, .. },
                error,
            }) => {
                let _ = reply.send(Err(match error {
                    StreamUpgradeError::Timeout => OpenStreamError::Timeout,
                    StreamUpgradeError::NegotiationFailed => OpenStreamError::UnsupportedProtocol,
                    StreamUpgradeError::Io(error) => OpenStreamError::Io(error),
                    StreamUpgradeError::Apply(never) => match never {},
                }));
            }
            ConnectionEvent::RemoteProtocolsChange(ProtocolsChange::Added(added)) => {
                self.remote_protocols.extend(added.cloned());
            }
            ConnectionEvent::RemoteProtocolsChange(ProtocolsChange::Removed(removed)) => {
                for protocol in removed {
                    self.remote_protocols.remove(protocol);
                }
            }
            _ => {}
        }
    }
}
