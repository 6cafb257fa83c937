//! `plugin`: switching plugins on and off, loading them afresh, and what is told of them.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;

use crate::support::{Client, Node, Pair, SOON, eventually};

fn node() -> (tempfile::TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    (folder, node)
}

fn state(node: &Node, plugin: &str) -> String {
    let info = node.run(&["plugin", "inspect", plugin, "--json"]).json();
    info["state"].as_str().unwrap().to_owned()
}

fn audit(node: &Node) -> Vec<Value> {
    let text = node.read("audit.jsonl");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_plugin_is_switched_off_and_on_live_and_in_the_config() {
    let pair = Pair::start();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    assert!(Client::connect(&address).echoes());

    pair.home.run(&["plugin", "disable", "tcp-proxy"]).ok();
    assert!(pair.home.read("config.yaml").contains("enabled: false"));
    assert!(["draining", "stopped"].contains(&state(&pair.home, "tcp-proxy").as_str()));
    assert!(!Client::connect(&address).echoes());
    assert_eq!(state(&pair.home, "ping"), "active", "the others are untouched");

    pair.home.run(&["plugin", "enable", "tcp-proxy"]).ok();
    assert_eq!(state(&pair.home, "tcp-proxy"), "active");
    assert!(Client::connect(&address).echoes());
}

#[test]
fn a_plugin_that_is_off_stays_off_after_a_restart_and_keeps_its_grants() {
    let (_folder, mut node) = node();
    node.start();
    let grants = |node: &Node| node.run(&["plugin", "inspect", "ping", "--json"]).json()["grants"].clone();
    let before = grants(&node);
    node.run(&["plugin", "disable", "ping", "--now"]).ok();
    node.stop();
    node.start();
    assert_eq!(state(&node, "ping"), "stopped");
    node.run(&["ping", "home"]);
    node.run(&["plugin", "enable", "ping"]).ok();
    assert_eq!(grants(&node), before);
}

#[test]
fn without_a_daemon_the_switch_is_in_the_config() {
    let (_folder, mut node) = node();
    node.run(&["plugin", "disable", "traceroute"]).ok();
    node.run(&["plugin", "disable", "chess"]).fails(1, &["chess"]);
    node.start();
    assert_eq!(state(&node, "traceroute"), "stopped");
    node.stop();
    node.run(&["plugin", "disable-all"]).ok();
    node.start();
    let list = node.run(&["plugin", "list", "--json"]).json();
    for plugin in list.as_array().unwrap() {
        assert_eq!(plugin["state"], "stopped", "{plugin}");
    }
}

#[test]
fn a_plugin_that_is_not_there_is_named() {
    let (_folder, mut node) = node();
    node.start();
    for words in [
        &["plugin", "inspect", "chess"][..],
        &["plugin", "enable", "chess"],
        &["plugin", "disable", "chess"],
        &["plugin", "reload", "chess"],
        &["plugin", "logs", "chess"],
    ] {
        node.run(words).fails(1, &["no plugin chess", "plugin list"]);
    }
}

#[test]
fn all_plugins_end_at_once_and_their_tunnels_with_them() {
    let pair = Pair::start();
    let (_proxy, address) = pair.laptop.proxy("home", "echo");
    let mut client = Client::connect(&address);
    assert!(client.echoes());

    pair.home.run(&["plugin", "disable-all", "--now"]).ok();

    client.ended();
    for plugin in ["tcp-proxy", "ping", "traceroute"] {
        assert_eq!(state(&pair.home, plugin), "stopped");
    }
    let list = pair.home.run(&["plugin", "list"]).ok();
    assert_eq!(list.matches("stopped").count(), 4, "{list}");
}

#[test]
fn proxies_and_tunnels_go_on_while_their_plugin_is_loaded_afresh() {
    let pair = Pair::start();
    let connect = ["daemon", "connect", "--peer", "home", "--service", "echo"];
    let line = pair.laptop.run(&connect).ok();
    let (id, address) = line.split_once(' ').unwrap();
    let mut client = Client::connect(address);
    assert!(client.echoes());

    for node in [&pair.laptop, &pair.home] {
        node.run(&["plugin", "reload", "tcp-proxy"]).ok();
    }

    assert!(client.echoes(), "what was open stays open");
    eventually("the proxy listens again", || {
        std::net::TcpStream::connect(address).is_ok()
    });
    let mut another = Client::connect(address);
    assert!(another.echoes());
    pair.laptop.run(&["daemon", "disconnect", id]).ok();
    client.ended();
    another.ended();
}

#[test]
fn a_missing_grant_keeps_one_plugin_down_until_the_line_is_written() {
    let (_folder, mut node) = node();
    let granted = "      protocols: [\"/peerup/ping/1.0.0\", \"/pingpong/1.0.0\"]\n";
    node.replace(granted, "");
    node.start();
    assert_eq!(state(&node, "ping"), "failed");
    assert_eq!(state(&node, "tcp-proxy"), "active");
    let line = "plugins.ping.grants.protocols: [\"/peerup/ping/1.0.0\", \"/pingpong/1.0.0\"]";
    node.run(&["plugin", "enable", "ping"]).fails(4, &[line]);
    let status = node.run(&["status"]);
    assert!(
        status.stdout.contains(line) || status.stderr.contains(line),
        "{status:#?}"
    );

    node.edit(|text| {
        let at = text.find("  ping:\n").unwrap() + "  ping:\n".len();
        let (head, tail) = text.split_at(at);
        format!(
            "{head}{}",
            tail.replacen("    grants:\n", &format!("    grants:\n{granted}"), 1)
        )
    });
    node.run(&["plugin", "reload", "ping"]).ok();
    assert_eq!(state(&node, "ping"), "active");
}

#[test]
fn what_happens_to_plugins_is_in_their_log_and_in_the_audit_log() {
    let (_folder, mut node) = node();
    node.start();
    node.run(&["plugin", "disable", "ping"]).ok();
    node.run(&["plugin", "enable", "ping"]).ok();
    let lines = node.run(&["plugin", "logs", "ping", "-n", "2"]).ok();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.lines().last().unwrap().ends_with("host: active"), "{lines}");

    let mut follower = node.spawn(&["plugin", "logs", "ping", "-f", "--json"]);
    node.run(&["plugin", "reload", "ping"]).ok();
    let line = follower
        .wait_for_line("the new generation", SOON, |line| {
            line.contains("a new generation is active")
        })
        .unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["source"], &line["level"]),
        (&"host".into(), &"info".into())
    );

    node.stop();
    let events: Vec<String> = audit(&node)
        .iter()
        .filter(|event| event["plugin"] == "ping")
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect();
    for event in ["enabled", "activated", "disabled", "stopped", "reload"] {
        assert!(
            events.iter().any(|found| found == event),
            "no {event} in {events:?}"
        );
    }
    let mode = fs::metadata(node.file("audit.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
