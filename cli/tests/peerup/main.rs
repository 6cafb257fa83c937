//! The `peerup` binary as a person or a script meets it: real processes, a relay in this process, loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod access;
mod alerts;
mod api;
mod arguments;
mod authoring;
mod authors;
mod bandwidth;
mod bundle;
mod completion;
mod config;
mod daemon;
mod doctor;
mod ending;
mod files;
mod json;
mod killed;
mod metrics;
mod names;
mod pairing;
mod paths;
mod ping;
mod plugin_switches;
mod plugins;
mod proxies;
mod questions;
#[cfg(feature = "oci")]
mod registry;
mod relay;
mod support;
mod systemd;
mod terminals;
mod traceroute;
mod trials;
mod tunnels;
#[cfg(feature = "oci")]
mod tutorial;
