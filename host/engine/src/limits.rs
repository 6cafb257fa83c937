//! What one plugin may use of the machine, and the watch over one instance's memory and CPU.
//!
//! CPU is counted in bursts: the time that a plugin runs without waiting for anything. A tick of the
//! engine's clock interrupts it, hands the thread to others and counts; a wait starts the count anew.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::time::{Sleep, sleep};
use wasmtime::{ResourceLimiter, UpdateDeadline};

use crate::{
    budget::Bucket,
    stats::Counters,
    ticker::{TICK, Ticker},
};

/// What one plugin may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of one instance, in bytes. 16 MiB. Never more than `EngineConfig::max_memory_bytes`.
    pub memory_bytes: usize,
    /// CPU that an instance may use in one go, without waiting for anything. One second.
    pub cpu: Duration,
    /// CPU that all instances together may use over time: this much after a quiet time, and half of it back in
    /// each half of a minute. 30 s. What is used past it is waited for.
    pub cpu_budget: Duration,
    /// Bytes a second through the plugin's streams, tunnels and sockets, both directions together; none is as
    /// fast as it goes. None.
    pub bandwidth: Option<u64>,
    /// UDP datagrams a second that it may send. 10,000.
    pub datagrams: u32,
    /// Lines of log a second; five times as many at once. 20.
    pub log_lines: u32,
    /// How long the service may go on after it was asked to end. 30 s.
    pub drain: Duration,
    /// How long a resolver may take over one name. 5 s.
    pub resolve_deadline: Duration,
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
            cpu_budget: Duration::from_secs(30),
            bandwidth: None,
            datagrams: 10_000,
            log_lines: 20,
            drain: Duration::from_secs(30),
            resolve_deadline: Duration::from_secs(5),
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
    held: usize,
    pub(crate) met: bool,
    counters: Arc<Counters>,
}

impl MemoryLimit {
    pub(crate) fn new(bytes: usize, counters: Arc<Counters>) -> Self {
        Self {
            bytes,
            held: 0,
            met: false,
            counters,
        }
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        // All memories of the instance count together.
        let held = self.held.saturating_sub(current).saturating_add(desired);
        let fits = held <= self.bytes;
        if fits {
            self.held = held;
            self.counters
                .memory_peak
                .fetch_max(held as u64, Ordering::Relaxed);
        } else if !self.met {
            self.met = true;
            self.counters.auditor.limit("memory");
        }
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

/// What a plugin's instances together have of CPU time, counted by the thread's own clock.
pub(crate) struct CpuMeter {
    bucket: Mutex<Bucket>,
    counters: Arc<Counters>,
}

/// Over which time [`Limits::cpu_budget`] comes back.
const CPU_PERIOD: Duration = Duration::from_secs(60);

impl CpuMeter {
    pub(crate) fn new(budget: Duration, counters: Arc<Counters>) -> Arc<Self> {
        let budget = budget.as_secs_f64();
        Arc::new(Self {
            bucket: Mutex::new(Bucket::new(budget / CPU_PERIOD.as_secs_f64(), budget)),
            counters,
        })
    }

    /// Counts CPU time that was used and tells how long to wait until there is more.
    fn charge(&self, used: Duration, now: Instant) -> Option<Duration> {
        let nanos = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        self.counters.cpu_nanos.fetch_add(nanos, Ordering::Relaxed);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = bucket.take(now, used.as_secs_f64());
        drop(bucket);
        if wait.is_some() {
            self.counters.auditor.limit("cpu_budget");
        }
        wait
    }
}

/// CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Drives an instance's future, keeps the clock ticking meanwhile, counts its CPU time, and starts the count of
/// its burst anew whenever the instance waits.
pub(crate) struct Metered<'a, F> {
    future: Pin<&'a mut F>,
    burst: Arc<Burst>,
    ticker: Arc<Ticker>,
    cpu: Arc<CpuMeter>,
    /// The plugin's CPU time is used up until then.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<'a, F> Metered<'a, F> {
    pub(crate) fn new(
        future: Pin<&'a mut F>,
        burst: Arc<Burst>,
        ticker: Arc<Ticker>,
        cpu: Arc<CpuMeter>,
    ) -> Self {
        Self {
            future,
            burst,
            ticker,
            cpu,
            pause: None,
        }
    }
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let burst = self.burst.clone();
        burst.interrupted.store(false, Ordering::Relaxed);
        let running = self.ticker.clone();
        let running = running.run();
        let before = thread_time();
        let outcome = self.future.as_mut().poll(cx);
        let used = thread_time().saturating_sub(before);
        drop(running);
        let wait = self.cpu.charge(used, Instant::now());
        if outcome.is_pending() {
            if !burst.interrupted.load(Ordering::Relaxed) {
                burst.ticks.store(0, Ordering::Relaxed);
            }
            if let Some(wait) = wait {
                let mut pause = Box::pin(sleep(wait));
                // Woken by the end of the pause and not by what the instance waits for.
                if pause.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                self.pause = Some(pause);
            }
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
    fn cpu_past_the_budget_is_waited_for_and_comes_back() {
        let meter = CpuMeter::new(Duration::from_secs(30), Counters::plain("chess".parse().unwrap()));
        let start = Instant::now();
        assert_eq!(meter.charge(Duration::from_secs(30), start), None);
        assert_eq!(
            meter.charge(Duration::from_secs(1), start),
            Some(Duration::from_secs(2))
        );
        assert_eq!(meter.charge(Duration::ZERO, start + Duration::from_secs(2)), None);
        assert_eq!(meter.counters.snapshot().cpu, Duration::from_secs(31));
    }

    #[test]
    fn growth_past_the_limit_is_refused_and_remembered() {
        let mut limit = MemoryLimit::new(100, Counters::plain("chess".parse().unwrap()));
        assert!(limit.memory_growing(0, 100, None).unwrap());
        assert!(!limit.met);
        assert!(!limit.memory_growing(100, 101, None).unwrap());
        assert!(limit.met);
    }
}
