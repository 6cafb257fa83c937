//! What discovery and the node's task tell each other.
//!
//! Plain data.

use std::{net::IpAddr, time::Instant};

use jiff::Timestamp;
use libp2p::{
    Multiaddr, PeerId,
    kad::{self, store::MemoryStore},
    swarm::behaviour::toggle::Toggle,
};

/// The DHT's behaviour, where it is on.
pub(crate) type Kad = Toggle<kad::Behaviour<MemoryStore>>;

/// What time it is, by the clock that timers go by and by that of the wall.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) now: Instant,
    pub(crate) wall: Timestamp,
}

impl Clock {
    /// The present.
    pub(crate) fn read() -> Self {
        Self {
            now: Instant::now(),
            wall: Timestamp::now(),
        }
    }
}

/// Who said where a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The peer itself, on the local network, without proof.
    Mdns,
    /// The peer itself, in a record that it signed.
    Dht,
}

/// What the router in front of the local network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gateway {
    /// It has this public address and maps ports.
    Public(IpAddr),
    /// It maps ports, but stands behind another translator: a provider's, as a rule.
    Private,
    /// None answers to UPnP.
    Absent,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiscoveryEvent {
    /// A listed peer says that it can be reached there, and nowhere else that this source knows of. The addresses
    /// do not end in the peer's id.
    Found {
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        source: Source,
    },
    /// A peer is no longer there.
    Lost {
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        source: Source,
    },
    /// The router lets connections in at this address. The swarm knows it already.
    External { address: Multiaddr },
    /// It does no more.
    ExternalLost { address: Multiaddr },
    /// What is known of the router.
    Gateway(Gateway),
}
