//! What the plugins ask of their hosts, with the time; and the faults that a scenario puts in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peerup_engine::{CallObserver, HostCall, HostError, RunKind};
use serde::Serialize;
use tokio::time::Instant;

use crate::scenario::{Expected, Fault, Kind, Who};

/// The most calls that are kept. A plugin can call in a loop.
const MAX_CALLS: usize = 10_000;

/// One call, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceLine {
    /// Milliseconds since the scenario began, by its own clock.
    pub at_ms: u64,
    /// Which peer's plugin made it.
    pub peer: &'static str,
    /// What kind of run made it.
    pub run: String,
    /// Interface and function.
    pub call: &'static str,
    /// What it is about.
    pub on: String,
    /// The error, where it failed.
    pub error: Option<String>,
    /// Whether it was not granted.
    pub denied: bool,
    #[serde(skip)]
    pub(crate) kind: Option<Kind>,
}

/// Everything that was called.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    lines: Vec<TraceLine>,
    left_out: u64,
    /// Where the next search begins.
    seen: usize,
    faults: Vec<Fault>,
    start: Option<Instant>,
}

impl Trace {
    /// Starts the clock.
    pub(crate) fn begin(&self) {
        self.lock().start = Some(Instant::now());
    }

    /// Watches one peer's plugin.
    pub(crate) fn observer(&self, who: Who) -> Arc<dyn CallObserver> {
        Arc::new(Watch {
            who,
            trace: self.clone(),
        })
    }

    pub(crate) fn put_fault(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Looks for calls in this order, from where the last search ended.
    ///
    /// # Errors
    /// The first one that is not there, with what is.
    pub(crate) fn expect(&self, expected: &[Expected]) -> Result<(), String> {
        let mut state = self.lock();
        let mut at = state.seen;
        for wanted in expected {
            let rest = state.lines.get(at..).unwrap_or_default();
            match rest.iter().position(|line| wanted.is(line)) {
                Some(found) => at += found + 1,
                None => return Err(format!("no {wanted} was called; {}", told(rest))),
            }
        }
        state.seen = state.lines.len();
        Ok(())
    }

    /// Looks that none of these was called since the last search.
    ///
    /// # Errors
    /// The first one that was.
    pub(crate) fn expect_none(&self, unexpected: &[Expected]) -> Result<(), String> {
        let state = self.lock();
        let rest = state.lines.get(state.seen..).unwrap_or_default();
        let found = rest.iter().find(|line| unexpected.iter().any(|one| one.is(line)));
        match found {
            Some(line) => Err(format!("{} was called", line.text())),
            None => Ok(()),
        }
    }

    /// Everything, oldest first, and how many were left out.
    pub(crate) fn take(&self) -> (Vec<TraceLine>, u64) {
        let mut state = self.lock();
        (std::mem::take(&mut state.lines), state.left_out)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TraceLine {
    /// The call with what it is about.
    fn text(&self) -> String {
        match self.on.is_empty() {
            true => self.call.to_owned(),
            false => format!("{} {}", self.call, self.on),
        }
    }
}

fn told(lines: &[TraceLine]) -> String {
    const SHOWN: usize = 12;
    let calls: Vec<String> = lines.iter().take(SHOWN).map(TraceLine::text).collect();
    match (calls.is_empty(), lines.len() > SHOWN) {
        (true, _) => "nothing was".to_owned(),
        (false, false) => format!("there were: {}", calls.join(", ")),
        (false, true) => format!(
            "there were: {}, and {} more",
            calls.join(", "),
            lines.len() - SHOWN
        ),
    }
}

impl Expected {
    fn is(&self, line: &TraceLine) -> bool {
        self.call == line.call
            && self.on.as_ref().is_none_or(|on| *on == line.on)
            && self.fails.is_none_or(|kind| line.kind == Some(kind))
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.call)?;
        if let Some(on) = &self.on {
            write!(f, " {on}")?;
        }
        match self.fails {
            Some(kind) => write!(f, " that fails with {}", kind.name()),
            None => Ok(()),
        }
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NotFound => "not-found",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::TimedOut => "timed-out",
            Self::Limit => "limit",
            Self::Closed => "closed",
            Self::Invalid => "invalid",
            Self::Trap => "trap",
        }
    }

    pub(crate) fn of(error: &HostError) -> Self {
        match error {
            HostError::Denied(_) => Self::Denied,
            HostError::NotFound(_) => Self::NotFound,
            HostError::Unreachable(_) => Self::Unreachable,
            HostError::Refused(_) => Self::Refused,
            HostError::TimedOut(_) => Self::TimedOut,
            HostError::Limit(_) => Self::Limit,
            HostError::Closed(_) => Self::Closed,
            HostError::Invalid(_) => Self::Invalid,
        }
    }

    fn error(self, call: &str) -> HostError {
        let text = format!("the scenario answers {call} with {}", self.name());
        match self {
            Self::Denied => HostError::Denied(text),
            Self::NotFound => HostError::NotFound(text),
            Self::Unreachable => HostError::Unreachable(text),
            Self::Refused => HostError::Refused(text),
            Self::TimedOut => HostError::TimedOut(text),
            Self::Limit => HostError::Limit(text),
            Self::Closed => HostError::Closed(text),
            Self::Invalid | Self::Trap => HostError::Invalid(text),
        }
    }
}

/// The observer of one peer's engine.
#[derive(Debug)]
struct Watch {
    who: Who,
    trace: Trace,
}

impl CallObserver for Watch {
    fn before(&self, call: &HostCall) -> Result<(), HostError> {
        let mut state = self.trace.lock();
        let fault = state.faults.iter_mut().find(|fault| {
            fault.times > 0 && fault.call == call.call && fault.on.as_ref().is_none_or(|on| *on == call.on)
        });
        match fault {
            Some(fault) => {
                fault.times -= 1;
                Err(fault.error.error(call.call))
            }
            None => Ok(()),
        }
    }

    fn after(&self, call: &HostCall, outcome: Result<(), &HostError>) {
        let mut state = self.trace.lock();
        if state.lines.len() >= MAX_CALLS {
            state.left_out += 1;
            return;
        }
        let passed = state.start.map(|start| start.elapsed()).unwrap_or_default();
        let run: &RunKind = &call.run;
        let error = outcome.err();
        let line = TraceLine {
            at_ms: u64::try_from(passed.as_millis()).unwrap_or(u64::MAX),
            peer: self.who.name(),
            run: run.to_string(),
            call: call.call,
            on: call.on.clone(),
            error: error.map(HostError::to_string),
            denied: matches!(error, Some(HostError::Denied(_))),
            kind: error.map(Kind::of),
        };
        state.lines.push(line);
    }
}
