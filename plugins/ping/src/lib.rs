//! Measures the round trip to a peer, and answers peers that measure theirs.

mod report;

use std::time::Duration;

use peerup_plugin_sdk::{Arguments, Command, Duplex, Error, Inbound, PathPolicy, Request, streams, time};
use serde::Deserialize;

use crate::report::{Answer, Statistics, tell_failure};

const PROTOCOL: &str = "/peerup/ping/1.0.0";
/// The longest line of the protocol, newline included.
const MAX_LINE: usize = 64;
/// How long a peer may be silent before its stream is reset.
const MAX_SILENCE: Duration = Duration::from_secs(15);

struct Ping;

peerup_plugin_sdk::register!(Ping: inbound, command);

impl Inbound for Ping {
    async fn handle(_: Request, connection: Duplex) -> Result<(), Error> {
        let (mut incoming, mut outgoing) = (connection.receive(), connection.send());
        while let Some(line) = time::timeout(MAX_SILENCE, incoming.read_line(MAX_LINE)).await? {
            let answer = if line == b"ping" { "pong\n" } else { "unknown\n" };
            time::timeout(MAX_SILENCE, outgoing.write_all(answer)).await?;
        }
        time::timeout(MAX_SILENCE, outgoing.finish()).await
    }
}

/// The arguments of `ping`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Measure {
    /// A name, a peer id, or a prefix of one.
    peer: String,
    /// How many; 0 goes on until the caller leaves.
    #[serde(default)]
    count: u64,
    /// From one start to the next.
    #[serde(default = "one_second")]
    interval_ms: u64,
    /// For each, opening the stream included.
    #[serde(default = "five_seconds")]
    timeout_ms: u64,
    /// Whether to stop at the first answer that came on a direct path.
    #[serde(default)]
    until_direct: bool,
}

fn one_second() -> u64 {
    1_000
}

fn five_seconds() -> u64 {
    5_000
}

impl Command for Ping {
    async fn run(name: String, arguments: Arguments) -> Result<(), Error> {
        if name != "ping" {
            return Err(Error::invalid(format!("no command {name:?}; there is `ping`")));
        }
        arguments.parse::<Measure>()?.run().await
    }
}

impl Measure {
    async fn run(&self) -> Result<(), Error> {
        let mut statistics = Statistics::default();
        let mut last_error = None;
        let mut seq = 0_u64;
        loop {
            seq += 1;
            let start = time::now();
            match time::timeout(Duration::from_millis(self.timeout_ms), self.once()).await {
                Ok(answer) => {
                    statistics.add(Some(answer.rtt));
                    answer.tell(seq).await?;
                    if self.until_direct && answer.is_direct() {
                        break;
                    }
                }
                // Asking again cannot mend these.
                Err(error @ (Error::Denied(_) | Error::NotFound(_) | Error::Invalid(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    statistics.add(None);
                    tell_failure(seq, &error).await?;
                    last_error = Some(error);
                }
            }
            if seq == self.count {
                break;
            }
            time::sleep(Duration::from_millis(self.interval_ms).saturating_sub(start.elapsed())).await;
        }
        statistics.tell().await?;
        match last_error {
            Some(error) if statistics.nothing_came_back() => Err(Error::unreachable(format!(
                "no answer from {}: {error}",
                self.peer
            ))),
            _ => Ok(()),
        }
    }

    /// Measures one round trip on a stream of its own.
    async fn once(&self) -> Result<Answer, Error> {
        let stream = streams::open(&self.peer, PROTOCOL, PathPolicy::PreferDirect).await?;
        let (mut incoming, mut outgoing) = (stream.receive(), stream.send());
        let start = time::now();
        outgoing.write_all("ping\n").await?;
        let line = incoming.read_line(MAX_LINE).await?;
        let rtt = start.elapsed();
        if line.as_deref() != Some(b"pong") {
            return Err(Error::refused(format!(
                "{} gave another answer than pong",
                self.peer
            )));
        }
        Ok(Answer {
            rtt: rtt.into(),
            peer_id: stream.peer().map(|peer| peer.id),
            path: stream.path(),
        })
    }
}
