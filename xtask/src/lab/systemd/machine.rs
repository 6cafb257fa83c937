//! A machine of its own for a case: the system's `/usr`, read-only, with an empty root and a systemd that has booted. It
//! has loopback and no other network, and takes everything with it when it ends.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Finished, Process, interrupted, poll, run};

use super::super::stage::SOON;
use crate::tools;

/// Where the binaries under test lie in the machine.
pub(super) const BINARIES: &str = "/run/peerup-binaries";
/// No unit of this system that waits for a network, or rules over one.
const MASKED: [&str; 4] = [
    "systemd-networkd-wait-online.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "nftables.service",
];
/// Set host-wide on kernels that do not keep one for each namespace.
const BUFFERS: &str = "/proc/sys/net/core/rmem_max";

/// Whether there is a machine now, or why there cannot be one.
pub(super) enum Boot {
    /// It runs.
    Up(Machine),
    /// This system cannot run one.
    Impossible(String),
}

/// A machine that runs.
pub(super) struct Machine {
    name: String,
    nspawn: Process,
    /// Its init, as this system counts processes.
    init: u32,
    /// Its namespace of processes.
    pids: PathBuf,
    mounts_before: HashSet<String>,
    buffers_before: String,
}

impl Machine {
    /// Boots one with a folder of binaries.
    ///
    /// # Errors
    /// Where it starts and does not come up.
    pub(super) fn boot(binaries: &Path) -> Result<Boot> {
        for program in ["systemd-nspawn", "nsenter", "systemctl", "systemd-analyze"] {
            if !tools::has(program) {
                return Ok(Boot::Impossible(format!("{program} is not installed")));
            }
        }
        let name = format!("peerup-lab-{}", std::process::id());
        let mounts_before = mounts(&name)?;
        let buffers_before = fs::read_to_string(BUFFERS).unwrap_or_default();
        let mut nspawn = Process::spawn("systemd-nspawn", &mut nspawn(&name, binaries))?;
        let booted = poll("a booted systemd", SOON, || {
            if nspawn.exited()?.is_some() {
                return Ok(Some(None));
            }
            let Some(init) = init_of(nspawn.id()) else {
                return Ok(None);
            };
            let asked = run(
                "systemctl",
                enter(init).args(["systemctl", "is-active", "basic.target"]),
                SOON,
            )?;
            Ok((asked.code == 0).then_some(Some(init)))
        })
        .with_context(|| nspawn.tail(20))?;
        let Some(init) = booted else {
            let said = nspawn.tail(3);
            return Ok(Boot::Impossible(format!(
                "systemd-nspawn cannot run here:\n{said}"
            )));
        };
        Ok(Boot::Up(Self {
            name,
            nspawn,
            init,
            pids: fs::read_link(format!("/proc/{init}/ns/pid"))?,
            mounts_before,
            buffers_before,
        }))
    }

    /// Runs a command in it to its end.
    pub(super) fn finish(&self, command: &[&str]) -> Result<Finished> {
        run(&command.join(" "), enter(self.init).args(command), SOON)
    }

    /// Runs a command in it that has to end with 0, and returns what it printed.
    pub(super) fn run(&self, command: &[&str]) -> Result<String> {
        let finished = self.finish(command)?;
        finished.success().with_context(|| command.join(" "))
    }

    /// Returns a property of a unit.
    pub(super) fn property(&self, unit: &str, property: &str) -> Result<String> {
        let shown = self.run(&["systemctl", "show", "--value", "--property", property, unit])?;
        Ok(shown.trim().to_owned())
    }

    /// Returns what the journal has of a unit, what systemd itself says of it too.
    pub(super) fn journal(&self, unit: &str) -> Result<String> {
        self.run(&["journalctl", "--no-pager", "--output", "cat", "--unit", unit])
    }

    /// Ends it, and looks whether anything of it is left.
    ///
    /// # Errors
    /// Names what is left.
    pub(super) fn end(self) -> Result<()> {
        let Self {
            name,
            nspawn,
            pids,
            mounts_before,
            buffers_before,
            ..
        } = self;
        // SIGTERM shuts the machine down. Where that takes too long SIGKILL ends it: its init dies with its parent, and
        // all its processes with the init.
        drop(nspawn);
        let left = || -> Result<Vec<String>> {
            let mut left = processes(&name, &pids)?;
            left.extend(mounts(&name)?.difference(&mounts_before).cloned());
            Ok(left)
        };
        if !interrupted() {
            // The kernel takes a killed namespace down on its own time; what stays is named below.
            let _ = poll("the end of the machine", GONE, || {
                Ok(left()?.is_empty().then_some(()))
            });
        }
        // Empty, and left where the machine was killed.
        let _ = fs::remove_dir(format!("/run/systemd/nspawn/propagate/{name}"));
        let left = left()?;
        ensure!(left.is_empty(), "the machine left behind:\n{}", left.join("\n"));
        let buffers = fs::read_to_string(BUFFERS).unwrap_or_default();
        ensure!(
            buffers == buffers_before,
            "{BUFFERS} was {buffers_before} and is {buffers}"
        );
        Ok(())
    }
}

/// How long a machine that was ended has until nothing of it is left.
const GONE: Duration = Duration::from_secs(5);

fn nspawn(name: &str, binaries: &Path) -> Command {
    let mut command = Command::new("systemd-nspawn");
    command.args([
        "--quiet",
        "--directory=/",
        "--volatile=yes",
        "--private-network",
        "--boot",
    ]);
    command.args(["--register=no", "--console=pipe", &format!("--machine={name}")]);
    // Without a systemd around it there is nobody to give it a scope of its own.
    if !Path::new("/run/systemd/system").exists() {
        command.arg("--keep-unit");
    }
    command.arg(format!("--bind-ro={}:{BINARIES}", binaries.display()));
    command.args(["systemd.firstboot=no", "systemd.unit=basic.target"]);
    command.args(MASKED.map(|unit| format!("systemd.mask={unit}")));
    command
}

/// A command that runs in the machine with this init.
fn enter(init: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &init.to_string(), "--all", "--"]);
    command
}

/// The init of a machine: the child of its nspawn that has become systemd.
fn init_of(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    let mut children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children.find(|child: &u32| {
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim() == "systemd")
    })
}

/// The mounts of this system that are a machine's.
fn mounts(name: &str) -> Result<HashSet<String>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let of_machine = |line: &&str| line.contains("nspawn") || line.contains(name) || line.contains(BINARIES);
    Ok(mounts.lines().filter(of_machine).map(str::to_owned).collect())
}

/// The processes of this system that are the machine's.
fn processes(name: &str, pids: &Path) -> Result<Vec<String>> {
    let argument = format!("--machine={name}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        // One that ends meanwhile is not left.
        let command = fs::read(folder.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let inside = fs::read_link(folder.join("ns/pid")).is_ok_and(|namespace| namespace == pids);
        if inside || command.contains(&argument) {
            found.push(format!("{} {command}", folder.display()));
        }
    }
    Ok(found)
}
