//! Alerts end to end: a webhook and a command hear of what happens, `alerts list` tells how rules stand, and `alerts test`
//! whether anybody hears.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use serde_json::Value;

use crate::{
    metrics::{scrape, sum},
    support::{Node, Pair, SOON, eventually, free_port},
};

/// A server that takes every message, and its address.
struct Hook {
    address: String,
    heard: mpsc::Receiver<Value>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/services/secret", listener.local_addr().unwrap());
        let (sender, heard) = mpsc::channel();
        // A thread for each connection: whoever else comes to this port holds no message up.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || {
                    if let Some(message) = take(stream) {
                        let _ = sender.send(message);
                    }
                });
            }
        });
        Self { address, heard }
    }

    #[track_caller]
    fn next(&self) -> Value {
        self.heard.recv_timeout(SOON).unwrap()
    }
}

/// Reads one message and answers.
fn take(stream: TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), None);
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
        line.clear();
    }
    let mut body = vec![0; length?];
    reader.read_exact(&mut body).ok()?;
    let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(answer).ok()?;
    serde_json::from_slice(&body).ok()
}

/// The only rule, as `alerts list` tells it.
fn rule(node: &Node) -> Value {
    let rules = node.run(&["alerts", "list", "--json"]).json();
    rules.as_array().unwrap().first().cloned().unwrap_or_default()
}

#[test]
fn a_webhook_hears_that_a_peer_is_away_and_that_it_is_back() {
    let mut pair = Pair::prepare();
    let hook = Hook::start();
    pair.home.edit(|text| {
        format!(
            "{text}\nalerts:\n  targets:\n    chat: {{webhook: '{}'}}\n  rules:\n    gone: {{when: peer-away, peer: laptop}}\n",
            hook.address
        )
    });
    pair.home.start();
    let mut events = pair.home.spawn(&["events", "--json"]);
    let message = hook.next();
    assert_eq!(message["version"], 1);
    assert_eq!(
        [
            &message["rule"],
            &message["when"],
            &message["state"],
            &message["subject"]
        ],
        ["gone", "peer-away", "firing", "laptop"]
    );
    assert_eq!(message["node"]["peer_id"], pair.home.peer_id().as_str());
    assert!(
        message["message"]
            .as_str()
            .unwrap()
            .contains("laptop is not connected")
    );
    assert!(
        message["next_step"]
            .as_str()
            .unwrap()
            .contains("peerup why laptop")
    );
    let told = rule(&pair.home);
    assert_eq!(
        (&told["state"], &told["rule"]),
        (&"firing".into(), &"gone".into())
    );
    eventually("the delivery to be counted", || {
        rule(&pair.home)["targets"][0]["delivered"] == 1
    });
    assert!(!told.to_string().contains("secret"), "{told}");
    let text = scrape(&pair.home);
    assert_eq!(sum(&text, "peerup_alert_state", &["gone", "\"firing\""]), 1.0);
    assert_eq!(
        sum(&text, "peerup_alert_messages_total", &["chat", "\"delivered\""]),
        1.0
    );
    pair.home.logs(&["alert", "laptop is not connected"]);

    pair.laptop.start();
    pair.laptop.run(&["ping", "home", "-c", "1"]).ok();
    let message = hook.next();
    assert_eq!([&message["rule"], &message["state"]], ["gone", "resolved"]);
    let line = events.wait_for_line("the alert", SOON, |line| {
        line.contains("\"alert\"") && line.contains("resolved")
    });
    line.unwrap();
    assert_eq!(rule(&pair.home)["state"], "inactive");

    // Rules come and go live.
    pair.home
        .replace("when: peer-away, peer: laptop", "when: disk-low, below: 1000TB");
    pair.home.run(&["daemon", "reload"]).ok();
    assert_eq!(hook.next()["when"], "disk-low");
    pair.home.replace("gone: {when: disk-low, below: 1000TB}", "{}");
    pair.home.run(&["daemon", "reload"]).ok();
    let message = hook.next();
    assert_eq!([&message["when"], &message["state"]], ["disk-low", "resolved"]);
    eventually("the rule to be gone", || rule(&pair.home).is_null());
}

#[test]
fn a_command_gets_the_message_and_a_test_tells_whether_anybody_hears() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::init(folder.path(), "home");
    let (hook, port) = (Hook::start(), free_port());
    let file = node.file("heard");
    node.edit(|text| {
        format!(
            "{text}\nalerts:\n  targets:\n    chat: {{webhook: '{}'}}\n    pager: {{command: [/bin/sh, -c, 'cat >>\"$1\"', sh, {}]}}\n    dead: {{webhook: 'http://127.0.0.1:{port}/secret'}}\n  rules:\n    disk: {{when: disk-low, below: 1000TB, notify: [pager]}}\n    relay: {{when: relay-away, notify: [chat, pager]}}\n    nobody: {{when: relay-away, notify: []}}\n    lost: {{when: relay-away, notify: [dead]}}\n",
            hook.address,
            file.display()
        )
    });
    node.start();
    let heard = || -> Option<Value> {
        let text = std::fs::read_to_string(&file).ok()?;
        serde_json::from_str(text.lines().last()?).ok()
    };
    eventually("the command to hear", || heard().is_some());
    assert_eq!(heard().unwrap()["rule"], "disk");

    let shown = node.run(&["alerts", "test", "relay"]).ok();
    assert!(
        shown.contains("chat (http://127.0.0.1:") && shown.contains("delivered: 204"),
        "{shown}"
    );
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(hook.next()["state"], "test");
    assert_eq!(heard().unwrap()["state"], "test");
    let results = node.run(&["alerts", "test", "relay", "--json"]).json();
    assert_eq!(results.as_array().unwrap().len(), 2);
    node.run(&["alerts", "test", "lost"])
        .fails(7, &["dead", "did not reach"]);
    node.run(&["alerts", "test", "nobody"])
        .fails(1, &["has no target"]);
    node.run(&["alerts", "test", "other"])
        .fails(1, &["no rule is called", "alerts list"]);
    let table = node.run(&["alerts", "list"]).ok();
    assert!(table.contains("disk-low") && table.contains("firing"), "{table}");
}

#[test]
fn what_may_be_a_secret_is_in_nothing_that_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    node.edit(|text| {
        format!("{text}\nalerts:\n  targets:\n    qwchat: {{webhook: 'https://qwhooks.example.org/qwsecret/T0?key=qwkey'}}\n    qwbare: {{webhook: 'https://qwhooks.example.org'}}\n")
    });
    let shown = node.run(&["config", "show"]).ok();
    assert!(
        shown.contains("https://qwhooks.example.org/...") && !shown.contains("qwsecret"),
        "{shown}"
    );
    // Also where it cannot be read.
    node.edit(|text| format!("{text}\nnonsense: 1\n"));
    let shown = node.run(&["config", "show", "--json"]).ok();
    assert!(!shown.contains("qwsecret"), "{shown}");
}
