//! Which way a connection takes and which ways a stream may take.

use std::fmt;

use libp2p_identity::PeerId;
use serde::{Deserialize, Serialize};

/// How the bytes of a direct connection travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// QUIC version 1 over UDP.
    Quic,
    /// TCP with Noise and yamux.
    Tcp,
    /// TCP with WebSocket, Noise and yamux.
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

/// The way a live connection takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathKind {
    /// Straight to the peer.
    Direct(Transport),
    /// Over this relay, which sees ciphertext only.
    Relayed(PeerId),
}

impl PathKind {
    /// Returns whether a relay is in between.
    pub fn is_relayed(self) -> bool {
        matches!(self, Self::Relayed(_))
    }
}

/// Which ways a stream may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathPolicy {
    /// Direct where a direct connection lives, else over a relay.
    #[default]
    PreferDirect,
    /// Direct or not at all.
    DirectOnly,
    /// Over a relay or not at all.
    RelayOnly,
}

impl PathPolicy {
    /// Returns whether a stream under this policy may take that path.
    pub fn allows(self, path: PathKind) -> bool {
        match self {
            Self::PreferDirect => true,
            Self::DirectOnly => !path.is_relayed(),
            Self::RelayOnly => path.is_relayed(),
        }
    }
}
