//! Describes the connected peers for a snapshot.
//!
//! A reader of what the streams know; changes nothing.

use std::collections::HashMap;

use libp2p::PeerId;
use peerup_model::PathPolicy;

use crate::{
    snapshot::{ConnSnapshot, PeerSnapshot},
    streams::{Conn, StreamsHandle},
};

/// One connection.
fn connection(conn: &Conn) -> ConnSnapshot {
    ConnSnapshot {
        path: conn.path(),
        address: conn.address().clone(),
        rtt: conn.rtt(),
        last_answer: conn.last_answer().map(|at| at.elapsed()),
        age: conn.opened().elapsed(),
        streams: conn.streams(),
        bytes_in: conn.bytes_in(),
        bytes_out: conn.bytes_out(),
        suspect: conn.is_suspect(),
        budget: conn.budget(),
    }
}

/// A peer's connections, the one that a new stream takes first.
pub(super) fn connections(streams: &StreamsHandle, peer: &PeerId) -> Vec<ConnSnapshot> {
    let mut conns = streams.connections(peer);
    if let Some(best) = streams.choose(peer, PathPolicy::PreferDirect) {
        conns.sort_by_key(|conn| conn.id() != best.id());
    }
    conns.iter().map(|conn| connection(conn)).collect()
}

/// The connected peers in the order of their ids, each with its connections, the best one first.
pub(super) fn peers(streams: &StreamsHandle, agents: &HashMap<PeerId, String>) -> Vec<PeerSnapshot> {
    let mut known = streams.peers();
    known.sort_unstable();
    known
        .into_iter()
        .map(|peer| PeerSnapshot {
            peer,
            agent: agents.get(&peer).cloned(),
            connections: connections(streams, &peer),
        })
        .collect()
}
