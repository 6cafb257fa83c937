//! Time as the runtime tells it, for guests and for what is paced.
//!
//! A runtime whose clock is paused moves it by itself, so a test of a plugin lives through an hour at once.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// What guests see as the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GuestClock {
    /// The system's clocks.
    #[default]
    System,
    /// The clock of the Tokio runtime, which may be paused; the wall clock said this when the engine was made.
    Runtime(SystemTime),
}

/// The moment, by the clock of the runtime.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The clocks of one engine's guests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    kind: GuestClock,
    start: Instant,
}

impl Clocks {
    /// Starts the clocks. A runtime's clock starts with the first guest's engine.
    pub(crate) fn new(kind: GuestClock) -> Self {
        let start = match kind {
            GuestClock::System => Instant::now(),
            GuestClock::Runtime(_) => now(),
        };
        Self { kind, start }
    }

    /// Gives them to a guest.
    pub(crate) fn give(self, wasi: &mut WasiCtxBuilder) {
        let GuestClock::Runtime(wall) = self.kind else {
            return;
        };
        let start = self.start;
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        wasi.monotonic_clock(Monotonic(start))
            .wall_clock(Wall { wall, start });
    }
}

struct Monotonic(Instant);

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        let passed = now().saturating_duration_since(self.0);
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }
}

struct Wall {
    wall: Duration,
    start: Instant,
}

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.wall + now().saturating_duration_since(self.start)
    }
}
