//! What every process tells of itself, under the names that Prometheus' own clients use.

use std::fs;

use crate::{
    flood::lines_left_out,
    metrics::{Kind, Metric, Sheet},
};

static RESIDENT: Metric = Metric {
    name: "process_resident_memory",
    kind: Kind::Gauge,
    unit: Some("bytes"),
    labels: &[],
    help: "Memory of the process that is in RAM.",
};
static CPU: Metric = Metric {
    name: "process_cpu",
    kind: Kind::Counter,
    unit: Some("seconds"),
    labels: &[],
    help: "Processor time of the process, user and system.",
};
static FILES: Metric = Metric {
    name: "process_open_fds",
    kind: Kind::Gauge,
    unit: None,
    labels: &[],
    help: "File descriptors that are open.",
};
static LOG_LINES: Metric = Metric {
    name: "peerup_log_lines_left_out",
    kind: Kind::Counter,
    unit: None,
    labels: &[],
    help: "Lines of the log that were left out, because one place wrote too many.",
};

/// The metrics that [`add_process`] fills.
pub static PROCESS_METRICS: [&Metric; 4] = [&RESIDENT, &CPU, &FILES, &LOG_LINES];

/// Adds what is known of this process. Where there is no `/proc` it is only the log's.
pub fn add_process(sheet: &mut Sheet) {
    if let Some(bytes) = resident() {
        sheet.whole(&RESIDENT, &[], bytes);
    }
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9;
    sheet.real(&CPU, &[], seconds);
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the listing's own.
        sheet.count(&FILES, &[], open.count().saturating_sub(1));
    }
    sheet.whole(&LOG_LINES, &[], lines_left_out());
}

fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}
