//! What changes while a path is in use: interfaces, addresses, routers, daemons, and a direct way that goes
//! silent.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use peerup_testkit::{Process, poll, run};

use super::{
    crossing::{Crossing, RELAYED_TARGET},
    pair::{pass, thrice},
    stage::{SOON, Stage},
    view,
};

/// How long the interface stays down.
const DOWN: Duration = Duration::from_secs(3);
/// What must hold for a tunnel after a change of the network: the change is noticed, silent connections are
/// closed within three seconds, and everything is dialled anew.
const RECOVERY_TARGET: Duration = Duration::from_secs(10);
/// What must hold for a tunnel to a daemon that was killed and started again.
const RESTART_TARGET: Duration = Duration::from_secs(10);
/// What must hold for a new tunnel once direct packets vanish.
const FALLBACK_TARGET: Duration = Duration::from_secs(4);
/// Until a direct path is back by itself, after the way is free again.
const RETURN: Duration = Duration::from_secs(60);
/// Until a case is given up.
const NEVER: Duration = Duration::from_secs(60);
const LOSSY_BYTES: &str = "5000000";
const LOSSY_TIMEOUT: Duration = Duration::from_secs(120);
const NEW_STREAMS: u64 = 100;

/// Something happens to the laptop's network; tunnels work again, and the path is direct again.
fn survives(stage: &mut Stage, what: &str, change: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    stage.start_with_relays()?;
    let mut crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    crossing.goes_direct(stage, &["quic", "tcp"])?;
    let address = stage.tunnel("echo")?;
    stage.first_byte(&address)?;
    change(stage)?;
    let took = stage.first_byte_within(&address, NEVER)?;
    stage.note(&format!(
        "{what}: a new tunnel works after {} ms",
        took.as_millis()
    ));
    if took > RECOVERY_TARGET {
        stage.complain(format!(
            "{what}: a tunnel after {took:?}, {RECOVERY_TARGET:?} is the target"
        ));
    }
    let start = Instant::now();
    stage.wait_for_direct(RETURN)?;
    let direct = start.elapsed();
    stage.note(&format!("direct again {} ms later", direct.as_millis()));
    crossing.abandon(
        stage,
        &format!(
            "{what}: a tunnel after {} ms, direct after {} ms",
            took.as_millis(),
            (took + direct).as_millis()
        ),
    )?;
    stage.verdict()
}

/// The interface goes down and comes up.
pub(super) fn interface_down_up(stage: &mut Stage) -> Result<()> {
    survives(stage, "interface down and up", |stage| {
        stage.cut_laptop()?;
        pass(DOWN)?;
        stage.mend_laptop()
    })
}

/// Another address and another gateway on the same interface.
pub(super) fn address_and_gateway(stage: &mut Stage) -> Result<()> {
    survives(stage, "address and gateway change", Stage::change_laptop_address)
}

/// The laptop is carried to another router.
pub(super) fn other_router(stage: &mut Stage) -> Result<()> {
    survives(stage, "another router", Stage::move_laptop)
}

/// Home's daemon is killed and started again; nobody touches the laptop.
pub(super) fn daemon_restart(stage: &mut Stage) -> Result<()> {
    stage.start_with_relays()?;
    let mut crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    crossing.goes_direct(stage, &["quic", "tcp"])?;
    let address = stage.tunnel("echo")?;
    stage.first_byte(&address)?;
    let home = stage.home.as_mut().context("no home")?;
    home.kill()?;
    home.launch()?;
    let took = stage.first_byte_within(&address, NEVER)?;
    stage.note(&format!(
        "home was killed and is up: a new tunnel works after {} ms",
        took.as_millis()
    ));
    if took > RESTART_TARGET {
        stage.complain(format!(
            "a tunnel after {took:?}, {RESTART_TARGET:?} is the target"
        ));
    }
    stage.wait_for_direct(RETURN)?;
    crossing.abandon(
        stage,
        &format!(
            "daemon killed and restarted: a tunnel after {} ms",
            took.as_millis()
        ),
    )?;
    stage.verdict()
}

/// 60 ms there and back and a loss of 1 % each way: the path is direct, and a transfer arrives whole.
pub(super) fn lossy(stage: &mut Stage) -> Result<()> {
    stage.start_with_relays()?;
    // Handshakes of up to ten round trips of 60 ms; where a packet of them is lost, one more second until it is
    // sent again.
    let mut crossing = Crossing::begin(stage, RELAYED_TARGET * 2)?;
    crossing.goes_direct(stage, &["quic", "tcp"])?;
    let address = stage.tunnel("source")?;
    let start = Instant::now();
    let mut client = stage.client("download", &address)?;
    run("download", client.arg(LOSSY_BYTES), LOSSY_TIMEOUT)?
        .success()
        .context("5 MB over a path that loses packets")?;
    let rate = 5.0 / start.elapsed().as_secs_f64();
    stage.note(&format!("5 MB arrived whole, {rate:.2} MB/s"));
    crossing.end(stage, &format!("5 MB whole, {rate:.2} MB/s"))?;
    stage.verdict()
}

/// Direct packets vanish without a word: new tunnels take the relay at once, and the direct path comes back by
/// itself once the way is free.
pub(super) fn direct_cut(stage: &mut Stage) -> Result<()> {
    stage.start_with_relays()?;
    let mut crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    crossing.goes_direct(stage, &["quic", "tcp"])?;
    let address = stage.tunnel("echo")?;
    stage.first_byte(&address)?;
    stage.block_silently()?;
    let start = Instant::now();
    let answered = stage.first_byte_within(&address, NEVER)?;
    stage.note(&format!(
        "direct packets vanish: a new tunnel's first byte after {} ms",
        answered.as_millis()
    ));
    if answered > FALLBACK_TARGET {
        stage.complain(format!(
            "first byte after {answered:?}, {FALLBACK_TARGET:?} is the target"
        ));
    }
    poll("the laptop to say RELAYED", thrice(FALLBACK_TARGET), || {
        Ok(stage.path_now()?.filter(|path| !path.is_direct()))
    })
    .with_context(|| stage.explanation())?;
    stage.note(&format!(
        "shown as RELAYED {} ms after the cut",
        start.elapsed().as_millis()
    ));
    stage.unblock()?;
    let start = Instant::now();
    stage.wait_for_direct(RETURN)?;
    let back = start.elapsed();
    stage.note(&format!(
        "the way is free again: direct by itself after {} ms",
        back.as_millis()
    ));
    crossing.abandon(
        stage,
        &format!(
            "cut: relayed first byte after {} ms; mended: direct after {} ms",
            answered.as_millis(),
            back.as_millis()
        ),
    )?;
    stage.verdict()
}

/// With a direct and a relayed connection up, new streams take the direct one, every one of them.
pub(super) fn streams_on_direct(stage: &mut Stage) -> Result<()> {
    stage.start_with_relays()?;
    stage.block_silently()?;
    let mut crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    stage.unblock()?;
    crossing.goes_direct(stage, &["quic", "tcp"])?;
    let before = stage.home_entry()?.context("no path to home")?;
    let relayed = view::streams_on(&before, "RELAYED");
    ensure!(
        relayed >= 1 && view::connections_on(&before, "RELAYED") >= 1,
        "the old stream does not hold a relayed connection: {before}"
    );
    let address = stage.tunnel("echo")?;
    let mut client = stage.client("hold-many", &address)?;
    let mut held = Process::spawn_with_input("hold-many", client.arg(NEW_STREAMS.to_string()))?;
    held.wait_for_line("100 open connections", SOON, |line| line.starts_with("open "))?;
    let entry = stage.home_entry()?.context("no path to home")?;
    let (on_direct, on_relay) = (
        view::streams_on(&entry, "DIRECT"),
        view::streams_on(&entry, "RELAYED"),
    );
    stage.note(&format!(
        "{on_direct} streams on direct connections, {on_relay} on the relay ({relayed} before)"
    ));
    ensure!(
        on_direct >= NEW_STREAMS && on_relay <= relayed,
        "new streams went over the relay: {entry}"
    );
    held.close_input();
    held.finish(SOON)?;
    crossing.end(stage, "100 new streams, none on the relay")?;
    let gone = poll("the end of the relayed connection", SOON, || {
        let entry = stage.home_entry()?.context("no path to home")?;
        Ok((view::connections_on(&entry, "RELAYED") == 0).then_some(()))
    });
    match gone {
        Ok(()) => stage.note("the relayed connection ended with its last stream"),
        Err(error) => stage.complain(format!(
            "the relayed connection outlives its last stream: {error:#}"
        )),
    }
    stage.verdict()
}
