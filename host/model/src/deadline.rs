//! A deadline that a restart, a reboot and a clock that is set do not move.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is known of time: the wall clock, for files and people, and the clock of this boot, which is never set and
/// runs on while the machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970.
    pub wall_ms: u64,
    /// Milliseconds since the machine started.
    pub steady_ms: u64,
}

/// A deadline on the clock of one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteadyDeadline {
    /// Which boot.
    pub boot: String,
    /// Milliseconds since that boot.
    pub deadline_ms: u64,
}

/// When something that waits to be confirmed goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// When it began, in milliseconds since 1970.
    pub applied_ms: u64,
    /// When it is over, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// The whole time that was given.
    pub timeout_ms: u64,
    /// The same deadline on the clock of one boot; none where the system does not name its boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady: Option<SteadyDeadline>,
}

impl Deadline {
    /// One that begins now. `boot` names this boot of the machine, where the system tells.
    pub fn new(timeout: Duration, now: Now, boot: Option<&str>) -> Self {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        Self {
            applied_ms: now.wall_ms,
            deadline_ms: now.wall_ms.saturating_add(timeout_ms),
            timeout_ms,
            steady: boot.map(|boot| SteadyDeadline {
                boot: boot.to_owned(),
                deadline_ms: now.steady_ms.saturating_add(timeout_ms),
            }),
        }
    }

    /// Returns how long is left, never more than was given. Within the boot in which it began the clock of that boot
    /// decides, whatever became of the wall clock; after a reboot the wall clock does.
    pub fn left(&self, now: Now, boot: Option<&str>) -> Duration {
        let left = match (&self.steady, boot) {
            (Some(steady), Some(boot)) if steady.boot == boot => {
                steady.deadline_ms.saturating_sub(now.steady_ms)
            }
            _ => self.deadline_ms.saturating_sub(now.wall_ms),
        };
        Duration::from_millis(left.min(self.timeout_ms))
    }
}
