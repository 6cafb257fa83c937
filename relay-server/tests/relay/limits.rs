//! The limits of the config, as clients meet them.

use libp2p::identity::Keypair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, ECHO_PROTOCOL};
use crate::setting::Setting;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_relay_refuses_a_new_peer_and_renews_an_old_one() {
    let (mut old, mut new) = (Client::random().await, Client::random().await);
    // Renewals come at three quarters of the time.
    let settings = "resources:\n  max_reservations: 1\n  reservation_ttl: 4s\n";
    let setting = Setting::with_members(&[old.peer, new.peer], settings).await;
    old.connect(&setting.relay).await;
    new.connect(&setting.relay).await;

    assert!(old.reserve(&setting.relay).await);
    assert!(!new.reserve(&setting.relay).await);

    assert!(old.renewed().await);
    assert!(!new.reserve(&setting.relay).await, "the renewal kept the place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_free_again_when_its_peer_disconnects() {
    let (mut old, mut new) = (Client::random().await, Client::random().await);
    let setting = Setting::with_members(&[old.peer, new.peer], "resources:\n  max_reservations: 1\n").await;
    old.connect(&setting.relay).await;
    new.connect(&setting.relay).await;
    assert!(old.reserve(&setting.relay).await);
    assert!(!new.reserve(&setting.relay).await);

    let relay = setting.relay.peer_id();
    old.act(move |swarm| swarm.disconnect_peer_id(relay).unwrap());
    old.closed(&setting.relay).await;

    // The relay hears of the end a moment after the client.
    let freed = async { while !new.reserve(&setting.relay).await {} };
    tokio::time::timeout(crate::client::DEADLINE, freed)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_gets_no_more_than_its_share() {
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::random().await);
    }
    let peers: Vec<_> = clients.iter().map(|client| client.peer).collect();
    let setting = Setting::with_members(&peers, "resources:\n  max_reservations_per_ip: 2\n").await;
    let mut granted = Vec::new();

    for client in &mut clients {
        client.connect(&setting.relay).await;
        granted.push(client.reserve(&setting.relay).await);
    }

    assert_eq!(granted, [true, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_as_number_gets_no_more_than_its_share_and_a_reload_changes_that() {
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::random().await);
    }
    let peers: Vec<_> = clients.iter().map(|client| client.peer).collect();
    let settings = "resources:\n  max_reservations_per_asn: 2\n  asn_table: asn.txt\n";
    let setting = Setting::with_members(&peers, settings).await;
    let mut granted = Vec::new();

    for client in &mut clients {
        client.connect(&setting.relay).await;
        granted.push(client.reserve(&setting.relay).await);
    }

    assert_eq!(granted, [true, true, false]);
    let control = setting.relay.control();
    let snapshot = control.snapshot().await.unwrap();
    assert_eq!((snapshot.reservations, snapshot.asn_prefixes), (2, 1));
    let mut config = setting.config.clone();
    config.resources.max_reservations_per_asn = 3;
    config.resources.max_circuits = 7;
    let reloaded = control.reload(config).await.unwrap();
    assert!(reloaded.live.contains(&"resources.max_reservations_per_asn"));
    assert_eq!(reloaded.waits_for_restart, ["resources.max_circuits"]);
    assert!(clients[2].reserve(&setting.relay).await);
    let text = control.scrape(&peerup_api::ConfigState::default()).await.unwrap();
    let refused = r#"relay_refusals_total{what="reservation",reason="max_reservations_per_asn"} 1"#;
    assert!(text.contains(refused), "{text}");
    assert!(text.contains("relay_reservations 3"), "{text}");
    assert!(text.contains("libp2p_bandwidth_bytes_total{"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_does_not_hold_changes_nothing() {
    let mut client = Client::random().await;
    let setting = Setting::with_members(&[client.peer], "resources:\n  asn_table: asn.txt\n").await;
    let path = setting.config.resources.asn_table.clone().unwrap();
    std::fs::write(path, "127.0.0.0/8 64496\nnonsense\n").unwrap();

    let refused = setting
        .relay
        .control()
        .reload(setting.config.clone())
        .await
        .unwrap_err();

    assert!(refused.to_string().contains("line 2"), "{refused}");
    assert_eq!(setting.relay.control().snapshot().await.unwrap().asn_prefixes, 1);
    client.connect(&setting.relay).await;
    assert!(client.reserve(&setting.relay).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_gets_exactly_the_circuits_of_the_config() {
    let key = Keypair::generate_ed25519();
    let mut host = Client::random().await;
    let mut caller = Client::start(key, &[]).await;
    let settings = "resources:\n  max_circuits_per_peer: 2\n";
    let setting = Setting::with_members(&[host.peer, caller.peer], settings).await;
    host.connect(&setting.relay).await;
    caller.connect(&setting.relay).await;
    assert!(host.reserve(&setting.relay).await);
    let mut opened = Vec::new();

    for _ in 0..3 {
        opened.push(caller.dial_through(&setting.relay, host.peer).await);
    }

    assert_eq!(opened, [true, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_ends_when_its_bytes_are_used_up() {
    let caller_key = Keypair::generate_ed25519();
    let mut host = Client::start(Keypair::generate_ed25519(), &[caller_key.public().to_peer_id()]).await;
    let mut caller = Client::start(caller_key, &[]).await;
    let settings = "resources:\n  session_data_limit: 64KB\n";
    let setting = Setting::with_members(&[host.peer, caller.peer], settings).await;
    host.connect(&setting.relay).await;
    caller.connect(&setting.relay).await;
    assert!(host.reserve(&setting.relay).await);
    assert!(caller.dial_through(&setting.relay, host.peer).await);
    let mut stream = caller
        .streams
        .open(&host.peer, ECHO_PROTOCOL, Default::default())
        .await
        .unwrap();
    let mut inbound = host.inbound.recv().await.unwrap().stream;

    // What the sender can still write into its own buffers says nothing.
    let writing = tokio::spawn(async move {
        let _ = stream.write_all(&vec![7; 1 << 20]).await;
        let _ = stream.shutdown().await;
    });
    let mut received = Vec::new();
    let end = inbound.read_to_end(&mut received).await;

    assert!(end.is_err() || received.len() < 1 << 20);
    assert!(
        (32 << 10..=128 << 10).contains(&received.len()),
        "{}",
        received.len()
    );
    writing.await.unwrap();
}
