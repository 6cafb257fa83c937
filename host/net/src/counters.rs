//! What a node counts of its dials, for metrics. Written by the node's task, read by anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use libp2p::{Multiaddr, swarm::DialError};
use peerup_model::{PathKind, Transport};

use crate::address::path_of;

/// Kinds of ways, in the order of the counters.
const WAYS: [&str; 4] = ["quic", "tcp", "websocket", "relay"];
/// What a dial can end in, in the order of the counters.
const OUTCOMES: [&str; 3] = ["connected", "failed", "refused"];
/// What hole punching can end in, in the order of the counters.
const PUNCHES: [&str; 3] = ["connected", "failed", "not_tried"];

/// What became of one dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialOutcome {
    /// There is a connection.
    Connected = 0,
    /// Nobody answered, or somebody else.
    Failed = 1,
    /// This node's own rules did not let it happen.
    Refused = 2,
}

/// What became of one attempt to punch a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PunchOutcome {
    /// There is a direct connection.
    Connected = 0,
    /// Both dialled, and nothing came of it.
    Failed = 1,
    /// One side had no address to offer, or did not take part.
    NotTried = 2,
}

/// Dials and attempts to punch a hole since the node's start.
#[derive(Debug, Default)]
pub struct NodeCounters {
    dials: [[AtomicU64; OUTCOMES.len()]; WAYS.len()],
    punches: [AtomicU64; PUNCHES.len()],
}

impl NodeCounters {
    /// Returns each kind of way with each outcome and how often it came to that.
    pub fn dials(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let ways = WAYS.iter().zip(&self.dials);
        ways.flat_map(|(way, counts)| {
            let outcomes = OUTCOMES.iter().zip(counts);
            outcomes.map(|(outcome, count)| (*way, *outcome, count.load(Ordering::Relaxed)))
        })
    }

    /// Returns each outcome of hole punching and how often it came to that.
    pub fn punches(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let outcomes = PUNCHES.iter().zip(&self.punches);
        outcomes.map(|(outcome, count)| (*outcome, count.load(Ordering::Relaxed)))
    }

    pub(crate) fn count_dial(&self, address: &Multiaddr, outcome: DialOutcome) {
        let way = match path_of(address) {
            PathKind::Direct(Transport::Quic) => 0,
            PathKind::Direct(Transport::Tcp) => 1,
            PathKind::Direct(_) => 2,
            PathKind::Relayed(_) => 3,
        };
        let count = self
            .dials
            .get(way)
            .and_then(|counts| counts.get(outcome as usize));
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts each address of a dial that came to nothing. One that was refused before it had an address has none.
    pub(crate) fn count_failure(&self, error: &DialError) {
        match error {
            DialError::Transport(errors) => {
                for (address, _) in errors {
                    self.count_dial(address, DialOutcome::Failed);
                }
            }
            DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } => {
                self.count_dial(address, DialOutcome::Refused);
            }
            _ => {}
        }
    }

    pub(crate) fn count_punch(&self, outcome: PunchOutcome) {
        if let Some(count) = self.punches.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dials_are_counted_by_way_and_outcome() {
        let counters = NodeCounters::default();
        let relay = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
        for address in [
            "/ip4/192.0.2.1/udp/1/quic-v1".to_owned(),
            "/ip4/192.0.2.1/tcp/1".to_owned(),
            format!("/ip4/192.0.2.1/tcp/1/p2p/{relay}/p2p-circuit"),
        ] {
            counters.count_dial(&address.parse().unwrap(), DialOutcome::Failed);
        }
        counters.count_punch(PunchOutcome::NotTried);
        let counted: Vec<_> = counters.dials().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(
            counted,
            [
                ("quic", "failed", 1),
                ("tcp", "failed", 1),
                ("relay", "failed", 1)
            ]
        );
        assert_eq!(counters.punches().last(), Some(("not_tried", 1)));
    }
}
