//! The proxies of the config: the daemon keeps them, through restarts, lost peers and taken ports.

use std::net::{TcpListener, TcpStream};

use serde_json::Value;

use crate::support::{Client, Node, Pair, eventually, free_port};

fn add(node: &Node, name: &str, service: &str) -> String {
    let address = format!("127.0.0.1:{}", free_port());
    node.run(&["proxy", "add", name, "home", service, &address]).ok();
    address
}

fn listed(node: &Node, name: &str) -> Value {
    let all = node.run(&["proxy", "list", "--json"]).json();
    let found = all.as_array().unwrap().iter().find(|proxy| proxy["name"] == name);
    found.cloned().unwrap_or_else(|| panic!("no {name} in {all}"))
}

/// Whether a new client gets through.
fn carries(address: &str) -> bool {
    TcpStream::connect(address).is_ok() && Client::connect(address).echoes()
}

fn listens(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

#[test]
fn a_proxy_outlives_a_restart_of_either_side() {
    let mut pair = Pair::start();
    let address = add(&pair.laptop, "desk", "echo");
    assert!(carries(&address));

    pair.laptop.stop();
    assert!(!listens(&address));
    assert_eq!(listed(&pair.laptop, "desk")["state"], "stopped");
    pair.laptop.start();
    eventually("the proxy carries again", || carries(&address));

    let mut open = Client::connect(&address);
    assert!(open.echoes());
    pair.home.daemon().kill().unwrap();
    pair.home.daemon = None;
    open.ended();
    assert!(listens(&address), "it listens while the peer is away");
    assert_eq!(listed(&pair.laptop, "desk")["state"], "listening");
    pair.home.start();
    eventually("the peer is back", || carries(&address));
}

#[test]
fn a_proxy_listens_before_its_peer_was_ever_seen() {
    let mut pair = Pair::prepare();
    let address = add(&pair.laptop, "desk", "echo");
    pair.laptop.start();
    eventually("it listens", || listens(&address));
    pair.home.start();
    eventually("the peer is there", || carries(&address));
}

#[test]
fn a_port_that_is_taken_is_told_and_tried_again() {
    let pair = Pair::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let outcome = pair
        .laptop
        .run(&["proxy", "add", "desk", "home", "echo", &address]);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    assert!(outcome.stderr.contains("another program"), "{outcome:#?}");
    let desk = listed(&pair.laptop, "desk");
    assert_eq!(desk["state"], "failed");
    assert!(desk["reason"].as_str().unwrap().contains(&address), "{desk}");
    assert!(desk["retry_in_s"].is_u64(), "{desk}");

    drop(taken);

    eventually("the port is free", || {
        listed(&pair.laptop, "desk")["state"] == "listening"
    });
    assert!(carries(&address));
}

#[test]
fn a_reload_touches_no_other_proxy() {
    let pair = Pair::start();
    let stays = add(&pair.laptop, "stays", "echo");
    let moves = add(&pair.laptop, "moves", "other");
    let mut open = Client::connect(&stays);
    let mut ended = Client::connect(&moves);
    assert!(open.echoes() && ended.echoes());

    let elsewhere = format!("127.0.0.1:{}", free_port());
    pair.laptop.replace(&moves, &elsewhere);
    pair.laptop.run(&["daemon", "reload"]).ok();

    ended.ended();
    assert!(open.echoes(), "the tunnel of the other proxy goes on");
    assert!(!listens(&moves));
    eventually("it moved", || carries(&elsewhere));
}

#[test]
fn proxies_are_switched_live_and_comments_stay() {
    let pair = Pair::start();
    pair.laptop
        .edit(|text| format!("{text}\n# Kept by hand.\nproxies:\n  # The desk.\n  none:\n    peer: home\n    service: echo\n    listen: 1\n    enabled: false\n"));
    pair.laptop.run(&["daemon", "reload"]).ok();
    let address = add(&pair.laptop, "desk", "echo");
    let mut client = Client::connect(&address);
    assert!(client.echoes());

    pair.laptop.run(&["proxy", "disable", "desk"]).ok();
    client.ended();
    assert!(!listens(&address));
    assert_eq!(listed(&pair.laptop, "desk")["state"], "disabled");
    pair.laptop.run(&["proxy", "enable", "desk"]).ok();
    assert!(carries(&address));
    pair.laptop
        .run(&["daemon", "disconnect", "desk"])
        .fails(1, &["peerup proxy remove desk"]);
    pair.laptop.run(&["proxy", "remove", "desk"]).ok();
    assert!(!listens(&address));

    let text = pair.laptop.read("config.yaml");
    assert!(
        text.contains("# Kept by hand.") && text.contains("# The desk."),
        "{text}"
    );
    assert!(!text.contains("desk:"), "{text}");
    pair.laptop
        .run(&["proxy", "remove", "desk"])
        .fails(1, &["no proxy desk"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    let before = node.read("config.yaml");
    for arguments in [
        ["desk", "home", "echo", "0"],
        ["desk", "home", "echo", "nowhere"],
        ["desk", "home", "UPPER", "8080"],
        ["Desk", "home", "echo", "8080"],
        ["desk", "no one", "echo", "8080"],
    ] {
        let mut all = vec!["proxy", "add"];
        all.extend(arguments);
        node.run(&all).fails(2, &[]);
    }
    assert_eq!(node.read("config.yaml"), before);
    node.run(&["proxy", "add", "desk", "home", "echo", "8080"]).ok();
    node.run(&["proxy", "add", "desk", "home", "echo", "8081"])
        .fails(2, &["already"]);
    assert!(node.read("config.yaml").contains("127.0.0.1:8080"));
}
