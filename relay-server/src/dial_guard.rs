//! Keeps the relay from dialling where a peer has no business sending it.
//!
//! The relay dials for one reason: AutoNAT asks it to, at an address that a peer names. Without this, a peer could
//! have it knock on machines of its own network, or on anybody's as fast as it likes. Stands before the behaviour
//! that dials and after the gate; driven by the swarm.

use std::collections::HashMap;
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use multiaddr::{Multiaddr, Protocol};
use peerup_net::{PolicyHandle, is_public_ip};
use peerup_trust::Role;

/// Dials on behalf of one peer within [`WINDOW`]. A node has a few addresses, each tested once.
const MAX_DIALS: u32 = 12;
const WINDOW: Duration = Duration::from_secs(60);
/// Peers that are counted at once; those whose window is over make room.
const MAX_COUNTED: usize = 4096;

/// Why a dial does not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialRefused {
    /// The address is of a local network, has no IP address, or goes over another relay.
    #[error("{0} is no public address")]
    NotPublic(Multiaddr),
    /// Nothing is dialled but addresses that a peer asked for.
    #[error("there is no address to dial")]
    NoAddress,
    /// The peer is no member.
    #[error("the peer is not a member")]
    NotMember,
    /// The peer has had its share.
    #[error("the peer asked for more than {MAX_DIALS} dials a minute")]
    TooMany,
}

/// Refuses dials.
pub(crate) struct DialGuard {
    policy: PolicyHandle,
    /// Since when, and how many.
    counted: HashMap<PeerId, (Instant, u32)>,
}

impl DialGuard {
    /// Makes a guard that lets members' dials through.
    pub(crate) fn new(policy: PolicyHandle) -> Self {
        Self {
            policy,
            counted: HashMap::new(),
        }
    }

    fn check(
        &mut self,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        now: Instant,
    ) -> Result<(), DialRefused> {
        let peer = peer
            .filter(|peer| matches!(self.policy.role(peer), Some(Role::Member(_))))
            .ok_or(DialRefused::NotMember)?;
        if addresses.is_empty() {
            return Err(DialRefused::NoAddress);
        }
        if let Some(address) = addresses.iter().find(|address| !may_dial(address)) {
            return Err(DialRefused::NotPublic((*address).clone()));
        }
        self.count(peer, now)
    }

    fn count(&mut self, peer: PeerId, now: Instant) -> Result<(), DialRefused> {
        if self.counted.len() >= MAX_COUNTED {
            self.counted
                .retain(|_, (since, _)| now.saturating_duration_since(*since) < WINDOW);
        }
        if self.counted.len() >= MAX_COUNTED && !self.counted.contains_key(&peer) {
            return Err(DialRefused::TooMany);
        }
        let (since, dials) = self.counted.entry(peer).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= WINDOW {
            (*since, *dials) = (now, 0);
        }
        if *dials >= MAX_DIALS {
            return Err(DialRefused::TooMany);
        }
        *dials += 1;
        Ok(())
    }
}

/// A name could mean any machine by the time it is resolved; a circuit would make another relay dial.
fn may_dial(address: &Multiaddr) -> bool {
    let public = match address.iter().next() {
        Some(Protocol::Ip4(ip)) => is_public_ip(ip.into()),
        Some(Protocol::Ip6(ip)) => is_public_ip(ip.into()),
        _ => false,
    };
    public && !address.iter().any(|part| part == Protocol::P2pCircuit)
}

impl NetworkBehaviour for DialGuard {
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

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        match self.check(peer, addresses, Instant::now()) {
            Ok(()) => Ok(Vec::new()),
            Err(refused) => {
                tracing::debug!(?peer, "does not dial: {refused}");
                Err(ConnectionDenied::new(refused))
            }
        }
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

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use peerup_trust::{AccessPolicy, AuthorizedKeys};

    use super::*;

    fn guard(member: PeerId) -> DialGuard {
        let keys = AuthorizedKeys::parse(&member.to_string()).unwrap();
        DialGuard::new(PolicyHandle::new(AccessPolicy::new(&keys)))
    }

    fn dial(guard: &mut DialGuard, peer: PeerId, address: &str) -> Result<(), DialRefused> {
        guard.check(Some(peer), &[address.parse().unwrap()], Instant::now())
    }

    #[test]
    fn dials_public_addresses_of_members() {
        let member = PeerId::random();
        let mut guard = guard(member);
        for address in [
            "/ip4/203.0.113.7/tcp/4001",
            "/ip4/198.51.100.7/udp/4001/quic-v1",
            "/ip4/8.8.8.8/tcp/1",
            "/ip6/2001:db8::7/udp/4001/quic-v1",
            &format!("/ip4/203.0.113.7/tcp/4001/p2p/{member}"),
        ] {
            assert_eq!(dial(&mut guard, member, address), Ok(()), "{address}");
        }
        let refused = dial(&mut guard, PeerId::random(), "/ip4/203.0.113.7/tcp/4001");
        assert_eq!(refused, Err(DialRefused::NotMember));
        let refused = guard.check(
            None,
            &["/ip4/203.0.113.7/tcp/4001".parse().unwrap()],
            Instant::now(),
        );
        assert_eq!(refused, Err(DialRefused::NotMember));
    }

    #[test]
    fn dials_nothing_else() {
        let member = PeerId::random();
        let mut guard = guard(member);
        let relay = PeerId::random();
        for address in [
            "/ip4/127.0.0.1/tcp/22",
            "/ip4/0.0.0.0/tcp/22",
            "/ip4/10.0.0.1/tcp/22",
            "/ip4/172.16.0.1/tcp/22",
            "/ip4/192.168.0.1/tcp/22",
            "/ip4/100.64.0.1/tcp/22",
            "/ip4/169.254.169.254/tcp/80",
            "/ip4/224.0.0.1/udp/1/quic-v1",
            "/ip4/255.255.255.255/udp/1/quic-v1",
            "/ip6/::/tcp/22",
            "/ip6/::1/tcp/22",
            "/ip6/fe80::1/tcp/22",
            "/ip6/fd00::1/tcp/22",
            "/ip6/ff02::1/udp/1/quic-v1",
            "/ip6/::ffff:127.0.0.1/tcp/22",
            "/ip6/::ffff:192.168.0.1/tcp/22",
            "/ip6/64:ff9b::a00:1/tcp/22",
            "/dns4/localhost/tcp/22",
            "/dns/public.example/tcp/22",
            &format!("/ip4/203.0.113.7/tcp/1/p2p/{relay}/p2p-circuit"),
        ] {
            let refused = Err(DialRefused::NotPublic(address.parse().unwrap()));
            assert_eq!(dial(&mut guard, member, address), refused);
        }
        let none = guard.check(Some(member), &[], Instant::now());
        assert_eq!(none, Err(DialRefused::NoAddress));
        let hidden =
            ["/ip4/203.0.113.7/tcp/1", "/ip4/127.0.0.1/tcp/1"].map(|address| address.parse().unwrap());
        let refused = guard.check(Some(member), &hidden, Instant::now());
        assert_eq!(refused, Err(DialRefused::NotPublic(hidden[1].clone())));
    }

    #[test]
    fn dials_for_one_peer_so_often_a_minute_and_no_more() {
        let (member, start) = (PeerId::random(), Instant::now());
        let mut guard = guard(member);
        let address = ["/ip4/203.0.113.7/tcp/4001".parse().unwrap()];
        for _ in 0..MAX_DIALS {
            assert_eq!(guard.check(Some(member), &address, start), Ok(()));
        }
        let almost = start + WINDOW - Duration::from_millis(1);
        assert_eq!(
            guard.check(Some(member), &address, almost),
            Err(DialRefused::TooMany)
        );
        assert_eq!(guard.check(Some(member), &address, start + WINDOW), Ok(()));
    }
}
