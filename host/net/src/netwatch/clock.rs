//! Reads the clocks whose differences show that the machine slept or that its wall clock was set.
//!
//! What a difference means is the change detector's to say.

use std::time::{Duration, Instant, SystemTime};

/// The three clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockReading {
    /// Counts while the machine runs.
    pub(super) monotonic: Instant,
    /// Counts while it sleeps as well, from any beginning.
    pub(super) boot: Duration,
    /// Since the Unix epoch.
    pub(super) wall: Duration,
}

impl ClockReading {
    /// Reads the clocks of this machine.
    pub(super) fn now() -> Self {
        let monotonic = Instant::now();
        Self {
            monotonic,
            boot: boot(monotonic),
            wall: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }
}

#[cfg(target_os = "linux")]
fn boot(_monotonic: Instant) -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// Without a boot clock a sleep shows as a step of the wall clock.
#[cfg(not(target_os = "linux"))]
fn boot(monotonic: Instant) -> Duration {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    monotonic.saturating_duration_since(*START.get_or_init(|| monotonic))
}
