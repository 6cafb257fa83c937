//! `cargo xtask lab`: the real binaries between two NAT routers, in network namespaces.

mod failures;
mod refusals;
mod stage;
mod traffic;
mod tunnels;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use peerup_testkit::Lab;

use crate::{
    binaries::{Binaries, Profile},
    tools,
};
use stage::Stage;

/// The arguments of `lab`.
#[derive(clap::Args, Default)]
pub(crate) struct LabArguments {
    /// One case; all of them where it is left out
    case: Option<String>,
    /// Lists the cases
    #[arg(long)]
    list: bool,
    /// Takes the binaries from this folder, without building
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

impl LabArguments {
    /// All cases, with binaries that are there.
    pub(crate) fn built(folder: &Path) -> Self {
        Self {
            case: None,
            list: false,
            binaries: Some(folder.to_owned()),
        }
    }
}

/// A case: its name, what it shows, and how.
struct Case {
    name: &'static str,
    shows: &'static str,
    run: fn(&mut Stage) -> Result<()>,
}

const CASES: [Case; 6] = [
    Case {
        name: "nat",
        shows: "the lab itself: hosts reach the public segment, nothing unasked reaches them",
        run: stage::routers_let_nothing_in,
    },
    Case {
        name: "paired",
        shows: "pairing between two NATs, then files, parallel downloads, ssh, half-close, an orderly end",
        run: traffic::paired,
    },
    Case {
        name: "relay-only",
        shows: "the same with every direct way cut: all of it over the relay, and named so",
        run: traffic::relay_only,
    },
    Case {
        name: "unpaired",
        shows: "who is not authorised gets nothing, not over the relay either; who is removed loses open tunnels",
        run: refusals::unpaired,
    },
    Case {
        name: "idle",
        shows: "an idle tunnel ends after its time-out, and not before",
        run: tunnels::idle,
    },
    Case {
        name: "failures",
        shows: "each failure has its own message, a next step and an exit code",
        run: failures::failures,
    },
];

/// Runs one case or all.
///
/// # Errors
/// Where this is not root, something is missing, or a case fails; the ends of the logs come first.
pub(crate) fn run(arguments: &LabArguments) -> Result<()> {
    if arguments.list {
        for case in &CASES {
            println!("{:<12} {}", case.name, case.shows);
        }
        return Ok(());
    }
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|case| arguments.case.as_ref().is_none_or(|name| name == case.name))
        .collect();
    if chosen.is_empty() {
        let names = CASES.each_ref().map(|case| case.name).join(", ");
        bail!("no such case; there are: {names}");
    }
    tools::ensure_system_tools()?;
    Lab::check()?;
    for program in ["curl", "python3", "ssh", "sshd", "ssh-keygen", "sha256sum"] {
        ensure!(tools::has(program), "the lab needs {program}");
    }
    let binaries = Binaries::obtain(Profile::Dev, arguments.binaries.as_deref())?;
    for case in chosen {
        println!("\n--- lab: {}: {}", case.name, case.shows);
        let start = Instant::now();
        let mut stage = Stage::new(&binaries).context("the lab cannot be built")?;
        if let Err(error) = (case.run)(&mut stage) {
            stage.print_tails();
            return Err(error.context(format!("lab case {}", case.name)));
        }
        println!(
            "--- lab: {} holds, {:.1} s",
            case.name,
            start.elapsed().as_secs_f32()
        );
    }
    Ok(())
}
