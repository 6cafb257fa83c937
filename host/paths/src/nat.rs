//! What kind of NAT this node is behind, from what several relays see of it.
//!
//! Driven by the swarm loop of `peerup-net`, which feeds what identify tells and how dials end. Whatever is fed is the
//! word of others: it leads to a verdict that people read and never to a decision about access.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;
use peerup_model::Transport;

use crate::reach::{AddressScope, scope};

/// Observations kept at one time: three relays, three transports, two address families, and some more.
const MAX_OBSERVATIONS: usize = 32;
/// Relays whose UDP is remembered at one time.
const MAX_UDP_NOTES: usize = 16;
/// Local addresses remembered at one time.
const MAX_LOCAL: usize = 64;
/// A mapping that nobody confirmed for so long may be another one by now.
const EXPIRY: Duration = Duration::from_secs(10 * 60);
/// For how long one success over UDP outweighs later failures of the same relay.
const UDP_WINDOW: Duration = Duration::from_secs(2 * 60);

/// How a NAT chooses the outside port of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum NatKind {
    /// No NAT: the node has a public address itself.
    None,
    /// One port for all destinations: holes can be punched.
    EndpointIndependent,
    /// Another port for each destination: nobody can foretell the next one.
    Symmetric,
    /// Not known, because fewer than two observers told.
    #[default]
    Unknown,
}

impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::EndpointIndependent => "endpoint-independent",
            Self::Symmetric => "symmetric",
            Self::Unknown => "unknown",
        })
    }
}

/// Whether datagrams get out of this network and back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum UdpVerdict {
    /// A relay answered over UDP.
    Ok,
    /// Relays answered over TCP and never over UDP.
    Blocked,
    /// Not known.
    #[default]
    Unknown,
}

impl fmt::Display for UdpVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Blocked => "blocked",
            Self::Unknown => "unknown",
        })
    }
}

/// Everything that is known of the NAT. Its text is for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatVerdict {
    /// How the NAT chooses ports.
    pub kind: NatKind,
    /// Whether the outside port is the local one.
    pub port_preserving: Option<bool>,
    /// Whether the provider has a NAT of its own between the router and the internet.
    pub cgnat: Option<bool>,
    /// Whether UDP works.
    pub udp: UdpVerdict,
    /// Addresses under which this node was seen.
    pub external_ips: Vec<IpAddr>,
}

impl fmt::Display for NatVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.kind, self.port_preserving) {
            (NatKind::None, _) => "none (public address)",
            (NatKind::EndpointIndependent, Some(true)) => "endpoint-independent, ports preserved",
            (NatKind::EndpointIndependent, Some(false)) => "endpoint-independent, ports remapped",
            (NatKind::EndpointIndependent, None) => "endpoint-independent",
            (NatKind::Symmetric, _) => "symmetric (a new port for each destination)",
            (NatKind::Unknown, _) => "unknown",
        })
    }
}

/// What one relay saw of one connection of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Who saw it.
    pub observer: PeerId,
    /// The address that the connection goes to.
    pub observer_ip: IpAddr,
    /// How the connection travels.
    pub transport: Transport,
    /// The port that this end of the connection is bound to.
    pub local_port: u16,
    /// Where the connection comes from, as the observer sees it.
    pub seen: SocketAddr,
    /// When it was seen.
    pub at: Instant,
}

impl Observation {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < EXPIRY
    }

    fn replaces(&self, older: &Self) -> bool {
        self.observer == older.observer
            && self.observer_ip == older.observer_ip
            && self.transport == older.transport
            && self.local_port == older.local_port
    }

    fn preserves_port(&self) -> bool {
        self.seen.port() == self.local_port
    }
}

#[derive(Debug, Clone, Copy)]
struct UdpNote {
    relay: PeerId,
    worked: Option<Instant>,
    failed: Option<Instant>,
}

/// Observations of comparable connections; the order is that in which verdicts count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Family {
    is_v6: bool,
    is_tcp: bool,
}

/// Collects observations and gives the verdict.
#[derive(Debug, Default)]
pub struct NatTable {
    observations: VecDeque<Observation>,
    udp: VecDeque<UdpNote>,
    local: Vec<IpAddr>,
    gateway_external: Option<IpAddr>,
}

impl NatTable {
    /// Starts with nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a relay saw. The same relay's older word on the same port is replaced.
    pub fn observe(&mut self, mut observation: Observation) {
        observation.observer_ip = observation.observer_ip.to_canonical();
        observation.seen.set_ip(observation.seen.ip().to_canonical());
        self.observations.retain(|older| !observation.replaces(older));
        if self.observations.len() >= MAX_OBSERVATIONS {
            self.observations.pop_front();
        }
        self.observations.push_back(observation);
    }

    /// Forgets all that belongs to the network that this node has left. Local addresses stay until they are noted again.
    pub fn forget_all(&mut self) {
        self.observations.clear();
        self.udp.clear();
        self.gateway_external = None;
    }

    /// Takes whether a relay answered over UDP. Only one that was observed over TCP counts as a sign of blocked UDP.
    pub fn note_udp(&mut self, relay: PeerId, worked: bool, now: Instant) {
        let index = self.udp.iter().position(|note| note.relay == relay);
        let mut note = index.and_then(|index| self.udp.remove(index)).unwrap_or(UdpNote {
            relay,
            worked: None,
            failed: None,
        });
        if worked {
            note.worked = Some(now);
            note.failed = None;
        } else {
            note.failed = Some(now);
        }
        if self.udp.len() >= MAX_UDP_NOTES {
            self.udp.pop_front();
        }
        self.udp.push_back(note);
    }

    /// Takes the addresses of this machine, without those of tunnels.
    pub fn note_local_address(&mut self, addresses: Vec<IpAddr>) {
        self.local = addresses
            .into_iter()
            .take(MAX_LOCAL)
            .map(|ip| ip.to_canonical())
            .collect();
    }

    /// Takes the outside address of the router as it tells it itself, over UPnP.
    pub fn note_gateway_external(&mut self, external: Option<IpAddr>) {
        self.gateway_external = external.map(|ip| ip.to_canonical());
    }

    /// Returns what all of it amounts to.
    ///
    /// IPv4 counts before IPv6 and UDP before TCP, where there is a verdict on it.
    pub fn verdict(&self, now: Instant) -> NatVerdict {
        let usable: Vec<_> = self
            .observations
            .iter()
            .filter(|observation| observation.is_fresh(now) && !self.is_same_network(observation))
            .collect();
        let mut families: BTreeMap<Family, Vec<&Observation>> = BTreeMap::new();
        for observation in &usable {
            let family = Family {
                is_v6: observation.seen.is_ipv6(),
                is_tcp: observation.transport != Transport::Quic,
            };
            families.entry(family).or_default().push(observation);
        }
        let (kind, port_preserving) = families
            .iter()
            .map(|(family, seen)| (family.is_v6, self.kind(seen), seen))
            .min_by_key(|(is_v6, kind, _)| (*is_v6, *kind == NatKind::Unknown))
            .map_or((NatKind::Unknown, None), |(_, kind, seen)| {
                (kind, Some(seen.iter().all(|one| one.preserves_port())))
            });
        let external: BTreeSet<_> = usable.iter().map(|observation| observation.seen.ip()).collect();
        NatVerdict {
            kind,
            port_preserving,
            cgnat: self.cgnat(&external),
            udp: self.udp(now),
            external_ips: external.into_iter().collect(),
        }
    }

    /// A relay inside the same private network sees the local address and nothing of the NAT.
    fn is_same_network(&self, observation: &Observation) -> bool {
        let ip = observation.seen.ip();
        match scope(ip) {
            AddressScope::Public => false,
            AddressScope::Loopback | AddressScope::LinkLocal | AddressScope::Unusable => true,
            AddressScope::Private | AddressScope::Cgnat | AddressScope::UniqueLocal => {
                self.local.contains(&ip)
            }
        }
    }

    /// Compares what different observers saw of each transport's port; the worst one counts.
    fn kind(&self, observations: &[&Observation]) -> NatKind {
        if observations
            .iter()
            .all(|observation| self.local.contains(&observation.seen.ip()))
        {
            return NatKind::None;
        }
        let mut ports: BTreeMap<(bool, u16), Vec<&Observation>> = BTreeMap::new();
        for observation in observations {
            let is_websocket = observation.transport == Transport::Websocket;
            ports
                .entry((is_websocket, observation.local_port))
                .or_default()
                .push(observation);
        }
        let mut kind = NatKind::Unknown;
        for seen in ports.values() {
            let observers: BTreeSet<_> = seen.iter().map(|one| one.observer_ip).collect();
            let mapped: BTreeSet<_> = seen.iter().map(|one| one.seen).collect();
            match (observers.len(), mapped.len()) {
                (0 | 1, _) => {}
                (_, 1) => kind = NatKind::EndpointIndependent,
                _ => return NatKind::Symmetric,
            }
        }
        kind
    }

    fn cgnat(&self, external: &BTreeSet<IpAddr>) -> Option<bool> {
        if self
            .local
            .iter()
            .chain(&self.gateway_external)
            .any(|ip| scope(*ip) == AddressScope::Cgnat)
        {
            return Some(true);
        }
        let gateway = self.gateway_external?;
        let mut seen = external
            .iter()
            .filter(|ip| ip.is_ipv4() == gateway.is_ipv4())
            .peekable();
        seen.peek()?;
        Some(!seen.any(|ip| *ip == gateway))
    }

    fn udp(&self, now: Instant) -> UdpVerdict {
        let fresh =
            |at: Option<Instant>, limit| at.is_some_and(|at| now.saturating_duration_since(at) < limit);
        let is_blocked = |note: &UdpNote| fresh(note.failed, EXPIRY) && !fresh(note.worked, UDP_WINDOW);
        let worked = self
            .udp
            .iter()
            .any(|note| !is_blocked(note) && fresh(note.worked, EXPIRY))
            || self.observations.iter().any(|one| {
                one.transport == Transport::Quic
                    && one.is_fresh(now)
                    && !self
                        .udp
                        .iter()
                        .any(|note| note.relay == one.observer && is_blocked(note))
            });
        if worked {
            return UdpVerdict::Ok;
        }
        let blocked = self
            .udp
            .iter()
            .any(|note| is_blocked(note) && self.answered_over_tcp(note.relay, now));
        if blocked {
            UdpVerdict::Blocked
        } else {
            UdpVerdict::Unknown
        }
    }

    fn answered_over_tcp(&self, relay: PeerId, now: Instant) -> bool {
        self.observations
            .iter()
            .any(|one| one.observer == relay && one.is_fresh(now) && one.transport != Transport::Quic)
    }
}
