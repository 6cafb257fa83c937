//! What the host counts for one plugin.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use peerup_model::PluginName;

use crate::{audit::Auditor, budget::Bucket};

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
    /// Bytes that came from peers, through tunnels and through the plugin, and over its UDP sockets.
    pub bytes_in: u64,
    /// Bytes that went to peers, through tunnels and through the plugin, and over its UDP sockets.
    pub bytes_out: u64,
    /// Calls of its exports.
    pub calls: u64,
    /// CPU time of all its instances.
    pub cpu: Duration,
    /// The most memory that one of its instances has had, in bytes.
    pub memory_peak: u64,
    /// Streams, listeners, sockets and subscriptions that it was ever given.
    pub handles_total: u64,
    /// UDP datagrams, sent and received.
    pub datagrams: u64,
    /// Bytes in its store, as of its last change; none before the store was opened.
    pub store_bytes: Option<u64>,
    /// Lines of its log that were left out, because there were too many.
    pub log_lines_dropped: u64,
    /// The last denial or failed run, without what commands answered to who asked.
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
    pub(crate) calls: AtomicU64,
    pub(crate) cpu_nanos: AtomicU64,
    pub(crate) memory_peak: AtomicU64,
    pub(crate) handles_total: AtomicU64,
    pub(crate) datagrams: AtomicU64,
    pub(crate) log_lines_dropped: AtomicU64,
    /// [`NO_STORE`] before the store was opened.
    pub(crate) store_bytes: AtomicU64,
    /// What may pass in bytes over time; none is without a limit.
    bandwidth: Option<Mutex<Bucket>>,
    pub(crate) auditor: Arc<Auditor>,
    denials: AtomicU64,
    last_error: Mutex<Option<String>>,
}

const NO_STORE: u64 = u64::MAX;

impl Counters {
    /// Counters without a limit of bandwidth and without an audit.
    #[cfg(test)]
    pub(crate) fn plain(plugin: PluginName) -> Arc<Self> {
        let auditor = Auditor::new(plugin.clone(), None, Arc::default());
        Self::new(plugin, None, auditor)
    }

    /// `bandwidth`: bytes a second that may pass, in both directions together.
    pub(crate) fn new(plugin: PluginName, bandwidth: Option<u64>, auditor: Arc<Auditor>) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            calls: AtomicU64::new(0),
            cpu_nanos: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            handles_total: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
            log_lines_dropped: AtomicU64::new(0),
            store_bytes: AtomicU64::new(NO_STORE),
            bandwidth: bandwidth.map(|rate| {
                let rate = rate as f64;
                Mutex::new(Bucket::new(rate, rate))
            }),
            auditor,
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
            calls: self.calls.load(Ordering::Relaxed),
            cpu: Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed)),
            memory_peak: self.memory_peak.load(Ordering::Relaxed),
            handles_total: self.handles_total.load(Ordering::Relaxed),
            datagrams: self.datagrams.load(Ordering::Relaxed),
            store_bytes: Some(self.store_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes != NO_STORE),
            log_lines_dropped: self.log_lines_dropped.load(Ordering::Relaxed),
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
        self.auditor.denied(text);
        self.remember(text);
    }

    /// Takes bytes out of the plugin's bandwidth and tells how long to wait before the next ones.
    pub(crate) fn pass(&self, bytes: usize) -> Option<Duration> {
        let bucket = self.bandwidth.as_ref()?;
        let wait = bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(crate::clock::now(), bytes as f64);
        if wait.is_some() {
            self.auditor.limit("bandwidth");
        }
        wait
    }

    /// Counts datagrams with the bytes that came and went.
    pub(crate) fn count_datagrams(&self, count: usize, bytes_in: usize, bytes_out: usize) {
        self.datagrams.fetch_add(count as u64, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes_in as u64, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes_out as u64, Ordering::Relaxed);
    }

    /// Counts bytes that came from a peer.
    pub(crate) fn count_bytes_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that went to a peer.
    pub(crate) fn count_bytes_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes how much the plugin's store holds.
    pub(crate) fn count_store(&self, bytes: u64) {
        self.store_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remember(&self, text: &str) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
    }
}
