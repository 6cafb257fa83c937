//! What goes into the machine and what comes out of it.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// One attempt to load a plugin. Every load gets a new number, so that a late answer of an older one is known as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub(crate) u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One run of a plugin's service, numbered like a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(pub(crate) u64);

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a loaded plugin turned out to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traits {
    /// It exports `service`.
    pub service: bool,
    /// It imports `life`, so its service takes new settings without a restart.
    pub takes_settings: bool,
}

/// How a plugin is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// What runs may end by itself, within the drain time.
    Drain,
    /// Everything is cancelled at once.
    Now,
}

/// Why a plugin could not be loaded or did not pass its check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadFailure {
    /// What failed, on what, and what to do now.
    pub reason: String,
    /// Whether only the operator can mend it: a missing grant, a component that does not fit. Else it is tried again
    /// after the cool-down.
    pub lasting: bool,
}

/// How a run of a service ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceEnd {
    /// It returned: it was asked to, or has nothing to do any more.
    Returned,
    /// It returned an error.
    Failed(String),
    /// Its instance trapped or met a limit.
    Trapped(String),
}

/// What the driver is to do, in order. `Source` is whatever the driver loads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<Source> {
    /// Load it and answer with `handle_loaded` or `handle_load_failed`. Nothing runs and nothing is routed yet.
    Load {
        /// The number of this load.
        generation: Generation,
        /// What to load.
        source: Source,
    },
    /// Try whether it can be instantiated and its protocols be served, and answer with `handle_checked` or
    /// `handle_check_failed`.
    Check {
        /// The loaded generation.
        generation: Generation,
    },
    /// Send new streams to this generation, in place of whichever has them now.
    Route {
        /// The generation that is active from now on.
        generation: Generation,
    },
    /// Accept no stream any more.
    Unroute,
    /// Run its service, and answer with `handle_service_ended` whenever it ends.
    StartService {
        /// The active generation.
        generation: Generation,
        /// The number of this run.
        run: Run,
    },
    /// Ask the service to end. What still runs at the deadline is cancelled by a command of its own.
    StopService {
        /// The generation.
        generation: Generation,
        /// The run.
        run: Run,
        /// When it is cancelled.
        deadline: Instant,
    },
    /// End a run of the service at once; no answer is waited for.
    CancelService {
        /// The generation.
        generation: Generation,
        /// The run.
        run: Run,
    },
    /// Put the settings that the operator wrote last in force, and tell a plugin that imports `life`.
    ApplySettings {
        /// The generation.
        generation: Generation,
    },
    /// Answer with `handle_drained` once no stream and no command of it runs any more.
    Drain {
        /// A generation that gets no new streams.
        generation: Generation,
        /// When it is cancelled.
        deadline: Instant,
    },
    /// End everything of this generation and drop it. Also for one that was never known, or is gone.
    Cancel {
        /// The generation.
        generation: Generation,
    },
    /// Tell what happened.
    Report(Event),
}

/// What happened, for the log and the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The operator wants it.
    Enabled,
    /// The operator does not want it any more.
    Disabled,
    /// The operator removed it.
    Removed,
    /// It gets streams from now on.
    Activated {
        /// The generation.
        generation: Generation,
        /// The one that had them before.
        replaced: Option<Generation>,
    },
    /// A newer version or a reload did not work out; the one that ran goes on.
    SwapFailed {
        /// The generation that failed.
        generation: Generation,
        /// Why.
        reason: String,
    },
    /// It cannot run.
    Failed {
        /// Why.
        reason: String,
        /// When it is tried again by itself; none where only the operator can help.
        retry_in: Option<Duration>,
    },
    /// An instance trapped.
    Trapped {
        /// The generation.
        generation: Generation,
        /// What it did.
        reason: String,
    },
    /// The service failed and is started again.
    ServiceFailed {
        /// The run that failed.
        run: Run,
        /// Why.
        reason: String,
        /// The waiting time.
        restart_in: Duration,
    },
    /// The service was started again after a failure.
    ServiceRestarted {
        /// The new run.
        run: Run,
    },
    /// The service returned by itself and has nothing to do any more.
    ServiceReturned {
        /// The run.
        run: Run,
    },
    /// The service failed too often; the plugin gets no streams until the cool-down is over or the operator acts.
    CircuitOpened {
        /// The last failure.
        reason: String,
        /// The cool-down.
        retry_in: Duration,
    },
    /// The cool-down is over; one failure opens the circuit again.
    CircuitTrial,
    /// The trial went well.
    CircuitClosed,
    /// What still ran at the end of the drain time was cancelled.
    DrainOver {
        /// The generation.
        generation: Generation,
    },
    /// Nothing of it runs any more.
    Stopped,
}
