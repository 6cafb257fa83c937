//! The engine through its public surface, with a plugin that misbehaves on request.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod answers;
mod audit;
mod bundled;
mod cache;
mod commands;
mod contract;
mod denials;
mod directories;
mod events;
mod grants;
mod hostile;
mod limits;
mod peers;
mod revoked;
mod services;
mod store;
mod support;
mod traceroute;
mod tunnels;
mod udp;
