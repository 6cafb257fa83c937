//! The engine through its public surface, with a plugin that misbehaves on request.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod bundled;
mod cache;
mod commands;
mod grants;
mod limits;
mod peers;
mod support;
mod traceroute;
mod tunnels;
