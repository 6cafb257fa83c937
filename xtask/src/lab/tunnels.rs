//! How long an idle tunnel lives.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Process, poll};

use super::stage::{SOON, Stage};

const ECHO_PORT: u16 = 8103;
/// The shortened setting, in seconds.
const SHORT: u64 = 2;
/// How much later than the setting a tunnel may end.
const SLACK: f64 = 4.0;
/// Three times the short setting: a tunnel that lives through this does not end by that clock.
const LONG_ENOUGH: Duration = Duration::from_secs(3 * SHORT);

/// A tunnel without traffic ends after `tunnels.idle_timeout`, and lives where that is longer.
pub(super) fn idle(stage: &mut Stage) -> Result<()> {
    stage.start_relay()?;
    stage.start_home()?;
    restart_home(stage, "idle_timeout: 24h", "idle_timeout: 2s")?;
    stage.pair_laptop()?;
    stage.serve("echo", "echo", ECHO_PORT)?;
    let address = stage.tunnel("echo")?;

    let mut client = hold(stage, &address)?;
    let line = client.wait_for_line("the end of an idle tunnel", SOON, |line| {
        line.starts_with("closed ")
    })?;
    let seconds: f64 = line.trim_start_matches("closed ").parse()?;
    let limit = SHORT as f64;
    ensure!(
        (limit - 0.5..limit + SLACK).contains(&seconds),
        "with idle_timeout {SHORT}s the tunnel ended after {seconds} s"
    );
    stage.note(&format!("idle_timeout {SHORT}s: ended after {seconds:.1} s"));

    let mut client = hold(stage, &address)?;
    let start = Instant::now();
    let mut beats = 0_u64;
    while start.elapsed() < LONG_ENOUGH {
        beats += 1;
        client.write(format!("beat {beats}\n").as_bytes())?;
        let wanted = format!("echo beat {beats}");
        client.wait_for_line("an echo", SOON, |line| line == wanted)?;
        still_open_for(&mut client, Duration::from_millis(SHORT * 1000 / 3))?;
    }
    stage.note("a byte now and then keeps it alive");
    drop(client);

    restart_home(stage, "idle_timeout: 2s", "idle_timeout: 1h")?;
    let mut client = hold(stage, &address)?;
    still_open_for(&mut client, LONG_ENOUGH)?;
    client.write(b"still here\n")?;
    client.wait_for_line("an echo", SOON, |line| line == "echo still here")?;
    stage.note(&format!(
        "idle_timeout 1h: alive after {} s without a byte",
        LONG_ENOUGH.as_secs()
    ));
    Ok(())
}

/// Gives the first node another setting.
fn restart_home(stage: &mut Stage, old: &str, new: &str) -> Result<()> {
    let home = stage.home.as_mut().context("no home node")?;
    home.stop()?;
    home.replace(old, new)?;
    home.start()
}

/// Opens a connection through the tunnel that says hello once and then keeps still. The first ones may
/// fail while the nodes find each other again.
fn hold(stage: &Stage, address: &str) -> Result<Process> {
    poll("a tunnel", SOON, || {
        let mut client = Process::spawn_with_input("hold", &mut stage.client("hold", address)?)?;
        let opened = client.wait_for_line("\"open\"", SOON, |line| line == "open");
        Ok(opened.is_ok().then_some(client))
    })
}

/// Watches for a while that the client does not end.
fn still_open_for(client: &mut Process, time: Duration) -> Result<()> {
    let start = Instant::now();
    poll("the time to pass", time + SOON, || {
        ensure!(
            client.exited()?.is_none(),
            "the tunnel ended early\n{}",
            client.tail(5)
        );
        Ok((start.elapsed() >= time).then_some(()))
    })
}
