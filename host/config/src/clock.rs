//! The two clocks of a deadline, as this machine has them.

use std::time::{SystemTime, UNIX_EPOCH};

use peerup_model::Now;

/// Returns the time: the wall clock, and the clock of this boot, which counts sleep too where the system tells it.
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        steady_ms: steady_ms(),
    }
}

#[cfg(target_os = "linux")]
fn steady_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or_default();
    seconds.saturating_mul(1000).saturating_add(millis)
}

/// Elsewhere it begins with the process: a deadline is read from the wall clock after a restart.
#[cfg(not(target_os = "linux"))]
fn steady_ms() -> u64 {
    use std::{sync::OnceLock, time::Instant};
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the name of this boot of the machine, where the system tells it.
pub fn boot_id() -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(text.trim().to_owned())
    }
    #[cfg(not(target_os = "linux"))]
    None
}
