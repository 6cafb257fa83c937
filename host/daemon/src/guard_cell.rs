//! Where the node keeps the guard of its config: the machine behind a lock, and how it stands for whoever asks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use peerup_api::ConfigEvent;
use peerup_config::{ConfigGuard, GuardState, Vault};
use tokio::sync::{Mutex, MutexGuard, Notify};

/// The guard of a running node. One of a command in its own process has none.
#[derive(Debug, Default)]
pub(crate) struct GuardCell {
    held: Mutex<Option<Held>>,
    seen: ArcSwap<Seen>,
    /// Told when there may be another time to wake at.
    pub(crate) changed: Notify,
}

/// The machine with its files. Whoever has it may drive it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) guard: ConfigGuard,
    pub(crate) vault: Arc<Vault>,
    pub(crate) last: Option<ConfigEvent>,
    /// The text that is in force.
    pub(crate) in_force: String,
}

/// What was last known, without waiting for what is under way.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) state: GuardState,
    pub(crate) last: Option<ConfigEvent>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            state: GuardState::Settled,
            last: None,
        }
    }
}

impl GuardCell {
    /// Takes the machine over, once, when the node has started with it.
    pub(crate) async fn install(&self, held: Held) {
        self.publish(&held);
        *self.held.lock().await = Some(held);
    }

    /// Waits for the machine. None in a node of one command.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().await
    }

    /// Returns how the config stands.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        self.seen.load_full()
    }

    /// Tells what became of the machine.
    pub(crate) fn publish(&self, held: &Held) {
        self.seen.store(Arc::new(Seen {
            state: held.guard.state().clone(),
            last: held.last.clone(),
        }));
        self.changed.notify_one();
    }

    /// Takes that the file was read again and is in force.
    pub(crate) async fn reloaded(&self, text: String) {
        if let Some(held) = self.held.lock().await.as_mut() {
            held.guard.handle_reloaded();
            held.in_force = text;
            self.publish(held);
        }
    }
}
