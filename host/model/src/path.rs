//! Which way a connection takes and which ways a stream may take.

use std::{fmt, str::FromStr};

use libp2p_identity::PeerId;
use serde::{Deserialize, Serialize};

/// Characters of a wrong text that its error repeats.
const MAX_SHOWN: usize = 40;

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
    /// Returns how it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreferDirect => "prefer-direct",
            Self::DirectOnly => "direct-only",
            Self::RelayOnly => "relay-only",
        }
    }

    /// Returns whether a stream under this policy may take that path.
    pub fn allows(self, path: PathKind) -> bool {
        match self {
            Self::PreferDirect => true,
            Self::DirectOnly => !path.is_relayed(),
            Self::RelayOnly => path.is_relayed(),
        }
    }
}

impl fmt::Display for PathPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PathPolicy {
    type Err = PathPolicyError;

    fn from_str(text: &str) -> Result<Self, PathPolicyError> {
        [Self::PreferDirect, Self::DirectOnly, Self::RelayOnly]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| PathPolicyError {
                text: text.chars().take(MAX_SHOWN).collect(),
            })
    }
}

/// A text that is no path policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is none of prefer-direct, direct-only and relay-only")]
pub struct PathPolicyError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_back_as_it_is_written() {
        for policy in [
            PathPolicy::PreferDirect,
            PathPolicy::DirectOnly,
            PathPolicy::RelayOnly,
        ] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        for bad in ["", "direct", "Direct-Only", "relay-only "] {
            assert!(bad.parse::<PathPolicy>().is_err(), "{bad:?}");
        }
    }
}
