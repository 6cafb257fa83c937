//! Percentiles, medians of rounds, and what the system says of this process.

use std::{fs, time::Duration};

/// Durations that were measured, in order of their length.
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn new(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// The duration that this share of them does not exceed, in microseconds.
    pub(crate) fn micros(&self, share: f64) -> f64 {
        let index = (self.0.len() as f64 * share) as usize;
        self.0[index.min(self.0.len() - 1)].as_secs_f64() * 1e6
    }
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The number behind a label of `/proc/self/status`.
fn status(label: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(label)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    status("VmRSS:") * 1024
}

/// Open descriptors of this process.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
