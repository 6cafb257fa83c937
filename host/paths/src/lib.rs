//! Pure state machines: path choice, reservations, upgrades to a direct path, liveness, NAT verdicts, backoff.
//!
//! Everything here is driven by `peerup-net`: it feeds events with the time they happened at and carries out the
//! commands that come back. Nothing in this crate opens a socket, reads a clock or owns a source of randomness.

mod addresses;
mod backoff;
mod budget;
mod change;
mod choice;
#[doc(hidden)]
pub mod fuzzing;
mod info;
mod liveness;
mod nat;
mod reach;
mod relays;
mod reservation;
mod upgrade;
mod why;

pub use addresses::{AddressBackoffs, MAX_ADDRESSES};
pub use backoff::Backoff;
pub use budget::{BudgetLeft, CircuitBudget, LimitKind};
pub use change::{ChangeDetector, DEBOUNCE, NetworkFingerprint, TENTATIVE_DEBOUNCE};
pub use choice::{Candidate, choose, choose_all, superseded};
pub use info::{
    MAX_CANDIDATE, MAX_CANDIDATES, MAX_PATH_INFO, PathInfo, PathInfoError, PathNat, is_candidate,
};
pub use liveness::{DEAD_AFTER, IDLE_PROBE, Liveness, LivenessCommand, MAX_CONNECTIONS, SUSPECT_AFTER};
pub use nat::{NatKind, NatTable, NatVerdict, Observation, UdpVerdict};
pub use reach::{AddressScope, scope};
pub use relays::{MAX_HELD, RelayHealth, RelayView, hold};
pub use reservation::{Command, Reservation, Stage};
pub use upgrade::{Upgrade, UpgradeCommand};
pub use why::{Advice, Refusal, RelaySituation, Situation, Suggestion};
