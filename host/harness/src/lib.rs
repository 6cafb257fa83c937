//! Two peers in one process that run a plugin against a scenario.
//!
//! Each peer has a real engine; between them, and around them, everything is in memory: streams with a delay, TCP
//! and UDP servers, and a clock that moves only while nothing else has to be done. An hour of a plugin's life takes
//! a moment, and takes the same course each time. Nothing here needs a privilege or touches a network.

mod check;
mod link;
mod peer;
mod run;
mod scenario;
mod servers;
mod sockets;
mod steps;
mod subject;
mod trace;
mod world;

pub use run::{Outcome, StepOutcome, run};
pub use scenario::{Scenario, ScenarioError};
pub use subject::Subject;
pub use trace::TraceLine;
