//! A fresh instance beside a task of Tokio.

use std::{fmt::Write, time::Instant};

use peerup_engine::Plugin;

use crate::{
    engine,
    figures::{Samples, median},
    support::{hostile, load, outcome_of, request},
    tcp_proxy,
};

const ROUNDS: usize = 9;
const TURNS: usize = 2000;

pub(crate) async fn measure() -> String {
    let engine = engine();
    let (proxy, other) = (tcp_proxy(&engine).await, load(&engine, hostile()).await);
    let mut rounds: [Vec<[f64; 2]>; 3] = Default::default();
    for _ in 0..=ROUNDS {
        let round = [tasks().await, instances(&proxy).await, calls(&other).await];
        for (all, samples) in rounds.iter_mut().zip(round) {
            all.push([samples.micros(0.5), samples.micros(0.99)]);
        }
    }
    let mut out = "| | p50 µs | p99 µs | times the task |\n| --- | --- | --- | --- |\n".to_owned();
    let names = [
        "a task of Tokio, spawned and awaited",
        "a fresh instance of `tcp-proxy`, made and dropped (target: below 30)",
        "a stream of a peer: an instance, its call, its end",
    ];
    let mut task = None;
    for (name, mut all) in names.into_iter().zip(rounds) {
        // The first round warms up.
        all.remove(0);
        let of = |index: usize| median(all.iter().map(|round| round[index]).collect());
        let (p50, p99) = (of(0), of(1));
        let times = p50 / *task.get_or_insert(p50);
        writeln!(out, "| {name} | {p50:.1} | {p99:.1} | {times:.1} |").unwrap();
    }
    out
}

async fn tasks() -> Samples {
    let mut samples = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let start = Instant::now();
        tokio::spawn(async {}).await.unwrap();
        samples.push(start.elapsed());
    }
    Samples::new(samples)
}

async fn instances(plugin: &Plugin) -> Samples {
    let mut samples = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let start = Instant::now();
        plugin.check().await.unwrap();
        samples.push(start.elapsed());
    }
    Samples::new(samples)
}

async fn calls(plugin: &Plugin) -> Samples {
    let mut samples = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let start = Instant::now();
        outcome_of(plugin, request("drop-ok")).await.unwrap();
        samples.push(start.elapsed());
    }
    Samples::new(samples)
}
