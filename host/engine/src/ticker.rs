//! The engine's clock: raises the epoch every [`TICK`] while any instance runs, and sleeps otherwise, so
//! that an idle daemon does not wake up a thousand times a second.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::EngineWeak;

/// How often a running guest is interrupted: for so long a task of another plugin may have to wait for its thread.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// The clock's handle. Dropping the last one ends its thread.
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Thread,
}

#[derive(Default)]
struct State {
    running: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
}

/// Keeps the clock ticking while it lives.
pub(crate) struct Running<'a>(&'a State);

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> io::Result<Arc<Self>> {
        let state = Arc::new(State::default());
        let inner = state.clone();
        let handle = thread::Builder::new()
            .name("peerup-epoch".to_owned())
            .spawn(move || tick(&inner, &engine))?;
        Ok(Arc::new(Self {
            state,
            thread: handle.thread().clone(),
        }))
    }

    /// Marks an instance as running until the answer is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if self.state.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.state)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn tick(state: &State, engine: &EngineWeak) {
    while !state.stop.load(Ordering::SeqCst) {
        state.parked.store(true, Ordering::SeqCst);
        // Looked at after `parked` is set, as `run` raises `running` before it looks at `parked`: one of the
        // two sees the other.
        while state.running.load(Ordering::SeqCst) == 0 && !state.stop.load(Ordering::SeqCst) {
            thread::park();
        }
        state.parked.store(false, Ordering::SeqCst);
        // Parked and not asleep, so that the last handle's drop ends the thread at once.
        thread::park_timeout(TICK);
        match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => return,
        }
    }
}
