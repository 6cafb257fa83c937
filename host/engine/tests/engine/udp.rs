//! UDP: what is granted, what is not, and what a plugin that sends too much gets.

use peerup_engine::{EngineConfig, HostError, PluginError};
use peerup_model::Grants;
use serde_json::json;
use tokio::{net::UdpSocket, sync::mpsc};

use crate::support::{engine, engine_with, grants, hostile, limit_hit, load, refused, run, told, within};

/// Answers every datagram with its own bytes.
async fn echo() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut buffer = vec![0; 70_000];
        loop {
            let (count, from) = socket.recv_from(&mut buffer).await.unwrap();
            socket.send_to(&buffer[..count], from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_connected_socket_needs_a_grant_and_talks_to_its_target() {
    let (engine, address) = (engine(), echo().await);
    let plugin = load(&engine, hostile()).await;
    let ask = json!({ "target": address, "value": "hello" });
    let HostError::Denied(text) = refused(&plugin, "udp-ask", ask.clone()).await else {
        panic!("not denied");
    };
    assert_eq!(
        text,
        format!(
            "udp.connect to {address} is not granted to the plugin hostile; to allow it, write in the config: \
             plugins.hostile.grants.udp.connect: [\"{address}\"]"
        )
    );
    plugin.set_grants(grants(json!({ "udp": { "connect": [address] } })));
    assert_eq!(told(&plugin, "udp-ask", ask).await, "hello");
    let stats = plugin.stats();
    assert_eq!((stats.datagrams, stats.bytes_in, stats.bytes_out), (2, 5, 5));
    let huge = refused(&plugin, "udp-huge", json!({ "target": address })).await;
    assert!(matches!(huge, HostError::Invalid(_)), "{huge}");
}

#[tokio::test]
async fn a_bound_socket_needs_a_grant_and_answers_only_who_has_asked() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let stranger = echo().await;
    let arguments = json!({ "address": "127.0.0.1:0", "target": stranger });
    let HostError::Denied(text) = refused(&plugin, "udp-answer", arguments.clone()).await else {
        panic!("not denied");
    };
    assert!(
        text.ends_with("plugins.hostile.grants.udp.bind: [\"127.0.0.1:0\"]"),
        "{text}"
    );
    plugin.set_grants(grants(json!({ "udp": { "bind": ["127.0.0.1:*"] } })));
    let mut command = plugin
        .run_command("udp-answer", arguments, Grants::default())
        .unwrap();
    let address = within(command.next_event()).await.unwrap().text;
    let asker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    asker.send_to(b"ping", &address).await.unwrap();
    let mut buffer = [0; 16];
    let (count, _) = within(asker.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..count], b"ping");
    let outcome = within(command.finish()).await;
    let Err(PluginError::Guest(HostError::Denied(text))) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(text.contains(&format!("udp.connect to {stranger}")), "{text}");
    let nothing = refused(&plugin, "udp-none", json!({ "address": "127.0.0.1:0" })).await;
    assert!(matches!(nothing, HostError::Invalid(_)), "{nothing}");
    let no_address = json!({ "address": "127.0.0.1:0", "target": "localhost:53" });
    let no_address = refused(&plugin, "udp-send", no_address).await;
    assert!(matches!(no_address, HostError::Invalid(_)), "{no_address}");
}

#[tokio::test]
async fn a_flood_waits_for_its_turn() {
    let (out, mut audit) = mpsc::channel(100);
    let engine = engine_with(EngineConfig {
        audit: Some(out),
        ..EngineConfig::default()
    });
    let address = echo().await;
    let mut spec = hostile();
    spec.limits.datagrams = 1;
    spec.grants = grants(json!({ "udp": { "connect": [address] } }));
    let plugin = load(&engine, spec).await;
    let flood = json!({ "target": address, "count": 100_000 });
    let flood = plugin.run_command("udp-flood", flood, Grants::default()).unwrap();
    limit_hit(&mut audit, "datagrams").await;
    assert!(plugin.stats().datagrams < 100, "{:?}", plugin.stats());
    drop(flood);
}

#[tokio::test]
async fn sockets_are_bounded_and_go_with_their_instance() {
    let engine = engine();
    let mut spec = hostile();
    spec.limits.streams = 50;
    spec.grants = grants(json!({ "udp": { "bind": ["127.0.0.1:*"] } }));
    let plugin = load(&engine, spec).await;
    let leak = json!({ "address": "127.0.0.1:0", "count": 100_000 });
    let full = refused(&plugin, "udp-leak", leak).await;
    assert!(
        matches!(&full, HostError::Limit(text) if text.contains("plugins.hostile.limits.streams")),
        "{full}"
    );
    let (_, outcome) = run(
        &plugin,
        "udp-bind",
        json!({ "address": "127.0.0.1:0" }),
        Grants::default(),
    )
    .await;
    outcome.unwrap();
}
