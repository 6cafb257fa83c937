//! `cargo xtask bench`: what things cost, each beside a baseline of the same run: absolute figures say little about
//! another machine, ratios do.
//!
//! Three parts: one encrypted tunnel on loopback beside a plain copy loop and, where it is installed, rathole; the
//! engine by itself; a daemon that nobody uses.

mod contestant;
mod daemon;
mod engine;
mod load;
mod table;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    binaries::{Binaries, Profile},
    document, tools, workspace,
};
use contestant::{Contestant, Targets};
use load::{EchoServer, IperfServer};

pub(crate) use contestant::copy_loop;

/// Where the figures are written to.
const DOCUMENT: &str = "docs/PERFORMANCE.md";

/// The arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct BenchArguments {
    /// What to measure; everything without a word
    part: Vec<Part>,
    /// Writes the figures into docs/PERFORMANCE.md
    #[arg(long)]
    write: bool,
    /// Seconds of each throughput run
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Measures the development build: for trying out the bench, not for figures
    #[arg(long)]
    dev: bool,
    /// Takes the binaries from this folder, without building
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// A part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// One encrypted tunnel on loopback
    Tunnel,
    /// Instances, splices, tunnels at rest, and a plugin beside hostile ones
    Engine,
    /// A daemon that nobody uses: its start, its memory, its CPU time
    Daemon,
}

impl Part {
    /// The part of the document that it writes.
    fn mark(self) -> &'static str {
        match self {
            Self::Tunnel => "bench",
            Self::Engine => "bench-engine",
            Self::Daemon => "bench-daemon",
        }
    }
}

/// Measures the parts that were asked for and prints their tables.
///
/// # Errors
/// Where iperf3 is missing for the tunnel, a build fails, or something does not come up.
pub(crate) fn run(arguments: &BenchArguments) -> Result<()> {
    let profile = if arguments.dev {
        Profile::Dev
    } else {
        Profile::Release
    };
    for part in [Part::Tunnel, Part::Engine, Part::Daemon] {
        if !arguments.part.is_empty() && !arguments.part.contains(&part) {
            continue;
        }
        let binaries = || Binaries::obtain(profile, arguments.binaries.as_deref());
        let folder = tempfile::Builder::new().prefix("peerup-bench-").tempdir()?;
        let text = match part {
            Part::Tunnel => tunnel(&binaries()?, folder.path(), arguments)?,
            Part::Engine => engine::measure(arguments.dev)?,
            Part::Daemon => daemon::measure(&binaries()?, folder.path(), arguments.dev)?,
        };
        report(part, &text, arguments)?;
    }
    Ok(())
}

/// Measures everybody that carries bytes and returns the tables.
fn tunnel(binaries: &Binaries, folder: &Path, arguments: &BenchArguments) -> Result<String> {
    ensure!(tools::has("iperf3"), "the bench of the tunnel needs iperf3");
    let iperf = IperfServer::start()?;
    let echo = EchoServer::start()?;
    let targets = Targets {
        iperf: iperf.port,
        echo: echo.port,
    };
    let time = Duration::from_secs(arguments.seconds);

    let mut results = Vec::new();
    let mut measure = |contestant: Result<Contestant>, name: &str| -> Result<()> {
        let contestant = contestant.with_context(|| format!("{name} does not come up"))?;
        println!("measuring {}", contestant.name);
        let figures = load::measure(&contestant, time).with_context(|| contestant.logs())?;
        println!(
            "  {:.0} MB/s up, {:.0} MB/s down, {:.0} µs, {:.0} connections/s",
            figures.up / 1e6,
            figures.down / 1e6,
            figures.median,
            figures.sequential
        );
        results.push(figures);
        Ok(())
    };
    measure(Ok(Contestant::nothing_between(targets)), "loopback")?;
    measure(Contestant::copy_loop(targets), "the copy loop")?;
    measure(
        Contestant::peerup(binaries, &folder.join("peerup"), targets),
        "peerup",
    )?;
    if tools::has("rathole") {
        for noise in [false, true] {
            let folder = folder.join(if noise { "noise" } else { "plain" });
            measure(Contestant::rathole(&folder, targets, noise), "rathole")?;
        }
    } else {
        println!("rathole is not on PATH and was left out");
    }
    table::markdown(&results, arguments.dev)
}

fn report(part: Part, text: &str, arguments: &BenchArguments) -> Result<()> {
    println!("\n{text}");
    if !arguments.write {
        return Ok(());
    }
    document::write_between(&workspace::root().join(DOCUMENT), part.mark(), text)?;
    println!("written to {DOCUMENT}");
    Ok(())
}
