//! What an operator may want to read afterwards: grants used, denials, crashes, limits met.
//!
//! The engine tells it over a bounded channel and never waits for the reader; what does not fit is counted.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use peerup_model::PluginName;
use tokio::sync::mpsc;

use crate::budget::Bucket;

/// Denials and limits that one plugin may have told at once, and each second after that. A plugin can ask in a
/// loop.
const BURST_EVENTS: f64 = 50.0;
const EVENTS_PER_SECOND: f64 = 2.0;

/// What kind of run an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunKind {
    /// A stream that a peer opened, handled as it comes.
    Inbound,
    /// A request of a peer, read and answered as a whole.
    Answer,
    /// A word on the command line.
    Command,
    /// A word on the command line, told at its end.
    Task,
    /// The long-lived instance.
    Service,
    /// A question of the name chain.
    Resolver,
}

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Answer => "answer",
            Self::Command => "command",
            Self::Task => "task",
            Self::Service => "service",
            Self::Resolver => "resolver",
        })
    }
}

/// One thing that happened to a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// When.
    pub at: SystemTime,
    /// To which plugin.
    pub plugin: PluginName,
    /// What.
    pub what: AuditKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditKind {
    /// A grant was used for the first time by an instance of this kind.
    GrantUsed {
        /// The key of the grant, such as `tcp.connect`.
        grant: &'static str,
        /// What it was used on.
        on: String,
        /// By which kind of run.
        run: RunKind,
    },
    /// A call was not granted.
    Denied {
        /// What was asked for, and the line of YAML that grants it.
        text: String,
        /// Denials and limits before this one that were left out, because there were too many.
        left_out: u64,
    },
    /// A run crashed or was stopped for what it used.
    Trapped {
        /// Why.
        reason: String,
    },
    /// A bound was met.
    LimitHit {
        /// The key of the limit below `limits`, such as `cpu_budget`.
        limit: &'static str,
        /// Denials and limits before this one that were left out, because there were too many.
        left_out: u64,
    },
}

/// The way out for the events of one plugin.
pub(crate) struct Auditor {
    plugin: PluginName,
    out: Option<mpsc::Sender<AuditEvent>>,
    dropped: Arc<AtomicU64>,
    state: Mutex<State>,
}

struct State {
    used: HashSet<(&'static str, RunKind)>,
    pace: Bucket,
    left_out: u64,
}

impl Auditor {
    pub(crate) fn new(
        plugin: PluginName,
        out: Option<mpsc::Sender<AuditEvent>>,
        dropped: Arc<AtomicU64>,
    ) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            out,
            dropped,
            state: Mutex::new(State {
                used: HashSet::new(),
                pace: Bucket::new(EVENTS_PER_SECOND, BURST_EVENTS),
                left_out: 0,
            }),
        })
    }

    pub(crate) fn used(&self, grant: &'static str, on: impl FnOnce() -> String, run: RunKind) {
        if self.out.is_none() || !self.lock().used.insert((grant, run)) {
            return;
        }
        let on = on();
        self.send(AuditKind::GrantUsed { grant, on, run });
    }

    pub(crate) fn denied(&self, text: &str) {
        if let Some(left_out) = self.admit() {
            let text = text.to_owned();
            self.send(AuditKind::Denied { text, left_out });
        }
    }

    pub(crate) fn limit(&self, limit: &'static str) {
        if let Some(left_out) = self.admit() {
            self.send(AuditKind::LimitHit { limit, left_out });
        }
    }

    pub(crate) fn trapped(&self, reason: &str) {
        let reason = reason.to_owned();
        self.send(AuditKind::Trapped { reason });
    }

    /// Answers how many were left out before this one, or nothing where this one is left out too.
    fn admit(&self) -> Option<u64> {
        self.out.as_ref()?;
        let mut state = self.lock();
        if !state.pace.try_take(Instant::now(), 1.0) {
            state.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut state.left_out))
    }

    fn send(&self, what: AuditKind) {
        let Some(out) = &self.out else { return };
        let event = AuditEvent {
            at: SystemTime::now(),
            plugin: self.plugin.clone(),
            what,
        };
        if out.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_told_once_for_each_kind_of_run_and_a_flood_of_denials_is_cut() {
        let (out, mut events) = mpsc::channel(1000);
        let dropped = Arc::new(AtomicU64::new(0));
        let auditor = Auditor::new("chess".parse().unwrap(), Some(out), dropped.clone());
        for run in [RunKind::Inbound, RunKind::Inbound, RunKind::Service] {
            auditor.used("tcp.connect", || "db:1".to_owned(), run);
        }
        for _ in 0..1000 {
            auditor.denied("no");
        }
        let mut kinds = Vec::new();
        while let Ok(event) = events.try_recv() {
            kinds.push(event.what);
        }
        let used = kinds
            .iter()
            .filter(|kind| matches!(kind, AuditKind::GrantUsed { .. }));
        assert_eq!(used.count(), 2);
        let denied = kinds
            .iter()
            .filter(|kind| matches!(kind, AuditKind::Denied { .. }))
            .count();
        assert!((50..60).contains(&denied), "{denied}");
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_reader_that_does_not_read_costs_events_and_nothing_else() {
        let (out, _events) = mpsc::channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let auditor = Auditor::new("chess".parse().unwrap(), Some(out), dropped.clone());
        for _ in 0..5 {
            auditor.trapped("it crashed");
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 4);
    }
}
