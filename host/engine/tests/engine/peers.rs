//! What plugins see of peers and of the ways to them, by grant and at a bounded pace.

use peerup_engine::{HostError, PluginError};
use peerup_model::{Grants, PeerGrant};
use serde_json::json;

use crate::support::{OnePeer, denied, engine, hostile, load, outcome_of, request, run};

fn sight(peers: &[PeerGrant]) -> Grants {
    Grants {
        peers: peers.to_vec(),
        ..Grants::default()
    }
}

#[tokio::test]
async fn nobody_is_seen_without_a_grant() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let (events, outcome) = run(&plugin, "connected", json!({}), Grants::default()).await;
    assert_eq!(
        denied(outcome),
        "peers.connected is not granted to the plugin hostile; to allow it, write in the config: \
         plugins.hostile.grants.peers: [read]"
    );
    assert!(events.is_empty());

    // Whether there is such a peer makes no difference.
    for peer in ["home", "nobody"] {
        let outcome = run(&plugin, "describe", json!({ "peer": peer }), Grants::default())
            .await
            .1;
        let text = denied(outcome);
        assert!(text.ends_with("plugins.hostile.grants.peers: [read]"), "{text}");
    }

    let addresses = sight(&[PeerGrant::Addresses]);
    denied(run(&plugin, "connected", json!({}), addresses).await.1);
    denied(outcome_of(&plugin, request("connected")).await);
    assert_eq!(plugin.stats().denials, 5);
}

#[tokio::test]
async fn read_shows_paths_and_times_without_addresses() {
    let engine = engine();
    let host = OnePeer::new();
    let plugin = engine.load(hostile(), host.clone()).await.unwrap();
    plugin.set_grants(sight(&[PeerGrant::Read]));

    let (events, outcome) = run(&plugin, "describe", json!({ "peer": "home" }), Grants::default()).await;

    outcome.unwrap();
    assert_eq!(events[0].text, "home");
    assert_eq!(
        events[0].json,
        json!({
            "id": host.id.to_string(), "relay": false, "path": "DIRECT quic", "rtt_us": 1_500, "last_answer_s": 2,
            "connections": [
                { "path": "DIRECT quic", "address": null, "rtt_us": 1_500, "age_s": 61 },
                { "path": "RELAYED via relay", "address": null, "rtt_us": null, "age_s": 61 },
            ],
        })
    );
}

#[tokio::test]
async fn addresses_need_their_own_grant() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let both = sight(&[PeerGrant::Read, PeerGrant::Addresses]);

    let (events, outcome) = run(&plugin, "describe", json!({ "peer": "home" }), both).await;

    outcome.unwrap();
    let address = &events[0].json["connections"][0]["address"];
    assert_eq!(address, "/ip4/192.0.2.1/udp/4001/quic-v1");
}

#[tokio::test]
async fn connected_tells_of_relays_too() {
    let engine = engine();
    let host = OnePeer::new();
    let plugin = engine.load(hostile(), host.clone()).await.unwrap();

    let (events, outcome) = run(&plugin, "connected", json!({}), sight(&[PeerGrant::Read])).await;

    outcome.unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.text.as_str(), &event.json["relay"]))
        .collect();
    assert_eq!(told, [("home", &json!(false)), ("relay", &json!(true))]);
    assert_eq!(events[1].json["id"], host.relay.to_string());
    assert_eq!(events[1].json["last_answer_s"], json!(null));
}

#[tokio::test]
async fn a_peer_without_a_connection_has_no_path() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let away = json!({ "peer": "away" });

    let (events, outcome) = run(&plugin, "describe", away, sight(&[PeerGrant::Read])).await;

    outcome.unwrap();
    assert_eq!(events[0].json["path"], json!(null));
    assert_eq!(events[0].json["connections"], json!([]));
}

#[tokio::test]
async fn a_stranger_is_not_found_and_a_huge_name_is_invalid() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    plugin.set_grants(sight(&[PeerGrant::Read]));
    let nobody = json!({ "peer": "nobody" });
    let (_, outcome) = run(&plugin, "describe", nobody, Grants::default()).await;
    assert!(
        matches!(outcome, Err(PluginError::Guest(HostError::NotFound(_)))),
        "{outcome:?}"
    );
    let (_, outcome) = run(&plugin, "describe-huge", json!({}), Grants::default()).await;
    assert!(
        matches!(outcome, Err(PluginError::Guest(HostError::Invalid(_)))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_flood_of_questions_is_answered_in_part_and_turned_away_in_part() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;

    let (events, outcome) = run(&plugin, "flood-peers", json!({}), sight(&[PeerGrant::Read])).await;

    outcome.unwrap();
    let count = |what: &str| events[0].json[what].as_u64().unwrap();
    assert_eq!(count("answered") + count("refused"), 1_000);
    assert!(count("answered") >= 50 && count("refused") >= 100, "{events:?}");
}
