//! The libp2p node: gate, streams, swarm loop and its handle.
//!
//! [`Node`] is a whole node: it listens, dials, keeps reservations on relays, and opens streams over the best path.
//! [`Gate`], [`Streams`] and [`swarm_with`] are the pieces it is made of, for whoever owns a swarm of another kind,
//! such as a relay. [`PolicyHandle`] says who may do what, [`ProtocolTable`] what is served.

mod address;
mod autonat;
mod config;
mod counters;
mod error;
mod gate;
mod named;
mod netwatch;
mod node;
mod observed;
mod policy;
mod protocols;
mod snapshot;
mod streams;
mod transport;
mod wakers;
mod warm;

pub use address::{is_public_ip, path_of};
pub use config::{DiscoveryConfig, NodeConfig, RelayAddress};
pub use counters::NodeCounters;
pub use error::{NOT_ADMITTED, OpenError, RelayRefusal, StartError};
pub use gate::{
    Denied, Gate, GateCounters, GateDecision, MAX_CONNECTIONS_PER_PEER, MAX_PENDING, MAX_PENDING_PER_IP,
};
pub use netwatch::{Gateway, Mac, NetEvent, NetState, NetWatch};
pub use node::Node;
pub use policy::PolicyHandle;
pub use protocols::{Audience, MAX_PROTOCOLS, ProtocolTable, RegisterError};
pub use snapshot::{
    AddressSource, AttemptKind, AttemptReport, CircuitLimit, ConnSnapshot, KnownAddress, NodeEvent,
    NodeHealth, NodeSnapshot, NodeStatus, PeerReport, PeerSnapshot, RelaySnapshot, RemoteReport,
};
pub use streams::{
    CircuitExhausted, Conn, InboundStream, OpenStreamError, PeerStream, StreamCounters, StreamLimits,
    Streams, StreamsHandle,
};
pub use transport::{TransportError, metered_swarm_with, server_swarm_with, swarm_with};
