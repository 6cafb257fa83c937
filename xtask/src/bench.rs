//! `cargo xtask bench`: one encrypted tunnel on loopback, beside a plain copy loop and, where it is
//! installed, rathole, all in one run: absolute figures say little about another machine, ratios do.

mod contestant;
mod load;
mod table;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    binaries::{Binaries, Profile},
    document, tools, workspace,
};
use contestant::{Contestant, Targets};
use load::{EchoServer, Figures, IperfServer};

pub(crate) use contestant::copy_loop;

/// Where the figures are written to.
const DOCUMENT: &str = "docs/PERFORMANCE.md";

/// The arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct BenchArguments {
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

/// Measures everybody and prints the table.
///
/// # Errors
/// Where iperf3 is missing, a build fails, or a tunnel does not come up.
pub(crate) fn run(arguments: &BenchArguments) -> Result<()> {
    ensure!(tools::has("iperf3"), "the bench needs iperf3");
    let profile = if arguments.dev {
        Profile::Dev
    } else {
        Profile::Release
    };
    let binaries = Binaries::obtain(profile, arguments.binaries.as_deref())?;
    let folder = tempfile::Builder::new().prefix("peerup-bench-").tempdir()?;
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
        Contestant::peerup(&binaries, &folder.path().join("peerup"), targets),
        "peerup",
    )?;
    if tools::has("rathole") {
        for noise in [false, true] {
            let folder = folder.path().join(if noise { "noise" } else { "plain" });
            measure(Contestant::rathole(&folder, targets, noise), "rathole")?;
        }
    } else {
        println!("rathole is not on PATH and was left out");
    }
    report(&results, arguments)
}

fn report(results: &[Figures], arguments: &BenchArguments) -> Result<()> {
    let text = table::markdown(results, arguments.dev)?;
    println!("\n{text}");
    if !arguments.write {
        return Ok(());
    }
    document::write_between(&workspace::root().join(DOCUMENT), "bench", &text)?;
    println!("written to {DOCUMENT}");
    Ok(())
}
