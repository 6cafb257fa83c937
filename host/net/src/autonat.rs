//! Asks relays to dial back, with what libp2p's AutoNAT client lacks: bounds on what is tested, and a new start.
//!
//! libp2p tests an address once and never again: what was reachable, or was not, in one network is held to be so in
//! the next. Putting a new client in the old one's place panics as soon as a connection closes that it has not seen
//! come, so this behaviour tells the new one of them. It cannot tell it which of these peers dial back: the client
//! learns that from a message that libp2p's handler sends once for each connection. After a new start, addresses
//! are therefore tested over connections made since. Driven by the swarm.

use std::{
    collections::{HashMap, HashSet},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    autonat::v2::client,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished,
    },
};

use crate::address::{ip_of, is_circuit, is_public_ip};

/// Addresses that are tested between two new starts. Candidates come from what any peer says it sees.
const MAX_TESTED: usize = 32;

/// [`client::Behaviour`] that can start anew.
#[derive(Default)]
pub(crate) struct AutonatClient {
    inner: client::Behaviour,
    connections: HashMap<ConnectionId, (PeerId, ConnectedPoint)>,
    candidates: HashSet<Multiaddr>,
}

impl AutonatClient {
    /// Forgets every verdict. Candidates that are offered again are tested again, by servers that connect from now
    /// on.
    pub(crate) fn reset(&mut self) {
        self.inner = client::Behaviour::default();
        self.candidates.clear();
        for (connection, (peer, endpoint)) in &self.connections {
            self.inner
                .on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                    peer_id: *peer,
                    connection_id: *connection,
                    endpoint,
                    failed_addresses: &[],
                    other_established: 0,
                }));
        }
    }

    /// Whether the address is worth a test: relays dial public IP addresses only.
    fn admit(&mut self, address: &Multiaddr) -> bool {
        if self.candidates.contains(address) {
            return true;
        }
        let testable = !is_circuit(address) && ip_of(address).is_some_and(is_public_ip);
        let admitted = testable && self.candidates.len() < MAX_TESTED;
        if admitted {
            self.candidates.insert(address.clone());
        }
        admitted
    }
}

impl NetworkBehaviour for AutonatClient {
    type ConnectionHandler = <client::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = client::Event;

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

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(new) => {
                let known = (new.peer_id, new.endpoint.clone());
                self.connections.insert(new.connection_id, known);
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.connections.remove(&closed.connection_id);
            }
            FromSwarm::NewExternalAddrCandidate(candidate) if !self.admit(candidate.addr) => return,
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
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::swarm::{ConnectionClosed, NewExternalAddrCandidate};

    use super::*;

    #[test]
    fn a_connection_from_before_a_new_start_may_close_after_it() {
        let mut client = AutonatClient::default();
        let endpoint = ConnectedPoint::Dialer {
            address: "/ip4/203.0.113.1/tcp/1".parse().unwrap(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        let (peer_id, connection_id) = (PeerId::random(), ConnectionId::new_unchecked(1));
        client.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id,
            connection_id,
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));

        client.reset();

        client.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id,
            connection_id,
            endpoint: &endpoint,
            cause: None,
            remaining_established: 0,
        }));
        assert!(client.connections.is_empty());
    }

    #[test]
    fn takes_public_addresses_only_and_not_without_end() {
        let mut client = AutonatClient::default();
        let offer = |client: &mut AutonatClient, address: &str| {
            let addr: Multiaddr = address.parse().unwrap();
            client.on_swarm_event(FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate {
                addr: &addr,
            }));
            client.candidates.contains(&addr)
        };
        let relay = PeerId::random();
        assert!(!offer(&mut client, "/ip4/192.168.1.2/tcp/1"));
        assert!(!offer(&mut client, "/dns/a.example/tcp/1"));
        assert!(!offer(
            &mut client,
            &format!("/ip4/203.0.113.1/tcp/1/p2p/{relay}/p2p-circuit")
        ));
        for port in 1..=MAX_TESTED {
            assert!(offer(&mut client, &format!("/ip4/203.0.113.1/tcp/{port}")));
        }
        assert!(!offer(&mut client, "/ip4/203.0.113.1/tcp/9999"));
        client.reset();
        assert!(offer(&mut client, "/ip4/203.0.113.1/tcp/9999"));
    }
}
