//! The circuit relay behind the relay's own rules.
//!
//! Wraps [`relay::Behaviour`], which knows nothing of destinations: its rate limiters see who asks, never for
//! whom. This behaviour reads the destination off the request on its way to the destination's connection,
//! and drops it there when the rules say no, so that the destination hears nothing. It also gives leases
//! back when a peer's last connection closes. Driven by the swarm; decides nothing itself.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Debug, Write};
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::relay;
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use multiaddr::Multiaddr;

/// What the guard asks before it lets a circuit through, and tells when a peer is gone.
///
/// Called from within the swarm's poll: implementations return at once.
pub(crate) trait CircuitRules: Send + Sync + 'static {
    /// Whether `source` may open one more circuit to `destination`; `open` is how many it has opened.
    fn may_connect(&self, source: &PeerId, destination: &PeerId, open: usize) -> bool;

    /// The last connection of `peer` has closed.
    fn peer_gone(&self, peer: &PeerId);
}

/// What a connection is known by to the guard.
struct Known {
    peer: PeerId,
    endpoint: libp2p::core::ConnectedPoint,
}

/// [`relay::Behaviour`] with a say in destinations.
pub(crate) struct RelayGuard {
    inner: relay::Behaviour,
    rules: Arc<dyn CircuitRules>,
    connections: HashMap<ConnectionId, Known>,
    /// Open circuits by the peer that asked for them.
    open: HashMap<PeerId, usize>,
    /// Peers that broke the rules: their connections close, and with them what libp2p keeps of the request.
    closing: VecDeque<PeerId>,
}

impl RelayGuard {
    /// Wraps a relay with `config` that always offers itself, whatever libp2p thinks of its addresses.
    pub(crate) fn new(local: PeerId, config: relay::Config, rules: Arc<dyn CircuitRules>) -> Self {
        let mut inner = relay::Behaviour::new(local, config);
        inner.set_status(Some(relay::Status::Enable));
        Self {
            inner,
            rules,
            connections: HashMap::new(),
            open: HashMap::new(),
            closing: VecDeque::new(),
        }
    }

    fn allowed(&self, source: &PeerId, destination: &PeerId) -> bool {
        let open = self.open.get(source).copied().unwrap_or(0);
        self.rules.may_connect(source, destination, open)
    }

    /// Returns the destination when a message to a connection asks its peer to take a circuit of `source`.
    ///
    /// Only that message crosses from one peer's connection to another's; its name is looked at as well,
    /// for a peer that asks for itself and for a libp2p that addresses the message differently.
    fn circuit_destination(&self, source: &PeerId, to: ConnectionId, message: &impl Debug) -> Option<PeerId> {
        let destination = self.connections.get(&to)?.peer;
        (destination != *source || debug_contains(message, "NegotiateOutboundConnect")).then_some(destination)
    }

    fn refuse(&mut self, source: PeerId, destination: PeerId) {
        tracing::warn!(peer = %source, %destination, "circuit refused: not the destination it was admitted for");
        if !self.closing.contains(&source) {
            self.closing.push_back(source);
        }
    }

    fn handle_relay_event(&mut self, event: &relay::Event) {
        match event {
            relay::Event::CircuitReqAccepted {
                src_peer_id,
                dst_peer_id,
            } => {
                if !self.allowed(src_peer_id, dst_peer_id) {
                    self.refuse(*src_peer_id, *dst_peer_id);
                }
                *self.open.entry(*src_peer_id).or_default() += 1;
            }
            relay::Event::CircuitClosed { src_peer_id, .. } => {
                if let Some(open) = self.open.get_mut(src_peer_id) {
                    *open = open.saturating_sub(1);
                    if *open == 0 {
                        self.open.remove(src_peer_id);
                    }
                }
            }
            _ => {}
        }
    }
}

impl NetworkBehaviour for RelayGuard {
    type ConnectionHandler = <relay::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = relay::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match &event {
            FromSwarm::ConnectionEstablished(new) => {
                let known = Known {
                    peer: new.peer_id,
                    endpoint: new.endpoint.clone(),
                };
                self.connections.insert(new.connection_id, known);
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.connections.remove(&closed.connection_id);
                if closed.remaining_established == 0 {
                    self.rules.peer_gone(&closed.peer_id);
                }
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let timed_out = debug_contains(&event, "ReservationTimedOut");
        self.inner.on_connection_handler_event(peer, connection, event);
        // libp2p forgets the whole connection with its reservation, and panics when a renewal that was under
        // way is confirmed a moment later. The connection lives: say so again.
        if timed_out && let Some(known) = self.connections.get(&connection) {
            self.inner
                .on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                    peer_id: peer,
                    connection_id: connection,
                    endpoint: &known.endpoint,
                    failed_addresses: &[],
                    other_established: 0,
                }));
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(peer_id) = self.closing.pop_front() {
                return Poll::Ready(ToSwarm::CloseConnection {
                    peer_id,
                    connection: CloseConnection::All,
                });
            }
            let action = std::task::ready!(self.inner.poll(cx));
            match &action {
                ToSwarm::NotifyHandler {
                    peer_id,
                    handler: NotifyHandler::One(to),
                    event,
                } => {
                    if let Some(destination) = self.circuit_destination(peer_id, *to, event)
                        && !self.allowed(peer_id, &destination)
                    {
                        self.refuse(*peer_id, destination);
                        continue;
                    }
                }
                ToSwarm::GenerateEvent(event) => self.handle_relay_event(event),
                _ => {}
            }
            return Poll::Ready(action);
        }
    }
}

/// Tells whether the debug form of a value begins with, or soon contains, a word.
///
/// The relay's messages to and from its handlers have no public name; their debug form has.
fn debug_contains(value: &impl Debug, word: &str) -> bool {
    /// Takes the first bytes and stops the formatting there.
    struct Head(String);
    impl Write for Head {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.push_str(text);
            if self.0.len() > 64 {
                Err(fmt::Error)
            } else {
                Ok(())
            }
        }
    }
    let mut head = Head(String::new());
    let _ = write!(head, "{value:?}");
    head.0.contains(word)
}
