//! The daemon API over its socket: what it answers to requests of any kind, and to clients of any kind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

mod clients;
mod fuzz;
mod support;
mod table;
