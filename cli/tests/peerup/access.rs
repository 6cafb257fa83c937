//! Who gets in, and what becomes of those who no longer may.

use crate::support::{Client, Node, Pair, eventually, inject_relay};

#[test]
fn removing_a_peer_ends_its_open_tunnels() {
    let pair = Pair::start();
    let (mut proxy, address) = pair.laptop.proxy("home", "echo");
    let (mut idle, mut second) = (Client::connect(&address), Client::connect(&address));
    assert!(idle.echoes() && second.echoes());
    let busy = Client::connect(&address).keep_busy();

    pair.home.run(&["auth", "remove", "laptop", "--yes"]).ok();

    idle.ended();
    second.ended();
    assert!(busy.join().unwrap() > 0);
    Client::connect(&address).ended();
    assert!(
        proxy.exited().unwrap().is_none(),
        "the proxy waits for better times"
    );
}

#[test]
fn removing_a_line_by_hand_ends_its_open_tunnels() {
    let pair = Pair::start();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    let mut open = Client::connect(&address);
    assert!(open.echoes());
    pair.home.write("authorized_keys", "# nobody\n");
    open.ended();
}

#[test]
fn authorizing_a_peer_is_live_at_once() {
    let pair = Pair::start();
    let id = pair.laptop.peer_id();
    pair.home.run(&["auth", "remove", "laptop", "--yes"]).ok();
    let hint = format!("peerup auth add {id}");
    pair.laptop
        .run(&["proxy", "home", "echo"])
        .fails(4, &["does not accept this identity", &hint]);

    pair.home.run(&["auth", "add", &id]).ok();

    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    assert!(Client::connect(&address).echoes());
}

#[test]
fn a_peer_that_is_not_authorized_is_denied_both_ways() {
    let pair = Pair::start();
    let (home_id, laptop_id) = (pair.home.peer_id(), pair.laptop.peer_id());
    pair.laptop.run(&["auth", "remove", "home", "--yes"]).ok();
    for arguments in [
        &["proxy", "home", "echo"][..],
        &["daemon", "connect", "--peer", "home", "--service", "echo"],
        &["ping", "home", "-c", "1"],
    ] {
        let hint = format!("peerup auth add {home_id}");
        pair.laptop
            .run(arguments)
            .fails(4, &["home", "authorized_keys", &hint]);
    }
    // The other way: home knows the laptop, which does not let it in.
    let hint = format!("peerup auth add {home_id}");
    for arguments in [&["proxy", "laptop", "echo"][..], &["ping", "laptop", "-c", "1"]] {
        pair.home
            .run(arguments)
            .fails(4, &["laptop", "does not accept this identity", &hint]);
    }
    assert_ne!(home_id, laptop_id);
}

#[test]
fn a_stranger_gets_nothing_over_the_relay() {
    let pair = Pair::start();
    let mut stranger = Node::init(pair.folder.path(), "stranger");
    // The relay knows it; home does not.
    inject_relay(&stranger, &pair.relay.address);
    pair.relay.add(&stranger.peer_id());
    stranger
        .run(&["auth", "add", &pair.home.peer_id(), "--name", "home"])
        .ok();
    stranger.start();
    eventually("a reservation of the stranger", || {
        stranger.run(&["status", "--json"]).json()["relays"][0]["reserved"] == true
    });
    stranger
        .run(&["proxy", "home", "echo"])
        .fails(4, &["does not accept this identity"]);
    stranger
        .run(&["ping", "home", "-c", "1"])
        .fails(4, &["does not accept this identity"]);
    let peers = pair.home.run(&["daemon", "peers", "--all", "--json"]).json();
    assert!(!peers.to_string().contains(&stranger.peer_id()), "{peers}");
}

#[test]
fn a_list_of_services_lets_only_those_through() {
    let pair = Pair::start();
    let id = pair.laptop.peer_id();
    pair.home.run(&["auth", "remove", "laptop", "--yes"]).ok();
    pair.home.run(&["auth", "add", &id, "--services", "echo"]).ok();
    let (_echo_proxy, echo) = pair.laptop.proxy("home", "echo");
    let (mut other_proxy, other) = pair.laptop.proxy("home", "other");

    assert!(Client::connect(&echo).echoes());
    Client::connect(&other).ended();

    other_proxy
        .wait_for_line("the refusal", crate::support::SOON, |line| {
            line.contains("does not offer") && line.contains("other")
        })
        .unwrap();
    assert!(Client::connect(&echo).echoes());
}

#[test]
fn an_entry_that_expires_ends_the_access() {
    let pair = Pair::start();
    let id = pair.laptop.peer_id();
    pair.home.run(&["auth", "remove", "laptop", "--yes"]).ok();
    pair.home.run(&["auth", "add", &id, "--expires", "3s"]).ok();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    let mut open = Client::connect(&address);
    assert!(open.echoes());

    open.ended();

    let list = pair.home.run(&["auth", "list", "--json"]).json();
    assert_eq!(list[0]["expired"], true);
    pair.laptop
        .run(&["proxy", "home", "echo"])
        .fails(4, &["does not accept this identity"]);
}

/// Whether a ping gets an answer.
fn answers(node: &Node) -> bool {
    node.run(&["ping", "home", "-c", "1", "--timeout", "3s"]).code == 0
}

#[test]
fn a_service_and_a_plugin_can_have_further_lists_of_their_own() {
    let pair = Pair::start();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    let mut open = Client::connect(&address);
    assert!(open.echoes() && answers(&pair.laptop));

    pair.home.edit(|text| {
        text.replacen("  echo:\n", "  echo:\n    authorized_keys: echo_keys\n", 1)
            .replacen("  ping:\n", "  ping:\n    allow: [phone]\n", 1)
    });
    pair.home.run(&["daemon", "reload"]).ok();
    open.ended();
    Client::connect(&address).ended();
    eventually("the ping to be refused", || !answers(&pair.laptop));

    pair.home
        .write("echo_keys", &format!("{}\n", pair.laptop.peer_id()));
    eventually("the service to be open again", || {
        Client::connect(&address).echoes()
    });
    pair.home
        .edit(|text| text.replace("allow: [phone]", "allow: [laptop]"));
    pair.home.run(&["daemon", "reload"]).ok();
    eventually("the ping to be answered again", || answers(&pair.laptop));
}

#[test]
fn a_peer_that_went_is_told_with_how_long_ago_that_was() {
    let mut pair = Pair::start();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    assert!(Client::connect(&address).echoes());
    let seen = || -> serde_json::Value {
        let peers = pair.home.run(&["peers", "--all", "--json"]).json();
        let laptop = peers
            .as_array()
            .unwrap()
            .iter()
            .find(|peer| peer["name"] == "laptop");
        laptop.unwrap().clone()
    };
    assert!(seen()["connections"] != serde_json::json!([]));
    pair.laptop.stop();
    eventually("the laptop to be gone, and not forgotten", || {
        let laptop = seen();
        laptop["connections"] == serde_json::json!([]) && laptop["last_seen_s"].is_u64()
    });
}
