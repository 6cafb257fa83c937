//! What must hold after each event.

use std::time::{Duration, Instant};

use peerup_model::PathPolicy;
use peerup_paths::{Candidate, Stage, Upgrade, choose_all};

use crate::world::{End, PEERS, RELAYS, Sim, Wire};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// The longest wait between two attempts on a relay is 10 s with its jitter; then come two round trips.
const RESERVED_WITHIN: Duration = Duration::from_secs(11);
/// The same, where a dead connection has to be found out first: an idle one is probed after 10 s and given up 3 s later.
const RESERVED_AFTER_SILENCE: Duration = Duration::from_secs(16);
/// The slowest schedule with its jitter, plus an attempt that never ended before, plus one that works.
const DIRECT_WITHIN: Duration = Duration::from_secs(15 + 375 + 4);
/// The same when the schedule starts over.
const DIRECT_SOON: Duration = Duration::from_secs(15 + 1 + 4);
/// Nothing that is silent may look alive for longer.
const SILENT_LIMIT: Duration = Duration::from_secs(30);

/// How long the test has waited for what, and how often the node did what in this hour.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    pub(crate) last_trouble: Option<Instant>,
    hour: u32,
    relay_due: [Option<(Instant, Duration)>; RELAYS],
    was_reserved: [bool; RELAYS],
    direct_due: [Option<Instant>; PEERS],
    direct_soon: [Option<Instant>; PEERS],
    overdue_steps: u32,
    pub(crate) paths: [(bool, bool); PEERS],
    // This hour.
    pub(crate) triggers: u32,
    pub(crate) restarts: [u32; PEERS],
    pub(crate) relay_dials: [u32; RELAYS],
    pub(crate) attempts: [u32; PEERS],
    pub(crate) direct_dials: [u32; PEERS],
    pub(crate) liveness_commands: u32,
}

impl Patience {
    pub(crate) fn handle_news(&mut self, now: Instant) {
        for peer in 0..PEERS {
            self.handle_news_of(peer, now);
        }
        self.relay_due = [None; RELAYS];
    }

    pub(crate) fn handle_news_of(&mut self, peer: usize, now: Instant) {
        self.direct_soon[peer] = Some(now);
    }
}

impl Sim {
    pub(crate) fn check(&mut self) {
        let is_calm = self.conns.values().all(|conn| conn.wire == Wire::Answers)
            && !self.conns.keys().any(|id| self.liveness.is_suspect(id));
        if !is_calm || self.patience.last_trouble.is_none() {
            self.patience.last_trouble = Some(self.now);
        }
        for relay in 0..RELAYS {
            self.check_reservation(relay);
        }
        for peer in 0..PEERS {
            if self.paths_moved {
                let candidates = self.candidates(peer);
                self.check_choice(&candidates);
                self.expect_upgrade(peer, &candidates);
            }
            self.check_upgrade(peer);
        }
        self.paths_moved = false;
        self.check_silence();
        self.check_timers();
        self.check_hour();
    }

    fn check_reservation(&mut self, relay: usize) {
        let stage = self.stage(relay);
        let is_reserved = stage == Some(Stage::Reserved);
        if is_reserved {
            assert!(self.is_connected(relay), "reserved without a connection");
            assert!(
                self.slots[relay].as_ref().unwrap().listener.is_some(),
                "reserved without a listener"
            );
        }
        let truth = self.relays[relay];
        let reachable = self.online && truth.up && !truth.refuses && stage.is_some();
        let was_lost = self.patience.was_reserved[relay] && !is_reserved;
        self.patience.was_reserved[relay] = is_reserved;
        if !reachable || was_lost {
            self.patience.relay_due[relay] = None;
        }
        if reachable && self.patience.relay_due[relay].is_none() {
            let dead = self
                .conns
                .values()
                .any(|conn| conn.end == End::Relay(relay) && conn.wire != Wire::Answers);
            let bound = if dead {
                RESERVED_AFTER_SILENCE
            } else {
                RESERVED_WITHIN
            };
            self.patience.relay_due[relay] = Some((self.now, bound));
        }
        if let Some((since, bound)) = self.patience.relay_due[relay] {
            assert!(
                is_reserved || self.now <= since + bound,
                "relay {relay} is up for {:?} and {stage:?}",
                self.now - since
            );
        }
    }

    fn expect_upgrade(&mut self, peer: usize, candidates: &[Candidate<u64>]) {
        if self.upgrade_is_possible(peer, candidates) {
            self.patience.direct_due[peer].get_or_insert(self.now);
        } else {
            self.patience.direct_due[peer] = None;
            self.patience.direct_soon[peer] = None;
        }
    }

    fn check_upgrade(&self, peer: usize) {
        let (due, soon) = (self.patience.direct_due[peer], self.patience.direct_soon[peer]);
        for (since, bound) in [(due, DIRECT_WITHIN), (soon, DIRECT_SOON)] {
            if let Some(since) = since {
                let waited = self.now - since;
                assert!(waited <= bound, "peer {peer} could be direct for {waited:?}");
            }
        }
    }

    /// New streams never take a path that is known to be silent while another one answers.
    fn check_choice(&self, candidates: &[Candidate<u64>]) {
        let order = choose_all(candidates, PathPolicy::PreferDirect);
        let suspects = order.iter().map(|id| self.liveness.is_suspect(id));
        assert!(suspects.is_sorted(), "a silent path first");
    }

    fn check_silence(&self) {
        for conn in self.conns.values() {
            match conn.wire {
                Wire::Answers => {}
                Wire::Offline { since } | Wire::Silent { since } | Wire::Gone { since } => {
                    assert!(self.now <= since + SILENT_LIMIT, "{conn:?} is open and silent");
                }
            }
        }
        assert_eq!(self.liveness.len(), self.conns.len());
    }

    fn check_timers(&mut self) {
        let overdue = self
            .slots
            .iter()
            .flatten()
            .filter_map(|slot| slot.machine.poll_timeout())
            .chain(self.upgrades.iter().filter_map(Upgrade::poll_timeout))
            .chain(self.liveness.poll_timeout())
            .chain(self.detector.poll_timeout())
            .any(|due| due <= self.now);
        self.patience.overdue_steps = if overdue {
            self.patience.overdue_steps + 1
        } else {
            0
        };
        assert!(
            self.patience.overdue_steps < 2,
            "a timer lies in the past twice in a row"
        );
        for peer in 0..PEERS {
            if let Some(next) = self.backoffs.next_try(&peer) {
                assert!(next <= self.now + SECOND * 375);
            }
        }
    }

    /// Bounds on what the node does in an hour: the slow schedules, and a few quick tries for each thing that happened.
    fn check_hour(&mut self) {
        let hour = ((self.now - self.start).as_secs() / HOUR.as_secs()) as u32;
        if hour == self.patience.hour {
            return;
        }
        let patience = &self.patience;
        let triggers = patience.triggers;
        for dials in patience.relay_dials {
            assert!(dials <= 610 + 6 * triggers, "{patience:?}");
        }
        for peer in 0..PEERS {
            let bound = 22 + 6 * (triggers + patience.restarts[peer]);
            assert!(patience.attempts[peer] <= bound, "{patience:?}");
            assert!(patience.direct_dials[peer] <= patience.attempts[peer]);
        }
        let connections = (PEERS * 3 + RELAYS) as u32;
        let probes = connections * (2 * 361 + 4 * triggers);
        assert!(patience.liveness_commands <= probes, "{patience:?}");
        self.patience.hour = hour;
        self.patience.triggers = 0;
        self.patience.restarts = [0; PEERS];
        self.patience.relay_dials = [0; RELAYS];
        self.patience.attempts = [0; PEERS];
        self.patience.direct_dials = [0; PEERS];
        self.patience.liveness_commands = 0;
    }
}
