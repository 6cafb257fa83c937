//! What one plugin may use of the machine, and the watch over one instance's memory and CPU.
//!
//! CPU is counted in bursts: the time that a plugin runs without waiting for anything. A tick of the
//! engine's clock interrupts it, hands the thread to others and counts; a wait starts the count anew.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use wasmtime::{ResourceLimiter, UpdateDeadline};

use crate::ticker::{TICK, Ticker};

/// What one plugin may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of one instance, in bytes. 16 MiB. Never more than `EngineConfig::max_memory_bytes`.
    pub memory_bytes: usize,
    /// CPU that an instance may use in one go, without waiting for anything. One second.
    pub cpu: Duration,
    /// Instances at the same time. 256.
    pub instances: usize,
    /// Duplexes and listeners that one instance may hold. 1024.
    pub streams: usize,
    /// Tunnels that the plugin may have running at the same time. 16,384.
    pub tunnels: usize,
    /// How long an inbound handler may take without returning and without moving a byte. 60 s.
    pub inbound_deadline: Duration,
    /// How long a call waits for an instance to become free before it fails. 5 s.
    pub instance_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 16 << 20,
            cpu: Duration::from_secs(1),
            instances: 256,
            streams: 1024,
            tunnels: 16_384,
            inbound_deadline: Duration::from_secs(60),
            instance_wait: Duration::from_secs(5),
        }
    }
}

/// Elements of all tables of one instance: function pointers, 8 bytes each.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 20_000;

/// Grants or refuses growth of one instance's memory, and remembers a refusal so that a crash after it is
/// told as what it is.
pub(crate) struct MemoryLimit {
    bytes: usize,
    pub(crate) met: bool,
}

impl MemoryLimit {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, met: false }
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.bytes;
        self.met |= !fits;
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

/// How long one instance has been running without a wait.
pub(crate) struct Burst {
    ticks: AtomicU64,
    allowed: u64,
    interrupted: AtomicBool,
    exceeded: AtomicBool,
}

impl Burst {
    pub(crate) fn new(cpu: Duration) -> Arc<Self> {
        let allowed = u64::try_from(cpu.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX);
        Arc::new(Self {
            ticks: AtomicU64::new(0),
            allowed: allowed.max(1),
            interrupted: AtomicBool::new(false),
            exceeded: AtomicBool::new(false),
        })
    }

    /// Counts a tick that interrupted the guest and says how it goes on.
    pub(crate) fn handle_tick(&self) -> wasmtime::Result<UpdateDeadline> {
        let ticks = self.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        if ticks > self.allowed {
            self.exceeded.store(true, Ordering::Relaxed);
            return Ok(UpdateDeadline::Interrupt);
        }
        self.interrupted.store(true, Ordering::Relaxed);
        // Tokio's own way to give way: other tasks and sockets get their turn before this one.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    }

    pub(crate) fn exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }
}

/// Drives an instance's future, keeps the clock ticking meanwhile, and starts the count of CPU anew
/// whenever the instance waits.
pub(crate) struct Metered<'a, F> {
    pub(crate) future: Pin<&'a mut F>,
    pub(crate) burst: Arc<Burst>,
    pub(crate) ticker: Arc<Ticker>,
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let burst = self.burst.clone();
        burst.interrupted.store(false, Ordering::Relaxed);
        let running = self.ticker.clone();
        let running = running.run();
        let outcome = self.future.as_mut().poll(cx);
        drop(running);
        if outcome.is_pending() && !burst.interrupted.load(Ordering::Relaxed) {
            burst.ticks.store(0, Ordering::Relaxed);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_stopped_after_its_ticks_and_not_before() {
        let burst = Burst::new(TICK * 3);
        for _ in 0..3 {
            assert!(matches!(
                burst.handle_tick(),
                Ok(UpdateDeadline::YieldCustom(1, _))
            ));
        }
        assert!(!burst.exceeded());
        assert!(matches!(burst.handle_tick(), Ok(UpdateDeadline::Interrupt)));
        assert!(burst.exceeded());
    }

    #[test]
    fn growth_past_the_limit_is_refused_and_remembered() {
        let mut limit = MemoryLimit::new(100);
        assert!(limit.memory_growing(0, 100, None).unwrap());
        assert!(!limit.met);
        assert!(!limit.memory_growing(100, 101, None).unwrap());
        assert!(limit.met);
    }
}
