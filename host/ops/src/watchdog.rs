//! When a process may tell its service manager that it is alive: the decision alone.
//!
//! Pure: reports of checks and the time come in, what to do comes out. A check says something about this process
//! only - its loop turns, its sockets answer - never about the network: a restart mends no outage. The owner gives
//! [`Watchdog::handle_report`] what its checks found, calls [`Watchdog::handle_timeout`] when
//! [`Watchdog::poll_timeout`] has come, and takes the actions.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How often each check is made, where the service manager leaves that much time.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Rounds of checks that may fail to pass before the process counts as stuck. One may fall into a busy moment.
const PATIENCE_ROUNDS: u32 = 2;

/// The times that a watchdog goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How often each check is made, and how long it may take.
    pub check_every: Duration,
    /// How old the last pass of a check may be.
    pub patience: Duration,
    /// How often the service manager is told; none where it does not watch.
    pub feed_every: Option<Duration>,
}

impl Plan {
    /// Makes a plan for a service manager that waits so long for a sign of life.
    pub fn new(timeout: Option<Duration>) -> Self {
        let check_every = timeout.map_or(CHECK_INTERVAL, |timeout| CHECK_INTERVAL.min(timeout / 3));
        Self {
            check_every,
            patience: check_every * PATIENCE_ROUNDS,
            feed_every: timeout.map(|timeout| timeout / 2),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell the service manager that the process is alive.
    Feed,
    /// Log that a check does not pass.
    Failing {
        /// Which.
        check: &'static str,
        /// Why.
        reason: String,
    },
    /// Log that a check passes again.
    Recovered {
        /// Which.
        check: &'static str,
        /// How long it did not.
        after: Duration,
    },
    /// Log that the service manager is not told any more, and because of what.
    Withheld {
        /// The checks that have not passed for too long.
        checks: Vec<&'static str>,
    },
    /// Log that it is told again.
    Resumed,
}

#[derive(Debug)]
struct Check {
    name: &'static str,
    passed: Instant,
    /// It was told that it does not pass.
    failing: bool,
}

/// Decides. One for each process.
#[derive(Debug)]
pub struct Watchdog {
    plan: Plan,
    checks: Vec<Check>,
    next_feed: Option<Instant>,
    withheld: bool,
    actions: VecDeque<Action>,
}

impl Watchdog {
    /// Starts with every check counting as passed now: the process has just come up.
    pub fn new(plan: Plan, checks: &[&'static str], now: Instant) -> Self {
        let checks = checks.iter().map(|name| Check {
            name,
            passed: now,
            failing: false,
        });
        Self {
            plan,
            checks: checks.collect(),
            next_feed: plan.feed_every.map(|_| now),
            withheld: false,
            actions: VecDeque::new(),
        }
    }

    /// Takes what a check found. A name that is not among the checks is left alone.
    pub fn handle_report(&mut self, check: &str, outcome: Result<(), String>, now: Instant) {
        let Some(check) = self.checks.iter_mut().find(|known| known.name == check) else {
            return;
        };
        match outcome {
            Ok(()) => {
                if std::mem::take(&mut check.failing) {
                    self.actions.push_back(Action::Recovered {
                        check: check.name,
                        after: now.saturating_duration_since(check.passed),
                    });
                }
                check.passed = now;
            }
            Err(reason) => {
                if !std::mem::replace(&mut check.failing, true) {
                    self.actions.push_back(Action::Failing {
                        check: check.name,
                        reason,
                    });
                }
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for check in &mut self.checks {
            let silent = now.saturating_duration_since(check.passed);
            if silent > self.plan.patience && !std::mem::replace(&mut check.failing, true) {
                self.actions.push_back(Action::Failing {
                    check: check.name,
                    reason: format!("no answer for {} s", silent.as_secs()),
                });
            }
        }
        let Some(next) = self.next_feed.filter(|next| *next <= now) else {
            return;
        };
        let every = self.plan.feed_every.unwrap_or(CHECK_INTERVAL);
        let stuck = self.stuck(now);
        if stuck.is_empty() {
            if std::mem::take(&mut self.withheld) {
                self.actions.push_back(Action::Resumed);
            }
            self.actions.push_back(Action::Feed);
            // A late wake-up must not make the next one late as well.
            self.next_feed = Some((next + every).max(now));
        } else {
            if !std::mem::replace(&mut self.withheld, true) {
                self.actions.push_back(Action::Withheld { checks: stuck });
            }
            // Looked at often: the moment that it recovers may be the last one before the end.
            self.next_feed = Some(now + every / 4);
        }
    }

    /// Returns when [`Watchdog::handle_timeout`] has something to do next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let silent = self.checks.iter().filter(|check| !check.failing);
        // A hair later: exactly at the end of its patience a check is not late yet.
        let late = silent.map(|check| check.passed + self.plan.patience + Duration::from_millis(1));
        late.chain(self.next_feed).min()
    }

    /// Returns the next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn stuck(&self, now: Instant) -> Vec<&'static str> {
        let late = |check: &&Check| now.saturating_duration_since(check.passed) > self.plan.patience;
        self.checks.iter().filter(late).map(|check| check.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(90);
    const SECOND: Duration = Duration::from_secs(1);

    /// Runs a watchdog second by second. `passes` says whether a check made in that second passes, fails or hangs.
    fn simulate(seconds: u32, passes: impl Fn(u32, &str) -> Option<bool>) -> Vec<(u32, Action)> {
        let start = Instant::now();
        let plan = Plan::new(Some(TIMEOUT));
        let mut watchdog = Watchdog::new(plan, &["loop", "api"], start);
        let mut seen = Vec::new();
        for second in 0..seconds {
            let now = start + SECOND * second;
            if u64::from(second) % plan.check_every.as_secs() == 0 {
                for check in ["loop", "api"] {
                    match passes(second, check) {
                        Some(true) => watchdog.handle_report(check, Ok(()), now),
                        Some(false) => watchdog.handle_report(check, Err("broken".to_owned()), now),
                        None => {}
                    }
                }
            }
            if watchdog.poll_timeout().is_some_and(|due| due <= now) {
                watchdog.handle_timeout(now);
            }
            while let Some(action) = watchdog.next_action() {
                seen.push((second, action));
            }
        }
        seen
    }

    fn feeds(seen: &[(u32, Action)]) -> Vec<u32> {
        let fed = seen.iter().filter(|(_, action)| *action == Action::Feed);
        fed.map(|(second, _)| *second).collect()
    }

    #[test]
    fn a_healthy_process_is_vouched_for_at_half_the_time() {
        let seen = simulate(300, |_, _| Some(true));
        assert_eq!(feeds(&seen), [0, 45, 90, 135, 180, 225, 270]);
        assert_eq!(seen.len(), 7, "and says nothing else: {seen:?}");
    }

    #[test]
    fn a_loop_that_hangs_is_told_once_and_no_longer_vouched_for() {
        let seen = simulate(600, |second, check| {
            (check != "loop" || second < 100).then_some(true)
        });
        // The last pass was at 90 s, patience is 60 s.
        assert!(feeds(&seen).iter().all(|second| *second <= 150), "{seen:?}");
        let told: Vec<_> = seen
            .iter()
            .filter(|(_, action)| *action != Action::Feed)
            .collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(matches!(told[0], (151, Action::Failing { check: "loop", .. })));
        assert_eq!(told[1].1, Action::Withheld { checks: vec!["loop"] });
    }

    #[test]
    fn one_round_that_fails_is_forgiven() {
        let seen = simulate(300, |second, _| Some(second != 60));
        assert_eq!(feeds(&seen).len(), 7);
        let told: Vec<_> = seen
            .iter()
            .filter(|(_, action)| *action != Action::Feed)
            .collect();
        assert!(
            matches!(told[0], (60, Action::Failing { reason, .. }) if reason == "broken"),
            "{told:?}"
        );
        let recovered = |(second, action): &&&(u32, Action)| {
            *second == 90 && matches!(action, Action::Recovered { after, .. } if after.as_secs() == 60)
        };
        assert_eq!(told.iter().filter(recovered).count(), 2, "{told:?}");
    }

    #[test]
    fn a_process_that_comes_back_in_time_is_vouched_for_at_once() {
        let seen = simulate(400, |second, _| Some(!(90..180).contains(&second)));
        let resumed = seen
            .iter()
            .find(|(_, action)| *action == Action::Resumed)
            .unwrap();
        assert!((180..=192).contains(&resumed.0), "{seen:?}");
        assert!(feeds(&seen).contains(&resumed.0));
    }

    #[test]
    fn nobody_is_told_where_nobody_watches() {
        let now = Instant::now();
        let plan = Plan::new(None);
        let mut watchdog = Watchdog::new(plan, &["loop"], now);
        assert_eq!(plan.check_every, CHECK_INTERVAL);
        watchdog.handle_timeout(now);
        assert_eq!(watchdog.next_action(), None);
        watchdog.handle_timeout(now + plan.patience + SECOND);
        assert!(matches!(watchdog.next_action(), Some(Action::Failing { .. })));
        assert_eq!(watchdog.next_action(), None);
        assert_eq!(watchdog.poll_timeout(), None, "there is nothing left to wait for");
    }

    proptest! {
        #[test]
        fn never_vouches_past_patience_and_never_starves_the_healthy(
            rounds in prop::collection::vec((prop::option::of(any::<bool>()), prop::option::of(any::<bool>())), 1..40),
        ) {
            let outcome = |second: u32, check: &str| {
                let round = rounds[(second / 30) as usize];
                if check == "loop" { round.0 } else { round.1 }
            };
            let seconds = u32::try_from(rounds.len()).unwrap() * 30;
            let seen = simulate(seconds, outcome);
            let passed = |check: &str, until: u32| {
                (0..=until / 30).rev().map(|round| round * 30).find(|at| outcome(*at, check) == Some(true)).unwrap_or(0)
            };
            let fed = feeds(&seen);
            for second in &fed {
                for check in ["loop", "api"] {
                    prop_assert!(second - passed(check, *second) <= 60);
                }
            }
            // Wherever every check was fresh for a whole feeding time, there was a feed in it.
            let fresh = |second: u32| ["loop", "api"].iter().all(|check| second - passed(check, second) <= 60);
            for start in 0..seconds.saturating_sub(45) {
                if (start..=start + 45).all(fresh) {
                    prop_assert!(fed.iter().any(|second| (start..=start + 45).contains(second)));
                }
            }
        }

        #[test]
        fn it_never_asks_to_be_woken_in_vain(times in prop::collection::vec(0u64..200, 1..60)) {
            let start = Instant::now();
            let mut watchdog = Watchdog::new(Plan::new(Some(TIMEOUT)), &["loop"], start);
            let mut now = start;
            for advance in times {
                now += Duration::from_secs(advance);
                watchdog.handle_timeout(now);
                if let Some(due) = watchdog.poll_timeout() {
                    watchdog.handle_timeout(due.max(now));
                    // Doing what is due moves the next time on.
                    prop_assert!(watchdog.poll_timeout().is_none_or(|next| next > due));
                }
            }
        }
    }
}
