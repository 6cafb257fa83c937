//! One daemon that nobody uses: how soon it stands, and what it takes of the machine, with plugins and without.

use std::{
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use peerup_testkit::{Host, poll};

use crate::{binaries::Binaries, nodes::Node, procfs};

/// Starts of each kind, in turns.
const STARTS: usize = 15;
/// What a start leaves to be done is done by then.
const SETTLING: Duration = Duration::from_secs(10);
/// How long an idle daemon is watched.
const WATCHED: Duration = Duration::from_secs(60);

/// What an idle daemon takes.
struct Idle {
    resident: u64,
    proportional: u64,
    cpu_percent: f64,
    threads: u64,
    descriptors: u64,
}

/// Measures both and returns the tables with what they were measured on.
///
/// # Errors
/// Where a daemon does not start, or ends early.
pub(super) fn measure(binaries: &Binaries, folder: &Path, dev: bool) -> Result<String> {
    let host = Host::local();
    let node = |name: &str| Node::init_with(binaries, &host, &folder.join(name), name, &[]);
    let (mut with, mut without) = (node("with")?, node("without")?);
    // Three are left: tcp-proxy, ping, names-local.
    with.run(&["plugin", "disable", "traceroute"])?;
    without.run(&["plugin", "disable-all"])?;

    let (mut warm, mut bare) = (Vec::new(), Vec::new());
    // The first start compiles.
    for round in 0..=STARTS {
        for (node, times) in [(&mut without, &mut bare), (&mut with, &mut warm)] {
            let start = Instant::now();
            node.start()?;
            let took = start.elapsed().as_secs_f64() * 1e3;
            node.stop()?;
            if round > 0 {
                times.push(took);
            }
        }
    }
    let more = median(warm.iter().zip(&bare).map(|(warm, bare)| warm - bare).collect());
    let (warm, bare) = (median(warm), median(bare));
    let mut out = format!(
        "{}; {}; {}.\n\n",
        procfs::machine(),
        super::table::build(dev),
        procfs::today()?
    );
    writeln!(
        out,
        "| until it is ready, ms | median of {STARTS} | more |\n| --- | --- | --- |"
    )?;
    writeln!(out, "| all plugins switched off | {bare:.0} | - |")?;
    writeln!(
        out,
        "| tcp-proxy, ping, names-local, compiled before (target: 100 more at most) | {warm:.0} | {more:.0} |\n"
    )?;

    writeln!(
        out,
        "| idle, over {} s | resident MB | proportional MB | CPU % | threads | descriptors |",
        WATCHED.as_secs()
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
    for (name, node) in [
        ("all plugins switched off", &mut without),
        ("tcp-proxy, ping, names-local (targets: 35 MB, 0.2 %)", &mut with),
    ] {
        let idle = watch(node)?;
        writeln!(
            out,
            "| {name} | {:.1} | {:.1} | {:.2} | {} | {} |",
            idle.resident as f64 / 1e6,
            idle.proportional as f64 / 1e6,
            idle.cpu_percent,
            idle.threads,
            idle.descriptors
        )?;
    }
    Ok(out)
}

fn watch(node: &mut Node) -> Result<Idle> {
    node.start()?;
    let pid = node.daemon().context("no daemon")?.id();
    pass(SETTLING)?;
    let before = procfs::cpu_seconds(&[pid])?;
    pass(WATCHED)?;
    let idle = Idle {
        resident: procfs::resident_bytes(pid)?,
        proportional: procfs::proportional_bytes(pid)?,
        cpu_percent: (procfs::cpu_seconds(&[pid])? - before) / WATCHED.as_secs_f64() * 100.0,
        threads: procfs::threads(pid)?,
        descriptors: procfs::descriptors(pid)?,
    };
    node.stop()?;
    Ok(idle)
}

/// Lets time pass; Ctrl-C ends it.
fn pass(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    poll("the end of the watch", time * 2, || {
        Ok((Instant::now() >= end).then_some(()))
    })
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
