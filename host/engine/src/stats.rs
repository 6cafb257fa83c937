//! What the host counts for one plugin.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use peerup_model::PluginName;

/// What a plugin has done since it was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginStats {
    /// Instances that exist now.
    pub instances_live: usize,
    /// Instances ever made.
    pub instances_total: u64,
    /// Tunnels that the host carries for it now.
    pub spliced_live: usize,
    /// Tunnels ever made.
    pub spliced_total: u64,
    /// Runs that crashed or were stopped for what they used.
    pub traps: u64,
    /// Calls that were not granted.
    pub denials: u64,
    /// Bytes that came from peers, through tunnels and through the plugin.
    pub bytes_in: u64,
    /// Bytes that went to peers, through tunnels and through the plugin.
    pub bytes_out: u64,
    /// The last failure of a run or denial.
    pub last_error: Option<String>,
}

pub(crate) struct Counters {
    pub(crate) plugin: PluginName,
    pub(crate) instances_live: AtomicUsize,
    pub(crate) instances_total: AtomicU64,
    pub(crate) spliced_live: AtomicUsize,
    pub(crate) spliced_total: AtomicU64,
    pub(crate) traps: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    denials: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Counters {
    pub(crate) fn new(plugin: PluginName) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            instances_live: AtomicUsize::new(0),
            instances_total: AtomicU64::new(0),
            spliced_live: AtomicUsize::new(0),
            spliced_total: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            denials: AtomicU64::new(0),
            last_error: Mutex::new(None),
        })
    }

    pub(crate) fn snapshot(&self) -> PluginStats {
        PluginStats {
            instances_live: self.instances_live.load(Ordering::Relaxed),
            instances_total: self.instances_total.load(Ordering::Relaxed),
            spliced_live: self.spliced_live.load(Ordering::Relaxed),
            spliced_total: self.spliced_total.load(Ordering::Relaxed),
            traps: self.traps.load(Ordering::Relaxed),
            denials: self.denials.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            last_error: self
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// Counts a denial. Only the first and every hundredth is logged as a warning: a plugin can ask in a loop.
    pub(crate) fn count_denial(&self, text: &str) {
        let before = self.denials.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(100) {
            tracing::warn!(plugin = %self.plugin, denials = before + 1, "{text}");
        } else {
            tracing::debug!(plugin = %self.plugin, denials = before + 1, "{text}");
        }
        self.remember(text);
    }

    pub(crate) fn remember(&self, text: &str) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
    }
}
