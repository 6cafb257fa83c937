//! Configs that are applied, confirmed and taken back while iperf3 runs through a tunnel.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use peerup_testkit::{Process, poll};
use serde_json::Value;

use super::stage::{SOON, Stage};
use crate::{nodes::Node, tools};

const IPERF_PORT: u16 = 5201;
/// Longer than all the changes together take.
const RUNS: Duration = Duration::from_secs(15);

/// What is changed, none of which the tunnel has anything to do with: a key that reloads live, plugins that stop and
/// start, a service that comes.
const CHANGES: [(&str, &str); 4] = [
    (
        "external_addresses: []",
        "external_addresses: [/ip4/192.0.2.1/tcp/4001]",
    ),
    ("  ping:\n    enabled: true", "  ping:\n    enabled: false"),
    (
        "  traceroute:\n    enabled: true",
        "  traceroute:\n    enabled: false",
    ),
    ("  ping:\n    enabled: false", "  ping:\n    enabled: true"),
];

/// Changes both nodes' configs in every way there is while a tunnel between them is busy.
pub(super) fn applies(stage: &mut Stage) -> Result<()> {
    let iperf3 = tools::find("iperf3").context("iperf3 is missing")?;
    stage.start_relay()?;
    stage.start_home()?;
    stage.pair_laptop()?;
    let mut serve = stage.lab.a().host.command(&iperf3);
    serve.args([
        "--server",
        "--one-off",
        "--forceflush",
        "--bind",
        "127.0.0.1",
        "--port",
    ]);
    let mut server = Process::spawn("iperf3", serve.arg(IPERF_PORT.to_string()))?;
    server.wait_for_line("that it listens", SOON, |line| line.contains("listening"))?;
    stage.helpers.push(server);
    stage.offer("iperf", IPERF_PORT)?;
    let address = stage.tunnel("iperf")?;
    let (host, port) = address.rsplit_once(':').context("no port")?;

    let mut client = stage.lab.b().host.command(&iperf3);
    client.args([
        "--json",
        "--parallel",
        "2",
        "--client",
        host,
        "--port",
        port,
        "--time",
    ]);
    let mut client = Process::spawn("iperf3", client.arg(RUNS.as_secs().to_string()))?;
    poll("bytes through the tunnel", SOON, || {
        let peers = stage.home()?.ask("/v1/peers")?;
        let peers = peers.as_array().context("no list of peers")?;
        let busy = |peer: &Value| peer.pointer("/bytes_in").and_then(Value::as_u64) > Some(1_000_000);
        Ok(peers.iter().any(busy).then_some(()))
    })?;

    let mut applied = 0;
    for node in [stage.home()?, stage.laptop()?] {
        for (old, new) in CHANGES {
            apply(node, old, new, "1m")?;
            node.run(&["config", "confirm"])?;
            applied += 1;
        }
        apply(
            node,
            "  ping:\n    enabled: true",
            "  ping:\n    enabled: false",
            "1s",
        )?;
        poll("the old config to be back", SOON, || {
            let status: Value = serde_json::from_str(&node.run(&["config", "status", "--json"])?)?;
            Ok(status.get("pending").is_none_or(Value::is_null).then_some(()))
        })?;
        node.run(&["config", "rollback"])?;
        applied += 2;
    }
    ensure!(
        client.exited()?.is_none(),
        "iperf3 ended before the last change\n{}",
        client.tail(20)
    );
    let told = client.finish(RUNS + SOON)?;
    let report: Value = serde_json::from_str(&told.stdout).context("iperf3 prints no JSON")?;
    let megabytes = judge(&report)?;
    stage.note(&format!(
        "{applied} changes of the config beside iperf3: two streams, none ended, {megabytes:.0} MB"
    ));
    Ok(())
}

/// Applies the config in use with one text in the place of another.
fn apply(node: &Node, old: &str, new: &str, within: &str) -> Result<()> {
    let text = node.config_text()?;
    ensure!(
        text.contains(old),
        "{} has no {old:?} in its config:\n{text}",
        node.name
    );
    let file = node.folder().join("candidate.yaml");
    fs::write(&file, text.replacen(old, new, 1))?;
    let file = file.to_str().context("a path that is no text")?;
    node.run(&["config", "apply", file, "--confirm-timeout", within])?;
    Ok(())
}

/// Returns what arrived, in megabytes.
///
/// # Errors
/// Where iperf3 met one, or a stream stood still for a whole second.
fn judge(report: &Value) -> Result<f64> {
    if let Some(error) = report.get("error") {
        bail!("iperf3: {error}");
    }
    let intervals = report
        .pointer("/intervals")
        .and_then(Value::as_array)
        .context("no intervals")?;
    ensure!(
        intervals.len() as u64 >= RUNS.as_secs(),
        "only {} seconds",
        intervals.len()
    );
    for (second, interval) in intervals.iter().enumerate() {
        let streams = interval
            .pointer("/streams")
            .and_then(Value::as_array)
            .context("no streams")?;
        for stream in streams {
            let bytes = stream
                .pointer("/bytes")
                .and_then(Value::as_f64)
                .context("no bytes")?;
            ensure!(bytes > 0.0, "a stream stood still in second {second}: {stream}");
        }
    }
    let bytes = report.pointer("/end/sum_received/bytes").and_then(Value::as_f64);
    Ok(bytes.context("iperf3 reports no sum")? / 1e6)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(bytes: [u64; 2]) -> Value {
        let intervals: Vec<Value> = (0..RUNS.as_secs())
            .map(|_| json!({ "streams": [{ "bytes": bytes[0] }, { "bytes": bytes[1] }] }))
            .collect();
        let sum = json!({ "bytes": 2_000_000 });
        json!({ "intervals": intervals, "end": { "sum_received": sum } })
    }

    #[test]
    fn a_stream_that_stands_still_or_ends_is_seen() {
        assert!((judge(&report([1, 1])).unwrap() - 2.0).abs() < 1e-9);
        assert!(judge(&report([1, 0])).is_err());
        let mut broken = report([1, 1]);
        broken["error"] = json!("control socket has closed unexpectedly");
        assert!(judge(&broken).is_err());
        let mut short = report([1, 1]);
        short["intervals"].as_array_mut().unwrap().pop();
        assert!(judge(&short).is_err());
    }
}
