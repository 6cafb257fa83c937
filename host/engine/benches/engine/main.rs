//! The engine's own figures, each with a baseline that is measured in turns with it. Prints them as Markdown.
//!
//! `cargo bench --workspace --bench engine -- [instances] [splice] [tunnels] [neighbours]`, all of them without a word; or
//! `cargo xtask bench engine`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a bench ends by panicking, and prints"
)]

mod figures;
mod instances;
mod neighbours;
mod splice;
#[path = "../../tests/engine/support.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use all of it")]
mod support;
mod tunnels;

use std::{borrow::Cow, path::Path, sync::Arc};

use peerup_engine::{Engine, EngineConfig, InboundRequest, Limits, Plugin, PluginSpec};
use peerup_model::Grants;
use peerup_package::Manifest;

use support::{OnePeer, a_peer};

const PARTS: [&str; 4] = ["instances", "splice", "tunnels", "neighbours"];

fn main() {
    // Cargo passes `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if let [word, exit] = &wanted[..]
        && let Some(holder) = tunnels::HOLDERS.iter().find(|holder| word == *holder)
    {
        println!("{}", in_a_task(tunnels::hold(holder, exit.clone())));
        return;
    }
    let unknown = wanted.iter().find(|word| !PARTS.contains(&word.as_str()));
    assert!(unknown.is_none(), "{unknown:?} is none of {PARTS:?}");
    for part in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|word| word == part) {
            continue;
        }
        eprintln!("measuring {part}");
        let table = match part {
            "instances" => in_a_task(instances::measure()),
            "splice" => in_a_task(splice::measure()),
            "tunnels" => in_a_task(tunnels::measure()),
            _ => in_a_task(neighbours::measure()),
        };
        println!("{table}");
    }
}

/// Runs something in a task, as in the daemon: what `block_on` itself drives has no place on a worker.
fn in_a_task(work: impl Future<Output = String> + Send + 'static) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let told = runtime.block_on(async { tokio::spawn(work).await.unwrap() });
    runtime.shutdown_background();
    told
}

/// An engine as the daemon makes it.
fn engine() -> Engine {
    Engine::new(EngineConfig {
        cache_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins")),
        ..EngineConfig::default()
    })
    .unwrap()
}

/// The plugin that serves services.
async fn tcp_proxy(engine: &Engine) -> Plugin {
    let bundled = peerup_bundle::BUNDLED;
    let bundled = bundled.iter().find(|one| one.name == "tcp-proxy").unwrap();
    let spec = PluginSpec {
        manifest: Manifest::parse(bundled.manifest).unwrap(),
        wasm: Cow::Borrowed(bundled.wasm),
        grants: Grants::default(),
        settings: "{}".to_owned(),
        limits: Limits::default(),
    };
    engine.load(spec, OnePeer::new() as Arc<_>).await.unwrap()
}

/// A stream of a peer for a service at this address.
fn service_request(local_address: &str) -> InboundRequest {
    InboundRequest {
        protocol: "/peerup/bench/1.0.0".to_owned(),
        service: Some(("bench".parse().unwrap(), local_address.to_owned())),
        peer: a_peer(),
        extra_grants: Grants::default(),
    }
}
