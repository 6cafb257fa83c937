//! What a node is started with.
//!
//! Filled in by the daemon from its config file; plain data.

use std::path::PathBuf;

use libp2p::{Multiaddr, PeerId, identity::Keypair};

use crate::streams::StreamLimits;

/// A relay this node keeps a reservation on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayAddress {
    /// The relay's identity. The access policy must list it as a relay, or the gate refuses the dial.
    pub peer: PeerId,
    /// Where it listens, with or without its peer id at the end.
    pub addresses: Vec<Multiaddr>,
}

/// Which ways a node has to find peers, and to learn how it can be reached. All are on unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Whether to find peers on the local network by multicast, which tells everybody there the node's peer id.
    pub mdns: bool,
    /// Whether to keep the node's addresses, sealed, with its relays, and to look up those of peers.
    pub dht: bool,
    /// Whether to ask the router to let connections in.
    pub upnp: bool,
    /// Whether to ask relays to dial back, so that the node knows which of its addresses are reachable.
    pub autonat: bool,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            mdns: true,
            dht: true,
            upnp: true,
            autonat: true,
        }
    }
}

impl DiscoveryConfig {
    /// Nothing but addresses that are given: for tests, and for commands that run for a moment.
    pub const OFF: Self = Self {
        mdns: false,
        dht: false,
        upnp: false,
        autonat: false,
    };
}

/// How to start a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The node's identity.
    pub keypair: Keypair,
    /// Addresses to listen on. One TCP and one QUIC address for each address family is best for hole punching.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which this node is known to be reachable from outside.
    pub external: Vec<Multiaddr>,
    /// Relays that circuits may go over.
    pub relays: Vec<RelayAddress>,
    /// Whether to keep a reservation on each relay. A node that only dials needs none, and must not take the
    /// place of another node with its identity.
    pub reserve: bool,
    /// What identify tells peers, such as `peerup/0.1.0`.
    pub agent: String,
    /// Bounds on inbound streams.
    pub limits: StreamLimits,
    /// Ways to find peers and to be found.
    pub discovery: DiscoveryConfig,
    /// Whether to watch the machine's network and clock, and to check every path when they change.
    pub watch_network: bool,
    /// Where the address book is kept between two starts; none keeps it in memory only.
    pub address_book: Option<PathBuf>,
}

impl NodeConfig {
    /// A node with this identity that listens nowhere, knows no relay yet, and keeps reservations on those
    /// that it is given.
    pub fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            listen: Vec::new(),
            external: Vec::new(),
            relays: Vec::new(),
            reserve: true,
            agent: format!("{}{}", peerup_model::AGENT_PREFIX, env!("CARGO_PKG_VERSION")),
            limits: StreamLimits::default(),
            discovery: DiscoveryConfig::default(),
            watch_network: true,
            address_book: None,
        }
    }
}
