//! What the relay does on each connection, and in which order.

use std::sync::Arc;

use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Swarm, identify, ping, relay};
use peerup_net::{Gate, PolicyHandle, Streams, TransportError, server_swarm_with};

use crate::guard::{CircuitRules, RelayGuard};

/// The protocol family that identify names.
const IDENTIFY_PROTOCOL: &str = "/peerup/1.0.0";

/// The gate comes first: behaviours before it would keep state of connections that it denies.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    gate: Gate,
    relay: RelayGuard,
    streams: Streams,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// Builds the swarm. It listens nowhere yet.
pub(crate) async fn build(
    key: Keypair,
    policy: PolicyHandle,
    streams: Streams,
    config: relay::Config,
    rules: Arc<dyn CircuitRules>,
) -> Result<Swarm<Behaviour>, TransportError> {
    let agent = format!("relay-server/{}", env!("CARGO_PKG_VERSION"));
    server_swarm_with(key, move |key| Behaviour {
        gate: Gate::new(policy),
        relay: RelayGuard::new(key.public().to_peer_id(), config, rules),
        streams,
        identify: identify::Behaviour::new(
            identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public()).with_agent_version(agent),
        ),
        ping: ping::Behaviour::default(),
    })
    .await
}
