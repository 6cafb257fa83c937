//! Why a node did not start, and why a stream or a connection could not be had.
//!
//! The texts name the peer and what was tried; they are read by people.

use std::{fmt, io};

use libp2p::{Multiaddr, PeerId};
use peerup_model::PathPolicy;

use crate::{streams::OpenStreamError, transport::TransportError};

/// What a relay's snapshot tells where it let the connection come about and closed it without a word: its gate
/// does not know this node.
pub const NOT_ADMITTED: &str =
    "it closed the connection right after the handshake, so it does not admit this node";

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another program listens there already.
    #[error("{address} is in use by another program; choose another port or stop that program")]
    AddressInUse {
        /// The address that could not be had.
        address: Multiaddr,
    },
    /// Listening failed for another reason.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address that could not be had.
        address: Multiaddr,
        /// What the system says.
        reason: String,
    },
    /// No transport could be set up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The node ended while it started.
    #[error("the node ended while it started")]
    Ended,
}

/// Why the relay did not build a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayRefusal {
    /// The peer holds no reservation there: it is off, or not connected to this relay.
    NoReservation,
    /// A limit of the relay is used up.
    Full,
    /// The relay does not let this node in, or the peer does not.
    Denied,
    /// The relay could not get through to the peer, or the peer refused the circuit.
    PeerRefused,
}

impl fmt::Display for RelayRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoReservation => {
                "the peer has no reservation there; it is off or not connected to this relay"
            }
            Self::Full => "a limit of the relay is used up",
            Self::Denied => "the relay does not admit this node",
            Self::PeerRefused => "the peer did not take the circuit; does it accept this identity?",
        })
    }
}

/// Why no stream to a peer was opened, or no connection made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// This node's own policy does not list the peer.
    #[error("{peer} is not authorized on this node")]
    NotListed {
        /// The peer that was asked for.
        peer: PeerId,
    },
    /// The peer closed the connection right after the handshake.
    #[error("{peer} does not accept this identity: it closed the connection right after the handshake")]
    NotAuthorized {
        /// The peer that was asked for.
        peer: PeerId,
    },
    /// Every address and relay was tried in vain.
    #[error("{peer} cannot be reached: {}", attempts.join("; "))]
    Unreachable {
        /// The peer that was asked for.
        peer: PeerId,
        /// What was tried, each with its error.
        attempts: Vec<String>,
    },
    /// There is no address to dial and no relay to ask.
    #[error("no address of {peer} is known and no relay is configured")]
    NoRelay {
        /// The peer that was asked for.
        peer: PeerId,
    },
    /// The peer could not be reached directly, and the relay refused the circuit.
    #[error(
        "the relay {relay} refused the circuit to {peer}: {reason}{}",
        others(attempts)
    )]
    RelayRefused {
        /// The peer that was asked for.
        peer: PeerId,
        /// The relay that refused.
        relay: PeerId,
        /// Why.
        reason: RelayRefusal,
        /// What else was tried, each with its error.
        attempts: Vec<String>,
    },
    /// The peer does not serve the protocol, or not to this node.
    #[error("{peer} does not serve {protocol} to this node")]
    UnsupportedProtocol {
        /// The peer that was asked for.
        peer: PeerId,
        /// The protocol id.
        protocol: String,
    },
    /// No path that the policy allows could be had.
    #[error("no {} path to {peer} could be had{}", policy_name(*policy), others(attempts))]
    PathPolicy {
        /// The peer that was asked for.
        peer: PeerId,
        /// The policy in question.
        policy: PathPolicy,
        /// What was tried, each with its error.
        attempts: Vec<String>,
    },
    /// The time was up.
    #[error("{peer} did not answer in time{}", others(attempts))]
    Timeout {
        /// The peer that was asked for.
        peer: PeerId,
        /// What was tried so far, each with its error.
        attempts: Vec<String>,
    },
    /// The connections to the peer carry as many streams as they may.
    #[error("the connection to {peer} carries as many streams as it may; close some")]
    Busy {
        /// The peer that was asked for.
        peer: PeerId,
    },
    /// The connection broke while the stream was opened.
    #[error("the connection to {peer} broke while the stream was opened: {source}")]
    Broken {
        /// The peer that was asked for.
        peer: PeerId,
        /// What went wrong.
        source: OpenStreamError,
    },
    /// The protocol id is not valid.
    #[error("{protocol:?} is not a protocol id: it must start with a slash")]
    Protocol {
        /// What was given.
        protocol: String,
    },
    /// The node has been shut down.
    #[error("the node has been shut down")]
    Closed,
}

fn others(attempts: &[String]) -> String {
    if attempts.is_empty() {
        String::new()
    } else {
        format!(" (tried: {})", attempts.join("; "))
    }
}

fn policy_name(policy: PathPolicy) -> &'static str {
    match policy {
        PathPolicy::PreferDirect => "allowed",
        PathPolicy::DirectOnly => "direct",
        PathPolicy::RelayOnly => "relayed",
    }
}

/// Finds what a relay said in the error of a failed circuit dial.
pub(crate) fn relay_refusal(error: &io::Error) -> Option<RelayRefusal> {
    use libp2p::relay::outbound::hop::ConnectError;

    let mut next: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = next {
        // The connection to the relay went away under the request: what its gate does to those it does not know.
        if error.is::<futures::channel::oneshot::Canceled>() {
            return Some(RelayRefusal::Denied);
        }
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return match error {
                ConnectError::NoReservation => Some(RelayRefusal::NoReservation),
                ConnectError::ResourceLimitExceeded => Some(RelayRefusal::Full),
                ConnectError::PermissionDenied => Some(RelayRefusal::Denied),
                ConnectError::ConnectionFailed => Some(RelayRefusal::PeerRefused),
                _ => None,
            };
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as _),
            None => error.source(),
        };
    }
    None
}

/// One line about a failed dial, without the nesting of libp2p's error types.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    loop {
        let inner = deepest
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn std::error::Error + 'static));
        match inner.or_else(|| deepest.source()) {
            Some(next) => deepest = next,
            // What the relay client answers with when its connection to the relay goes away under a request.
            None if deepest.is::<futures::channel::oneshot::Canceled>() => {
                return "the connection to the relay ended meanwhile".to_owned();
            }
            None => return deepest.to_string().trim_end_matches('.').to_owned(),
        }
    }
}
