//! The figures as Markdown, for the terminal and for the document.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::load::Figures;
use crate::procfs;

/// The row that the others are compared with.
const BASELINE: usize = 1;

/// Says which build was measured.
pub(super) fn build(dev: bool) -> &'static str {
    if dev {
        "DEVELOPMENT build, no figures to keep"
    } else {
        "release build"
    }
}

/// Returns both tables with what they were measured on.
///
/// # Errors
/// Where the baseline was not measured.
pub(super) fn markdown(results: &[Figures], dev: bool) -> Result<String> {
    let baseline = results.get(BASELINE).context("no baseline")?;
    let mut out = String::new();
    writeln!(
        out,
        "{}; {}; {}.\n",
        procfs::machine(),
        build(dev),
        procfs::today()?
    )?;
    writeln!(
        out,
        "| | up MB/s | down MB/s | ratio to the copy loop | CPU s/GB | 64 B round trip µs, median | p99 \
         | connections/s | with 8 clients |"
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
    for row in results {
        let cpu = row
            .cpu_per_gigabyte
            .map_or("-".to_owned(), |cpu| format!("{cpu:.2}"));
        writeln!(
            out,
            "| {} | {:.0} | {:.0} | {:.2} up, {:.2} down | {cpu} | {:.0} | {:.0} | {:.0} | {:.0} |",
            row.name,
            row.up / 1e6,
            row.down / 1e6,
            row.up / baseline.up,
            row.down / baseline.down,
            row.median,
            row.p99,
            row.sequential,
            row.parallel,
        )?;
    }
    writeln!(out, "\n| process | resident MB, idle | highest during iperf3 |")?;
    writeln!(out, "| --- | --- | --- |")?;
    for row in results {
        for (label, idle, highest) in &row.memory {
            let megabytes = |bytes: &u64| *bytes as f64 / 1e6;
            let (idle, highest) = (megabytes(idle), megabytes(highest));
            writeln!(out, "| {}: {label} | {idle:.1} | {highest:.1} |", row.name)?;
        }
    }
    Ok(out)
}
