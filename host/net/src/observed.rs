//! Offers the addresses that relays see this node under as candidates for hole punching.
//!
//! identify proposes candidates itself, but replaces the observed port by a listen port where the two differ. Behind
//! a NAT that maps ports, that throws the one useful address away. Driven by the swarm; fed by the node's task.

use std::{
    collections::VecDeque,
    convert::Infallible,
    task::{Context, Poll, Waker},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

/// Reports that wait for the swarm; one for each relay connection is what happens.
const QUEUE: usize = 32;

/// Passes observed addresses on to the swarm as they are.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    queue: VecDeque<Multiaddr>,
    waker: Option<Waker>,
}

impl Observed {
    /// Takes an address that somebody saw this node under.
    pub(crate) fn report(&mut self, address: Multiaddr) {
        if self.queue.len() < QUEUE && !self.queue.contains(&address) {
            self.queue.push_back(address);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Observed {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(address) = self.queue.pop_front() {
            return Poll::Ready(ToSwarm::NewExternalAddrCandidate(address));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
