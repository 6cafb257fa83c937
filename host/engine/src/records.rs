//! Peers and paths as the contract's records.

use peerup_model::Transport;

use crate::{
    bindings::peerup::plugin::types,
    duplex::{PathRef, PeerRef},
};

pub(crate) fn peer_record(peer: &PeerRef) -> types::Peer {
    types::Peer {
        id: peer.id.to_string(),
        name: peer.name.as_ref().map(ToString::to_string),
    }
}

pub(crate) fn path_variant(path: &PathRef) -> types::Path {
    match path {
        PathRef::Direct(Transport::Quic) => types::Path::Direct(types::Transport::Quic),
        PathRef::Direct(Transport::Tcp) => types::Path::Direct(types::Transport::Tcp),
        PathRef::Direct(Transport::Websocket) => types::Path::Direct(types::Transport::Websocket),
        PathRef::Relayed(relay) => types::Path::Relayed(peer_record(relay)),
    }
}
