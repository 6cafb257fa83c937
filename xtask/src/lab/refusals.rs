//! Who is not authorised gets nothing; who is removed loses what was open.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerup_testkit::Process;

use super::stage::{HOME, LAPTOP, SOON, Stage};
use crate::nodes::Node;

const ECHO_PORT: u16 = 8103;
/// How soon a removed peer's tunnels are gone.
const REMOVAL: Duration = Duration::from_secs(1);
/// What the joiner's side says about a code that leads nowhere, and what a refused ping exits with.
const DENIED: i32 = 4;
const UNREACHABLE: i32 = 5;

/// A stranger with the relay's address, with an account at the relay, with a guessed code, with a used
/// code; then a member that is removed.
pub(super) fn unpaired(stage: &mut Stage) -> Result<()> {
    stage.start_relay()?;
    stage.start_home()?;
    stage.serve("echo", "echo", ECHO_PORT)?;
    let mut stranger = start_stranger(stage)?;
    refused(stage, &stranger, "a stranger")?;

    let relay = stage.relay.as_ref().context("no relay")?;
    relay.run(&["authorize", &stranger.id()?, "--comment", "stranger"])?;
    refused(stage, &stranger, "a stranger whom the relay lets in")?;

    let home = stage.home()?;
    let (mut invite, code) = home.invite(&[])?;
    let forged = stage.forge(&code, "token")?;
    let joined = stranger.join(&forged)?;
    ensure!(joined.code != 0, "a guessed code was good for joining");
    stage.note(&format!(
        "a code with another token: exit {}, {}",
        joined.code,
        last(&joined.stderr)
    ));
    refused(stage, &stranger, "a stranger with a guessed code")?;
    let folder = stage.folder("neighbour")?;
    let mut neighbour = Node::blank(&stage.binaries, &stage.lab.a().host, &folder, "neighbour")?;
    let joined = neighbour.join(&forged)?;
    ensure!(
        joined.code != 0,
        "a guessed code was good for joining from the same network"
    );
    stage.note(&format!(
        "the same code from home's own network: exit {}",
        joined.code
    ));

    let folder = stage.folder(LAPTOP)?;
    let mut laptop = Node::blank(&stage.binaries, &stage.lab.b().host, &folder, LAPTOP)?;
    laptop
        .join(&code)?
        .success()
        .context("the right code, after a wrong one")?;
    invite
        .finish(SOON)?
        .success()
        .context("the inviter is not content")?;
    laptop.start()?;
    stage.note("the right code still works after a wrong one");
    let again = stranger.join(&code)?;
    ensure!(again.code != 0, "a code was good for two uses");
    stage.note(&format!(
        "the same code again: exit {}, {}",
        again.code,
        last(&again.stderr)
    ));
    refused(stage, &stranger, "a stranger with a used code")?;

    stage.laptop = Some(laptop);
    removal_ends_tunnels(stage)
}

/// The stranger sits behind the second router and knows everything but a secret: the relay and the id. Its
/// own gate lets home in, so what refuses it is home's or the relay's.
fn start_stranger(stage: &Stage) -> Result<Node> {
    let folder = stage.folder("stranger")?;
    let relay = stage.relay.as_ref().context("no relay")?;
    let mut stranger = Node::init(&stage.binaries, &stage.lab.b().host, &folder, "stranger", relay)?;
    stranger.run(&["auth", "add", &stage.home()?.id()?, "--name", HOME])?;
    stranger.start()?;
    Ok(stranger)
}

fn refused(stage: &Stage, stranger: &Node, who: &str) -> Result<()> {
    let id = stage.home()?.id()?;
    let ping = stranger.attempt(&["ping", &id, "-c", "1", "--timeout", "5s"])?;
    ensure!(
        [DENIED, UNREACHABLE].contains(&ping.code) && !ping.stdout.contains("rtt="),
        "{who}: ping ended with {}\n{}{}",
        ping.code,
        ping.stdout,
        ping.stderr
    );
    stage.note(&format!(
        "{who}: ping exits {}, {}",
        ping.code,
        last(&ping.stderr)
    ));
    Ok(())
}

fn last(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

fn removal_ends_tunnels(stage: &mut Stage) -> Result<()> {
    let address = stage.tunnel("echo")?;
    let mut client = Process::spawn_with_input("hold", &mut stage.client("hold", &address)?)?;
    client.wait_for_line("\"open\"", SOON, |line| line == "open")?;
    stage.home()?.run(&["auth", "remove", LAPTOP, "--yes"])?;
    let removed = Instant::now();
    client.wait_for_line("the end of its tunnel", SOON, |line| line.starts_with("closed"))?;
    let took = removed.elapsed();
    ensure!(
        took < REMOVAL,
        "the tunnel of a removed peer lived on for {took:?}"
    );
    stage.note(&format!(
        "a removed peer's tunnel ended {:.2} s after the command",
        took.as_secs_f32()
    ));

    let ping = stage
        .laptop()?
        .attempt(&["ping", HOME, "-c", "1", "--timeout", "5s"])?;
    ensure!(
        ping.code != 0,
        "a removed peer is still answered: {}",
        ping.stdout
    );
    stage.note(&format!("a removed peer: ping exits {}", ping.code));
    Ok(())
}
