//! The libp2p node: gate, streams, swarm loop and its handle.

mod address;
mod gate;
mod peer_stream;
mod policy;
mod protocols;
mod streams;
mod transport;
mod trust;
mod wakers;

pub use address::path_of;
pub use gate::{Denied, Gate, GateCounters, MAX_PENDING_PER_IP};
pub use peer_stream::PeerStream;
pub use policy::PolicyHandle;
pub use protocols::{Audience, MAX_PROTOCOLS, ProtocolTable, RegisterError};
pub use streams::{
    Conn, InboundStream, OpenStreamError, StreamCounters, StreamGuard, StreamLimits, Streams, StreamsHandle,
};
pub use transport::{TransportError, server_swarm_with, swarm_with};
