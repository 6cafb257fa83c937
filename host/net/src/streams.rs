//! Streams over live connections: chosen path outbound, bounded and filtered inbound.
//!
//! `behaviour` sits in the swarm, `handler` in each connection, `conn` is what both know of one connection, and
//! `handle` is what everybody else holds. Opening a stream never goes through the swarm's loop: each connection has
//! its own queue, which its handler reads.

mod behaviour;
mod conn;
mod handle;
mod handler;
mod peer_stream;
mod upgrade;

pub use behaviour::Streams;
pub use conn::Conn;
pub(crate) use conn::StreamGuard;
pub use handle::{InboundStream, StreamCounters, StreamLimits, StreamsHandle};
pub use peer_stream::{CircuitExhausted, PeerStream};

/// How long negotiating a protocol on a stream may take.
const NEGOTIATION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Why no stream was opened on a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStreamError {
    /// No connection that the path policy allows.
    #[error("there is no connection to the peer that the path policy allows")]
    NotConnected,
    /// The peer does not serve the protocol, or not to this node.
    #[error("the peer does not serve this protocol to this node")]
    UnsupportedProtocol,
    /// The peer did not answer the negotiation in time.
    #[error("the peer did not answer the stream's negotiation in time")]
    Timeout,
    /// The connection closed meanwhile.
    #[error("the connection closed")]
    ConnectionClosed,
    /// The connection carries as many streams as it may.
    #[error("the connection carries as many streams as it may")]
    Busy,
    /// The protocol id is not valid.
    #[error("the protocol id is not valid")]
    Protocol,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[source] std::io::Error),
}

impl OpenStreamError {
    /// Whether the connection itself is to blame, so that another one may serve.
    pub fn is_connection_level(&self) -> bool {
        matches!(self, Self::Timeout | Self::ConnectionClosed | Self::Io(_))
    }
}
