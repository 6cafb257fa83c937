//! The gate: who may have a connection at all.
//!
//! Must be the first field of a behaviour struct. libp2p asks the fields in order and stops at the first denial;
//! a behaviour in front of the gate keeps state for connections that never come to be. Driven by the swarm. It
//! decides about connections only: which protocols a peer may use is the business of the streams.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::task::AtomicWaker;
use jiff::Timestamp;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};
use tokio::{
    sync::broadcast,
    time::{Instant, Sleep},
};

use crate::{
    address::{is_circuit, last_peer},
    policy::PolicyHandle,
};

/// Handshakes under way from one IP address. A stranger cannot make the node do more crypto than this at once; a
/// household or an office behind one address still gets in side by side.
pub const MAX_PENDING_PER_IP: usize = 32;

/// Handshakes under way from all addresses together: whoever has many addresses cannot use up the node's
/// descriptors with connections that never say who they are.
pub const MAX_PENDING: usize = 512;

/// Connections of one peer at a time. A few for each transport and relay, and as many again that died unnoticed.
pub const MAX_CONNECTIONS_PER_PEER: usize = 32;

/// The longest sleep until the policy is looked at again: expiry is in wall-clock time, which may jump.
const MAX_EXPIRY_SLEEP: Duration = Duration::from_secs(60);

/// Why the gate refused a connection. Found in a `ConnectionDenied` by downcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The peer is in no list, or its entry has expired.
    #[error("the peer {0} is not authorized here")]
    NotAuthorized(PeerId),
    /// Too many handshakes from one address are under way.
    #[error("too many handshakes from {0} are under way")]
    TooManyPending(IpAddr),
    /// The peer has as many connections as it may.
    #[error("the peer {0} has {MAX_CONNECTIONS_PER_PEER} connections already")]
    TooManyConnections(PeerId),
}

/// What the gate has done since it was made. Read it at any time from anywhere.
#[derive(Debug, Default)]
pub struct GateCounters {
    admitted: AtomicU64,
    denied: AtomicU64,
    throttled: AtomicU64,
    expelled: AtomicU64,
}

impl GateCounters {
    /// Connections let in or out.
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Connections refused because the peer has no role.
    pub fn denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }

    /// Connections refused because too many of one address or peer, or in all, were there or under way.
    pub fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    /// Peers whose live connections were closed because they lost their role.
    pub fn expelled(&self) -> u64 {
        self.expelled.load(Ordering::Relaxed)
    }
}

/// Decisions that a slow listener may be behind before it misses some.
const DECISIONS: usize = 256;

/// What the gate decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateDecision {
    /// A connection was let through.
    Admitted(PeerId),
    /// A connection was refused.
    Refused(Denied),
    /// A peer lost its role, and its connections are closed.
    Expelled(PeerId),
}

/// The behaviour that admits, refuses and expels by the access policy.
pub struct Gate {
    policy: PolicyHandle,
    waker: Arc<AtomicWaker>,
    seen_generation: u64,
    connected: HashMap<PeerId, usize>,
    pending: HashMap<ConnectionId, IpAddr>,
    pending_per_ip: HashMap<IpAddr, usize>,
    expel: VecDeque<PeerId>,
    expiry: Option<Pin<Box<Sleep>>>,
    counters: Arc<GateCounters>,
    decisions: broadcast::Sender<GateDecision>,
}

impl Gate {
    /// Makes a gate that follows the policy and its replacements.
    pub fn new(policy: PolicyHandle) -> Self {
        let waker = policy.subscribe();
        let seen_generation = policy.generation();
        let mut gate = Self {
            policy,
            waker,
            seen_generation,
            connected: HashMap::new(),
            pending: HashMap::new(),
            pending_per_ip: HashMap::new(),
            expel: VecDeque::new(),
            expiry: None,
            counters: Arc::default(),
            decisions: broadcast::Sender::new(DECISIONS),
        };
        gate.arm();
        gate
    }

    /// Returns the gate's counters.
    pub fn counters(&self) -> Arc<GateCounters> {
        self.counters.clone()
    }

    /// Returns where the gate tells its decisions. A subscriber that lags behind misses the oldest.
    pub fn decisions(&self) -> broadcast::Sender<GateDecision> {
        self.decisions.clone()
    }

    /// Fails where nobody listens.
    fn tell(&self, decision: GateDecision) {
        let _ = self.decisions.send(decision);
    }

    fn refuse(&self, why: Denied) -> ConnectionDenied {
        self.tell(GateDecision::Refused(why));
        ConnectionDenied::new(why)
    }

    fn admit(&self, peer: PeerId) {
        self.counters.admitted.fetch_add(1, Ordering::Relaxed);
        self.tell(GateDecision::Admitted(peer));
    }

    fn check(&self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        if self.policy.role(peer).is_some() {
            return Ok(());
        }
        self.counters.denied.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%peer, "refuses a peer without a role");
        Err(self.refuse(Denied::NotAuthorized(*peer)))
    }

    fn enter(&mut self, id: ConnectionId, ip: IpAddr) -> Result<(), ConnectionDenied> {
        let ip = customer(ip);
        let of_ip = self.pending_per_ip.get(&ip).copied().unwrap_or_default();
        if of_ip >= MAX_PENDING_PER_IP || self.pending.len() >= MAX_PENDING {
            self.counters.throttled.fetch_add(1, Ordering::Relaxed);
            return Err(self.refuse(Denied::TooManyPending(ip)));
        }
        self.pending_per_ip.insert(ip, of_ip + 1);
        self.pending.insert(id, ip);
        Ok(())
    }

    fn leave(&mut self, id: ConnectionId) {
        let Some(ip) = self.pending.remove(&id) else {
            return;
        };
        if let Some(pending) = self.pending_per_ip.get_mut(&ip) {
            *pending = pending.saturating_sub(1);
            if *pending == 0 {
                self.pending_per_ip.remove(&ip);
            }
        }
    }

    fn review(&mut self) {
        for peer in self.connected.keys() {
            if self.policy.role(peer).is_none() && !self.expel.contains(peer) {
                tracing::info!(%peer, "closes the connections of a peer that lost its right");
                self.counters.expelled.fetch_add(1, Ordering::Relaxed);
                self.tell(GateDecision::Expelled(*peer));
                self.expel.push_back(*peer);
            }
        }
        self.arm();
    }

    fn arm(&mut self) {
        self.expiry = self.policy.next_expiry().map(|at| {
            let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            // A hair later than the expiry itself, so that the entry is over when it is looked at.
            let wait = wait.min(MAX_EXPIRY_SLEEP) + Duration::from_millis(5);
            Box::pin(tokio::time::sleep_until(Instant::now() + wait))
        });
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if is_circuit(local) {
            // The source is the relay's word, which the inner handshake will check. Refusing here costs no crypto,
            // and it is the one refusal that the source gets to see.
            return match last_peer(remote) {
                Some(peer) => self.check(&peer),
                None => Ok(()),
            };
        }
        match ip_of(remote) {
            Some(ip) => self.enter(id, ip),
            None => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.leave(id);
        self.check(&peer)?;
        if self.connected.get(&peer).copied().unwrap_or_default() >= MAX_CONNECTIONS_PER_PEER {
            self.counters.throttled.fetch_add(1, Ordering::Relaxed);
            return Err(self.refuse(Denied::TooManyConnections(peer)));
        }
        self.admit(peer);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if let Some(peer) = peer {
            self.check(&peer)?;
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer)?;
        self.admit(peer);
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                *self.connected.entry(event.peer_id).or_default() += 1;
                if self.policy.role(&event.peer_id).is_none() {
                    // Lost its role between the handshake and now.
                    self.expel.push_back(event.peer_id);
                    self.waker.wake();
                }
            }
            FromSwarm::ConnectionClosed(event) if event.remaining_established == 0 => {
                self.connected.remove(&event.peer_id);
            }
            FromSwarm::ConnectionClosed(event) => {
                self.connected.insert(event.peer_id, event.remaining_established);
            }
            FromSwarm::ListenFailure(event) => self.leave(event.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.waker.register(cx.waker());
        let generation = self.policy.generation();
        if generation != self.seen_generation {
            self.seen_generation = generation;
            self.review();
        }
        while let Some(expiry) = self.expiry.as_mut() {
            if expiry.as_mut().poll(cx).is_pending() {
                break;
            }
            self.review();
        }
        match self.expel.pop_front() {
            Some(peer_id) => Poll::Ready(ToSwarm::CloseConnection {
                peer_id,
                connection: CloseConnection::All,
            }),
            None => Poll::Pending,
        }
    }
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    })
}

/// What one customer of a provider has: an IPv4 address, or 64 bits of IPv6.
fn customer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use peerup_trust::AccessPolicy;

    use super::*;

    fn knock6(gate: &mut Gate, number: usize, ip: &str) -> Result<(), ConnectionDenied> {
        gate.handle_pending_inbound_connection(
            ConnectionId::new_unchecked(number),
            &"/ip6/::1/tcp/1".parse().unwrap(),
            &format!("/ip6/{ip}/tcp/1").parse().unwrap(),
        )
    }

    #[tokio::test]
    async fn a_subnet_of_ipv6_is_one_address_and_all_addresses_together_have_a_bound() {
        let mut gate = Gate::new(PolicyHandle::new(AccessPolicy::default()));
        for number in 0..MAX_PENDING_PER_IP {
            knock6(&mut gate, number, &format!("2001:db8::{number:x}")).unwrap();
        }
        assert!(knock6(&mut gate, 999, "2001:db8::ffff").is_err());
        for number in MAX_PENDING_PER_IP..MAX_PENDING {
            knock6(&mut gate, number, &format!("2001:db8:0:{number:x}::1")).unwrap();
        }
        assert!(knock(&mut gate, 1000, "10.0.0.1").is_err());
        gate.leave(ConnectionId::new_unchecked(0));
        knock(&mut gate, 1001, "10.0.0.1").unwrap();
    }

    #[tokio::test]
    async fn a_peer_has_so_many_connections_and_no_more() {
        let peer = PeerId::random();
        let open = AccessPolicy::default().with_gating(false);
        let mut gate = Gate::new(PolicyHandle::new(open));
        gate.connected.insert(peer, MAX_CONNECTIONS_PER_PEER - 1);
        let address: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        let connect = |gate: &mut Gate, number| {
            gate.handle_established_inbound_connection(
                ConnectionId::new_unchecked(number),
                peer,
                &address,
                &address,
            )
            .map(drop)
        };
        connect(&mut gate, 1).unwrap();
        gate.connected.insert(peer, MAX_CONNECTIONS_PER_PEER);
        let refused = connect(&mut gate, 2).unwrap_err();
        assert!(matches!(refused.downcast_ref(), Some(Denied::TooManyConnections(full)) if *full == peer));
    }

    fn knock(gate: &mut Gate, number: usize, ip: &str) -> Result<(), ConnectionDenied> {
        gate.handle_pending_inbound_connection(
            ConnectionId::new_unchecked(number),
            &"/ip4/127.0.0.1/tcp/1".parse().unwrap(),
            &format!("/ip4/{ip}/tcp/{}", number + 1).parse().unwrap(),
        )
    }

    #[tokio::test]
    async fn bounds_handshakes_from_one_address_and_frees_their_places() {
        let mut gate = Gate::new(PolicyHandle::new(AccessPolicy::default()));
        for number in 0..MAX_PENDING_PER_IP {
            knock(&mut gate, number, "10.0.0.1").unwrap();
        }
        let denied = knock(&mut gate, 100, "10.0.0.1").unwrap_err();
        assert!(matches!(denied.downcast_ref(), Some(Denied::TooManyPending(_))));
        knock(&mut gate, 101, "10.0.0.2").unwrap();
        // A handshake that ends, well or not, gives its place to the next.
        let address = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
        let stranger = PeerId::random();
        let refused = gate.handle_established_inbound_connection(
            ConnectionId::new_unchecked(0),
            stranger,
            &address,
            &address,
        );
        assert!(matches!(
            refused.err().unwrap().downcast_ref(),
            Some(Denied::NotAuthorized(peer)) if *peer == stranger
        ));
        knock(&mut gate, 102, "10.0.0.1").unwrap();
        assert_eq!(gate.counters().throttled(), 1);
    }

    #[tokio::test]
    async fn refuses_a_stranger_on_a_circuit_before_the_handshake() {
        let mut gate = Gate::new(PolicyHandle::new(AccessPolicy::default()));
        let (relay, source) = (PeerId::random(), PeerId::random());
        let refused = gate.handle_pending_inbound_connection(
            ConnectionId::new_unchecked(1),
            &format!("/ip4/127.0.0.1/tcp/1/p2p/{relay}/p2p-circuit")
                .parse()
                .unwrap(),
            &format!("/p2p/{source}").parse().unwrap(),
        );
        assert!(matches!(
            refused.unwrap_err().downcast_ref(),
            Some(Denied::NotAuthorized(peer)) if *peer == source
        ));
    }
}
