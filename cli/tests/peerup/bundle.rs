//! `logs` and `debug-bundle`: what the daemon remembers, and what a bundle says and does not say.

use std::{fs, path::Path, process::Command};

use crate::support::{Node, Outcome, SOON, eventually};

const FRIEND: &str = "12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJsNK";
const RELAY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

/// A node in which everything that must not leave it is a word that stands nowhere else.
fn crafted(folder: &Path) -> Node {
    let node = Node::init(folder, "qwzanzibar");
    node.run(&[
        "auth",
        "add",
        FRIEND,
        "--name",
        "qwfriend",
        "--comment",
        "qwcomment",
    ])
    .ok();
    node.run(&["service", "add", "qwmuseum", "qwintranet.example.org:8443"])
        .ok();
    node.run(&["service", "add", "qwprinter", "192.0.2.77:631"]).ok();
    node.run(&["proxy", "add", "qwgate", "qwfriend", "qwlibrary", "18080"])
        .ok();
    let relay = format!("/dns4/qwrelay.example.net/tcp/7777/p2p/{RELAY}");
    node.run(&["relay", "add", &relay]).ok();
    node.run(&[
        "relay",
        "add",
        &format!("/ip4/198.51.100.23/tcp/7777/p2p/{RELAY}"),
    ])
    .ok();
    node.edit(|text| {
        format!(
            "# qwcommentline\n{}",
            text.replace(
                "\ntunnels:",
                "\n  chess:\n    enabled: false\n    grants:\n      tcp: {connect: [\"qwengine.lan:9000\"]}\n      directories: [{path: /srv/qwmusic}]\n    settings:\n      token: qwtoken\n\nalerts:\n  targets:\n    qwchat: {webhook: 'https://qwhooks.example.org/qwsecret/T0?key=qwkey'}\n    qwpager: {command: [/opt/qwpage, --qwurgent]}\n  rules:\n    qwrule: {when: peer-away, peer: qwfriend}\n\ntunnels:"
            )
        )
    });
    node.run(&["config", "validate"]).ok();
    node
}

fn unpack(node: &Node, file: &str) -> String {
    let folder = node.file("unpacked");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(node.file(file)).arg("-C").arg(&folder);
    Outcome::of(tar).ok();
    let mut text = String::new();
    for entry in fs::read_dir(folder.join("peerup-debug")).unwrap() {
        let path = entry.unwrap().path();
        text.push_str(&format!("--- {}\n", path.file_name().unwrap().display()));
        text.push_str(&fs::read_to_string(path).unwrap());
    }
    text
}

#[test]
fn a_bundle_tells_neither_who_nor_where() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = crafted(folder.path());
    node.start();
    let cookie = node.read(".daemon-cookie");
    let own = node.peer_id();
    node.run(&["debug-bundle", "--out", "one.tar.gz"]).ok();
    let text = unpack(&node, "one.tar.gz");
    for file in [
        "config.yaml",
        "status.json",
        "peers.json",
        "plugins.json",
        "doctor.json",
        "log.txt",
        "versions.json",
    ] {
        assert!(text.contains(&format!("--- {file}\n")), "{file}: {text}");
    }
    let home = node.folder.display().to_string();
    for told in [
        own.as_str(),
        FRIEND,
        RELAY,
        "qw",
        "192.0.2.77",
        "198.51.100.23",
        cookie.trim(),
        &home,
    ] {
        let line = text.lines().find(|line| line.contains(told));
        assert!(line.is_none(), "{told} in {line:?}");
    }
    assert!(text.contains("<peer-1>") && text.contains("<name-1>"), "{text}");

    node.run(&["debug-bundle", "--out", "one.tar.gz"])
        .fails(1, &["exists already"]);
    node.run(&["debug-bundle", "--out", "two.tar.gz", "--no-mask"])
        .ok();
    let text = unpack(&node, "two.tar.gz");
    assert!(text.contains(&own) && text.contains("qwmuseum"), "{text}");
    assert!(
        !text.contains(cookie.trim()) && !text.contains("qwcomment\n"),
        "{text}"
    );
}

#[test]
fn a_bundle_needs_no_daemon_and_no_valid_config() {
    let folder = tempfile::tempdir().unwrap();
    let node = crafted(folder.path());
    node.edit(|text| format!("{text}\nnonsense: qwnonsense.example.org\n"));
    node.run(&["debug-bundle", "--out", "one.tar.gz"]).ok();
    let text = unpack(&node, "one.tar.gz");
    assert!(text.contains("services:") && text.contains("<word-"), "{text}");
    assert!(!text.contains(FRIEND) && !text.contains("qw"), "{text}");
}

#[test]
fn the_daemon_remembers_what_it_logged() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::init(folder.path(), "home");
    node.run(&["logs"]).fails(3, &["peerup daemon"]);
    node.start();
    node.run(&["service", "add", "web", "localhost:80"]).ok();
    let mut follow = node.spawn(&["logs", "-f"]);
    let address = format!("127.0.0.1:{}", crate::support::free_port());
    node.run(&["proxy", "add", "desk", FRIEND, "echo", &address]).ok();
    follow
        .wait_for_line("the proxy", SOON, |line| line.contains(&address))
        .unwrap();
    eventually("it is kept", || node.run(&["logs"]).ok().contains(&address));
    let line = node.run(&["logs", "-n", "1", "--json"]).json();
    for key in ["time", "level", "source", "text"] {
        assert!(line[key].is_string(), "{line}");
    }
}
