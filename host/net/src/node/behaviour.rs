//! The behaviours of a node, the gate first.

use std::time::Duration;

use libp2p::{dcutr, identify, identity::Keypair, ping, relay::client, swarm::NetworkBehaviour};

use crate::{gate::Gate, observed::Observed, streams::Streams};

/// The version of the protocol family that identify exchanges.
const FAMILY: &str = "/peerup/1";
/// How often each connection is asked whether it still answers.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long an answer may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// All behaviours of a node. The order matters: libp2p stops at the first that denies a connection.
#[derive(NetworkBehaviour)]
pub(super) struct NodeBehaviour {
    pub(super) gate: Gate,
    pub(super) streams: Streams,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) relay: client::Behaviour,
    pub(super) dcutr: dcutr::Behaviour,
    pub(super) observed: Observed,
}

impl NodeBehaviour {
    pub(super) fn new(
        keypair: &Keypair,
        agent: String,
        relay: client::Behaviour,
        gate: Gate,
        streams: Streams,
    ) -> Self {
        // Listen addresses are hidden: they say much about the inside of a network, and with many interfaces the
        // message outgrows identify's 4 KiB.
        let identify = identify::Config::new(FAMILY.to_owned(), keypair.public())
            .with_agent_version(agent)
            .with_hide_listen_addrs(true)
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        let ping = ping::Config::new()
            .with_interval(PING_INTERVAL)
            .with_timeout(PING_TIMEOUT);
        Self {
            gate,
            streams,
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            relay,
            dcutr: dcutr::Behaviour::new(keypair.public().to_peer_id()),
            observed: Observed::default(),
        }
    }
}
