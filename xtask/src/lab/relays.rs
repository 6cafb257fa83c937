//! Relays that come and go: restarted, started late, dead from the start, used up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerup_testkit::run;

use super::{
    crossing::{Crossing, RELAY_BACK_TARGET, RELAYED_TARGET},
    pair::{pass, thrice},
    stage::{HOME, SOON, Stage},
    view,
};

/// How long after the nodes a late relay starts.
const LATE: Duration = Duration::from_secs(15);
/// What a dead first relay may cost.
const DEAD_RELAY_COSTS: Duration = Duration::from_secs(1);
/// What must hold for a new tunnel after the relay in use has died.
const FAILOVER_TARGET: Duration = Duration::from_secs(2);
/// Until a case is given up.
const NEVER: Duration = Duration::from_secs(60);
/// More than the relay's limit in the case that runs into it.
const TOO_MUCH: &str = "32000000";
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(90);
/// How long `peerup proxy` may take to say why a connection ended.
const SAID: Duration = Duration::from_secs(3);

/// Killed and started again: both reservations are back, and so are tunnels. Then the same with a relay that
/// starts long after the nodes.
pub(super) fn restart(stage: &mut Stage) -> Result<()> {
    stage.lab.block_direct()?;
    stage.start_with_relay()?;
    let crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    let address = stage.tunnel("echo")?;
    stage.first_byte(&address)?;
    stage.relay.as_mut().context("no relay")?.kill()?;
    pass(Duration::from_secs(2))?;
    let back = start_and_time(stage)?;
    let first = stage.first_byte_within(&address, NEVER)?;
    stage.note(&format!(
        "after kill -9 and a restart: reserved by both after {} ms, a tunnel {} ms later",
        back.as_millis(),
        first.as_millis()
    ));
    crossing.abandon(stage, &format!("relay back after {} ms", back.as_millis()))?;

    stage.relay.as_mut().context("no relay")?.kill()?;
    for node in [&mut stage.home, &mut stage.laptop].into_iter().flatten() {
        node.kill()?;
    }
    stage.launch_pair()?;
    pass(LATE)?;
    let back = start_and_time(stage)?;
    let first = stage.new_tunnel()?;
    stage.note(&format!(
        "started {} s after the nodes: reserved by both after {} ms, first byte after {} ms",
        LATE.as_secs(),
        back.as_millis(),
        first.as_millis()
    ));
    stage.verdict()
}

/// Starts the relay and measures until both nodes hold a reservation.
pub(super) fn start_and_time(stage: &mut Stage) -> Result<Duration> {
    let relay = stage.relay.as_mut().context("no relay")?;
    relay.start()?;
    let id = relay.id()?.to_owned();
    let start = Instant::now();
    stage.wait_for_reservation(stage.home()?, &id, NEVER)?;
    stage.wait_for_reservation(stage.laptop()?, &id, NEVER)?;
    let took = start.elapsed();
    if took > RELAY_BACK_TARGET {
        stage.complain(format!("the relay was back for both after {took:?} only"));
    }
    Ok(took)
}

/// Two relays, the first never up: pairing and a tunnel work, hardly later.
pub(super) fn first_dead(stage: &mut Stage) -> Result<()> {
    stage.lab.block_direct()?;
    stage.create_relay()?;
    stage.create_second_relay()?;
    stage.create_pair()?;
    stage.second_relay.as_mut().context("no second relay")?.start()?;
    stage.start_pair()?;
    let first = stage.new_tunnel()?;
    stage.note(&format!(
        "with the first of two relays dead: first byte after {} ms",
        first.as_millis()
    ));
    let limit = RELAYED_TARGET + DEAD_RELAY_COSTS;
    if first > limit {
        stage.complain(format!(
            "a dead first relay: the first byte took {first:?}, not {limit:?}"
        ));
    }
    pair_over_second(stage)?;
    stage.verdict()
}

/// An invitation that names both relays is good over the one that lives.
fn pair_over_second(stage: &mut Stage) -> Result<()> {
    let folder = stage.folder("newcomer")?;
    let mut newcomer = crate::nodes::Node::blank(&stage.binaries, &stage.lab.b().host, &folder, "newcomer")?;
    let start = Instant::now();
    stage.home()?.pair_with(&mut newcomer)?;
    stage.note(&format!(
        "pairing with the first of two relays dead: {} ms",
        start.elapsed().as_millis()
    ));
    Ok(())
}

/// Two relays; the one in use dies, and a new tunnel goes over the other.
pub(super) fn failover(stage: &mut Stage) -> Result<()> {
    stage.lab.block_direct()?;
    stage.start_with_relays()?;
    for relay in stage.relays() {
        stage.wait_for_reservation(stage.home()?, relay.id()?, thrice(RELAY_BACK_TARGET))?;
    }
    let crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    let address = stage.tunnel("echo")?;
    stage.first_byte(&address)?;
    let entry = stage.home_entry()?.context("no path to home")?;
    let via = view::text(&entry, "via").to_owned();
    let first = stage.relay.as_ref().context("no relay")?.id()?;
    let uses_first = via.contains(first) || entry.to_string().contains(first);
    let used = if uses_first {
        &mut stage.relay
    } else {
        &mut stage.second_relay
    };
    used.as_mut().context("no relay")?.kill()?;
    let took = stage.first_byte_within(&address, NEVER)?;
    stage.note(&format!(
        "the relay in use was killed: a new tunnel over the other after {} ms",
        took.as_millis()
    ));
    if took > FAILOVER_TARGET {
        stage.complain(format!(
            "the other relay took over after {took:?}, {FAILOVER_TARGET:?} is the target"
        ));
    }
    crossing.abandon(
        stage,
        &format!("over the second relay after {} ms", took.as_millis()),
    )?;
    stage.verdict()
}

/// A download that is larger than the relay lets through: its end names the limit, and the next tunnel works.
pub(super) fn budget(stage: &mut Stage) -> Result<()> {
    stage.lab.block_direct()?;
    stage.create_relay()?;
    let relay = stage.relay.as_ref().context("no relay")?;
    relay.replace("session_data_limit: 0", "session_data_limit: 8MB")?;
    stage.create_pair()?;
    stage.start_relays()?;
    stage.start_pair()?;

    let (mut proxy, address) = stage.laptop()?.proxy(HOME, "source")?;
    let mut client = stage.client("download", &address)?;
    let told = run("download", client.arg(TOO_MUCH), DOWNLOAD_TIMEOUT)?;
    ensure!(told.code != 0, "32 MB went over a relay that lets 8 MB through");
    stage.note(&format!("a download of 32 MB over 8 MB: {}", told.stdout.trim()));
    let named = proxy.wait_for_line("the limit's name", SAID, |line| {
        line.contains("session_data_limit")
    });
    match named {
        Ok(line) => stage.detail(&line),
        Err(_) => stage.complain(format!(
            "`peerup proxy` does not name session_data_limit:\n{}",
            proxy.tail(10)
        )),
    }
    let start = Instant::now();
    let address = stage.tunnel("echo")?;
    let first = stage.first_byte_within(&address, SOON)?;
    stage.note(&format!(
        "a new tunnel right afterwards: first byte after {} ms",
        first.as_millis()
    ));
    if start.elapsed() > thrice(RELAYED_TARGET) + SAID {
        stage.complain(format!("a new tunnel took {:?}", start.elapsed()));
    }
    let entry = stage.home_entry()?.context("no path to home")?;
    if !entry.to_string().contains("bytes_left") {
        stage.complain(format!("peers --json shows no budget: {entry}"));
    }
    stage.verdict()
}
