//! What a person meets when something is wrong: each failure has its own message, a next step and an exit
//! code.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Finished, Process, poll, run};

use super::stage::{HOME, SOON, Stage};
use crate::nodes::Node;

const WEB_PORT: u16 = 8000;
/// A port of the second node that something else holds.
const TAKEN_PORT: u16 = 8200;
/// A port of the first node that nobody listens on.
const DEAD_PORT: u16 = 8201;

const FAILED: i32 = 1;
const USAGE: i32 = 2;
const NO_DAEMON: i32 = 3;
const DENIED: i32 = 4;
const UNREACHABLE: i32 = 5;
const CONFIG_INVALID: i32 = 6;
const TIMED_OUT: i32 = 124;

/// How long nodes may take to find a relay again.
const RELAY_BACK: Duration = Duration::from_secs(30);
/// How long `peerup proxy` may take to say why a connection ended.
const SAID: Duration = Duration::from_secs(3);
/// How long a tunnel to a dead service may take to end.
const REFUSAL: Duration = Duration::from_secs(10);

/// Everything that can go wrong around one pair, in one go.
pub(super) fn failures(stage: &mut Stage) -> Result<()> {
    stage.start_relay()?;
    stage.start_home()?;
    codes(stage)?;
    stage.pair_laptop()?;
    names_and_ports(stage)?;
    daemons(stage)?;
    full_relay(stage)?;
    gone(stage)?;
    stage.verdict()
}

/// Checks the exit code, and that the failure names itself and a next step. A message about usage is the
/// next step itself.
fn expect(stage: &Stage, what: &str, finished: &Finished, codes: &[i32]) {
    let message = finished
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("error: "));
    let next = finished
        .stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("next: "));
    let next = next.or_else(|| (finished.code == USAGE).then_some("(as the message says)"));
    if !codes.contains(&finished.code) || message.is_none() || next.is_none() {
        stage.complain(format!(
            "{what}: exit {} (one of {codes:?} is right), an error and a next step wanted\n{}{}",
            finished.code, finished.stdout, finished.stderr
        ));
        return;
    }
    stage.note(&format!("{what}: exit {}", finished.code));
    stage.detail(message.unwrap_or_default());
    stage.detail(&format!("next: {}", next.unwrap_or_default()));
}

fn codes(stage: &mut Stage) -> Result<()> {
    let folder = stage.folder("joiner")?;
    let mut joiner = Node::blank(&stage.binaries, &stage.lab.b().host, &folder, "joiner")?;
    expect(stage, "a code that is none", &joiner.join("ABCD-EFGH")?, &[USAGE]);

    let (mut invite, code) = stage.home()?.invite(&[])?;
    let wrong = stage.forge(&code, "token")?;
    expect(
        stage,
        "a code with a wrong token",
        &joiner.join(&wrong)?,
        &[DENIED, UNREACHABLE],
    );
    let old = stage.forge(&code, "expiry")?;
    expect(
        stage,
        "an expired code",
        &joiner.join(&old)?,
        &[TIMED_OUT, FAILED],
    );
    joiner.join(&code)?.success().context("the right code")?;
    invite
        .finish(SOON)?
        .success()
        .context("the inviter is not content")?;
    let folder = stage.folder("late")?;
    let mut late = Node::blank(&stage.binaries, &stage.lab.b().host, &folder, "late")?;
    expect(
        stage,
        "a second use of a code",
        &late.join(&code)?,
        &[DENIED, UNREACHABLE],
    );

    let (mut invite, code) = stage.home()?.invite(&[])?;
    invite.interrupt(SOON)?;
    expect(
        stage,
        "an invite that was taken back",
        &late.join(&code)?,
        &[DENIED, UNREACHABLE],
    );
    Ok(())
}

fn names_and_ports(stage: &mut Stage) -> Result<()> {
    let home = stage.home()?;
    expect(
        stage,
        "a service name with a capital",
        &home.attempt(&["service", "add", "Web", "127.0.0.1:80"])?,
        &[USAGE],
    );
    stage.offer("dead", DEAD_PORT)?;
    stage.offer("web", WEB_PORT)?;

    let laptop = stage.laptop()?;
    expect(
        stage,
        "a name that nobody has",
        &laptop.attempt(&["ping", "nobody", "-c", "1"])?,
        &[FAILED],
    );

    let python = crate::tools::find("python3").context("python3 is missing")?;
    let mut holder = stage.lab.b().host.command(python);
    let script = format!(
        "import socket; s = socket.create_server(('127.0.0.1', {TAKEN_PORT})); print('listening', flush=True); s.accept()"
    );
    let mut holder = Process::spawn("holder", holder.args(["-c", &script]))?;
    holder.wait_for_line("\"listening\"", SOON, |line| line == "listening")?;
    expect(
        stage,
        "a local port that is taken",
        &laptop.attempt(&["proxy", HOME, "web", &TAKEN_PORT.to_string()])?,
        &[FAILED],
    );
    drop(holder);

    ends_at_once(stage, "dead", "a service that is down")?;
    ends_at_once(stage, "no-such-service", "a service that home does not have")
}

/// A tunnel is made before anybody knows whether the service answers; a connection through it then ends,
/// and whoever runs the tunnel reads why, or whoever runs the service does.
fn ends_at_once(stage: &mut Stage, service: &str, what: &str) -> Result<()> {
    let (mut proxy, address) = stage.laptop()?.proxy(HOME, service)?;
    let mut curl = stage.lab.b().host.command("curl");
    curl.args([
        "-sS",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        &format!("http://{address}/"),
    ]);
    let answer = run("curl", &mut curl, REFUSAL)?;
    ensure!(answer.code != 0, "{what} answers: {}", answer.stdout);
    stage.note(&format!("{what}: curl ends with {}", answer.code));
    let says_why = |line: &str| !line.contains("listening on") && line.contains(service);
    let told = match proxy.wait_for_line("why the connection ended", SAID, says_why) {
        Ok(line) => Ok(line),
        Err(_) => stage
            .home
            .as_mut()
            .context("no home")?
            .wait_for_log("why a stream was refused", |line| line.contains(service)),
    };
    match told {
        Ok(line) => stage.detail(&line),
        Err(_) => stage.complain(format!("{what}: neither end says why the connection ended")),
    }
    Ok(())
}

fn daemons(stage: &mut Stage) -> Result<()> {
    let laptop = stage.laptop()?;
    expect(stage, "a second daemon", &laptop.attempt(&["daemon"])?, &[FAILED]);

    let laptop = stage.laptop.as_mut().context("no laptop")?;
    laptop.kill()?;
    let laptop = stage.laptop()?;
    expect(
        stage,
        "a command for a daemon that was killed",
        &laptop.attempt(&["daemon", "peers"])?,
        &[NO_DAEMON],
    );
    laptop.run(&["status"]).context("status without a daemon")?;

    let key = laptop.key_file()?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let finished = laptop.attempt(&["daemon"])?;
    ensure!(
        finished.stderr.contains("chmod"),
        "no chmod in: {}",
        finished.stderr
    );
    expect(
        stage,
        "a key file with mode 0644",
        &finished,
        &[FAILED, CONFIG_INVALID],
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;

    stage
        .laptop
        .as_mut()
        .context("no laptop")?
        .start()
        .context("a start over a dead socket")?;
    stage.note("a start over the socket of a killed daemon: works");
    Ok(())
}

/// With room for one reservation, one of the two nodes is refused, and says so.
fn full_relay(stage: &mut Stage) -> Result<()> {
    let relay = stage.relay.as_mut().context("no relay")?;
    relay.stop()?;
    relay.replace("max_reservations: 128", "max_reservations: 1")?;
    relay.start()?;
    let refused = |text: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with("relay:"));
        lines.find(|line| line.contains("limit")).map(str::to_owned)
    };
    let told = poll("a refused reservation", RELAY_BACK, || {
        let texts = [stage.home()?.run(&["status"])?, stage.laptop()?.run(&["status"])?];
        Ok(texts.iter().find_map(|text| refused(text)))
    });
    match told {
        Ok(line) => {
            stage.note("a relay that is full: peerup status says so");
            stage.detail(&line);
        }
        Err(_) => stage.complain(format!(
            "a relay that is full: peerup status does not say that a limit was met\n{}\n{}",
            stage.home()?.run(&["status"])?,
            stage.laptop()?.run(&["status"])?
        )),
    }
    Ok(())
}

fn gone(stage: &mut Stage) -> Result<()> {
    stage.home.as_mut().context("no home")?.stop()?;
    let ping = ["ping", HOME, "-c", "1", "--timeout", "5s"];
    expect(
        stage,
        "a peer that is gone",
        &stage.laptop()?.attempt(&ping)?,
        &[UNREACHABLE],
    );
    stage.relay.as_mut().context("no relay")?.stop()?;
    expect(
        stage,
        "a relay that is gone",
        &stage.laptop()?.attempt(&ping)?,
        &[UNREACHABLE],
    );
    Ok(())
}
