//! How well each relay does, and on which relays to hold a reservation.
//!
//! The choice is a pure function, asked by the swarm loop of `peerup-net` whenever a relay's state changes. It names
//! relays only; connecting and reserving is the business of each relay's reservation machine.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

/// Relays on which a reservation is held at one time: each costs the relay a slot and this node a connection.
pub const MAX_HELD: usize = 3;
/// Relays tried beyond the maximum while none works at all.
const SPARE: usize = 2;
/// A relay that failed this often in a row gives its place to another one.
const FAILING: u32 = 2;
/// After this long a failing relay is as good as an unknown one.
const FORGIVE_AFTER: Duration = Duration::from_secs(5 * 60);
/// How long failing relays keep their turn: changing over at each failure would start each one's backoff over, and
/// two dead relays would be dialled without a pause.
const TURN: Duration = Duration::from_secs(30);
/// The weight of one new round trip: an eighth, as TCP does it.
const RTT_WEIGHT: u32 = 8;

/// How well one relay did lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayHealth {
    rtt: Option<Duration>,
    failures: u32,
    successes: u64,
    last_failure: Option<Instant>,
    last_success: Option<Instant>,
}

impl RelayHealth {
    /// Starts with nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a measured round trip.
    pub fn handle_rtt(&mut self, rtt: Duration) {
        self.rtt = Some(self.rtt.map_or(rtt, |mean| {
            (mean * (RTT_WEIGHT - 1)).saturating_add(rtt) / RTT_WEIGHT
        }));
    }

    /// Takes a reservation that was granted or renewed.
    pub fn handle_success(&mut self, now: Instant) {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        self.last_success = Some(now);
    }

    /// Takes a dial or a reservation that failed, or one that was lost.
    pub fn handle_failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(now);
    }

    /// The smoothed round trip.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Successes so far.
    pub fn successes(&self) -> u64 {
        self.successes
    }

    /// When it failed last.
    pub fn last_failure(&self) -> Option<Instant> {
        self.last_failure
    }

    /// When it worked last.
    pub fn last_success(&self) -> Option<Instant> {
        self.last_success
    }

    /// How many turns ago it failed last.
    fn turns_waited(&self, now: Instant) -> u64 {
        let waited = self
            .last_failure
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        waited.as_secs() / TURN.as_secs()
    }

    /// Whether another relay should be tried instead: two failures in a row, the last within five minutes.
    pub fn is_failing(&self, now: Instant) -> bool {
        self.failures >= FAILING
            && self
                .last_failure
                .is_some_and(|at| now.saturating_duration_since(at) < FORGIVE_AFTER)
    }
}

/// One configured relay, as far as the choice is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayView<Id> {
    /// What the caller calls this relay.
    pub id: Id,
    /// Its place in the config; relays with the same place are ordered by round trip.
    pub order: u32,
    /// Whether it grants this node a reservation right now.
    pub held: bool,
    /// How well it did lately.
    pub health: RelayHealth,
}

/// Returns the relays on which to hold a reservation, or to keep trying for one, the best first.
///
/// Those that hold one and work stay. Then come those that do not fail, in the configured order, then by round
/// trip. Failing ones fill what is left, those first that have waited longest in steps of 30 s, so that each gets its
/// turn. The caller asks again at every failure and at least every 30 s while one fails. Never
/// fewer than `max` are returned, as far as there are so many; while every relay fails, two more are tried.
pub fn hold<Id: Copy>(relays: &[RelayView<Id>], max: usize, now: Instant) -> Vec<Id> {
    let none_works = relays.iter().all(|relay| relay.health.is_failing(now));
    let count = if none_works {
        max.saturating_add(SPARE)
    } else {
        max
    };
    let mut ranked: Vec<_> = relays.iter().collect();
    ranked.sort_by_key(|relay| {
        let failing = relay.health.is_failing(now);
        (
            failing,
            Reverse(relay.held),
            // Zero for those that do not fail: what once failed says nothing about them any more.
            Reverse(if failing {
                relay.health.turns_waited(now)
            } else {
                0
            }),
            relay.order,
            relay.health.rtt.unwrap_or(Duration::MAX),
        )
    });
    ranked.into_iter().take(count).map(|relay| relay.id).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn relay(id: u32) -> RelayView<u32> {
        RelayView {
            id,
            order: id,
            held: false,
            health: RelayHealth::new(),
        }
    }

    fn failing(mut relay: RelayView<u32>, at: Instant) -> RelayView<u32> {
        relay.health.handle_failure(at);
        relay.health.handle_failure(at);
        relay
    }

    #[test]
    fn smooths_the_round_trip() {
        let mut health = RelayHealth::new();
        health.handle_rtt(Duration::from_millis(80));
        health.handle_rtt(Duration::from_millis(160));
        assert_eq!(health.rtt(), Some(Duration::from_millis(90)));
    }

    #[test]
    fn takes_the_first_ones_of_the_config() {
        let all: Vec<_> = (1..=5).map(relay).collect();
        assert_eq!(hold(&all, MAX_HELD, Instant::now()), vec![1, 2, 3]);
    }

    #[test]
    fn one_failure_is_no_reason_to_leave_and_two_are() {
        let now = Instant::now();
        let mut all: Vec<_> = (1..=4).map(relay).collect();
        all[1].health.handle_failure(now);
        assert_eq!(hold(&all, MAX_HELD, now), vec![1, 2, 3]);
        all[1].health.handle_failure(now);
        assert_eq!(hold(&all, MAX_HELD, now), vec![1, 3, 4]);
        assert_eq!(hold(&all, MAX_HELD, now + FORGIVE_AFTER), vec![1, 2, 3]);
        all[1].health.handle_success(now);
        assert_eq!(hold(&all, MAX_HELD, now), vec![1, 2, 3]);
    }

    #[test]
    fn a_relay_that_works_stays_when_a_better_one_returns() {
        let now = Instant::now();
        let mut all: Vec<_> = (1..=4).map(relay).collect();
        for relay in &mut all[1..] {
            relay.held = true;
        }
        all[0].health.handle_rtt(Duration::from_millis(1));
        assert_eq!(hold(&all, MAX_HELD, now), vec![2, 3, 4]);
    }

    #[test]
    fn relays_of_one_place_are_ordered_by_round_trip() {
        let mut all: Vec<_> = (1..=3).map(relay).collect();
        for (relay, rtt) in all.iter_mut().zip([30, 10, 20]) {
            relay.order = 0;
            relay.health.handle_rtt(Duration::from_millis(rtt));
        }
        assert_eq!(hold(&all, 2, Instant::now()), vec![2, 3]);
    }

    #[test]
    fn where_all_fail_each_gets_its_turn() {
        let now = Instant::now();
        let mut all: Vec<_> = (1..=8).map(|id| failing(relay(id), now)).collect();
        let mut tried = Vec::new();
        for round in 1..=2 {
            let later = now + TURN * round;
            for id in hold(&all, MAX_HELD, later) {
                tried.push(id);
                all[id as usize - 1].health.handle_failure(later);
            }
        }
        tried.sort_unstable();
        tried.dedup();
        assert_eq!(tried, (1..=8).collect::<Vec<_>>());
    }

    #[test]
    fn failing_relays_do_not_take_turns_at_each_failure() {
        let now = Instant::now();
        let mut all: Vec<_> = (1..=2).map(|id| failing(relay(id), now)).collect();
        all.push(RelayView {
            held: true,
            ..relay(3)
        });
        for second in 1..30 {
            let later = now + Duration::from_secs(second);
            assert_eq!(hold(&all, 2, later), vec![3, 1]);
            all[0].health.handle_failure(later);
        }
        assert_eq!(hold(&all, 2, now + TURN), vec![3, 2]);
    }

    proptest! {
        #[test]
        fn never_too_few_and_no_working_one_is_dropped(
            relays in proptest::collection::vec((any::<bool>(), 0_u32..4, 0_u64..600, 0_u64..200, 0_u32..3), 0..8),
            max in 1_usize..5,
        ) {
            let base = Instant::now();
            let now = base + Duration::from_secs(600);
            let all: Vec<_> = relays
                .iter()
                .enumerate()
                .map(|(id, (held, failures, at, rtt, order))| {
                    let mut one = RelayView { held: *held, order: *order, ..relay(id as u32) };
                    one.health.handle_rtt(Duration::from_millis(*rtt));
                    for _ in 0..*failures {
                        one.health.handle_failure(base + Duration::from_secs(*at));
                    }
                    one
                })
                .collect();
            let chosen = hold(&all, max, now);
            prop_assert!(chosen.len() >= max.min(all.len()));
            prop_assert!(chosen.len() <= max + SPARE);
            let works = |one: &&RelayView<u32>| one.held && !one.health.is_failing(now);
            let working = all.iter().filter(works).count();
            let kept = all.iter().filter(works).filter(|one| chosen.contains(&one.id)).count();
            prop_assert_eq!(kept, working.min(max));
            let mut unique = chosen.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), chosen.len());
        }
    }
}
