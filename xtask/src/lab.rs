//! `cargo xtask lab`: the real binaries between NAT routers of every kind, in network namespaces.

mod applies;
mod chance;
mod changes;
mod crossing;
mod failures;
mod figures;
mod ground;
mod lan;
mod matrix;
mod moves;
mod nats;
mod pair;
mod record;
mod refusals;
mod relays;
mod runner;
mod sequence;
mod soak;
mod spread;
mod stage;
mod systemd;
mod traffic;
mod transcript;
mod tunnels;
mod view;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use peerup_testkit::{Lab, keep_logs};

use crate::{
    binaries::{Binaries, Profile},
    document, procfs, tools,
};
use stage::Stage;

pub(crate) use soak::{SoakArguments, run as soak};

/// The arguments of `lab`.
#[derive(clap::Args)]
pub(crate) struct LabArguments {
    /// One case; all of them where it is left out
    case: Option<String>,
    /// Lists the cases
    #[arg(long)]
    list: bool,
    /// How many cases run at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Writes what was measured into this document, between its two lines for that
    #[arg(long, value_name = "FILE", conflicts_with = "case")]
    table: Option<PathBuf>,
    /// Measures what must hold so many times instead of running the cases
    #[arg(long, value_name = "N", conflicts_with_all = ["case", "table"])]
    runs: Option<usize>,
    /// Writes the figures of `--runs` into this file, as a table
    #[arg(long, value_name = "FILE", requires = "runs")]
    figures: Option<PathBuf>,
    /// Takes the binaries from this folder, without building
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Keeps what every process says in this folder, the daemons' debug messages too
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

impl LabArguments {
    /// All cases, with binaries that are there.
    pub(crate) fn built(folder: &Path) -> Self {
        Self {
            case: None,
            list: false,
            jobs: 2,
            table: None,
            runs: None,
            figures: None,
            binaries: Some(folder.to_owned()),
            logs: None,
        }
    }
}

/// A case: its name, what it shows, what the two nodes are behind, and how.
struct Case {
    name: &'static str,
    shows: &'static str,
    home: &'static str,
    laptop: &'static str,
    ground: fn(&mut Stage) -> Result<()>,
    run: fn(&mut Stage) -> Result<()>,
}

/// What a pair of nodes does for a person.
static CASES: [Case; 8] = [
    Case {
        name: "nat",
        shows: "the lab itself: hosts reach the public segment, nothing unasked reaches them",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: stage::routers_let_nothing_in,
    },
    Case {
        name: "paired",
        shows: "pairing between two NATs, then files, parallel downloads, ssh, half-close, an orderly end",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: traffic::paired,
    },
    Case {
        name: "relay-only",
        shows: "the same with every direct way cut: all of it over the relay, and named so",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: traffic::relay_only,
    },
    Case {
        name: "unpaired",
        shows: "who is not authorised gets nothing, not over the relay either; who is removed loses open tunnels",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: refusals::unpaired,
    },
    Case {
        name: "idle",
        shows: "an idle tunnel ends after its time-out, and not before",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: tunnels::idle,
    },
    Case {
        name: "applies",
        shows: "configs applied, confirmed, taken back beside iperf3: none of its streams ends or stands still",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: applies::applies,
    },
    Case {
        name: "failures",
        shows: "each failure has its own message, a next step and an exit code",
        home: PRESERVING,
        laptop: PRESERVING,
        ground: ground::as_it_is,
        run: failures::failures,
    },
    Case {
        name: "systemd",
        shows: "installed in a machine with a booted systemd: up, killed, reloaded, broken, stopped, taken away",
        home: NOWHERE,
        laptop: NOWHERE,
        ground: ground::as_it_is,
        run: systemd::systemd,
    },
];

/// What stands in front of both nodes where the kind of NAT makes no difference.
const PRESERVING: &str = "NAT, ports kept";

/// What stands there where a case has no nodes between NATs.
const NOWHERE: &str = "-";

/// Runs one case or all, or measures.
///
/// # Errors
/// Where this is not root, something is missing, or a case fails; the ends of the logs come first.
pub(crate) fn run(arguments: &LabArguments) -> Result<()> {
    let cases = CASES.iter().chain(&matrix::CASES);
    if arguments.list {
        for case in cases {
            println!("{:<22} {}", case.name, case.shows);
        }
        return Ok(());
    }
    let chosen = runner::choose(cases, arguments.case.as_deref())?;
    tools::ensure_system_tools()?;
    Lab::check()?;
    for program in ["curl", "python3", "ssh", "sshd", "ssh-keygen", "sha256sum"] {
        ensure!(tools::has(program), "the lab needs {program}");
    }
    if let Some(folder) = &arguments.logs {
        keep_logs(std::path::absolute(folder)?)?;
    }
    let binaries = Binaries::obtain(Profile::Dev, arguments.binaries.as_deref())?;
    if let Some(runs) = arguments.runs {
        return figures::measure(&binaries, runs, arguments.figures.as_deref());
    }
    let records = runner::run(&chosen, &binaries, arguments.jobs)?;
    let table = record::table(&records, &procfs::machine(), &procfs::today()?)?;
    println!("\n{table}");
    if let Some(path) = &arguments.table {
        document::write_between(path, "lab", &table)?;
        println!("written to {}", path.display());
    }
    Ok(())
}
