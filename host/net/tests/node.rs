//! Starting, describing and stopping a node, and what it says when a peer cannot be reached.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

mod common;

use std::time::Duration;

use common::{Over, WEB, event, id, identities, members, pair, start, within};
use libp2p::Multiaddr;
use peerup_model::PathPolicy;
use peerup_net::{Node, NodeConfig, NodeEvent, OpenError, PolicyHandle, ProtocolTable, StartError};
use tokio::time::Instant;

const ANY: PathPolicy = PathPolicy::PreferDirect;

/// A free port for both transports and families, as far as one can tell beforehand.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_serves_both_families_and_transports() {
    let [a] = identities();
    let port = free_port();
    let listen = [
        format!("/ip4/0.0.0.0/tcp/{port}"),
        format!("/ip4/0.0.0.0/udp/{port}/quic-v1"),
        format!("/ip6/::/tcp/{port}"),
        format!("/ip6/::/udp/{port}/quic-v1"),
    ];
    let config = NodeConfig {
        listen: listen.iter().map(|address| address.parse().unwrap()).collect(),
        ..NodeConfig::new(a.clone())
    };
    let policy = PolicyHandle::new(members(&[]));
    let (node, _inbound) = Node::start(config, policy, ProtocolTable::new()).await.unwrap();
    assert!(node.watch().borrow().listening);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let [a, b] = identities();
    for over in [Over::Tcp, Over::Quic] {
        let first = start(&a, members(&[]), &[over]).await;
        let address = first.address().await;
        let config = NodeConfig {
            listen: vec![address.clone()],
            ..NodeConfig::new(b.clone())
        };
        let policy = PolicyHandle::new(members(&[]));
        match Node::start(config, policy, ProtocolTable::new()).await {
            Err(StartError::AddressInUse { address: named }) => assert_eq!(named, address),
            other => panic!("{over:?}: {:?}", other.map(|_| ())),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_addresses_and_relays_is_said_so() {
    let [a, b] = identities();
    let node = start(&a, members(&[id(&b)]), &[Over::Tcp]).await;
    let begin = Instant::now();
    let error = within(node.node.open(id(&b), WEB, ANY)).await.unwrap_err();
    assert!(matches!(error, OpenError::NoRelay { .. }), "{error}");
    assert!(error.to_string().contains(&id(&b).to_string()));
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_off_is_reported_with_every_address_tried() {
    let [a, b] = identities();
    let node = start(&a, members(&[id(&b)]), &[Over::Tcp]).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", closed.port()).parse().unwrap();
    node.node.add_address(id(&b), address.clone()).await;
    let error = within(node.node.open(id(&b), WEB, ANY)).await.unwrap_err();
    let OpenError::Unreachable { attempts, .. } = &error else {
        panic!("{error}");
    };
    assert!(attempts[0].contains(&address.to_string()), "{error}");
    assert!(attempts[0].contains("refused"), "{error}");
    let error = within(node.node.open(id(&b), WEB, PathPolicy::DirectOnly))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::PathPolicy { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_shows_the_peer_with_its_path_and_agent() {
    let (server, client) = pair(Over::Quic).await;
    within(client.node.connect(server.id())).await.unwrap();
    let snapshot = client.node.snapshot().await.unwrap();
    assert_eq!(snapshot.peers.len(), 1);
    let peer = &snapshot.peers[0];
    assert_eq!(peer.peer, server.id());
    assert!(peer.agent.as_ref().unwrap().starts_with("peerup/"));
    assert_eq!(peer.connections.len(), 1);
    assert!(client.node.watch().borrow().listening);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_everything_soon() {
    let (mut server, client) = pair(Over::Tcp).await;
    let _stream = within(client.node.open(server.id(), WEB, ANY)).await.unwrap();
    let _held = server.next_inbound().await;
    let mut events = client.node.events();
    let begin = Instant::now();
    server.node.shutdown().await;
    assert!(begin.elapsed() < Duration::from_secs(3));
    assert!(matches!(server.node.snapshot().await, Err(OpenError::Closed)));
    event(&mut events, |event| {
        matches!(event, NodeEvent::PeerDisconnected { .. })
    })
    .await;
    let error = within(client.node.open(server.id(), WEB, ANY)).await.unwrap_err();
    assert!(!matches!(error, OpenError::Timeout { .. }), "{error}");
}
