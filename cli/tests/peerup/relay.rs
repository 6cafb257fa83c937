//! When the relay is gone, full, or lets nobody further in.

use crate::{
    pairing::{finished, invite, over_the_relay},
    support::{Node, Pair, Relay, eventually, inject_relay},
};

/// Waits for what `status` says of the relay.
#[track_caller]
fn relay_says(node: &Node, words: &[&str]) {
    let mut last = String::new();
    eventually(&format!("status to tell {words:?}"), || {
        let status = node.run(&["status", "--json"]).json();
        last = status["problems"].to_string();
        words.iter().all(|word| last.contains(word))
    });
    assert!(node.run(&["status"]).ok().contains(words[0]));
}

#[test]
fn without_the_relay_a_peer_is_not_reached_and_status_says_so() {
    let mut pair = Pair::start();
    pair.relay.stop();
    let laptop = &pair.laptop;
    laptop
        .run(&["ping", "home", "-c", "1"])
        .fails(5, &["peerup status"]);
    laptop
        .run(&["proxy", "home", "echo"])
        .fails(5, &["home", "relay", "peerup status"]);
    let connect = ["daemon", "connect", "--peer", "home", "--service", "echo"];
    laptop.run(&connect).fails(5, &["home", "relay", "peerup status"]);
    relay_says(laptop, &["holds no reservation"]);
}

#[test]
fn without_daemon_and_relay_a_peer_is_not_reached_either() {
    let mut pair = Pair::prepare();
    pair.home.start();
    pair.relay.stop();
    pair.laptop
        .run(&["ping", "home", "-c", "1"])
        .fails(5, &["peerup status"]);
    pair.laptop
        .run(&["proxy", "home", "echo"])
        .fails(5, &["home", "relay"]);
}

#[test]
fn without_the_relay_a_code_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Node::init(folder.path(), "home");
    let mut relay = Relay::start(&[home.peer_id()], "");
    inject_relay(&home, &relay.address);
    home.start();
    let guest = Node::init(folder.path(), "guest");
    let (_waiting, code) = invite(&home, &[]);
    relay.stop();

    guest
        .run(&["join", &over_the_relay(&code), "--non-interactive"])
        .fails(5, &["the inviter was not reached", "is the relay up"]);
}

#[test]
fn a_full_relay_says_which_limit_stands_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let (mut home, late) = (
        Node::init(folder.path(), "home"),
        Node::init(folder.path(), "late"),
    );
    let relay = Relay::start(
        &[home.peer_id(), late.peer_id()],
        "resources:\n  max_reservations: 1",
    );
    inject_relay(&home, &relay.address);
    inject_relay(&late, &relay.address);
    home.start();
    assert_eq!(
        home.run(&["status", "--json"]).json()["relays"][0]["reserved"],
        true
    );

    let _daemon = late.spawn(&["daemon"]);

    eventually("its socket", || late.file("peerup.sock").exists());
    relay_says(&late, &["limit"]);
}

#[test]
fn a_relay_that_does_not_know_the_node_is_told_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "node");
    let relay = Relay::start(&[], "");
    inject_relay(&node, &relay.address);

    let _daemon = node.spawn(&["daemon"]);

    eventually("its socket", || node.file("peerup.sock").exists());
    relay_says(&node, &["relay-server authorize", &node.peer_id()]);
}

#[test]
fn a_relay_that_enrols_nobody_leaves_the_inviter_with_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut home = Node::init(folder.path(), "home");
    let relay = Relay::start(&[home.peer_id()], "enrollment: closed");
    inject_relay(&home, &relay.address);
    home.start();
    let guest = Node::init(folder.path(), "guest");
    let (waiting, code) = invite(&home, &[]);
    guest.run(&["join", &code, "--non-interactive"]).ok();

    let told = finished(waiting);

    let run = format!("relay-server authorize {}", guest.peer_id());
    assert!(told.stderr.contains("left to do"), "{told:#?}");
    assert!(told.stderr.contains(&run), "{told:#?}");
    assert_eq!(told.code, 0, "{told:#?}");
    assert!(!relay.list().contains(&guest.peer_id()));
}

#[test]
fn a_relay_that_does_not_know_the_caller_is_named_with_what_to_run() {
    let pair = Pair::start();
    let stranger = Node::init(pair.folder.path(), "stranger");
    inject_relay(&stranger, &pair.relay.address);
    stranger
        .run(&["auth", "add", &pair.home.peer_id(), "--name", "home"])
        .ok();
    let run = format!("relay-server authorize {}", stranger.peer_id());
    for arguments in [&["proxy", "home", "echo"][..], &["ping", "home", "-c", "1"]] {
        stranger
            .run(arguments)
            .fails(4, &["home", "does not admit this node", &run]);
    }
}
