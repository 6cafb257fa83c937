//! Peers and paths as the contract's records.

use peerup_model::Transport;

use std::time::Duration;

use crate::{
    bindings::peerup::plugin::{peers, types},
    describe::{ConnectionDetails, PeerDetails, PeerRole},
    duplex::{PathRef, PeerRef},
};

/// The most connections told of one peer.
const MAX_CONNECTIONS: usize = 16;
/// The longest address told, in characters.
const MAX_ADDRESS: usize = 512;

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

/// Makes the record of a peer's details, with addresses only where they were granted.
pub(crate) fn details_record(details: &PeerDetails, addresses: bool) -> peers::Details {
    let best = details.connections.first();
    let last_answers = details
        .connections
        .iter()
        .filter_map(|connection| connection.last_answer);
    peers::Details {
        peer: peer_record(&details.peer),
        role: match details.role {
            PeerRole::Member => peers::Role::Member,
            PeerRole::Relay => peers::Role::Relay,
        },
        path: best.map(|connection| path_variant(&connection.path)),
        round_trip: best.and_then(|connection| connection.rtt).map(micros),
        last_answer: last_answers.min().map(|age| age.as_secs()),
        connections: details
            .connections
            .iter()
            .take(MAX_CONNECTIONS)
            .map(|connection| connection_record(connection, addresses))
            .collect(),
    }
}

fn connection_record(connection: &ConnectionDetails, addresses: bool) -> peers::Connection {
    peers::Connection {
        path: path_variant(&connection.path),
        address: addresses.then(|| connection.address.chars().take(MAX_ADDRESS).collect()),
        round_trip: connection.rtt.map(micros),
        last_answer: connection.last_answer.map(|age| age.as_secs()),
        streams: u32::try_from(connection.streams).unwrap_or(u32::MAX),
        age: connection.age.as_secs(),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
