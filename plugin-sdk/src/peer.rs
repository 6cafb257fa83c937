//! Who is at the other end and the way that leads there.

use std::fmt;

use crate::bindings::peerup::plugin::types as raw;

/// A peer as the operator knows it.
///
/// ```
/// use peerup_plugin_sdk::Peer;
///
/// let home = Peer { id: "12D3KooW...".into(), name: Some("home".into()) };
/// assert_eq!(home.to_string(), "home");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The libp2p peer id in base58. Text to show and to compare, never authority.
    pub id: String,
    /// The name in the operator's config, if there is one.
    pub name: Option<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or(&self.id))
    }
}

impl From<raw::Peer> for Peer {
    fn from(peer: raw::Peer) -> Self {
        Self {
            id: peer.id,
            name: peer.name,
        }
    }
}

/// How the bytes of a direct connection travel.
///
/// ```
/// assert_eq!(peerup_plugin_sdk::Transport::Quic.to_string(), "quic");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// TCP with Noise and yamux.
    Tcp,
    /// WebSocket over TCP.
    Websocket,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Websocket => "websocket",
        })
    }
}

/// The way a connection takes. `Display` writes it as the command line shows it.
///
/// ```
/// use peerup_plugin_sdk::{Path, Transport};
///
/// assert_eq!(Path::Direct(Transport::Quic).to_string(), "DIRECT quic");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// Straight to the peer.
    Direct(Transport),
    /// Over the relay named here; it forwards ciphertext only.
    Relayed(Peer),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(transport) => write!(f, "DIRECT {transport}"),
            Self::Relayed(relay) => write!(f, "RELAYED via {relay}"),
        }
    }
}

impl From<raw::Path> for Path {
    fn from(path: raw::Path) -> Self {
        match path {
            raw::Path::Direct(raw::Transport::Quic) => Self::Direct(Transport::Quic),
            raw::Path::Direct(raw::Transport::Tcp) => Self::Direct(Transport::Tcp),
            raw::Path::Direct(raw::Transport::Websocket) => Self::Direct(Transport::Websocket),
            raw::Path::Relayed(relay) => Self::Relayed(relay.into()),
        }
    }
}

/// Which ways a stream may take. The operator's own policy can narrow it further.
///
/// ```
/// use peerup_plugin_sdk::PathPolicy;
///
/// assert_eq!(PathPolicy::default(), PathPolicy::PreferDirect);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PathPolicy {
    /// Direct where there is a direct way, over a relay otherwise.
    #[default]
    PreferDirect,
    /// Never over a relay.
    DirectOnly,
    /// Always over a relay.
    RelayOnly,
}

impl From<PathPolicy> for raw::PathPolicy {
    fn from(policy: PathPolicy) -> Self {
        match policy {
            PathPolicy::PreferDirect => Self::PreferDirect,
            PathPolicy::DirectOnly => Self::DirectOnly,
            PathPolicy::RelayOnly => Self::RelayOnly,
        }
    }
}
