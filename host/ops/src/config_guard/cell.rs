//! Where a process keeps the guard of its config: the machine behind a lock, and how it stands for whoever asks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use peerup_api::ConfigEvent;
use peerup_config::{ConfigGuard, GuardState, Vault};
use tokio::sync::{Mutex, MutexGuard, Notify};

/// The guard of what runs. What runs for one command has none.
#[derive(Debug, Default)]
pub struct GuardCell {
    held: Mutex<Option<HeldGuard>>,
    seen: ArcSwap<Seen>,
    /// Told when there may be another time to wake at.
    pub(super) changed: Notify,
    /// Told when the config stands otherwise.
    stands: Notify,
}

/// The machine with its files. Whoever has it may drive it.
#[derive(Debug)]
pub struct HeldGuard {
    pub(super) guard: ConfigGuard,
    pub(super) vault: Arc<Vault>,
    pub(super) last: Option<ConfigEvent>,
    /// The text that is in force.
    pub(super) in_force: String,
}

/// What was last known, without waiting for what is under way.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) state: GuardState,
    pub(super) last: Option<ConfigEvent>,
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
    /// Takes the machine over, once, when the start with it has worked.
    pub async fn install(&self, held: HeldGuard) {
        self.publish(&held);
        *self.held.lock().await = Some(held);
    }

    /// Waits for the machine. None in what runs for one command.
    pub(super) async fn lock(&self) -> MutexGuard<'_, Option<HeldGuard>> {
        self.held.lock().await
    }

    /// Returns how the config stands.
    pub(super) fn seen(&self) -> Arc<Seen> {
        self.seen.load_full()
    }

    /// Returns how the config stands, and what last became of one that was applied, without waiting for what is under way.
    pub fn known(&self) -> (GuardState, Option<ConfigEvent>) {
        let seen = self.seen();
        (seen.state.clone(), seen.last.clone())
    }

    /// Tells what became of the machine.
    pub(super) fn publish(&self, held: &HeldGuard) {
        self.seen.store(Arc::new(Seen {
            state: held.guard.state().clone(),
            last: held.last.clone(),
        }));
        self.changed.notify_one();
        self.stands.notify_one();
    }

    /// Returns when the config stands otherwise than before, also where that was while nobody waited. For one who waits.
    /// Cancel safe.
    pub async fn stands_otherwise(&self) {
        self.stands.notified().await;
    }

    /// Takes that the file was read again and is in force.
    pub async fn reloaded(&self, text: String) {
        if let Some(held) = self.held.lock().await.as_mut() {
            held.guard.handle_reloaded();
            held.in_force = text;
            self.publish(held);
        }
    }
}
