//! The life of one plugin, as a pure state machine: `loading -> ready -> active -> draining -> stopped`, and `failed`.
//!
//! Driven by the supervisor of `peerup-daemon`, one [`Lifecycle`] for each plugin: it feeds answers with the time they
//! came at and carries out the commands that come back, in order. Nothing in this crate loads, runs, sleeps, reads a
//! clock or owns a source of randomness.

mod breaker;
mod command;
mod lifecycle;
mod policy;
mod stage;

pub use command::{Command, Event, Generation, LoadFailure, Manner, Run, ServiceEnd, Traits};
pub use lifecycle::Lifecycle;
pub use policy::Policy;
pub use stage::Stage;
