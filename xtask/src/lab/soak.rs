//! `cargo xtask soak`: paths are cut, relays and daemons restarted, addresses changed, every few seconds on a
//! seed, with tunnels opened and closed throughout. In the end a daemon that lived through it all must hold
//! what it held in the beginning, and whatever was begun in calm weather must have worked.

mod footprint;
mod traffic;
mod weather;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result};
use peerup_testkit::{Lab, keep_logs, poll};

use super::{chance::Chance, pair::pass, stage::Stage, transcript::Transcript};
use crate::{
    binaries::{Binaries, Profile},
    tools,
};
use footprint::Footprint;
use traffic::{Calm, EXCUSE, Traffic, unix_now};
use weather::{Disturbance, Weather};

/// Disturbances follow each other for so long; then comes a calm.
const STORM: Duration = Duration::from_secs(40);
/// Long enough for the time in which no failure has an excuse.
const CALM: Duration = Duration::from_secs(25);
/// Between the end of all traffic and a look at what the daemon holds.
const SETTLE: Duration = Duration::from_secs(20);
/// What a daemon needs to have seen before it is compared: caches, pools, all kinds of disturbance.
const WARM_UP: Duration = Duration::from_secs(60);
/// The same in a run so short that it is for CI.
const SHORT_WARM_UP: Duration = Duration::from_secs(20);
/// A proxy that does not open holds everything up for so long at most.
const PROXY_PATIENCE: Duration = Duration::from_secs(120);
/// A run is short up to so many minutes.
const SHORT: u64 = 4;

/// The arguments of `soak`.
#[derive(clap::Args)]
pub(crate) struct SoakArguments {
    /// How long it goes on between the two looks at what is held
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Repeats what happened under this seed; without it one is chosen and printed
    #[arg(long)]
    seed: Option<u64>,
    /// Takes the binaries from this folder, without building
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Keeps what every process says in this folder, the daemons' debug messages too
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

impl SoakArguments {
    /// The short run of CI, always under the same seed, with binaries that are there.
    pub(crate) fn short(folder: &Path) -> Self {
        Self {
            minutes: 1,
            seed: Some(1),
            binaries: Some(folder.to_owned()),
            logs: None,
        }
    }
}

/// Runs it.
///
/// # Errors
/// Where this is not root, or something does not hold; all of it is named.
pub(crate) fn run(arguments: &SoakArguments) -> Result<()> {
    tools::ensure_system_tools()?;
    Lab::check()?;
    let binaries = Binaries::obtain(Profile::Dev, arguments.binaries.as_deref())?;
    if let Some(folder) = &arguments.logs {
        keep_logs(std::path::absolute(folder)?)?;
    }
    let seed = arguments.seed.unwrap_or_else(|| unix_now().to_bits());
    println!("--- soak: {} minutes, seed {seed}", arguments.minutes);
    let stage = Stage::new(&binaries, Transcript::Live).context("the lab cannot be built")?;
    let mut soak = Soak::start(stage, seed)?;
    let outcome = soak.through(arguments.minutes);
    if outcome.is_err() {
        soak.stage.print_tails();
    }
    outcome.with_context(|| format!("soak with seed {seed}"))
}

/// A soak in progress. Traffic ends before the stage that it runs in.
struct Soak {
    traffic: Traffic,
    stage: Stage,
    chance: Chance,
    weather: Weather,
    calms: Vec<Calm>,
}

impl Soak {
    fn start(mut stage: Stage, seed: u64) -> Result<Self> {
        stage.start_with_relays()?;
        Ok(Self {
            traffic: Traffic::start(&stage, seed)?,
            stage,
            chance: Chance::new(seed),
            weather: Weather::default(),
            calms: Vec::new(),
        })
    }

    fn through(&mut self, minutes: u64) -> Result<()> {
        let warm_up = if minutes <= SHORT { SHORT_WARM_UP } else { WARM_UP };
        self.storms(warm_up)?;
        let before = self.settled()?;
        self.stage.note(&format!("before: {}", before.shown()));

        self.storms(Duration::from_secs(minutes * 60))?;
        let after = self.settled()?;
        self.stage.note(&format!("after:  {}", after.shown()));

        for complaint in after.complaints_against(&before) {
            self.stage
                .complain(format!("home holds more than before: {complaint}"));
        }
        let (failed, bad) = self.traffic.failures(&self.calms);
        self.stage.note(&format!(
            "{} connections went well, {failed} failed, {} of them without an excuse",
            self.traffic.done().0,
            bad.len()
        ));
        for complaint in bad {
            self.stage.complain(complaint);
        }
        self.stage.verdict()
    }

    /// Storms and calms by turns, a calm at the end.
    fn storms(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let storm_ends = end.min(Instant::now() + STORM);
            while Instant::now() < storm_ends {
                let (wait, disturbance) = self.weather.next(&mut self.chance);
                self.tunnels_for(wait)?;
                self.disturb(disturbance)?;
            }
            self.calm()?;
        }
        Ok(())
    }

    /// Makes everything well again and watches that tunnels work.
    fn calm(&mut self) -> Result<()> {
        for repair in self.weather.repairs() {
            self.disturb(repair)?;
        }
        let from = unix_now();
        self.tunnels_for(EXCUSE)?;
        let begun = self.traffic.done();
        if let Some(error) = self.tunnels_for(CALM.saturating_sub(EXCUSE))? {
            let told = format!("no proxy in calm weather: {error:#}");
            self.stage.complain(told);
        }
        self.calms.push(Calm {
            from,
            until: unix_now(),
        });
        let ended = self.traffic.done();
        let (connections, rounds) = (ended.0 - begun.0, ended.1 - begun.1);
        self.stage.note(&format!(
            "calm: {connections} connections went well, with {rounds} answers on all of them"
        ));
        if rounds == 0 {
            let told = self.stage.explanation();
            self.stage
                .complain(format!("no tunnel works in calm weather\n{told}"));
        }
        Ok(())
    }

    /// Keeps tunnels coming for a while; returns why the last proxy that did not open did not.
    fn tunnels_for(&mut self, time: Duration) -> Result<Option<Error>> {
        let start = Instant::now();
        let mut failure = None;
        poll("the time to pass", time + PROXY_PATIENCE, || {
            if let Err(error) = self.traffic.keep_up(&self.stage) {
                failure = Some(error);
            }
            Ok((start.elapsed() >= time).then_some(()))
        })?;
        Ok(failure)
    }

    /// Ends all traffic, waits, and looks at what home holds.
    fn settled(&mut self) -> Result<Footprint> {
        self.traffic.rest()?;
        pass(SETTLE)?;
        Footprint::of(self.stage.home()?)
    }

    fn disturb(&mut self, disturbance: Disturbance) -> Result<()> {
        self.stage.note(&format!("{disturbance:?}"));
        self.weather.apply(disturbance);
        let stage = &mut self.stage;
        match disturbance {
            Disturbance::Cut => stage.cut_laptop(),
            Disturbance::Mend => stage.mend_laptop(),
            Disturbance::KillRelay => stage.relay.as_mut().context("no relay")?.kill(),
            Disturbance::StartRelay => stage.relay.as_mut().context("no relay")?.start(),
            Disturbance::BlockDirect => stage.block_silently(),
            Disturbance::UnblockDirect => stage.unblock(),
            Disturbance::ChangeAddress => stage.change_laptop_address(),
            Disturbance::EndLaptop => {
                let laptop = stage.laptop.as_mut().context("no laptop")?;
                laptop.stop()?;
                laptop.launch()
            }
            Disturbance::KillLaptop => {
                let laptop = stage.laptop.as_mut().context("no laptop")?;
                laptop.kill()?;
                laptop.launch()
            }
        }
    }
}
