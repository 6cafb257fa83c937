//! The stream behaviour: publishes live connections and retires those that a better path has replaced.
//!
//! Driven by the swarm. Bytes and requests never pass through it.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
};
use peerup_model::PathKind;
use tokio::{sync::mpsc, time::Sleep};

use super::{
    Conn, InboundStream, StreamLimits, StreamsHandle,
    handle::{PeerConns, Shared, inbound_queue},
    handler::Handler,
};
use crate::{address::path_of, policy::PolicyHandle, protocols::ProtocolTable};

/// Requests to open a stream that wait for one connection's handler; past this the openers wait.
const OPEN_QUEUE: usize = 256;

/// The behaviour that carries streams of the protocols in a [`ProtocolTable`].
pub struct Streams {
    shared: Arc<Shared>,
    inbound: mpsc::Sender<InboundStream>,
    timer: Pin<Box<Sleep>>,
    pending: HashMap<ConnectionId, (Arc<Conn>, Arc<AtomicUsize>)>,
}

impl Streams {
    /// Makes the behaviour, its handle and the queue in which inbound streams arrive.
    pub fn new(
        policy: PolicyHandle,
        table: ProtocolTable,
        limits: StreamLimits,
    ) -> (Self, StreamsHandle, mpsc::Receiver<InboundStream>) {
        let shared = Arc::new(Shared::new(policy, table, limits));
        let (inbound, receiver) = inbound_queue(limits);
        let handle = StreamsHandle {
            shared: shared.clone(),
        };
        let behaviour = Self {
            shared,
            inbound,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            pending: HashMap::new(),
        };
        (behaviour, handle, receiver)
    }

    fn handler(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        path: PathKind,
        address: &Multiaddr,
        port_use: Option<PortUse>,
    ) -> Handler {
        let (requests, receiver) = mpsc::channel(OPEN_QUEUE);
        let conn = Arc::new(Conn::new(id, peer, path, address.clone(), port_use, requests));
        let peer_inbound = {
            let peers = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
            peers
                .get(&peer)
                .map(|entry| entry.inbound.clone())
                .unwrap_or_default()
        };
        self.pending.insert(id, (conn.clone(), peer_inbound.clone()));
        Handler::new(
            conn,
            self.shared.clone(),
            receiver,
            self.inbound.clone(),
            peer_inbound,
        )
    }

    fn is_idle(&self, peer: &PeerId, id: ConnectionId) -> bool {
        let peers = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers
            .get(peer)
            .and_then(|entry| entry.conns.iter().find(|conn| conn.id() == id))
            .is_some_and(|conn| conn.is_superseded() && conn.streams() == 0)
    }

    fn publish(&mut self, id: ConnectionId) {
        let Some((conn, inbound)) = self.pending.remove(&id) else {
            return;
        };
        let peer = conn.peer();
        {
            let mut peers = self.shared.peers.write().unwrap_or_else(PoisonError::into_inner);
            let entry = peers.entry(peer).or_insert_with(|| PeerConns {
                conns: Vec::new(),
                inbound,
            });
            entry.conns.push(conn);
        }
        self.shared.supersede(&peer);
    }

    fn withdraw(&mut self, peer: &PeerId, id: ConnectionId) {
        let mut peers = self.shared.peers.write().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = peers.get_mut(peer) else {
            return;
        };
        let Some(position) = entry.conns.iter().position(|conn| conn.id() == id) else {
            return;
        };
        let lost = entry.conns.remove(position);
        lost.mark_closed();
        let direct = entry.conns.iter().any(|conn| !conn.path().is_relayed());
        for conn in &entry.conns {
            // What the lost connection had replaced is the best there is now.
            let replaced = conn.path() == lost.path() && !lost.is_superseded();
            if replaced || (!direct && conn.path().is_relayed()) {
                conn.superseded.store(false, Ordering::Relaxed);
            }
        }
        if entry.conns.is_empty() {
            peers.remove(peer);
        }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Over a circuit the local address is the one that names the relay.
        Ok(self.handler(id, peer, path_of(local), remote, None))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer, path_of(address), address, Some(port_use)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.publish(event.connection_id),
            FromSwarm::ConnectionClosed(event) => self.withdraw(&event.peer_id, event.connection_id),
            FromSwarm::ListenFailure(event) => {
                self.pending.remove(&event.connection_id);
            }
            FromSwarm::DialFailure(event) => {
                self.pending.remove(&event.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.shared.waker.register(cx.waker());
        loop {
            match self.shared.next_retired(Instant::now()) {
                Ok((peer_id, id)) if self.is_idle(&peer_id, id) => {
                    tracing::debug!(peer = %peer_id, connection = %id, "closes a connection that a better one replaced");
                    return Poll::Ready(ToSwarm::CloseConnection {
                        peer_id,
                        connection: CloseConnection::One(id),
                    });
                }
                Ok(_) => {}
                Err(None) => return Poll::Pending,
                Err(Some(due)) => {
                    self.timer.as_mut().reset(due.into());
                    if self.timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}
