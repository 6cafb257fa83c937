//! The behaviours of a node, the gate first.

use std::{num::NonZeroUsize, time::Duration};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::transport::ListenerId,
    identify,
    identity::Keypair,
    kad::{
        self,
        store::{MemoryStore, MemoryStoreConfig},
    },
    mdns, ping,
    relay::client,
    swarm::{FromSwarm, NetworkBehaviour, NewListenAddr, behaviour::toggle::Toggle},
    upnp,
};
use peerup_model::KAD_PROTOCOL;
use peerup_trust::RECORD_TTL;

use crate::{
    autonat::AutonatClient, config::DiscoveryConfig, gate::Gate, observed::Observed, streams::Streams,
};

/// The version of the protocol family that identify exchanges.
const FAMILY: &str = "/peerup/1";
/// How often libp2p pings each connection by itself; the node probes idle and doubtful ones on its own, and sooner.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long an answer may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a query of the DHT may take with all relays that it asks.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Relays that one query asks at once. A node has few, and all of them are to get its record.
const QUERY_PARALLELISM: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not zero");

/// All behaviours of a node. The order matters: libp2p stops at the first that denies a connection.
///
/// Each one costs a little on every frame of every connection; there is none that the node could do without.
#[derive(NetworkBehaviour)]
pub(super) struct NodeBehaviour {
    pub(super) gate: Gate,
    pub(super) streams: Streams,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) relay: client::Behaviour,
    pub(super) observed: Observed,
    pub(super) mdns4: Toggle<mdns::tokio::Behaviour>,
    pub(super) mdns6: Toggle<mdns::tokio::Behaviour>,
    pub(super) kad: Toggle<kad::Behaviour<MemoryStore>>,
    pub(super) upnp: Toggle<upnp::tokio::Behaviour>,
    pub(super) autonat: Toggle<AutonatClient>,
}

impl NodeBehaviour {
    pub(super) fn new(
        keypair: &Keypair,
        agent: String,
        relay: client::Behaviour,
        (gate, streams): (Gate, Streams),
        discovery: DiscoveryConfig,
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
        let local = keypair.public().to_peer_id();
        Self {
            gate,
            streams,
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            relay,
            observed: Observed::default(),
            mdns4: discovery.mdns.then(|| mdns(local, false)).flatten().into(),
            mdns6: discovery.mdns.then(|| mdns(local, true)).flatten().into(),
            kad: discovery.dht.then(|| kad(local)).into(),
            upnp: discovery.upnp.then(upnp::tokio::Behaviour::default).into(),
            autonat: discovery.autonat.then(AutonatClient::default).into(),
        }
    }

    /// Forgets what the last network was like: what is reachable is tested again, and a router looked for, for these
    /// listen addresses. The addresses that the swarm holds for reachable are the caller's to remove, before this.
    ///
    /// Mappings on a router that is still there stay until their hour is over.
    pub(super) fn start_anew<'a>(&mut self, listening: impl IntoIterator<Item = &'a Multiaddr>) {
        if let Some(autonat) = self.autonat.as_mut() {
            autonat.reset();
        }
        // Safe to replace: its connection handlers do nothing. It misses where the node listens, and maps that anew.
        if let Some(upnp) = self.upnp.as_mut() {
            *upnp = upnp::tokio::Behaviour::default();
            for addr in listening {
                upnp.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr {
                    listener_id: ListenerId::next(),
                    addr,
                }));
            }
        }
    }
}

/// Makes the half of mDNS for one address family: an instance of libp2p's serves one only.
fn mdns(local: PeerId, enable_ipv6: bool) -> Option<mdns::tokio::Behaviour> {
    let config = mdns::Config {
        enable_ipv6,
        ..mdns::Config::default()
    };
    match mdns::tokio::Behaviour::new(config, local) {
        Ok(behaviour) => Some(behaviour),
        Err(error) => {
            tracing::warn!(ipv6 = enable_ipv6, %error, "peers on the local network cannot be looked for");
            None
        }
    }
}

/// Makes a client of the private DHT. It serves nobody, keeps nothing, and knows the relays it is told of.
pub(super) fn kad(local: PeerId) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(StreamProtocol::new(KAD_PROTOCOL));
    config
        .set_query_timeout(QUERY_TIMEOUT)
        .set_parallelism(QUERY_PARALLELISM)
        .set_record_ttl(Some(RECORD_TTL.unsigned_abs()))
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual);
    let store = MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: 0,
        max_provided_keys: 0,
    };
    let mut kad = kad::Behaviour::with_config(local, MemoryStore::with_config(local, store), config);
    // By itself libp2p takes a circuit's address for a sign that others can reach this node.
    kad.set_mode(Some(kad::Mode::Client));
    kad
}
