//! What the relay does on each connection, and in which order.

use std::sync::Arc;

use libp2p::identity::Keypair;
use libp2p::kad::{self, store::MemoryStore};
use libp2p::metrics::Registry;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Swarm, autonat::v2::server, identify, ping, relay};
use peerup_net::{Gate, PolicyHandle, Streams, TransportError, metered_swarm_with};

use crate::dial_guard::DialGuard;
use crate::guard::{CircuitRules, RelayGuard};
use crate::records::dht;

/// The protocol family that identify names.
const IDENTIFY_PROTOCOL: &str = "/peerup/1.0.0";

/// The gate comes first: behaviours before it would keep state of connections that it denies. The guard of dials
/// comes next, for the same reason.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) gate: Gate,
    dials: DialGuard,
    relay: RelayGuard,
    streams: Streams,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) kad: kad::Behaviour<MemoryStore>,
    autonat: server::Behaviour,
}

/// Builds the swarm. It listens nowhere yet.
pub(crate) async fn build(
    key: Keypair,
    policy: PolicyHandle,
    streams: Streams,
    config: relay::Config,
    rules: Arc<dyn CircuitRules>,
    registry: &mut Registry,
) -> Result<Swarm<Behaviour>, TransportError> {
    let agent = format!("relay-server/{}", env!("CARGO_PKG_VERSION"));
    metered_swarm_with(key, registry, move |key| Behaviour {
        gate: Gate::new(policy.clone()),
        dials: DialGuard::new(policy),
        relay: RelayGuard::new(key.public().to_peer_id(), config, rules),
        streams,
        identify: identify::Behaviour::new(
            // No cache: addresses that peers tell about themselves must not find their way into a dial.
            identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public())
                .with_agent_version(agent)
                .with_cache_size(0),
        ),
        ping: ping::Behaviour::default(),
        kad: dht(key.public().to_peer_id()),
        autonat: server::Behaviour::default(),
    })
    .await
}
