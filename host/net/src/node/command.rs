//! What the handle asks of the node's task.

use std::collections::HashSet;

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use peerup_model::PathPolicy;
use tokio::sync::oneshot;

use crate::{
    config::RelayAddress,
    error::OpenError,
    snapshot::{NodeHealth, NodeSnapshot, PeerReport},
};

/// One message to the node's task.
#[derive(Debug)]
pub(super) enum NodeCommand {
    /// Get a connection that the policy allows.
    Dial {
        peer: PeerId,
        policy: PathPolicy,
        reply: oneshot::Sender<Result<(), OpenError>>,
    },
    /// Say whether the peer answers on a connection, as soon as that is known.
    Confirm {
        peer: PeerId,
        reply: oneshot::Sender<bool>,
    },
    /// Close all connections to the peer.
    Disconnect {
        peer: PeerId,
        reply: oneshot::Sender<()>,
    },
    /// Close one connection.
    Close { connection: ConnectionId },
    /// A stream on this connection does not open: find out whether it still lives.
    Probe { connection: ConnectionId },
    /// Forget every waiting time and try everything again.
    ResetBackoffs,
    /// Whether direct paths are unwanted, and for which peers it is the other way round.
    SetRelayOnly {
        everybody: bool,
        exceptions: HashSet<PeerId>,
    },
    /// Explain the path to a peer.
    Explain {
        peer: PeerId,
        reply: oneshot::Sender<Box<PeerReport>>,
    },
    /// Remember an address.
    AddAddress { peer: PeerId, address: Multiaddr },
    /// Replace the relays.
    SetRelays { relays: Vec<RelayAddress> },
    /// Replace the addresses to announce besides those that are found out.
    SetExternal { addresses: Vec<Multiaddr> },
    /// Describe the node.
    Snapshot { reply: oneshot::Sender<NodeSnapshot> },
    /// Say that the task is alive, and what it listens on.
    Health { reply: oneshot::Sender<NodeHealth> },
    /// Stand still for so long, as a bug would make the task do.
    #[cfg(debug_assertions)]
    Stall { time: std::time::Duration },
    /// End in order.
    Shutdown { reply: oneshot::Sender<()> },
}
