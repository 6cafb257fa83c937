//! One daemon that nobody uses: how soon it stands, and what it takes of the machine, with plugins and without.

use std::{
    fmt::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Host, Lab, poll};

use crate::{
    binaries::Binaries,
    nodes::{Node, Relay},
    procfs,
};

/// Starts of each kind, in turns.
const STARTS: usize = 15;
/// What a start leaves to be done is done by then.
const SETTLING: Duration = Duration::from_secs(30);
/// How long idle daemons are watched.
const WATCHED: Duration = Duration::from_secs(180);
/// The relay's port in the lab.
const RELAY_PORT: u16 = 4001;

/// What an idle daemon takes.
struct Idle {
    resident: u64,
    /// Resident and not a page of a file.
    own: u64,
    proportional: u64,
    cpu_percent: f64,
    threads: u64,
    descriptors: u64,
}

/// Measures both and returns the tables with what they were measured on. Needs root, for network namespaces.
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

    // Daemons at home: an interface, a router that lets nothing in, a relay that they hold a reservation on.
    let lab = Lab::new()?;
    let mut relay = Relay::init(binaries, lab.relay(), &folder.join("relay"), RELAY_PORT)?;
    let at_home =
        |name: &str, host: &Host| Node::init_with(binaries, host, &folder.join(name), name, &[&relay]);
    let (home, bare_home) = (
        at_home("home", &lab.a().host)?,
        at_home("bare-home", &lab.b().host)?,
    );
    home.run(&["plugin", "disable", "traceroute"])?;
    bare_home.run(&["plugin", "disable-all"])?;
    for node in [&home, &bare_home] {
        relay.run(&["authorize", &node.id()?])?;
    }
    relay.start()?;
    let mut rows = [
        ("all plugins switched off, behind a NAT, on a relay", bare_home),
        (
            "tcp-proxy, ping, names-local, behind a NAT, on a relay (targets: 35 MB, 0.2 %)",
            home,
        ),
        ("tcp-proxy, ping, names-local, on loopback alone", with),
    ];
    writeln!(
        out,
        "| idle for {} s | resident MB | of it the process's own | proportional MB | CPU % | threads | descriptors |",
        (SETTLING + WATCHED).as_secs()
    )?;
    writeln!(out, "| --- | --- | --- | --- | --- | --- | --- |")?;
    forget(&binaries.peerup)?;
    let found = watch(rows.iter_mut().map(|(_, node)| node).collect())?;
    for ((name, _), idle) in rows.iter().zip(found) {
        writeln!(
            out,
            "| {name} | {:.1} | {:.1} | {:.1} | {:.2} | {} | {} |",
            idle.resident as f64 / 1e6,
            idle.own as f64 / 1e6,
            idle.proportional as f64 / 1e6,
            idle.cpu_percent,
            idle.threads,
            idle.descriptors
        )?;
    }
    Ok(out)
}

/// Starts the nodes, lets all of them alone, and tells what each took.
fn watch(mut nodes: Vec<&mut Node>) -> Result<Vec<Idle>> {
    let mut pids = Vec::new();
    for node in &mut nodes {
        node.start()?;
        pids.push(node.daemon().context("no daemon")?.id());
    }
    pass(SETTLING)?;
    let before = pids
        .iter()
        .map(|pid| procfs::cpu_seconds(&[*pid]))
        .collect::<Result<Vec<_>>>()?;
    pass(WATCHED)?;
    let idle = |(pid, before): (u32, f64)| {
        Ok(Idle {
            resident: procfs::resident_bytes(pid)?,
            own: procfs::own_bytes(pid)?,
            proportional: procfs::proportional_bytes(pid)?,
            cpu_percent: (procfs::cpu_seconds(&[pid])? - before) / WATCHED.as_secs_f64() * 100.0,
            threads: procfs::threads(pid)?,
            descriptors: procfs::descriptors(pid)?,
        })
    };
    let found = pids
        .into_iter()
        .zip(before)
        .map(idle)
        .collect::<Result<Vec<_>>>()?;
    for node in nodes {
        node.stop()?;
    }
    Ok(found)
}

/// Has the kernel forget what it read of the program, so that it is in memory as after a boot: what a build or a copy has just
/// written lies there in larger pieces, of which a start maps more.
fn forget(program: &Path) -> Result<()> {
    let mut dd = Command::new("dd");
    dd.arg(format!("of={}", program.display()));
    dd.args([
        "oflag=nocache",
        "conv=notrunc,fdatasync",
        "count=0",
        "status=none",
    ]);
    ensure!(
        dd.status()?.success(),
        "dd cannot drop {} from memory",
        program.display()
    );
    Ok(())
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
