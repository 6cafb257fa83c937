//! Nodes on loopback for the tests of this crate.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses a part; a failed step is a failed test"
)]

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, identity::Keypair};
use peerup_net::{
    DiscoveryConfig, InboundStream, Node, NodeConfig, NodeEvent, PolicyHandle, ProtocolTable, RelayAddress,
    StreamLimits,
};
use peerup_trust::{AccessPolicy, AuthorizedKeys, Entry};
use tokio::{
    sync::{broadcast, mpsc},
    time::timeout,
};

pub const WEB: &str = "/peerup/web/1.0.0";
pub const SSH: &str = "/peerup/ssh/1.0.0";
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A policy in which these peers are members without limits.
pub fn members(peers: &[PeerId]) -> AccessPolicy {
    let mut keys = AuthorizedKeys::default();
    for peer in peers {
        keys.set(Entry::new(*peer)).unwrap();
    }
    AccessPolicy::new(&keys)
}

/// A policy in which one peer may use these services only.
pub fn limited(peer: PeerId, services: &[&str]) -> AccessPolicy {
    let text = format!("{peer} services={}\n", services.join(","));
    AccessPolicy::new(&AuthorizedKeys::parse(&text).unwrap())
}

pub fn identities<const N: usize>() -> [Keypair; N] {
    std::array::from_fn(|_| Keypair::generate_ed25519())
}

pub fn id(key: &Keypair) -> PeerId {
    key.public().to_peer_id()
}

/// A started node with everything a test wants to touch.
pub struct TestNode {
    pub node: Node,
    pub inbound: mpsc::Receiver<InboundStream>,
    pub policy: PolicyHandle,
    pub table: ProtocolTable,
}

/// Which transport the nodes of a test talk over.
#[derive(Debug, Clone, Copy)]
pub enum Over {
    Tcp,
    Quic,
    Websocket,
}

impl Over {
    fn address(self) -> Multiaddr {
        match self {
            Self::Tcp => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
            Self::Websocket => "/ip4/127.0.0.1/tcp/0/ws",
        }
        .parse()
        .unwrap()
    }
}

pub async fn start(key: &Keypair, policy: AccessPolicy, over: &[Over]) -> TestNode {
    start_with(key, policy, over, Vec::new(), StreamLimits::default()).await
}

pub async fn start_with(
    key: &Keypair,
    policy: AccessPolicy,
    over: &[Over],
    relays: Vec<RelayAddress>,
    limits: StreamLimits,
) -> TestNode {
    let policy = PolicyHandle::new(policy);
    let table = ProtocolTable::new();
    table.register_service(&"web".parse().unwrap()).unwrap();
    table.register_service(&"ssh".parse().unwrap()).unwrap();
    table
        .register(peerup_model::INVITE_PROTOCOL, peerup_net::Audience::Members)
        .unwrap();
    let config = NodeConfig {
        listen: over.iter().map(|over| over.address()).collect(),
        relays,
        limits,
        // Multicast leaves the machine.
        discovery: DiscoveryConfig {
            dht: true,
            autonat: true,
            ..DiscoveryConfig::OFF
        },
        ..NodeConfig::new(key.clone())
    };
    let (node, inbound) = Node::start(config, policy.clone(), table.clone()).await.unwrap();
    TestNode {
        node,
        inbound,
        policy,
        table,
    }
}

impl TestNode {
    pub fn id(&self) -> PeerId {
        self.node.peer_id()
    }

    pub async fn address(&self) -> Multiaddr {
        self.node
            .snapshot()
            .await
            .unwrap()
            .listen
            .first()
            .unwrap()
            .clone()
    }

    pub async fn knows(&self, other: &TestNode) {
        for address in other.node.snapshot().await.unwrap().listen {
            self.node.add_address(other.id(), address).await;
        }
    }

    pub async fn next_inbound(&mut self) -> InboundStream {
        within(self.inbound.recv()).await.unwrap()
    }
}

/// Two nodes that know and trust each other, the first listening.
pub async fn pair(over: Over) -> (TestNode, TestNode) {
    pair_with(over, StreamLimits::default()).await
}

pub async fn pair_with(over: Over, limits: StreamLimits) -> (TestNode, TestNode) {
    let [a, b] = identities();
    let server = start_with(&a, members(&[id(&b)]), &[over], Vec::new(), limits).await;
    let client = start(&b, members(&[id(&a)]), &[]).await;
    client.knows(&server).await;
    (server, client)
}

pub async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future)
        .await
        .expect("it did not happen in time")
}

pub async fn event(
    events: &mut broadcast::Receiver<NodeEvent>,
    wanted: impl Fn(&NodeEvent) -> bool,
) -> NodeEvent {
    within(async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}
