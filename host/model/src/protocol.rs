//! Protocol ids of the core and the rule that gives a service its own.

use crate::ServiceName;

/// Answers `ping\n` with `pong\n`.
pub const PING_PROTOCOL: &str = "/peerup/ping/1.0.0";
/// The ping of the Go original, served too.
pub const GO_PING_PROTOCOL: &str = "/pingpong/1.0.0";
/// Private Kademlia.
pub const KAD_PROTOCOL: &str = "/peerup/kad/1.0.0";
/// Pairing, version 2.
pub const INVITE_PROTOCOL: &str = "/peerup/invite/2.0.0";
/// A member asks its relay to admit a peer.
pub const ADMIT_PROTOCOL: &str = "/peerup/admit/1.0.0";
/// Asks a relay for a name of its network.
pub const NAMES_PROTOCOL: &str = "/peerup/names/1.0.0";
/// Two members tell each other how they can be reached. Of two parts, so that no service's name collides with it.
pub const REACH_PROTOCOL: &str = "/peerup/core/reach/1.0.0";
/// libp2p's hole punching, "Direct Connection Upgrade through Relay".
pub const HOLE_PUNCH_PROTOCOL: &str = "/libp2p/dcutr";
/// libp2p's ping, which every libp2p node answers.
pub const LIBP2P_PING_PROTOCOL: &str = "/ipfs/ping/1.0.0";
/// What the agent version of a node starts with; the version follows.
pub const AGENT_PREFIX: &str = "peerup/";

/// Returns the protocol id of a service: `/peerup/<service>/1.0.0`.
pub fn service_protocol(service: &ServiceName) -> String {
    format!("/peerup/{service}/1.0.0")
}
