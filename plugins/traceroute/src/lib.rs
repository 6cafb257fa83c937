//! Shows the way to a peer: straight there, or over which relay, with the round trip to each hop.
//!
//! The round trip to the peer is measured on a stream of its ping protocol; the one to a relay is what the host
//! last measured on its connection there.

mod report;

use std::time::Duration;

use peerup_plugin_sdk::{
    Arguments, Command, Error, Incoming, Outgoing, Path, PathPolicy, Peer, peers, streams, time,
};
use serde::Deserialize;

use crate::report::{Hop, Summary};

const PROTOCOL: &str = "/peerup/ping/1.0.0";
/// The longest line of the protocol, newline included.
const MAX_LINE: usize = 64;
/// How long to wait for the host's first measurement on a new connection to a relay.
const FIRST_MEASUREMENT: Duration = Duration::from_secs(1);
/// How often to look for it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

struct Traceroute;

peerup_plugin_sdk::register!(Traceroute: command);

/// The arguments of `traceroute`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trace {
    /// A name, a peer id, or a prefix of one.
    peer: String,
    /// For the answer of the peer, opening the stream included.
    #[serde(default = "five_seconds")]
    timeout_ms: u64,
}

fn five_seconds() -> u64 {
    5_000
}

/// What came back from the peer, and on which way.
struct Answer {
    rtt: Duration,
    peer: Peer,
    path: Path,
}

impl Command for Traceroute {
    async fn run(name: String, arguments: Arguments) -> Result<(), Error> {
        if name != "traceroute" {
            return Err(Error::invalid(format!(
                "no command {name:?}; there is `traceroute`"
            )));
        }
        arguments.parse::<Trace>()?.run().await
    }
}

impl Trace {
    async fn run(&self) -> Result<(), Error> {
        let limit = Duration::from_millis(self.timeout_ms);
        let measured = time::timeout(limit, self.measure()).await;
        let answer = measured.map_err(|error| self.explained(error))?;
        let via = match &answer.path {
            Path::Direct(_) => None,
            Path::Relayed(relay) => Some(relay),
        };
        if let Some(relay) = via {
            relay_hop(relay).await?.tell().await?;
        }
        let last = Hop {
            number: if via.is_some() { 2 } else { 1 },
            peer: &answer.peer,
            rtt: Some(answer.rtt.into()),
            address: direct_address(&answer).await?,
        };
        last.tell().await?;
        let summary = Summary {
            target: &answer.peer,
            path: &answer.path,
            rtt: answer.rtt.into(),
            hops: last.number,
        };
        summary.tell().await
    }

    /// Measures one round trip on a stream of its own.
    async fn measure(&self) -> Result<Answer, Error> {
        let stream = streams::open(&self.peer, PROTOCOL, PathPolicy::PreferDirect).await?;
        let (Some(peer), Some(path)) = (stream.peer(), stream.path()) else {
            return Err(Error::closed("the host does not say which way the stream takes"));
        };
        let rtt = self.round_trip(stream.receive(), stream.send()).await?;
        Ok(Answer { rtt, peer, path })
    }

    async fn round_trip(&self, mut incoming: Incoming, mut outgoing: Outgoing) -> Result<Duration, Error> {
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
        Ok(rtt)
    }

    /// A peer that is silent for too long is told as one that cannot be reached, as `ping` tells it.
    fn explained(&self, error: Error) -> Error {
        match error {
            Error::TimedOut(why) => Error::unreachable(format!(
                "no answer from {}: {why}; is its daemon running? see: peerup status",
                self.peer
            )),
            other => other,
        }
    }
}

/// Returns the address of the connection that the answer came on; none over a relay, where the way to the peer
/// has none of its own, and where addresses are not granted.
async fn direct_address(answer: &Answer) -> Result<Option<String>, Error> {
    if matches!(answer.path, Path::Relayed(_)) {
        return Ok(None);
    }
    let mut connections = seen(&answer.peer).await?;
    connections.retain(|connection| connection.path == answer.path);
    Ok(connections.into_iter().find_map(|connection| connection.address))
}

/// Describes a relay by the host's connection to it, waiting a little where nothing was measured on it yet.
async fn relay_hop(relay: &Peer) -> Result<Hop<'_>, Error> {
    let start = time::now();
    loop {
        let best = seen(relay).await?.into_iter().next();
        let rtt = best.as_ref().and_then(|connection| connection.round_trip);
        if rtt.is_some() || start.elapsed() >= FIRST_MEASUREMENT {
            return Ok(Hop {
                number: 1,
                peer: relay,
                rtt: rtt.map(Into::into),
                address: best.and_then(|connection| connection.address),
            });
        }
        time::sleep(LOOK_AGAIN).await;
    }
}

/// The host's connections to a peer; none to one that it has lost sight of meanwhile.
async fn seen(peer: &Peer) -> Result<Vec<peers::Connection>, Error> {
    match peers::describe(&peer.id).await {
        Ok(details) => Ok(details.connections),
        Err(Error::NotFound(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
