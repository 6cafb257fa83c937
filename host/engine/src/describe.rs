//! What the host tells of a peer and of the ways to it, addresses included; the bindings leave out what was not
//! granted.

use std::time::Duration;

use crate::duplex::{PathRef, PeerRef};

/// What a peer is to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRole {
    /// It may use what this node offers.
    Member,
    /// It carries connections.
    Relay,
}

/// A peer and the ways to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerDetails {
    /// Who it is.
    pub peer: PeerRef,
    /// What it is to this node.
    pub role: PeerRole,
    /// Its connections; the one that a new stream would take comes first.
    pub connections: Vec<ConnectionDetails>,
}

/// One connection to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionDetails {
    /// The way that it takes.
    pub path: PathRef,
    /// The address of the other end.
    pub address: String,
    /// The last measured round trip.
    pub rtt: Option<Duration>,
    /// How long ago the other end last answered.
    pub last_answer: Option<Duration>,
    /// Streams in use.
    pub streams: usize,
    /// How long it has existed.
    pub age: Duration,
}
