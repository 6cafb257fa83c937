//! The traceroute plugin: what it tells of a direct way and of one over a relay, and what it makes of failures.

use std::sync::Arc;

use peerup_engine::{CommandEvent, HostError, Plugin, PluginError};
use peerup_model::Grants;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    bundled::bundled,
    support::{OnePeer, denied, engine, run, until, within},
};

/// Runs a trace to a peer that answers this.
async fn trace(
    plugin: &Plugin,
    host: &Arc<OnePeer>,
    arguments: Value,
    answer: &'static [u8],
) -> (Vec<CommandEvent>, Result<(), PluginError>) {
    let answering = async {
        until(|| !host.opened.lock().unwrap().is_empty()).await;
        let (protocol, mut far) = host.opened.lock().unwrap().pop().unwrap();
        assert_eq!(protocol, "/peerup/ping/1.0.0");
        let mut asked = [0; 5];
        within(far.read_exact(&mut asked)).await.unwrap();
        assert_eq!(&asked, b"ping\n");
        within(far.write_all(answer)).await.unwrap();
        far
    };
    let (told, _far) = tokio::join!(run(plugin, "traceroute", arguments, Grants::default()), answering);
    told
}

#[tokio::test]
async fn a_direct_way_is_one_hop_with_the_address_of_that_connection() {
    let (engine, host) = (engine(), OnePeer::new());
    let plugin = bundled(&engine, "traceroute", host.clone()).await;

    let (events, outcome) = trace(&plugin, &host, json!({ "peer": "home" }), b"pong\n").await;

    outcome.unwrap();
    assert_eq!(events.len(), 2, "{events:?}");
    let id = host.id.to_string();
    assert!(events[0].json["rtt_ms"].is_f64());
    assert_eq!(
        (
            &events[0].json["hop"],
            &events[0].json["peer_id"],
            &events[0].json["name"]
        ),
        (&json!(1), &json!(id), &json!("home"))
    );
    assert_eq!(events[0].json["address"], "/ip4/192.0.2.1/udp/4001/quic-v1");
    assert_eq!(
        events[1].json,
        json!({ "target": "home", "target_id": id, "path": "DIRECT", "via": null, "hops": 1 })
    );
}

#[tokio::test]
async fn a_relayed_way_is_two_hops_the_first_being_the_relay_as_the_host_measured_it() {
    let (engine, host) = (engine(), OnePeer::new());
    let plugin = bundled(&engine, "traceroute", host.clone()).await;

    let (events, outcome) = trace(&plugin, &host, json!({ "peer": "far" }), b"pong\n").await;

    outcome.unwrap();
    assert_eq!(events.len(), 3, "{events:?}");
    let relay = host.relay.to_string();
    assert_eq!(
        events[0].text,
        format!("1  relay ({relay})  12.3ms  /ip4/192.0.2.7/tcp/7777")
    );
    assert_eq!(
        (
            &events[1].json["hop"],
            &events[1].json["name"],
            &events[1].json["address"]
        ),
        (&json!(2), &json!("home"), &json!(null))
    );
    assert_eq!(
        events[2].json,
        json!({ "target": "home", "target_id": host.id.to_string(), "path": "RELAYED", "via": "relay", "hops": 2 })
    );
}

#[tokio::test]
async fn without_sight_of_peers_it_says_which_line_is_missing() {
    let (engine, host) = (engine(), OnePeer::new());
    let plugin = bundled(&engine, "traceroute", host.clone()).await;
    plugin.set_grants(Grants {
        protocols: vec!["/peerup/ping/1.0.0".parse().unwrap()],
        ..Grants::default()
    });

    let (events, outcome) = trace(&plugin, &host, json!({ "peer": "far" }), b"pong\n").await;

    let text = denied(outcome);
    assert!(
        text.ends_with("plugins.traceroute.grants.peers: [read]"),
        "{text}"
    );
    assert!(events.is_empty(), "{events:?}");
}

#[tokio::test]
async fn another_answer_a_silent_peer_and_an_unknown_one_are_told_apart() {
    let (engine, host) = (engine(), OnePeer::new());
    let plugin = bundled(&engine, "traceroute", host.clone()).await;

    let (_, outcome) = trace(&plugin, &host, json!({ "peer": "home" }), b"unknown\n").await;
    assert!(
        matches!(outcome, Err(PluginError::Guest(HostError::Refused(_)))),
        "{outcome:?}"
    );

    let silent = json!({ "peer": "home", "timeout_ms": 20 });
    let (_, outcome) = run(&plugin, "traceroute", silent, Grants::default()).await;
    let Err(PluginError::Guest(HostError::Unreachable(text))) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        text,
        "no answer from home: no answer within 20 ms; is its daemon running? see: peerup status"
    );

    let (_, outcome) = run(
        &plugin,
        "traceroute",
        json!({ "peer": "nobody" }),
        Grants::default(),
    )
    .await;
    assert!(
        matches!(outcome, Err(PluginError::Guest(HostError::NotFound(_)))),
        "{outcome:?}"
    );
}
