//! Describes the connected peers for a snapshot.
//!
//! A reader of what the streams know; changes nothing.

use std::collections::HashMap;

use libp2p::PeerId;

use crate::{
    snapshot::{ConnSnapshot, PeerSnapshot},
    streams::StreamsHandle,
};

/// The connected peers in the order of their ids, each with its connections.
pub(super) fn peers(streams: &StreamsHandle, agents: &HashMap<PeerId, String>) -> Vec<PeerSnapshot> {
    let mut known = streams.peers();
    known.sort_unstable();
    known
        .into_iter()
        .map(|peer| PeerSnapshot {
            peer,
            agent: agents.get(&peer).cloned(),
            connections: streams
                .connections(&peer)
                .iter()
                .map(|conn| ConnSnapshot {
                    path: conn.path(),
                    address: conn.address().clone(),
                    rtt: conn.rtt(),
                    last_answer: conn.last_answer().map(|at| at.elapsed()),
                    age: conn.opened().elapsed(),
                    streams: conn.streams(),
                    bytes_in: conn.bytes_in(),
                    bytes_out: conn.bytes_out(),
                })
                .collect(),
        })
        .collect()
}
