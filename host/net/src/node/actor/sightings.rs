//! What others say: identify messages, how relays see this node, and what discovery finds.
//!
//! Part of the node's task.

use std::{net::SocketAddr, time::Instant};

use libp2p::{
    Multiaddr, PeerId, core::transport::PortUse, identify, multiaddr::Protocol, swarm::ConnectionId,
};
use peerup_model::{PathKind, Transport};
use peerup_paths::Observation;
use peerup_trust::Role;

use super::{MAX_AGENT, MAX_IDENTIFY_ADDRESSES, MAX_SEEN, NodeActor};
use crate::{
    address::{ip_of, is_circuit, path_of},
    node::{
        book::unix_now,
        discovery::{DiscoveryEvent, Gateway, Source},
    },
    snapshot::AddressSource,
};

impl NodeActor {
    pub(super) fn handle_identify(&mut self, peer: PeerId, connection: ConnectionId, info: identify::Info) {
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
                if self.streams.live_kinds(&peer).1 {
                    self.dial_known(peer, Instant::now());
                }
            }
            Some(Role::Infra) => {
                self.relays.handle_told(&peer, &info.listen_addrs);
                self.note_server(peer, connection, &info);
                self.report_observed(peer, connection, info.observed_addr);
            }
            _ => {}
        }
    }

    /// Offers the address that a relay sees for hole punching, where the connection shows the listen port's mapping.
    pub(super) fn report_observed(&mut self, peer: PeerId, connection: ConnectionId, observed: Multiaddr) {
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
            self.swarm.behaviour_mut().observed.report(observed.clone());
            if let PathKind::Direct(transport) = seen {
                let remote = conn.address().clone();
                self.note_seen(peer, transport, observed, &remote);
            }
        }
    }

    /// Keeps where a relay sees this node: the place to punch a hole to, and a hint at the NAT in between.
    pub(super) fn note_seen(
        &mut self,
        relay: PeerId,
        transport: Transport,
        observed: Multiaddr,
        remote: &Multiaddr,
    ) {
        let now = Instant::now();
        let (Some(seen), Some(observer_ip)) = (socket_of(&observed), ip_of(remote)) else {
            return;
        };
        let local_port = self
            .swarm
            .listeners()
            .filter(|address| path_of(address) == PathKind::Direct(transport))
            .filter_map(socket_of)
            .find(|socket| socket.is_ipv4() == seen.is_ipv4())
            .map(|socket| socket.port());
        let Some(local_port) = local_port else {
            return;
        };
        self.nat.observe(Observation {
            observer: relay,
            observer_ip,
            transport,
            local_port,
            seen,
            at: now,
        });
        let key = (relay, transport);
        if self.seen.len() >= MAX_SEEN && !self.seen.contains_key(&key) {
            return;
        }
        if self.seen.insert(key, observed.clone()) != Some(observed) {
            tracing::debug!(%relay, %transport, %seen, "a relay sees this node");
            for (_, member) in self.members.iter_mut() {
                member.upgrade.handle_news(now);
            }
            self.note_addresses();
        }
    }

    /// Uses what discovery found.
    pub(super) fn take_findings(&mut self) {
        while let Some(event) = self.discovery.next_event() {
            match event {
                DiscoveryEvent::Found {
                    peer,
                    addresses,
                    source,
                } => {
                    tracing::debug!(%peer, ?addresses, ?source, "found a peer");
                    let known = match source {
                        Source::Mdns => AddressSource::Mdns,
                        Source::Dht => AddressSource::Dht,
                    };
                    for address in &addresses {
                        self.book.learn(peer, address, known, unix_now());
                    }
                    self.with_dials(|dials, cx| dials.handle_found(peer, &addresses, cx));
                    if self.streams.live_kinds(&peer).1 {
                        self.dial_known(peer, Instant::now());
                    }
                }
                DiscoveryEvent::Lost {
                    peer,
                    addresses,
                    source,
                } => {
                    tracing::debug!(%peer, ?addresses, ?source, "lost a peer");
                    for address in &addresses {
                        self.book.expire(&peer, address);
                    }
                }
                DiscoveryEvent::Gateway(Gateway::Public(ip)) => self.nat.note_gateway_external(Some(ip)),
                DiscoveryEvent::Gateway(Gateway::Absent | Gateway::Private) => {
                    self.nat.note_gateway_external(None);
                }
                DiscoveryEvent::External { .. } | DiscoveryEvent::ExternalLost { .. } => {
                    self.note_addresses()
                }
            }
        }
    }

    /// A relay may keep addresses of peers.
    pub(super) fn note_server(&mut self, peer: PeerId, connection: ConnectionId, info: &identify::Info) {
        let conns = self.streams.connections(&peer);
        if let Some(conn) = conns.iter().find(|conn| conn.id() == connection) {
            let kad = &mut self.swarm.behaviour_mut().kad;
            self.discovery
                .handle_identify(peer, conn.address(), &info.protocols, kad, Instant::now());
        }
    }

    pub(super) fn note_relays(&mut self) {
        let relays: Vec<_> = self.relays.addresses().map(|(peer, _)| peer).collect();
        self.discovery
            .set_relays(relays, &mut self.swarm.behaviour_mut().kad);
    }

    pub(super) fn note_addresses(&mut self) {
        let external = self.swarm.external_addresses().cloned();
        let addresses: Vec<_> = external.chain(self.seen.values().cloned()).collect();
        self.discovery.set_addresses(addresses, Instant::now());
    }
}

/// The socket address of a direct multiaddr.
fn socket_of(address: &Multiaddr) -> Option<SocketAddr> {
    let ip = ip_of(address)?;
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    })?;
    Some(SocketAddr::new(ip, port))
}
