//! A relay in this process and real clients over loopback: who may do what, and for how long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod admission;
mod client;
mod discovery;
mod limits;
mod membership;
mod setting;
