//! What the kernel says about processes and the machine that figures were measured on.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result};
use peerup_testkit::run;

const DATE_TIMEOUT: Duration = Duration::from_secs(10);

/// Clock ticks in a second in `/proc/PID/stat`: fixed in the kernel's interface on all common systems.
const TICKS: f64 = 100.0;

/// Returns the CPU seconds, user and system, that these processes have used so far.
///
/// # Errors
/// Where one of them has ended.
pub(crate) fn cpu_seconds(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0.0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} has ended"))?;
        // The name in parentheses may hold anything, so the fields are counted from its end.
        let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
        for field in fields.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<f64>()?;
        }
    }
    Ok(ticks / TICKS)
}

/// Returns the resident memory of a process in bytes.
///
/// # Errors
/// Where it has ended.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    Ok(status_number(pid, "VmRSS:")? * 1024)
}

/// Returns the resident memory of a process that is no page of a file, in bytes.
///
/// # Errors
/// Where it has ended.
pub(crate) fn own_bytes(pid: u32) -> Result<u64> {
    Ok(status_number(pid, "RssAnon:")? * 1024)
}

/// Returns the memory of a process in bytes, with its part of what it shares with others.
///
/// # Errors
/// Where it has ended or belongs to somebody else.
pub(crate) fn proportional_bytes(pid: u32) -> Result<u64> {
    Ok(number_in(&format!("/proc/{pid}/smaps_rollup"), "Pss:")? * 1024)
}

/// Returns the number of threads of a process.
///
/// # Errors
/// Where it has ended.
pub(crate) fn threads(pid: u32) -> Result<u64> {
    status_number(pid, "Threads:")
}

/// Returns the number of open descriptors of a process.
///
/// # Errors
/// Where it has ended or belongs to somebody else.
pub(crate) fn descriptors(pid: u32) -> Result<u64> {
    let listed =
        fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("process {pid} has ended"))?;
    Ok(listed.count() as u64)
}

/// Returns the first number behind a label in `/proc/PID/status`.
fn status_number(pid: u32, label: &str) -> Result<u64> {
    number_in(&format!("/proc/{pid}/status"), label)
}

/// Returns the first number behind a label at the beginning of a line.
fn number_in(path: &str, label: &str) -> Result<u64> {
    let status = fs::read_to_string(path).with_context(|| format!("the process of {path} has ended"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(label));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("no {label}"))?.parse()?)
}

/// Returns the name of the processor and the number of its cores.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}

/// Returns the date of today, as the system writes it.
///
/// # Errors
/// Where there is no `date`.
pub(crate) fn today() -> Result<String> {
    let date = run("date", Command::new("date").args(["-u", "+%F"]), DATE_TIMEOUT)?;
    Ok(date.success()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_used_time() {
        let own = std::process::id();
        assert!(resident_bytes(own).unwrap() > 100_000);
        assert!(proportional_bytes(own).unwrap() > 100_000);
        assert!(cpu_seconds(&[own]).unwrap() >= 0.0);
        assert!(threads(own).unwrap() >= 1 && descriptors(own).unwrap() >= 3);
    }
}
