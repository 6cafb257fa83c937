//! A year of one node with three relays and four peers: everything that can happen to them happens on a seed, and
//! after each event nothing may be stuck, stale or in a hurry.
//!
//! Time is a number that jumps from event to event. `fate.rs` breaks things, `driver.rs` does what the swarm loop
//! does, `checks.rs` says what must hold.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

mod checks;
mod driver;
mod fate;
mod world;

use std::time::Duration;

use proptest::prelude::*;
use world::Sim;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn run(seed: u64, time: Duration) -> Sim {
    let mut sim = Sim::new(seed);
    sim.begin();
    let end = sim.now + time;
    while sim.now < end {
        sim.step();
    }
    sim
}

/// A year in which little happened would prove little.
fn live_a_year(seed: u64) {
    let sim = run(seed, DAY * 365);
    let seen = &sim.seen;
    assert!(seen.fates > 1_500, "{seen:?}");
    assert!(seen.reservations > 300, "{seen:?}");
    assert!(seen.upgrades > 300, "{seen:?}");
    assert!(seen.network_changes > 300, "{seen:?}");
    assert!(seen.closed_silent > 500, "{seen:?}");
    assert!(seen.budgets_used_up > 100, "{seen:?}");
    assert!(seen.swaps > 100, "{seen:?}");
}

#[test]
fn the_first_year() {
    live_a_year(1);
}

#[test]
fn the_second_year() {
    live_a_year(2);
}

#[test]
fn the_third_year() {
    live_a_year(3);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_three_days(seed in any::<u64>()) {
        run(seed, DAY * 3);
    }
}
