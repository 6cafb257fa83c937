//! `cargo xtask lab --runs N`: what must hold, measured many times.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    crossing::{DIRECT_TARGET, LAN_TARGET, RELAY_BACK_TARGET, RELAYED_TARGET},
    ground,
    pair::pass,
    relays::start_and_time,
    spread::{Spread, table},
    stage::Stage,
    transcript::Transcript,
};
use crate::{binaries::Binaries, procfs};

/// A direct path that is not there by then does not come.
const NEVER: Duration = Duration::from_secs(20);
/// How long the relay stays away: nodes notice at their own pace, and retry at theirs.
const RELAY_AWAY: Duration = Duration::from_secs(3);

/// Measures everything, prints the table, and writes it where a file is given.
///
/// # Errors
/// Where a run fails altogether. One that takes too long is a figure, and is counted in the table.
pub(super) fn measure(binaries: &Binaries, runs: usize, file: Option<&Path>) -> Result<()> {
    let mut spreads = Vec::new();
    let mut failures = Vec::new();
    let parts: [Part; 4] = [same_lan, relayed, relayed_to_direct, relay_back];
    for part in parts {
        match part(binaries, runs) {
            Ok(measured) => spreads.extend(measured),
            Err(error) => {
                println!("FAILS: {error:#}");
                failures.push(format!("{error:#}"));
            }
        }
    }
    let measured = format!("{}; development build; {}.", procfs::machine(), procfs::today()?);
    let text = table(&spreads, &measured)?;
    println!("\n{text}");
    if let Some(file) = file {
        std::fs::write(file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("written to {}", file.display());
    }
    ensure!(failures.is_empty(), "not measured:\n{}", failures.join("\n"));
    Ok(())
}

/// Measures something so many times.
type Part = fn(&Binaries, usize) -> Result<Vec<Spread>>;

fn stage(binaries: &Binaries, what: &str) -> Result<Stage> {
    println!("\n--- figures: {what}");
    Stage::new(binaries, Transcript::Live).context("the lab cannot be built")
}

/// Two machines in one network: on a connection that is there, then right after the start of one of them.
fn same_lan(binaries: &Binaries, runs: usize) -> Result<Vec<Spread>> {
    let mut stage = stage(binaries, "same LAN")?;
    ground::one_network(&mut stage)?;
    stage.start_with_relay()?;
    stage.new_tunnel()?;
    stage.wait_for_direct(NEVER)?;
    let mut warm = Spread::new("same LAN: first byte of a new tunnel", LAN_TARGET);
    let mut cold = Spread::new(
        "same LAN: from `peerup proxy` to the first byte, daemon just started",
        LAN_TARGET,
    );
    for _ in 0..runs {
        warm.runs.push(stage.new_tunnel()?);
    }
    for _ in 0..runs {
        cold.runs.push(stage.first_byte_after_start()?);
    }
    note(&stage, &warm);
    note(&stage, &cold);
    Ok(vec![warm, cold])
}

/// The same over the relay, with everything direct cut.
fn relayed(binaries: &Binaries, runs: usize) -> Result<Vec<Spread>> {
    let mut stage = stage(binaries, "over the relay")?;
    stage.lab.block_direct()?;
    stage.start_with_relay()?;
    let mut warm = Spread::new("over a relay: first byte of a new tunnel", RELAYED_TARGET);
    let mut cold = Spread::new(
        "over a relay: from `peerup proxy` to the first byte, daemon just started",
        RELAYED_TARGET,
    );
    for _ in 0..runs {
        warm.runs.push(stage.new_tunnel()?);
    }
    for _ in 0..runs {
        cold.runs.push(stage.first_byte_after_start()?);
    }
    note(&stage, &warm);
    note(&stage, &cold);
    Ok(vec![warm, cold])
}

/// Two NATs that keep ports; each run with nodes that have never met.
fn relayed_to_direct(binaries: &Binaries, runs: usize) -> Result<Vec<Spread>> {
    let mut spread = Spread::new("from the first relayed byte to the direct path", DIRECT_TARGET);
    for run in 0..runs {
        let mut stage = stage(binaries, &format!("relayed to direct, run {}", run + 1))?;
        stage.start_with_relays()?;
        let address = stage.tunnel("echo")?;
        stage.first_byte(&address)?;
        let first = Instant::now();
        let (_, seen) = stage.wait_for_direct(NEVER)?;
        let took = seen.saturating_duration_since(first);
        stage.note(&format!("{} ms", took.as_millis()));
        spread.runs.push(took);
    }
    Ok(vec![spread])
}

/// The relay is killed and started again, each time.
fn relay_back(binaries: &Binaries, runs: usize) -> Result<Vec<Spread>> {
    let mut stage = stage(binaries, "relay back after its restart")?;
    stage.lab.block_direct()?;
    stage.start_with_relay()?;
    let mut spread = Spread::new(
        "relay back: both nodes reserved after its restart",
        RELAY_BACK_TARGET,
    );
    for _ in 0..runs {
        stage.relay.as_mut().context("no relay")?.kill()?;
        pass(RELAY_AWAY)?;
        let took = start_and_time(&mut stage)?;
        stage.note(&format!("{} ms", took.as_millis()));
        spread.runs.push(took);
    }
    Ok(vec![spread])
}

fn note(stage: &Stage, spread: &Spread) {
    let shown: Vec<String> = spread
        .runs
        .iter()
        .map(|run| run.as_millis().to_string())
        .collect();
    stage.note(&format!("{}: {} ms", spread.name, shown.join(", ")));
}
