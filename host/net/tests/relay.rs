//! Circuits over a relay: reaching a peer, refusals, the relay's restart, and the step to a direct path.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is a failed test"
)]

mod common;

use std::time::Duration;

use common::{Over, TestNode, WEB, event, id, identities, members, start_with, within};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, identify,
    identity::Keypair,
    ping, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use peerup_model::{PathKind, PathPolicy};
use peerup_net::{
    Gate, NodeEvent, OpenError, PolicyHandle, RelayAddress, RelayRefusal, StreamLimits, server_swarm_with,
};
use peerup_trust::AccessPolicy;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

const ANY: PathPolicy = PathPolicy::PreferDirect;

#[derive(NetworkBehaviour)]
struct RelayBehaviour {
    gate: Gate,
    relay: relay::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

struct TestRelay {
    address: RelayAddress,
    task: JoinHandle<()>,
}

async fn relay_swarm(
    key: &Keypair,
    clients: &[PeerId],
    listen: &Multiaddr,
) -> (Swarm<RelayBehaviour>, Multiaddr) {
    let policy = PolicyHandle::new(members(clients));
    let mut swarm = server_swarm_with(key.clone(), |key| RelayBehaviour {
        gate: Gate::new(policy),
        relay: relay::Behaviour::new(
            key.public().to_peer_id(),
            relay::Config {
                max_circuit_bytes: 0,
                max_circuit_duration: Duration::from_secs(3600),
                ..relay::Config::default()
            },
        ),
        identify: identify::Behaviour::new(identify::Config::new("/peerup/1".into(), key.public())),
        ping: ping::Behaviour::default(),
    })
    .await
    .unwrap();
    swarm.listen_on(listen.clone()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    swarm.add_external_address(address.clone());
    (swarm, address)
}

async fn start_relay(key: &Keypair, clients: &[PeerId], listen: &str) -> TestRelay {
    let (mut swarm, address) = relay_swarm(key, clients, &listen.parse().unwrap()).await;
    let task = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    TestRelay {
        address: RelayAddress {
            peer: id(key),
            addresses: vec![address],
        },
        task,
    }
}

impl TestRelay {
    async fn stop(self) -> String {
        self.task.abort();
        let _ = self.task.await;
        self.address.addresses[0].to_string()
    }
}

async fn client(key: &Keypair, policy: AccessPolicy, over: &[Over], relay: &RelayAddress) -> TestNode {
    let policy = policy.with_infra([relay.peer]);
    start_with(key, policy, over, vec![relay.clone()], StreamLimits::default()).await
}

async fn reserved(node: &TestNode) {
    let mut status = node.node.watch();
    within(status.wait_for(|status| status.reserved_relays == 1))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_without_addresses_meet_over_the_relay() {
    for listen in [
        "/ip4/127.0.0.1/tcp/0",
        "/ip4/127.0.0.1/udp/0/quic-v1",
        "/ip4/127.0.0.1/tcp/0/ws",
    ] {
        let [r, a, b] = identities();
        let relay = start_relay(&r, &[id(&a), id(&b)], listen).await;
        let mut server = client(&a, members(&[id(&b)]), &[], &relay.address).await;
        let caller = client(&b, members(&[id(&a)]), &[], &relay.address).await;
        reserved(&server).await;
        let mut stream = within(caller.node.open(server.id(), WEB, ANY)).await.unwrap();
        assert_eq!(stream.path(), PathKind::Relayed(id(&r)), "{listen}");
        stream.write_all(b"over the relay").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut inbound = server.next_inbound().await;
        assert_eq!(inbound.path, PathKind::Relayed(id(&r)));
        assert_eq!(inbound.peer, caller.id());
        let mut text = Vec::new();
        within(inbound.stream.read_to_end(&mut text)).await.unwrap();
        assert_eq!(text, b"over the relay");
        relay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_path_that_cannot_be_had_is_reported_as_such() {
    let [r, a, b] = identities();
    let relay = start_relay(&r, &[id(&a), id(&b)], "/ip4/127.0.0.1/tcp/0").await;
    let server = client(&a, members(&[id(&b)]), &[], &relay.address).await;
    let caller = client(&b, members(&[id(&a)]), &[], &relay.address).await;
    reserved(&server).await;
    let error = within(caller.node.open(server.id(), WEB, PathPolicy::DirectOnly))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::PathPolicy { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_killed_and_comes_back_is_used_again() {
    let [r, a, b] = identities();
    let relay = start_relay(&r, &[id(&a), id(&b)], "/ip4/127.0.0.1/tcp/0").await;
    let address = relay.address.clone();
    let mut server = client(&a, members(&[id(&b)]), &[], &address).await;
    reserved(&server).await;
    let mut events = server.node.events();
    let listen = relay.stop().await;
    event(&mut events, |event| matches!(event, NodeEvent::RelayLost { .. })).await;
    let snapshot = server.node.snapshot().await.unwrap();
    assert!(!snapshot.relays[0].reserved);
    assert!(snapshot.relays[0].last_error.is_some());

    let _again = start_relay(&r, &[id(&a), id(&b)], &listen).await;
    event(&mut events, |event| {
        matches!(event, NodeEvent::RelayReserved { .. })
    })
    .await;
    let caller = client(&b, members(&[id(&a)]), &[], &address).await;
    let _stream = within(caller.node.open(server.id(), WEB, ANY)).await.unwrap();
    server.next_inbound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relays_refusal_is_passed_on_in_words() {
    let [r, a, b, c] = identities();
    let relay = start_relay(&r, &[id(&a), id(&b), id(&c)], "/ip4/127.0.0.1/tcp/0").await;
    let caller = client(&b, members(&[id(&a), id(&c)]), &[], &relay.address).await;
    let error = within(caller.node.open(id(&a), WEB, ANY)).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::RelayRefused {
                reason: RelayRefusal::NoReservation,
                ..
            }
        ),
        "{error}"
    );
    // A peer that does not know the caller refuses the circuit before any handshake.
    let closed = client(&c, AccessPolicy::default(), &[], &relay.address).await;
    reserved(&closed).await;
    let error = within(caller.node.open(id(&c), WEB, ANY)).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::RelayRefused {
                reason: RelayRefusal::PeerRefused,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(closed.node.gate().denied(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_does_not_know_the_node_shows_in_the_snapshot() {
    let [r, a] = identities();
    let relay = start_relay(&r, &[], "/ip4/127.0.0.1/tcp/0").await;
    let node = client(&a, members(&[]), &[], &relay.address).await;
    let error = within(async {
        loop {
            let snapshot = node.node.snapshot().await.unwrap();
            match snapshot.relays[0].last_error.clone() {
                Some(error) => return error,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert!(!error.is_empty());
    assert_eq!(node.node.watch().borrow().reserved_relays, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_can_be_changed_while_the_node_runs() {
    let [r, s, a] = identities();
    let one = start_relay(&r, &[id(&a)], "/ip4/127.0.0.1/tcp/0").await;
    let two = start_relay(&s, &[id(&a)], "/ip4/127.0.0.1/tcp/0").await;
    let node = client(&a, members(&[]).with_infra([id(&s)]), &[], &one.address).await;
    reserved(&node).await;
    let mut events = node.node.events();
    node.node.set_relays(vec![two.address.clone()]).await;
    event(&mut events, |event| {
        *event == NodeEvent::RelayReserved { relay: id(&s) }
    })
    .await;
    let snapshot = node.node.snapshot().await.unwrap();
    assert_eq!(snapshot.relays.len(), 1);
    assert_eq!(snapshot.relays[0].peer, id(&s));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_streams_go_direct_once_a_direct_path_exists_and_the_circuit_ends() {
    let [r, a, b] = identities();
    let relay = start_relay(&r, &[id(&a), id(&b)], "/ip4/127.0.0.1/tcp/0").await;
    let mut server = client(&a, members(&[id(&b)]), &[Over::Tcp], &relay.address).await;
    let caller = client(&b, members(&[id(&a)]), &[], &relay.address).await;
    reserved(&server).await;
    let mut over_relay = within(caller.node.open(server.id(), WEB, PathPolicy::RelayOnly))
        .await
        .unwrap();
    assert!(over_relay.path().is_relayed());
    let mut far = server.next_inbound().await.stream;

    let direct: Vec<Multiaddr> = server.node.snapshot().await.unwrap().listen;
    for address in direct
        .into_iter()
        .filter(|address| !peerup_net::path_of(address).is_relayed())
    {
        caller.node.add_address(server.id(), address).await;
    }
    let direct = within(caller.node.open(server.id(), WEB, PathPolicy::DirectOnly))
        .await
        .unwrap();
    assert!(!direct.path().is_relayed());
    let next = within(caller.node.open(server.id(), WEB, ANY)).await.unwrap();
    assert!(!next.path().is_relayed());
    // The stream over the circuit lives on until it ends by itself.
    over_relay.write_all(b"still here").await.unwrap();
    over_relay.flush().await.unwrap();
    let mut text = [0; 10];
    within(far.read_exact(&mut text)).await.unwrap();
    let conns = caller.node.streams().connections(&server.id());
    let circuit = conns
        .iter()
        .find(|conn| conn.path().is_relayed())
        .unwrap()
        .clone();
    drop((over_relay, far));
    within(async {
        while !circuit.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let conns = caller.node.streams().connections(&server.id());
    assert!(conns.iter().all(|conn| !conn.path().is_relayed()));
    // Hole punching may have made more of them; the side with the smaller id keeps one of each kind.
    let (small, large) = if caller.id() < server.id() {
        (&caller, &server)
    } else {
        (&server, &caller)
    };
    let kept = |node: &TestNode, peer: PeerId| {
        let conns = node.node.streams().connections(&peer);
        conns.iter().filter(|conn| !conn.is_superseded()).count()
    };
    assert_eq!(
        kept(small, large.id()),
        1,
        "{:#?}",
        small.node.streams().connections(&large.id())
    );
}
