//! One network without a relay, and IPv6 on one side.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use peerup_testkit::poll;

use super::{
    crossing::{Crossing, LAN_TARGET, RELAYED_TARGET},
    stage::Stage,
};

/// How long the two may take to find each other after the start of both.
const FOUND: Duration = Duration::from_secs(10);

/// Two machines in one network, their relay down from before the start: they find each other.
pub(super) fn relay_down(stage: &mut Stage) -> Result<()> {
    stage.create_relay()?;
    stage.create_pair()?;
    stage.launch_pair()?;
    // A proxy is refused for as long as its peer is not found.
    let start = Instant::now();
    let address = poll("the two to find each other", FOUND, || {
        Ok(stage.tunnel("echo").ok())
    })
    .with_context(|| "no relay, one network")?;
    stage.first_byte(&address)?;
    let found = start.elapsed();
    stage.note(&format!(
        "found without a relay: first byte {} ms after both were up",
        found.as_millis()
    ));
    let mut crossing = Crossing::begin(stage, LAN_TARGET)?;
    crossing.goes_direct(stage, &["quic", "tcp"])?;
    crossing.end(
        stage,
        &format!("relay down; found after {} ms", found.as_millis()),
    )?;
    stage.verdict()
}

/// One side has IPv6 as well: it goes direct over IPv4.
pub(super) fn ipv6_one_side(stage: &mut Stage) -> Result<()> {
    stage.start_with_relays()?;
    let mut crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    crossing.goes_direct(stage, &["quic"])?;
    crossing.end(stage, "IPv6 at home only")?;
    stage.verdict()
}

/// One side has nothing but IPv6, the other nothing but IPv4: the relay, which has both, stands between.
pub(super) fn ipv6_only(stage: &mut Stage) -> Result<()> {
    stage.start_with_relays()?;
    // Home learns only from its first attempt that it has no IPv4; a proxy is refused until the next one has worked.
    let relay = stage.relay.as_ref().context("no relay")?;
    stage.wait_for_reservation(stage.home()?, relay.id()?, FOUND)?;
    let mut crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    crossing.stays_relayed(stage)?;
    crossing.end(stage, "IPv6 only at home, IPv4 only at the laptop")?;
    stage.verdict()
}
