//! What the daemon counts itself: streams and their bytes, refusals, reloads. Read by `metrics` for each scrape.

mod traffic;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use peerup_model::ErrorCode;

pub(crate) use self::traffic::{Opener, Traffic, path_label};

/// Why an inbound stream was refused, in the words of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// The peer may not use the service.
    Service,
    /// The peer may not use the plugin, or is no member.
    Plugin,
    /// Nothing serves the protocol.
    Unknown,
    /// It came over a path that the config forbids.
    Path,
    /// The plugin accepts nothing at the moment.
    Inactive,
    /// The plugin failed.
    Failed,
}

impl RefusalKind {
    const ALL: [(Self, &str); 6] = [
        (Self::Service, "service_not_allowed"),
        (Self::Plugin, "plugin_not_allowed"),
        (Self::Unknown, "unknown_protocol"),
        (Self::Path, "path_not_allowed"),
        (Self::Inactive, "plugin_inactive"),
        (Self::Failed, "plugin_failed"),
    ];
}

/// Outcomes of opening a stream to a peer, in the words of the metric.
const OPENINGS: [&str; 5] = ["opened", "denied", "unreachable", "timed_out", "failed"];

/// The meters of one node.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) traffic: Traffic,
    pub(crate) reloads: Reloads,
    refusals: [AtomicU64; RefusalKind::ALL.len()],
    openings: [AtomicU64; OPENINGS.len()],
}

impl Meters {
    pub(crate) fn count_refusal(&self, kind: RefusalKind) {
        if let Some(count) = self.refusals.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_opening(&self, failed: Option<ErrorCode>) {
        let outcome = match failed {
            None => 0,
            Some(ErrorCode::Denied) => 1,
            Some(ErrorCode::Unreachable) => 2,
            Some(ErrorCode::TimedOut) => 3,
            Some(_) => 4,
        };
        if let Some(count) = self.openings.get(outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns each reason with how often it was one.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let kinds = RefusalKind::ALL.iter().zip(&self.refusals);
        kinds.map(|((_, word), count)| (*word, count.load(Ordering::Relaxed)))
    }

    /// Returns each outcome with how often it came to that.
    pub(crate) fn openings(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let outcomes = OPENINGS.iter().zip(&self.openings);
        outcomes.map(|(word, count)| (*word, count.load(Ordering::Relaxed)))
    }
}

/// How often the config was read again, and when that last worked.
#[derive(Debug)]
pub(crate) struct Reloads {
    pub(crate) ok: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Seconds since 1970.
    pub(crate) last_ok: AtomicI64,
    pub(crate) last_worked: AtomicBool,
    /// Why the config file did not load when it was last read.
    problem: ArcSwapOption<String>,
}

impl Default for Reloads {
    fn default() -> Self {
        Self {
            ok: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            // The start is the first time that the config was read.
            last_ok: AtomicI64::new(unix_now()),
            last_worked: AtomicBool::new(true),
            problem: ArcSwapOption::empty(),
        }
    }
}

impl Reloads {
    /// Keeps why the config file does not load, or that it does.
    pub(crate) fn keep_problem(&self, problem: Option<String>) {
        self.problem.store(problem.map(Arc::new));
    }

    /// Returns why the config file did not load when it was last read.
    pub(crate) fn problem(&self) -> Option<Arc<String>> {
        self.problem.load_full()
    }

    pub(crate) fn count(&self, worked: bool) {
        self.last_worked.store(worked, Ordering::Relaxed);
        match worked {
            true => {
                self.ok.fetch_add(1, Ordering::Relaxed);
                self.last_ok.store(unix_now(), Ordering::Relaxed);
            }
            false => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_refusal_has_its_own_counter() {
        let meters = Meters::default();
        for (index, (kind, _)) in RefusalKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            for _ in 0..=index {
                meters.count_refusal(*kind);
            }
        }
        let counts: Vec<u64> = meters.refusals().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 3, 4, 5, 6]);
    }
}
