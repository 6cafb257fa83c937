//! What a node tells about itself: a snapshot for `status`, a cheap status to wait on, events.
//!
//! Plain data, made by the node's task.

use std::time::{Duration, SystemTime};

use libp2p::{Multiaddr, PeerId};
use peerup_model::PathKind;
use peerup_paths::{BudgetLeft, NatVerdict, PathNat};
use serde::{Deserialize, Serialize};

/// The state of a node at one moment.
#[derive(Debug, Clone)]
pub struct NodeSnapshot {
    /// Who this node is.
    pub peer_id: PeerId,
    /// Addresses it listens on, circuits included.
    pub listen: Vec<Multiaddr>,
    /// Addresses it is known to be reachable under.
    pub external: Vec<Multiaddr>,
    /// Configured relays.
    pub relays: Vec<RelaySnapshot>,
    /// Connected peers, relays included.
    pub peers: Vec<PeerSnapshot>,
    /// What the relays' views say about the NAT in front of this node.
    pub nat: NatVerdict,
}

/// One configured relay.
#[derive(Debug, Clone)]
pub struct RelaySnapshot {
    /// The relay's identity.
    pub peer: PeerId,
    /// Where it is dialled.
    pub addresses: Vec<Multiaddr>,
    /// In words: `reserved`, `connecting`, `waiting 12 s`.
    pub state: String,
    /// Whether others can reach this node over it.
    pub reserved: bool,
    /// Whether it is among the relays that this node keeps a reservation on; the others are in reserve.
    pub held: bool,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
    /// Since when it has been reserved.
    pub since: Option<SystemTime>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// What the relay allows one circuit, if it says so.
    pub limit: Option<CircuitLimit>,
}

/// What a relay allows one circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitLimit {
    /// How long it may last.
    pub duration: Option<Duration>,
    /// How many bytes it may carry.
    pub bytes: Option<u64>,
}

/// One connected peer.
#[derive(Debug, Clone)]
pub struct PeerSnapshot {
    /// Who it is.
    pub peer: PeerId,
    /// What its identify says, cut to a sane length; none before it has answered.
    pub agent: Option<String>,
    /// Its connections, oldest first.
    pub connections: Vec<ConnSnapshot>,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct ConnSnapshot {
    /// How it gets to the peer.
    pub path: PathKind,
    /// The remote address.
    pub address: Multiaddr,
    /// Last measured round trip.
    pub rtt: Option<Duration>,
    /// How long ago the peer last answered.
    pub last_answer: Option<Duration>,
    /// How long the connection has existed.
    pub age: Duration,
    /// Streams in use.
    pub streams: usize,
    /// Payload bytes read from streams.
    pub bytes_in: u64,
    /// Payload bytes written to streams.
    pub bytes_out: u64,
    /// Whether an answer is overdue, so that new streams avoid it.
    pub suspect: bool,
    /// What is left of the circuit; none for a direct connection or without a limit.
    pub budget: Option<BudgetLeft>,
}

/// What kind of attempt to reach a peer it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptKind {
    /// A plain dial of an address.
    Dial,
    /// Both sides dialled at one moment.
    Punch,
    /// A connection over a relay.
    Circuit,
}

/// One thing that was tried to reach a peer.
#[derive(Debug, Clone)]
pub struct AttemptReport {
    /// What kind.
    pub kind: AttemptKind,
    /// The address or relay.
    pub target: String,
    /// What it ended in.
    pub outcome: String,
    /// How long ago.
    pub age: Duration,
}

/// What a peer says of itself.
#[derive(Debug, Clone)]
pub struct RemoteReport {
    /// The NAT in front of it.
    pub nat: PathNat,
    /// Where it can be reached, as it says.
    pub candidates: Vec<Multiaddr>,
    /// How long ago it said so.
    pub age: Duration,
}

/// Everything that explains the path to one peer.
#[derive(Debug, Clone)]
pub struct PeerReport {
    /// Its connections, the one that a new stream takes first.
    pub connections: Vec<ConnSnapshot>,
    /// The NAT in front of this node.
    pub nat: NatVerdict,
    /// Addresses that this node offers for punching, with who saw them.
    pub own_candidates: Vec<(Multiaddr, &'static str)>,
    /// What the peer says of itself; none before it has been asked.
    pub remote: Option<RemoteReport>,
    /// Addresses known of the peer.
    pub known: Vec<KnownAddress>,
    /// What was tried, the latest last.
    pub attempts: Vec<AttemptReport>,
    /// When the next attempt to get a direct path comes; none while one runs or none is needed.
    pub next_try: Option<Duration>,
    /// Attempts to get a direct path so far.
    pub tries: u32,
    /// Whether the peer took part in the last attempt to punch a hole.
    pub answers_punch: Option<bool>,
    /// Whether both seem to be on one local network.
    pub same_lan: bool,
    /// Configured relays.
    pub relays: Vec<RelaySnapshot>,
}

/// What the node's task answers when it is asked whether it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeHealth {
    /// Sockets that it listens on.
    pub listeners: usize,
    /// Sockets that it listened on at its start.
    pub wanted: usize,
}

/// What there is to wait for, cheap to watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Whether every listen address of the config is listened on.
    pub listening: bool,
    /// Relays that hold a reservation for this node.
    pub reserved_relays: usize,
    /// Connected peers, relays included.
    pub connected_peers: usize,
}

/// Something that happened to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// The first connection to a peer was established.
    PeerConnected {
        /// Which peer.
        peer: PeerId,
        /// Over which path.
        path: PathKind,
    },
    /// The last connection to a peer ended.
    PeerDisconnected {
        /// Which peer.
        peer: PeerId,
    },
    /// A relay holds a reservation for this node.
    RelayReserved {
        /// Which relay.
        relay: PeerId,
    },
    /// A reservation was lost; it is being renewed.
    RelayLost {
        /// Which relay.
        relay: PeerId,
        /// Why.
        reason: String,
    },
    /// The network of this machine changed: addresses, routes or the clock.
    NetworkChanged,
    /// New streams to a connected peer take another kind of path.
    PathChanged {
        /// Which peer.
        peer: PeerId,
        /// The path that new streams take.
        path: PathKind,
    },
}

/// Where an address came from, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressSource {
    /// Announced on the link.
    Mdns,
    /// The far end of a connection that the peer opened.
    Observed,
    /// From the peer's record in the private DHT.
    Dht,
    /// The peer told it about itself.
    Told,
    /// A connection was made to it.
    Worked,
    /// The operator or an invite gave it.
    Operator,
}

impl std::fmt::Display for AddressSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mdns => "found on the local network",
            Self::Observed => "seen on a connection",
            Self::Dht => "from the peer's record",
            Self::Told => "told by the peer",
            Self::Worked => "worked before",
            Self::Operator => "given by the operator",
        })
    }
}

/// An address of a peer, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAddress {
    /// The address, ending in the peer's id.
    pub address: Multiaddr,
    /// Where it came from.
    pub source: AddressSource,
    /// Seconds since it was last seen.
    pub age_s: u64,
}
