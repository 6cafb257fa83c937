//! Daemon and relay as services of a systemd that has really booted: installed, killed, reloaded, broken, stopped and taken
//! away again; then the daemon of one user. The namespaces of the stage have no part in it.

mod machine;
mod user;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use peerup_testkit::poll;

use super::stage::{SOON, Stage};
use machine::{BINARIES, Boot, Machine};

/// The machine's `/usr` cannot be written to.
const PREFIX: &str = "/opt/peerup";
const CONFIG: &str = "/etc/peerup/config.yaml";
const EXTERNAL: &str = "/ip4/203.0.113.7/tcp/7777";
/// The most that `systemd-analyze security` may find open.
const EXPOSURE: f64 = 2.0;
/// What the daemon's status says while its file is not in force.
const FALLBACK: &str = "the last good config is in force";
/// Lines of each journal that are shown when the case fails.
const TAIL: usize = 30;

/// A unit with what it says of itself, and files that stay when it goes.
struct Unit {
    name: &'static str,
    status: &'static str,
    stays: [&'static str; 2],
}

const DAEMON: Unit = Unit {
    name: "peerup",
    status: "connected to 0 peers",
    stays: [CONFIG, "/etc/peerup/identity.key"],
};
const RELAY: Unit = Unit {
    name: "relay-server",
    status: "0 peers connected",
    stays: [
        "/etc/peerup-relay/relay-server.yaml",
        "/etc/peerup-relay/relay.key",
    ],
};

/// Boots a machine and runs the services through their lives in it.
pub(super) fn systemd(stage: &mut Stage) -> Result<()> {
    let binaries = stage.binaries.peerup.parent().context("no folder")?;
    let machine = match Machine::boot(binaries)? {
        Boot::Up(machine) => machine,
        Boot::Impossible(why) => {
            stage.note(&format!("NOT TESTED: {why}"));
            return Ok(());
        }
    };
    stage.note("a machine with a systemd of its own has booted");
    let result = lives(stage, &machine);
    if result.is_err() {
        for unit in [&DAEMON, &RELAY] {
            for line in tail(&machine.journal(unit.name).unwrap_or_default()) {
                stage.detail(&format!("{} | {line}", unit.name));
            }
        }
    }
    let ended = machine.end();
    result.and(ended)?;
    stage.note("the machine is gone, and nothing of it is left here");
    Ok(())
}

fn lives(stage: &Stage, machine: &Machine) -> Result<()> {
    installs(stage, machine)?;
    for unit in [&DAEMON, &RELAY] {
        is_up(stage, machine, unit)?;
    }
    restarts_after_a_kill(stage, machine)?;
    reloads(stage, machine)?;
    survives_a_broken_config(stage, machine)?;
    for unit in [&DAEMON, &RELAY] {
        stops(stage, machine, unit)?;
    }
    uninstalls(stage, machine)?;
    user::lives(stage, machine)
}

fn installs(stage: &Stage, machine: &Machine) -> Result<()> {
    // Its debug messages name every notice that a service sends.
    machine.run(&["systemctl", "log-level", "debug"])?;
    let (peerup, relay) = (format!("{BINARIES}/peerup"), format!("{BINARIES}/relay-server"));
    let refused = machine.finish(&[&peerup, "daemon", "install"])?;
    ensure!(
        refused.code != 0 && refused.stderr.contains("--prefix DIR"),
        "/usr is read-only, and `--prefix DIR` was not named as what helps: {refused:?}"
    );
    machine.run(&[&peerup, "daemon", "install", "--prefix", PREFIX])?;
    machine.run(&[&relay, "setup", "--prefix", PREFIX, "--external", EXTERNAL])?;
    machine.run(&[
        &program(&DAEMON),
        "daemon",
        "install",
        "--check",
        "--prefix",
        PREFIX,
    ])?;
    machine.run(&[&program(&RELAY), "setup", "--check", "--prefix", PREFIX])?;
    stage.note("daemon and relay are installed, and --check finds everything in place");
    Ok(())
}

fn is_up(stage: &Stage, machine: &Machine, unit: &Unit) -> Result<()> {
    let name = unit.name;
    let shown = machine.run(&["systemctl", "--no-pager", "status", name])?;
    let status = format!("Status: \"{}", unit.status);
    ensure!(shown.contains("Active: active (running)"), "{name}:\n{shown}");
    ensure!(
        shown.contains(&status),
        "systemctl shows no {status}...\":\n{shown}"
    );
    sent(machine, unit, "READY=1")?;
    let report = machine.run(&["systemd-analyze", "--no-pager", "security", name])?;
    let level = exposure(&report).with_context(|| format!("no exposure level:\n{report}"))?;
    ensure!(
        level <= EXPOSURE,
        "{name} has an exposure of {level}, more than {EXPOSURE}:\n{report}"
    );
    stage.note(&format!(
        "{name} is active, told so itself, and has an exposure of {level}"
    ));
    Ok(())
}

fn restarts_after_a_kill(stage: &Stage, machine: &Machine) -> Result<()> {
    let before = machine.property(DAEMON.name, "MainPID")?;
    machine.run(&["kill", "-9", &before])?;
    poll("the daemon that systemd starts again", SOON, || {
        let again = machine.property(DAEMON.name, "NRestarts")? == "1";
        let active = machine.property(DAEMON.name, "ActiveState")? == "active";
        Ok((again && active).then_some(()))
    })?;
    let after = machine.property(DAEMON.name, "MainPID")?;
    ensure!(
        before != after,
        "process {before} was killed, and is the main one still"
    );
    answers(machine)?;
    stage.note("killed with SIGKILL, the daemon is started once more and answers");
    Ok(())
}

fn reloads(stage: &Stage, machine: &Machine) -> Result<()> {
    for unit in [&DAEMON, &RELAY] {
        machine.run(&["systemctl", "reload", unit.name])?;
        sent(machine, unit, "RELOADING=1")?;
        let state = machine.property(unit.name, "ActiveState")?;
        ensure!(state == "active", "{} is {state} after a reload", unit.name);
    }
    stage.note("both reload, and tell that they do");
    Ok(())
}

fn survives_a_broken_config(stage: &Stage, machine: &Machine) -> Result<()> {
    let good = format!("{CONFIG}.good");
    machine.run(&["cp", "-p", CONFIG, &good])?;
    machine.run(&["sh", "-c", &format!("echo 'no_such_key: [' >> {CONFIG}")])?;
    machine.run(&["systemctl", "restart", DAEMON.name])?;
    answers(machine)?;
    let status = machine.property(DAEMON.name, "StatusText")?;
    ensure!(
        status.contains(FALLBACK),
        "the config is broken, and the status does not say so: {status}"
    );
    machine.run(&["mv", &good, CONFIG])?;
    machine.run(&["systemctl", "restart", DAEMON.name])?;
    let status = machine.property(DAEMON.name, "StatusText")?;
    ensure!(!status.contains(FALLBACK), "the config is good again: {status}");
    stage.note("with a config that was broken by hand the daemon runs in fallback, and its status says so");
    Ok(())
}

fn stops(stage: &Stage, machine: &Machine, unit: &Unit) -> Result<()> {
    machine.run(&["systemctl", "stop", unit.name])?;
    let (state, result) = (
        machine.property(unit.name, "ActiveState")?,
        machine.property(unit.name, "Result")?,
    );
    ensure!(
        (state.as_str(), result.as_str()) == ("inactive", "success"),
        "{} is {state} with {result} after a stop",
        unit.name
    );
    sent(machine, unit, "STOPPING=1")?;
    stage.note(&format!("{} stops in good order", unit.name));
    Ok(())
}

fn uninstalls(stage: &Stage, machine: &Machine) -> Result<()> {
    machine.run(&["systemctl", "start", DAEMON.name])?;
    machine.run(&[&program(&DAEMON), "daemon", "uninstall", "--prefix", PREFIX])?;
    machine.run(&[&program(&RELAY), "setup", "--uninstall", "--prefix", PREFIX])?;
    for unit in [&DAEMON, &RELAY] {
        let definition = format!("/etc/systemd/system/{}.service", unit.name);
        for gone in [program(unit), definition] {
            let listed = machine.finish(&["test", "-e", &gone])?;
            ensure!(listed.code == 1, "{gone} is still there");
        }
        for stays in unit.stays {
            machine.run(&["test", "-s", stays])?;
        }
        let state = machine.property(unit.name, "ActiveState")?;
        ensure!(state == "inactive", "{} is {state} after uninstalling", unit.name);
    }
    stage.note("uninstalled: units and programs are gone, configs and keys stay");
    Ok(())
}

fn program(unit: &Unit) -> String {
    Path::new(PREFIX)
        .join("bin")
        .join(unit.name)
        .display()
        .to_string()
}

/// The daemon answers over its socket.
fn answers(machine: &Machine) -> Result<()> {
    machine.run(&[&program(&DAEMON), "--config", CONFIG, "status"])?;
    Ok(())
}

/// Systemd has a notice of this unit.
fn sent(machine: &Machine, unit: &Unit, notice: &str) -> Result<()> {
    poll(&format!("{notice} of {}", unit.name), SOON, || {
        let journal = machine.journal(unit.name)?;
        let mut lines = journal.lines();
        let has = lines.any(|line| line.contains("Got notification message") && line.contains(notice));
        Ok(has.then_some(()))
    })
}

/// Reads the level from the last line of `systemd-analyze security`.
fn exposure(report: &str) -> Option<f64> {
    let line = report
        .lines()
        .find(|line| line.contains("Overall exposure level"))?;
    let (_, level) = line.rsplit_once(".service: ")?;
    level.split_whitespace().next()?.parse().ok()
}

fn tail(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL);
    lines.into_iter().skip(first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposure_is_read_from_the_last_line() {
        let report = "✓ User=/DynamicUser=\n\n→ Overall exposure level for peerup.service: 1.3 OK :-)\n";
        assert_eq!(exposure(report), Some(1.3));
        assert_eq!(exposure("Failed to connect to bus"), None);
    }
}
