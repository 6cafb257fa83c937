//! Every kind of NAT against every other that makes a difference: what goes direct, over what, and what stays
//! on the relay.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    crossing::{Crossing, RELAYED_TARGET},
    pair::pass,
    stage::{HOME, LAPTOP, Stage},
    view::text,
};

/// How long `why` may take to know the kind of both NATs.
const VERDICT: Duration = Duration::from_secs(20);
/// Enough for a stream to show that it lives on the new path.
const A_WHILE: Duration = Duration::from_secs(2);

/// Both sides have to find a way through over QUIC.
pub(super) fn direct_over_quic(stage: &mut Stage) -> Result<()> {
    stage.start_with_relays()?;
    goes_direct(stage, &["quic"])
}

/// The same where no UDP passes: over TCP, to the relay as well.
pub(super) fn direct_over_tcp(stage: &mut Stage) -> Result<()> {
    stage.start_with_relays()?;
    goes_direct(stage, &["tcp"])
}

/// Routers that put another port in the place of the one that the node listens on.
pub(super) fn remapped(stage: &mut Stage) -> Result<()> {
    stage.create_relay()?;
    stage.create_second_relay()?;
    stage.create_pair()?;
    stage.remap_both()?;
    stage.start_relays()?;
    stage.start_pair()?;
    goes_direct(stage, &["quic"])
}

/// Nothing to be punched here: it stays on the relay, and nothing is lost on it.
pub(super) fn stays_relayed(stage: &mut Stage) -> Result<()> {
    stage.start_with_relays()?;
    let mut crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    crossing.stays_relayed(stage)?;
    crossing.end(stage, "")?;
    stage.verdict()
}

/// The same with a port for each destination on both sides, and both sides say so.
pub(super) fn symmetric_both(stage: &mut Stage) -> Result<()> {
    stage.start_with_relays()?;
    let mut crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    crossing.stays_relayed(stage)?;
    for (node, other) in [(stage.laptop()?, HOME), (stage.home()?, LAPTOP)] {
        if let Err(error) = both_symmetric(stage, node, other) {
            stage.complain(format!("{error:#}"));
        }
    }
    crossing.end(stage, "`why` names both NATs")?;
    stage.verdict()
}

fn both_symmetric(stage: &Stage, node: &crate::nodes::Node, other: &str) -> Result<()> {
    let mut last = String::new();
    let told = peerup_testkit::poll("both NATs named symmetric", VERDICT, || {
        last = node.run(&["why", other, "--json"])?;
        let why: Value = serde_json::from_str(&last)?;
        Ok(["local", "remote"]
            .iter()
            .all(|side| nat_kind(&why, side) == "symmetric")
            .then_some(()))
    });
    told.with_context(|| format!("{}: {last}", node.name))?;
    let said = node.run(&["why", other])?;
    ensure!(
        said.contains("symmetric"),
        "{}: `peerup why` has no word of it: {said}",
        node.name
    );
    let reason = serde_json::from_str(&last).map(|why: Value| text(&why, "reason").to_owned());
    stage.note(&format!(
        "{}: why {other}: {}",
        node.name,
        reason.unwrap_or_default()
    ));
    Ok(())
}

fn nat_kind<'a>(why: &'a Value, side: &str) -> &'a str {
    let nat = why.get(side).and_then(|side| side.get("nat"));
    nat.map(|nat| text(nat, "kind")).unwrap_or_default()
}

fn goes_direct(stage: &mut Stage, transports: &[&str]) -> Result<()> {
    let mut crossing = Crossing::begin(stage, RELAYED_TARGET)?;
    crossing.goes_direct(stage, transports)?;
    crossing.go_on(A_WHILE)?;
    let first = stage.new_tunnel()?;
    stage.note(&format!(
        "a new tunnel on it: first byte after {} ms",
        first.as_millis()
    ));
    crossing.end(stage, "")?;
    // What held only the old stream up must not keep the new path from staying.
    pass(A_WHILE)?;
    let now = stage.path_now()?.context("no path any more")?;
    ensure!(
        now.is_direct(),
        "it fell back to the relay: {}",
        stage.explanation()
    );
    stage.verdict()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_kind_of_a_nat_is_that_of_its_side() {
        let why = json!({"local": {"nat": {"kind": "symmetric"}}, "remote": {"nat": null}});
        assert_eq!(nat_kind(&why, "local"), "symmetric");
        assert_eq!(nat_kind(&why, "remote"), "");
    }
}
