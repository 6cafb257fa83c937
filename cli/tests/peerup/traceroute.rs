//! The way to a peer as `traceroute` tells it: straight there, over the relay, and not at all.

use serde_json::{Value, json};

use crate::support::{Node, Pair, eventually};

fn events(node: &Node) -> Vec<Value> {
    let text = node.run(&["traceroute", "home", "--json"]).ok();
    let lines = text.lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_direct_way_is_one_hop() {
    let pair = Pair::start();
    let (laptop, home) = (&pair.laptop, pair.home.peer_id());
    laptop
        .run(&["ping", "home", "-c", "0", "--interval", "50ms", "--until-direct"])
        .ok();
    // The stream of a trace may be one that was opened before: the next one takes the direct way.
    eventually("a direct way", || events(laptop).len() == 2);

    let told = events(laptop);

    assert_eq!((&told[0]["hop"], &told[0]["peer_id"]), (&json!(1), &json!(home)));
    assert_eq!(told[0]["name"], "home");
    let address = told[0]["address"].as_str().unwrap();
    assert!(address.starts_with("/ip4/127.0.0.1/"), "{address}");
    assert!(told[0]["rtt_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(
        told[1],
        json!({ "target": "home", "target_id": home, "path": "DIRECT", "via": null, "hops": 1 })
    );
    let text = laptop.run(&["traceroute", "home"]).ok();
    assert!(text.starts_with(&format!("1  home ({home})  ")), "{text}");
    assert!(
        text.contains("\nhome: DIRECT ") && text.contains(", 1 hop, "),
        "{text}"
    );
}

#[test]
fn over_the_relay_it_is_the_first_of_two_hops() {
    let mut pair = Pair::prepare();
    let (_, relay) = pair.relay.address.rsplit_once('/').unwrap();
    let names = format!("names:\n  home-relay: {relay}");
    pair.laptop.edit(|text| text.replace("names:", &names));
    pair.home.start();
    let home = pair.home.peer_id();

    // Without a daemon each run starts over the relay; now and then the direct way is there before the stream.
    let mut told = Vec::new();
    eventually("a way over the relay", || {
        told = events(&pair.laptop);
        told.len() == 3
    });

    assert_eq!(
        (&told[0]["hop"], &told[0]["peer_id"], &told[0]["name"]),
        (&json!(1), &json!(relay), &json!("home-relay"))
    );
    let address = told[0]["address"].as_str().unwrap();
    assert!(address.starts_with("/ip4/127.0.0.1/"), "{address}");
    assert!(told[0]["rtt_ms"].as_f64().unwrap() > 0.0, "{told:?}");
    assert_eq!(
        (&told[1]["hop"], &told[1]["name"], &told[1]["address"]),
        (&json!(2), &json!("home"), &json!(null))
    );
    assert_eq!(
        told[2],
        json!({ "target": "home", "target_id": home, "path": "RELAYED", "via": "home-relay", "hops": 2 })
    );
}

#[test]
fn a_way_that_is_not_there_ends_as_it_does_for_ping() {
    let mut pair = Pair::start();
    let own = pair.laptop.peer_id();
    pair.laptop.run(&["traceroute", &own]).fails(2, &["own peer id"]);

    pair.home.stop();
    pair.laptop
        .run(&["traceroute", "home", "--timeout", "10s"])
        .fails(5, &["home", "peerup status"]);

    let hint = format!("peerup auth add {}", pair.home.peer_id());
    pair.laptop.run(&["auth", "remove", "home", "--yes"]).ok();
    pair.laptop
        .run(&["traceroute", "home"])
        .fails(4, &["authorized_keys", &hint]);
}

#[test]
fn a_plugin_without_sight_of_peers_says_which_line_is_missing() {
    let mut pair = Pair::prepare();
    pair.laptop.replace("      peers: [read, addresses]\n", "");
    pair.home.start();
    pair.laptop
        .run(&["traceroute", "home"])
        .fails(4, &["plugins.traceroute.grants.peers: [read]"]);
}
