//! What a well-behaved plugin's answers cost while another one does its worst.
//!
//! An answer is a fresh instance that sends 64 bytes back. The attack is started again whenever it ends.

use std::{fmt::Write, time::Instant};

use peerup_engine::{Engine, Limits, Plugin, PluginSpec};
use peerup_model::Grants;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use crate::{
    engine,
    figures::{Samples, median},
    support::{OnePeer, call, grants, hostile, load, peer_stream, request},
};

const ROUNDS: usize = 5;
const ANSWERS: usize = 1000;

/// Each with whether it is a stream of a peer or a command.
const ATTACKS: &[(&str, bool)] = &[
    ("loop", true),
    ("alloc", true),
    ("log", true),
    ("stack", true),
    ("trap", true),
    ("hold", true),
    ("half-open", true),
    ("emit", true),
    ("streams", true),
    ("half-open-streams", true),
    ("flood-peers", false),
    ("clock-longest", true),
    ("clock-spin", true),
    ("clock-nothing", true),
    ("clock-briefest", false),
    ("clock-cancelled", false),
    ("clock-many", true),
    ("garbage-huge-error", true),
    ("huge-open-peer", true),
];

pub(crate) async fn measure() -> String {
    let engine = engine();
    let good = load(&engine, hostile()).await;
    answers(&good).await;
    let mut out = "| beside | p50 µs | alone | p99 µs | alone | ratio of p99 |\n| --- | --- | --- | --- | --- | --- |\n".to_owned();
    for (attack, on_stream) in ATTACKS {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let alone = answers(&good).await;
            let bad = bad(&engine).await;
            let going_on = keep_up(bad.clone(), attack, *on_stream);
            let beside = answers(&good).await;
            going_on.abort();
            bad.stop();
            rounds.push((alone, beside));
        }
        let of = |pick: fn(&(Samples, Samples)) -> f64| median(rounds.iter().map(pick).collect());
        let p50 = (
            of(|(_, beside)| beside.micros(0.5)),
            of(|(alone, _)| alone.micros(0.5)),
        );
        let p99 = (
            of(|(_, beside)| beside.micros(0.99)),
            of(|(alone, _)| alone.micros(0.99)),
        );
        let ratio = of(|(alone, beside)| beside.micros(0.99) / alone.micros(0.99));
        eprintln!("  {attack}: {ratio:.2}");
        writeln!(
            out,
            "| `{attack}` | {:.0} | {:.0} | {:.0} | {:.0} | {ratio:.2} |",
            p50.0, p50.1, p99.0, p99.1
        )
        .unwrap();
    }
    out
}

async fn bad(engine: &Engine) -> Plugin {
    let spec = PluginSpec {
        grants: grants(json!({ "peers": ["read"] })),
        settings: json!({ "count": 100_000 }).to_string(),
        limits: Limits::default(),
        ..hostile()
    };
    engine.load(spec, OnePeer::new()).await.unwrap()
}

/// Starts the attack again whenever it ends.
fn keep_up(plugin: Plugin, attack: &'static str, on_stream: bool) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            // How it ends is what the tests look at.
            if on_stream {
                let (_far, near) = peer_stream();
                let _ = plugin.handle_inbound(request(attack), near).await;
            } else if let Ok(mut run) =
                plugin.run_command(attack, json!({ "count": 100_000 }), Grants::default())
            {
                let _ = run.finish().await;
            }
            tokio::task::yield_now().await;
        }
    })
}

async fn answers(plugin: &Plugin) -> Samples {
    let mut samples = Vec::with_capacity(ANSWERS);
    let (message, mut answer) = ([7; 64], [0; 64]);
    for _ in 0..ANSWERS {
        let start = Instant::now();
        let (mut far, handler) = call(plugin, request("echo"));
        far.write_all(&message).await.unwrap();
        far.read_exact(&mut answer).await.unwrap();
        samples.push(start.elapsed());
        far.shutdown().await.unwrap();
        handler.await.unwrap().unwrap();
    }
    Samples::new(samples)
}
