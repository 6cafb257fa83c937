//! The settings of these tests: a relay, nodes in folders of their own, a service, and two nodes that know
//! each other.

mod node;
mod pair;
mod relay;
mod service;
mod service_manager;
mod terminal;
mod toolchain;

pub(crate) use node::{Node, Outcome, bare, inject_relay};
pub(crate) use pair::Pair;
pub(crate) use relay::Relay;
pub(crate) use service::{Client, Echo, free_port};
pub(crate) use service_manager::{ServiceManager, send};
pub(crate) use terminal::Terminal;
pub(crate) use toolchain::{BUILD, with_toolchain};

use std::time::Duration;

/// Until something that needs no more than a moment has happened, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Everything that is told to end has ended by then.
pub(crate) const END: Duration = Duration::from_secs(5);

/// Asks until the condition holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    peerup_testkit::poll(what, SOON, || Ok(holds().then_some(()))).unwrap();
}
