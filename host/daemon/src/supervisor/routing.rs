//! Which generation of a plugin gets new streams, and how many it has.
//!
//! Written by the supervisor's actor alone; read by everybody without waiting. A generation is closed only after the
//! table names another or none, so whoever finds it closed looks again and finds what is true now.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use peerup_engine::Plugin;
use peerup_lifecycle::Generation;
use peerup_model::PluginName;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The bit that says that a slot takes nobody in any more; the others count who is inside.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// The active generations by plugin.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    table: ArcSwap<BTreeMap<PluginName, Arc<Slot>>>,
}

impl Routing {
    /// Enters the active generation; none where there is none.
    pub(crate) fn enter(&self, name: &PluginName) -> Option<Lease> {
        loop {
            let slot = self.table.load().get(name)?.clone();
            if slot.try_enter() {
                return Some(Lease(slot));
            }
            std::hint::spin_loop();
        }
    }

    /// Sends new streams elsewhere, or nowhere, and closes the slot that had them. Returns that one.
    pub(super) fn set(&self, name: &PluginName, slot: Option<Arc<Slot>>) -> Option<Arc<Slot>> {
        let mut table = BTreeMap::clone(&self.table.load());
        let before = match slot {
            Some(slot) => table.insert(name.clone(), slot),
            None => table.remove(name),
        };
        self.table.store(Arc::new(table));
        if let Some(before) = &before {
            before.close();
        }
        before
    }
}

/// One loaded generation of a plugin and who is inside.
#[derive(Debug)]
pub(crate) struct Slot {
    plugin: Plugin,
    generation: Generation,
    inside: AtomicUsize,
    left: Notify,
    closed: CancellationToken,
}

impl Slot {
    pub(super) fn new(plugin: Plugin, generation: Generation) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            generation,
            inside: AtomicUsize::new(0),
            left: Notify::new(),
            closed: CancellationToken::new(),
        })
    }

    pub(super) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes nobody in any more.
    pub(super) fn close(&self) {
        self.inside.fetch_or(CLOSED, Ordering::SeqCst);
        self.closed.cancel();
        self.left.notify_waiters();
    }

    /// Waits until it is closed and the last one has left.
    pub(super) async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.inside.load(Ordering::SeqCst) == CLOSED {
                return;
            }
            left.await;
        }
    }

    fn try_enter(&self) -> bool {
        let one_more = |inside| (inside & CLOSED == 0).then_some(inside + 1);
        self.inside
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }
}

/// Somebody inside a generation: a stream that is being handed over, a command that runs.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Slot>);

impl Lease {
    /// The plugin, in the generation that was active on entering.
    pub(crate) fn plugin(&self) -> &Plugin {
        &self.0.plugin
    }

    /// Which generation that is.
    pub(crate) fn generation(&self) -> Generation {
        self.0.generation
    }

    /// Waits until this generation gets no new streams any more. Cancel safe.
    pub(crate) async fn closed(&self) {
        self.0.closed.cancelled().await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0.inside.fetch_sub(1, Ordering::SeqCst) == CLOSED + 1 {
            self.0.left.notify_waiters();
        }
    }
}
