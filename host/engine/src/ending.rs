//! What becomes of the halves that an instance leaves behind.
//!
//! The contract: what was not sent on is closed in good order when the export returns `ok`, and reset when
//! it fails or traps. A handler of one inbound stream decides at its end. A command lives for long and
//! closes what it drops at once, or its callers would wait for nothing.

use std::{
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::duplex::{ReadHalf, WriteHalf};

/// How long closing in good order may take before the stream is reset.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long, and for how many bytes, a closed stream's rest is read and thrown away. A kernel that closes a
/// TCP connection with unread bytes sends a reset, and what was sent before can be lost with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Running,
    Returned,
    Failed,
}

/// The fate of one instance, and the halves that wait for it.
pub(crate) struct Ending {
    state: Mutex<State>,
    /// Whether a dropped half waits for the instance's end.
    waits: bool,
    tasks: TaskTracker,
    runtime: Handle,
    /// Counts whatever moved through the instance's memory.
    activity: Arc<AtomicU64>,
}

struct State {
    fate: Fate,
    left: Vec<Left>,
}

struct Left {
    writer: WriteHalf,
    reader: Option<ReadHalf>,
}

impl Ending {
    pub(crate) fn new(waits: bool, tasks: TaskTracker, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                fate: Fate::Running,
                left: Vec::new(),
            }),
            waits,
            tasks,
            runtime,
            activity: Arc::default(),
        })
    }

    /// Settles the fate, once; a second call changes nothing.
    pub(crate) fn settle(&self, returned: bool) {
        let mut state = self.lock();
        if state.fate != Fate::Running {
            return;
        }
        state.fate = if returned { Fate::Returned } else { Fate::Failed };
        let left = mem::take(&mut state.left);
        drop(state);
        for left in left {
            self.end(left, returned);
        }
    }

    /// A count that rises whenever a byte moves through the instance.
    pub(crate) fn activity(&self) -> Arc<AtomicU64> {
        self.activity.clone()
    }

    /// Whether what the instance still held must be reset.
    pub(crate) fn failed(&self) -> bool {
        self.lock().fate == Fate::Failed
    }

    /// Takes over what the plugin dropped without sending.
    pub(crate) fn leave(&self, writer: WriteHalf, reader: Option<ReadHalf>) {
        let left = Left { writer, reader };
        let mut state = self.lock();
        match state.fate {
            Fate::Running if self.waits => state.left.push(left),
            Fate::Failed => {
                drop(state);
                self.end(left, false);
            }
            Fate::Running | Fate::Returned => {
                drop(state);
                self.end(left, true);
            }
        }
    }

    /// Runs a last piece of work in the engine's task set.
    pub(crate) fn finish(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(work, &self.runtime);
    }

    fn end(&self, left: Left, in_good_order: bool) {
        if in_good_order {
            self.finish(close(left));
        } else {
            left.writer.shared().reset();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settles an instance as failed when its run is dropped before its end.
pub(crate) struct FailOnDrop(pub(crate) Arc<Ending>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.0.settle(false);
    }
}

async fn close(mut left: Left) {
    let shut = timeout(CLOSE_TIMEOUT, left.writer.shutdown()).await;
    if !matches!(shut, Ok(Ok(()))) {
        left.writer.shared().reset();
        return;
    }
    if let Some(reader) = left.reader {
        let (mut rest, mut nowhere) = (reader.take(LINGER_BYTES), tokio::io::sink());
        let rest = tokio::io::copy(&mut rest, &mut nowhere);
        // Whatever comes of it, the stream is over.
        let _ = timeout(LINGER, rest).await;
    }
}
