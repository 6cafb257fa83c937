//! The report on one peer: everything that explains the path to it.
//!
//! Part of the node's task; reads and changes nothing.

use std::time::Instant;

use libp2p::PeerId;

use super::NodeActor;
use crate::{
    node::{book::unix_now, describe},
    snapshot::{AttemptReport, PeerReport, RemoteReport},
};

impl NodeActor {
    pub(super) fn explain(&self, peer: &PeerId) -> PeerReport {
        let now = Instant::now();
        let member = self.members.get(peer);
        PeerReport {
            connections: describe::connections(&self.streams, peer),
            nat: self.nat.verdict(now),
            own_candidates: self.own_candidates(now),
            remote: member
                .and_then(|member| member.told.as_ref())
                .map(|told| RemoteReport {
                    nat: told.info.nat,
                    candidates: told.info.candidates.clone(),
                    age: now.saturating_duration_since(told.at),
                }),
            known: self.book.describe(peer, unix_now()),
            attempts: member
                .into_iter()
                .flat_map(|member| &member.attempts)
                .map(|attempt| AttemptReport {
                    kind: attempt.kind,
                    target: attempt.target.clone(),
                    outcome: attempt.outcome.clone(),
                    age: now.saturating_duration_since(attempt.at),
                })
                .collect(),
            next_try: member
                .and_then(|member| member.upgrade.next_try())
                .map(|at| at.saturating_duration_since(now)),
            tries: member.map_or(0, |member| member.upgrade.attempts()),
            answers_punch: member.and_then(|member| member.answers_punch),
            same_lan: self.same_lan(peer),
            relays: self.relays.snapshot(now),
        }
    }
}
