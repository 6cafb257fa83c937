//! Pure state machines: reservations, backoff, path choice. No I/O; time comes in.
//!
//! Everything here is driven by `peerup-net`: it feeds events with the time they happened at and carries out the
//! commands that come back. Nothing in this crate opens a socket, reads a clock or owns a source of randomness.

mod backoff;
mod choice;
mod reservation;

pub use backoff::Backoff;
pub use choice::{Candidate, choose, superseded};
pub use reservation::{Command, Reservation, Stage};
