//! Events, the list of names, and an instance's life.

use peerup_engine::{HostError, PathRef, PeerEventKind};
use peerup_model::{Grants, Transport};
use serde_json::json;

use crate::support::{OnePeer, engine, grants, hostile, refused, told, within};

#[tokio::test]
async fn events_need_a_grant_and_come_in_order() {
    let engine = engine();
    let host = OnePeer::new();
    let plugin = engine.load(hostile(), host.clone()).await.unwrap();
    let HostError::Denied(text) = refused(&plugin, "events", json!({})).await else {
        panic!("not denied");
    };
    assert_eq!(
        text,
        "events.subscribe is not granted to the plugin hostile; to allow it, write in the config: \
         plugins.hostile.grants.peers: [read]"
    );
    plugin.set_grants(grants(json!({ "peers": ["read"] })));
    let mut run = plugin
        .run_command("events", json!({ "count": 3 }), Grants::default())
        .unwrap();
    assert_eq!(within(run.next_event()).await.unwrap().text, "subscribed");
    let quic = Some(PathRef::Direct(Transport::Quic));
    for (kind, path) in [
        (PeerEventKind::Connected, quic.clone()),
        (PeerEventKind::PathChanged, quic),
        (PeerEventKind::Disconnected, None),
    ] {
        host.events.send(host.event(kind, path)).unwrap();
    }
    let mut texts = Vec::new();
    while let Some(event) = within(run.next_event()).await {
        texts.push(event.text);
    }
    assert_eq!(
        texts,
        [
            "PeerConnected home DIRECT quic",
            "PathChanged home DIRECT quic",
            "PeerDisconnected home none"
        ]
    );
    within(run.finish()).await.unwrap();
}

#[tokio::test]
async fn a_slow_plugin_is_told_that_it_missed_some() {
    let engine = engine();
    let host = OnePeer::new();
    let mut spec = hostile();
    spec.grants = grants(json!({ "peers": ["read"] }));
    let plugin = engine.load(spec, host.clone()).await.unwrap();
    let mut run = plugin
        .run_command("events", json!({ "count": 2 }), Grants::default())
        .unwrap();
    assert_eq!(within(run.next_event()).await.unwrap().text, "subscribed");
    // One thread runs this test: the plugin gets its turn only after all of them.
    for _ in 0..1000 {
        host.events
            .send(host.event(PeerEventKind::Connected, None))
            .unwrap();
    }
    assert_eq!(within(run.next_event()).await.unwrap().text, "Missed none none");
    assert_eq!(
        within(run.next_event()).await.unwrap().text,
        "PeerConnected home none"
    );
    within(run.finish()).await.unwrap();
}

#[tokio::test]
async fn subscriptions_are_bounded_and_go_with_their_instance() {
    let engine = engine();
    let host = OnePeer::new();
    let mut spec = hostile();
    spec.limits.streams = 50;
    spec.grants = grants(json!({ "peers": ["read"] }));
    let plugin = engine.load(spec, host.clone()).await.unwrap();
    let full = refused(&plugin, "events-leak", json!({ "count": 100_000 })).await;
    assert!(matches!(full, HostError::Limit(_)), "{full}");
    assert_eq!(host.events.receiver_count(), 0);
}

#[tokio::test]
async fn the_operators_names_need_a_grant() {
    let engine = engine();
    let host = OnePeer::new();
    let plugin = engine.load(hostile(), host.clone()).await.unwrap();
    for behaviour in ["find", "entries"] {
        let HostError::Denied(text) = refused(&plugin, behaviour, json!({ "name": "home" })).await else {
            panic!("not denied");
        };
        assert!(text.ends_with("plugins.hostile.grants.names: [list]"), "{text}");
    }
    plugin.set_grants(grants(json!({ "names": ["list"] })));
    assert_eq!(
        told(&plugin, "find", json!({ "name": "home" })).await,
        host.id.to_string()
    );
    assert_eq!(told(&plugin, "find", json!({ "name": "nobody" })).await, "none");
    assert_eq!(told(&plugin, "entries", json!({})).await, "home,relay");
    let long = refused(&plugin, "find", json!({ "name": "x".repeat(1000) })).await;
    assert!(matches!(long, HostError::Invalid(_)), "{long}");
}

#[tokio::test]
async fn a_command_hears_that_its_plugin_is_asked_to_end() {
    let engine = engine();
    let plugin = engine.load(hostile(), OnePeer::new()).await.unwrap();
    let mut run = plugin
        .run_command("stopping", json!({}), Grants::default())
        .unwrap();
    assert_eq!(within(run.next_event()).await.unwrap().text, "waiting");
    plugin.begin_stopping();
    assert_eq!(within(run.next_event()).await.unwrap().text, "stopping");
    within(run.finish()).await.unwrap();
}
