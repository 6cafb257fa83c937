//! The daemon API as a script meets it: the examples of `docs/DAEMON-API.md`, and streams.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    process::Command,
};

use serde_json::Value;

use crate::support::{Client, END, Echo, Node, Outcome, Pair, SOON};

const PAGE: &str = include_str!("../../../docs/DAEMON-API.md");
/// Where the page has its reader's node.
const FOLDER: &str = "~/.config/peerup";

/// Returns the examples of the page as one script that ends at the first that fails.
fn script(node: &Node) -> String {
    let blocks = PAGE.split("```sh\n").skip(1);
    let examples: Vec<&str> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    let script = format!("set -eu\n{}", examples.join("\n"));
    script.replace(FOLDER, node.folder.to_str().unwrap())
}

#[test]
fn every_example_of_the_page_works() {
    let mut pair = Pair::start();
    let web = Echo::start();
    pair.home.run(&["service", "add", "web", &web.address()]).ok();
    let script = script(&pair.laptop);
    assert!(script.matches("\napi ").count() >= 15, "{script}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);

    let outcome = Outcome::of(shell);

    let shown = format!("{outcome:#?}");
    let answers = outcome.ok();
    for word in [
        "peer_id: ",
        "openapi",
        "rotated",
        "exposed",
        "rtt_ms",
        "disconnected",
        "cancelled",
        "pending",
        "seconds_left",
        "confirmed",
        "# EOF",
        "shutting down",
    ] {
        assert!(answers.contains(word), "no {word:?} in {shown}");
    }
    let ended: Outcome = pair.laptop.daemon.take().unwrap().finish(END).unwrap().into();
    ended.ok();
}

/// Sends a request and returns the lines of its answer, head included, as they come.
fn lines(node: &Node, method: &str, path: &str, body: &str) -> impl Iterator<Item = String> {
    let mut stream = UnixStream::connect(node.file("peerup.sock")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let cookie = node.read(".daemon-cookie");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {cookie}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    BufReader::new(stream).lines().map(Result::unwrap)
}

#[test]
fn a_stream_is_neither_held_back_nor_cut_and_a_tunnel_outlives_its_request() {
    let pair = Pair::start();
    // One without an end: held back, none of it would ever come.
    let body = r#"{"peer": "home", "count": 0, "interval_ms": 20}"#;
    let mut answers = lines(&pair.laptop, "POST", "/v1/ping", body).filter(|line| line.starts_with('{'));
    for seq in 1..=20 {
        let answer: Value = serde_json::from_str(&answers.next().unwrap()).unwrap();
        assert_eq!(answer["seq"], seq, "{answer}");
    }
    drop(answers);

    let body = r#"{"peer": "home", "service": "echo", "listen": "127.0.0.1:0"}"#;
    let answer =
        lines(&pair.laptop, "POST", "/v1/connect", body).find(|line| line.starts_with("HTTP/1.1 200"));
    assert!(answer.is_some());
    let listed = lines(&pair.laptop, "GET", "/v1/connect", "").find(|line| line.starts_with('{'));
    let listed: Value = serde_json::from_str(&listed.unwrap()).unwrap();
    let address = listed["data"][0]["listen_address"].as_str().unwrap();
    assert!(Client::connect(address).echoes());
}

#[test]
fn events_tell_of_peers_the_gate_and_changes() {
    let mut pair = Pair::prepare();
    pair.home.start();
    let mut events = pair.home.spawn(&["events", "--json"]);
    let mut text = pair.home.spawn(&["events"]);
    for follower in [&mut events, &mut text] {
        follower
            .wait_for_line("that it follows", SOON, |line| line.contains("following"))
            .unwrap();
    }
    pair.laptop.start();
    pair.laptop.run(&["ping", "home", "-c", "1"]).ok();
    let id = pair.laptop.peer_id();
    for event in ["auth-allowed", "peer-connected"] {
        let line = events
            .wait_for_line(event, SOON, |line| line.contains(event) && line.contains(&id))
            .unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&told["event"], &told["name"]),
            (&event.into(), &"laptop".into()),
            "{told}"
        );
    }
    pair.home.run(&["auth", "remove", "laptop", "--yes"]).ok();
    for event in ["auth-expelled", "peer-disconnected"] {
        events
            .wait_for_line(event, SOON, |line| line.contains(event) && line.contains(&id))
            .unwrap();
    }
    let denied = pair.laptop.run(&["ping", "home", "-c", "1"]);
    assert_ne!(denied.code, 0);
    events
        .wait_for_line("a refusal", SOON, |line| {
            line.contains("auth-denied") && line.contains(&id)
        })
        .unwrap();
    pair.home.run(&["plugin", "disable", "ping"]).ok();
    events
        .wait_for_line("the plugin's end", SOON, |line| {
            line.contains(r#""plugin":"ping""#)
        })
        .unwrap();
    text.wait_for_line("a change", SOON, |line| {
        line.contains("config-changed file=config")
    })
    .unwrap();

    let (ended, _) = events.terminate(END).unwrap();
    assert_eq!(ended.code, 0, "{ended:#?}");
    pair.home.stop();
    let ended: Outcome = text.finish(SOON).unwrap().into();
    ended.ok();
}

/// Returns the status and the body of an answer.
fn answer(node: &Node, method: &str, path: &str, body: &str) -> (u16, String) {
    let answered: Vec<String> = lines(node, method, path, body).collect();
    let status = answered[0].split(' ').nth(1).unwrap().parse().unwrap();
    let end = answered.iter().position(String::is_empty).unwrap();
    (status, answered[end + 1..].join("\n"))
}

#[test]
fn text_is_for_people_lists_and_errors_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::init(folder.path(), "node");
    node.run(&["service", "add", "web", "127.0.0.1:8080"]).ok();
    node.start();
    let get = |path: &str| answer(&node, "GET", &format!("/v1/{path}?format=text"), "");

    let services = get("services").1;
    assert!(
        services.contains("name\tprotocol\tlocal_address\tenabled\tplugin") && services.contains("\nweb\t"),
        "{services}"
    );
    let plugins = get("plugins").1;
    assert!(plugins.starts_with("name\tstate\tenabled\t"), "{plugins}");
    assert!(!plugins.contains(['{', '"']), "{plugins}");
    for empty in ["peers", "auth", "relays", "connect"] {
        assert_eq!(get(empty), (200, "none".to_owned()), "{empty}");
    }
    assert!(get("status").1.contains("\nconfig.state: settled\n"));

    let refused = answer(
        &node,
        "PUT",
        "/v1/services/nope?format=text",
        r#"{"enabled": true}"#,
    );
    assert_eq!(refused.0, 404, "{refused:?}");
    assert!(
        refused.1.starts_with("error: ") && !refused.1.contains('{'),
        "{refused:?}"
    );
    let (status, unknown) = answer(&node, "POST", "/v1/expose?format=text", "no json");
    assert_eq!(status, 400, "{unknown}");
    assert!(
        unknown.starts_with("error: ") && unknown.contains("\nnext: "),
        "{unknown}"
    );
    // Who did not ask for text has JSON.
    let (_, json) = answer(&node, "PUT", "/v1/services/nope", r#"{"enabled": true}"#);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["error"]["code"], "not_found");
}

#[test]
fn who_waits_for_a_cancelled_invite_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::init(folder.path(), "node");
    node.start();
    let (_, made) = answer(&node, "POST", "/v1/invite", "{}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let path = format!("/v1/invite/{}", made["data"]["id"].as_str().unwrap());
    let waiting = lines(&node, "GET", &path, "");
    // Is waiting once the daemon has read it; one that comes late finds no invite, which is as clear.
    let (status, _) = answer(&node, "DELETE", &path, "");
    assert_eq!(status, 200);
    let answered: Vec<String> = waiting.collect();
    let told = answered.join("\n");
    assert!(
        told.starts_with("HTTP/1.1 409") && told.contains("was cancelled before anybody joined")
            || told.starts_with("HTTP/1.1 404"),
        "{told}"
    );
}
