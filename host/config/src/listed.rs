//! A peer as a list of the config names it: by what the operator calls it, or by its id.

use std::{collections::BTreeMap, fmt, str::FromStr};

use libp2p_identity::PeerId;
use peerup_model::PeerName;

/// One peer of a service's `allow` list or of `paths.peers`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AllowedPeer {
    /// A name out of `names:`. One that is not there stands for nobody.
    Name(PeerName),
    /// A peer by its id.
    Id(PeerId),
}

impl AllowedPeer {
    /// Returns whether this stands for the peer, with the names as they are now.
    pub fn is(&self, peer: &PeerId, names: &BTreeMap<PeerName, PeerId>) -> bool {
        match self {
            Self::Id(id) => id == peer,
            Self::Name(name) => names.get(name) == Some(peer),
        }
    }

    /// Returns the name, where it is one that stands for nobody.
    pub(crate) fn unknown_name(&self, names: &BTreeMap<PeerName, PeerId>) -> Option<&PeerName> {
        match self {
            Self::Name(name) if !names.contains_key(name) => Some(name),
            _ => None,
        }
    }
}

impl FromStr for AllowedPeer {
    type Err = AllowedPeerError;

    fn from_str(text: &str) -> Result<Self, AllowedPeerError> {
        if let Ok(name) = text.parse() {
            return Ok(Self::Name(name));
        }
        text.parse()
            .map(Self::Id)
            .map_err(|_| AllowedPeerError(text.to_owned()))
    }
}

impl fmt::Display for AllowedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// A text that stands for no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a name nor a peer id")]
pub struct AllowedPeerError(String);
