//! Members and strangers, and a list that changes under a running relay.

use std::time::Instant;

use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use peerup_model::PathPolicy;
use peerup_net::{Audience, Node, NodeConfig, PolicyHandle, ProtocolTable, RelayAddress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, DEADLINE, ECHO_PROTOCOL};
use crate::setting::{Setting, policy_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reserves_and_another_reaches_it() {
    let (host_key, guest_key) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let guest_id = guest_key.public().to_peer_id();
    let mut host = Client::start(host_key, &[guest_id]).await;
    let mut guest = Client::start(guest_key, &[]).await;
    let setting = Setting::with_members(&[host.peer, guest.peer], "").await;
    host.connect(&setting.relay).await;
    guest.connect(&setting.relay).await;

    assert!(host.reserve(&setting.relay).await);
    assert!(guest.dial_through(&setting.relay, host.peer).await);

    // More than the 128 KiB that libp2p allows a circuit by default.
    let mut stream = guest
        .streams
        .open(&host.peer, ECHO_PROTOCOL, Default::default())
        .await
        .unwrap();
    let sent = vec![7u8; 300 << 10];
    let (body, mut inbound) = (sent.clone(), host.inbound.recv().await.unwrap().stream);
    let writing = tokio::spawn(async move {
        stream.write_all(&body).await.unwrap();
        stream.shutdown().await.unwrap();
        stream
    });
    let mut received = Vec::new();
    inbound.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, sent);
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_cut_off_right_after_the_handshake() {
    let mut stranger = Client::random().await;
    let setting = Setting::with_members(&[], "").await;

    stranger.connect(&setting.relay).await;

    stranger.closed(&setting.relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_member_by_hand_closes_its_connections_within_a_second() {
    let mut member = Client::random().await;
    let other = Client::random().await;
    let setting = Setting::with_members(&[member.peer, other.peer], "").await;
    member.connect(&setting.relay).await;
    assert!(member.reserve(&setting.relay).await);

    let before = Instant::now();
    std::fs::write(&setting.keys, format!("{}\n", other.peer)).unwrap();
    member.closed(&setting.relay).await;

    assert!(before.elapsed().as_millis() < 1000, "took {:?}", before.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_a_member_by_hand_lets_it_in() {
    let mut member = Client::random().await;
    let setting = Setting::with_members(&[], "").await;
    std::fs::write(&setting.keys, member.peer.to_string()).unwrap();

    // The list is looked at a few times a second; until then the gate closes each connection.
    let stays = async {
        loop {
            member.connect(&setting.relay).await;
            if member.reserve(&setting.relay).await {
                return;
            }
        }
    };

    tokio::time::timeout(DEADLINE, stays).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_keeps_the_last_good_list_in_force() {
    let (mut member, mut removed) = (Client::random().await, Client::random().await);
    let setting = Setting::with_members(&[member.peer, removed.peer], "").await;
    member.connect(&setting.relay).await;
    removed.connect(&setting.relay).await;
    std::fs::write(&setting.keys, "this is no peer id\n").unwrap();

    assert!(
        removed.reserve(&setting.relay).await,
        "a bad list throws nobody out"
    );
    std::fs::write(&setting.keys, format!("{}\n", member.peer)).unwrap();
    removed.closed(&setting.relay).await;

    assert!(member.reserve(&setting.relay).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_closes_the_connections_and_frees_the_port() {
    let mut member = Client::random().await;
    let Setting { relay, .. } = Setting::with_members(&[member.peer], "").await;
    member.connect(&relay).await;
    let (peer, addresses, before) = (relay.peer_id(), relay.addresses().to_vec(), Instant::now());

    relay.shutdown().await;

    assert!(before.elapsed().as_secs() < 5);
    member
        .wait("the end", |event| {
            matches!(event, SwarmEvent::ConnectionClosed { peer_id, .. } if *peer_id == peer).then_some(())
        })
        .await;
    let port = addresses[0].iter().find_map(|part| match part {
        multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    std::net::TcpListener::bind(("127.0.0.1", port.unwrap())).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_know_each_other_meet_over_the_relay() {
    let keys = [Keypair::generate_ed25519(), Keypair::generate_ed25519()];
    let peers = keys.each_ref().map(|key| key.public().to_peer_id());
    let setting = Setting::with_members(&peers, "").await;
    let relay = setting.relay.peer_id();
    let mut nodes = Vec::new();
    for key in keys {
        let table = ProtocolTable::new();
        table.register(ECHO_PROTOCOL, Audience::Members).unwrap();
        let mut config = NodeConfig::new(key);
        config.relays = vec![RelayAddress {
            peer: relay,
            addresses: setting.relay.addresses().to_vec(),
        }];
        let policy = PolicyHandle::new(policy_of(&peers).with_infra([relay]));
        nodes.push(Node::start(config, policy, table).await.unwrap());
    }
    let (host, mut inbound) = nodes.remove(0);
    let (caller, _inbound) = nodes.remove(0);
    reserved(&host).await;
    reserved(&caller).await;

    let mut stream = caller
        .open(peers[0], ECHO_PROTOCOL, PathPolicy::RelayOnly)
        .await
        .unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();

    let mut received = Vec::new();
    inbound
        .recv()
        .await
        .unwrap()
        .stream
        .read_to_end(&mut received)
        .await
        .unwrap();
    assert_eq!(received, b"hello");
}

async fn reserved(node: &Node) {
    let mut status = node.watch();
    let reserved = status.wait_for(|status| status.reserved_relays == 1);
    tokio::time::timeout(DEADLINE, reserved).await.unwrap().unwrap();
}
