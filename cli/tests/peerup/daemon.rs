//! Starting a daemon: what it refuses to start with, who it shares its folder with, what changes it takes
//! without a restart.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

use crate::support::{END, Node, SOON, eventually};

const STRANGER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

fn node() -> (tempfile::TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    (folder, node)
}

#[test]
fn ready_names_the_peer_and_the_socket_which_are_private() {
    let (_folder, mut node) = node();
    node.start();
    let (id, socket) = (node.peer_id(), node.file("peerup.sock"));
    node.logs(&["ready", &id, socket.to_str().unwrap()]);
    for name in ["peerup.sock", ".daemon-cookie"] {
        let mode = fs::metadata(node.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(node.read(".daemon-cookie").trim().len(), 64);
    assert_eq!(node.run(&["status", "--json"]).json()["running"], true);
}

#[test]
fn the_cookie_is_another_after_each_start() {
    let (_folder, mut node) = node();
    node.start();
    let first = node.read(".daemon-cookie");
    node.stop();
    node.start();
    assert_ne!(node.read(".daemon-cookie"), first);
}

#[test]
fn a_second_daemon_says_so_and_leaves_the_first_alone() {
    let (_folder, mut node) = node();
    node.start();
    let cookie = node.read(".daemon-cookie");

    node.run(&["daemon"])
        .fails(1, &["another daemon", "peerup.sock", "peerup daemon stop"]);

    assert_eq!(node.read(".daemon-cookie"), cookie);
    assert_eq!(
        node.run(&["daemon", "status", "--json"]).json()["peer_id"],
        node.peer_id()
    );
    node.stop();
}

#[test]
fn a_dead_socket_is_taken_over() {
    let (_folder, mut node) = node();
    node.start();
    node.daemon().kill().unwrap();
    node.daemon = None;
    assert!(
        node.file("peerup.sock").exists(),
        "a killed daemon cannot tidy up"
    );
    node.run(&["daemon", "status"]).fails(3, &["no daemon"]);
    assert_eq!(node.run(&["status", "--json"]).json()["running"], false);

    node.start();

    assert_eq!(node.run(&["status", "--json"]).json()["running"], true);
    node.stop();
    assert!(!node.file("peerup.sock").exists());
}

#[test]
fn a_file_in_the_place_of_the_socket_is_not_removed() {
    let (_folder, node) = node();
    node.write("peerup.sock", "precious");
    node.run(&["daemon"]).fails(1, &["peerup.sock", "no socket"]);
    assert_eq!(node.read("peerup.sock"), "precious");
}

#[test]
fn a_port_that_another_program_has_is_named() {
    let (_folder, node) = node();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    node.replace("/ip4/127.0.0.1/tcp/0", &format!("/ip4/127.0.0.1/tcp/{port}"));

    let outcome = node
        .run(&["daemon"])
        .fails(1, &[&format!("/tcp/{port}"), "another program"]);

    assert!(!outcome.stderr.contains("ready "), "{outcome:#?}");
    assert!(!node.file("peerup.sock").exists());
    assert!(!node.file(".daemon-cookie").exists());
}

#[test]
fn a_bad_line_while_running_leaves_the_last_good_list_in_force() {
    let (_folder, mut node) = node();
    node.write("authorized_keys", &format!("{STRANGER}\n"));
    node.start();
    node.write("authorized_keys", &format!("{STRANGER}\nnonsense\n"));

    node.logs(&["last good list", "line 2"]);
    let status = node.run(&["status", "--json"]).json();
    let problems = status["problems"].to_string();
    assert!(
        problems.contains("authorized_keys") && problems.contains("line 2"),
        "{status}"
    );
    assert!(node.run(&["status"]).ok().contains("line 2"));
    node.run(&["daemon", "reload"])
        .fails(6, &["authorized_keys", "line 2"]);
    assert_eq!(
        node.run(&["auth", "list", "--json"]).json()[0]["peer_id"],
        STRANGER
    );

    node.write("authorized_keys", "# nobody\n");
    eventually("the mended list to be in force", || {
        let status = node.run(&["status", "--json"]).json();
        status["problems"] == serde_json::json!([])
    });
    assert_eq!(
        node.run(&["auth", "list", "--json"]).json(),
        serde_json::json!([])
    );
}

#[test]
fn a_wrong_cookie_is_denied() {
    let (_folder, mut node) = node();
    node.start();
    node.write(".daemon-cookie", "0".repeat(64).as_str());
    node.run(&["daemon", "status"]).fails(4, &["cookie"]);
}

#[test]
fn serve_is_the_daemon() {
    let (_folder, node) = node();
    let mut daemon = node.spawn(&["serve"]);
    daemon
        .wait_for_line("ready", SOON, |line| line.starts_with("ready "))
        .unwrap();
}

#[test]
fn reload_takes_edits_of_the_file_and_refuses_bad_ones() {
    let (_folder, mut node) = node();
    node.start();
    node.replace(
        "services: {}",
        "services:\n  web:\n    local_address: localhost:80",
    );
    assert_eq!(
        node.run(&["service", "list", "--json"]).json(),
        serde_json::json!([])
    );
    node.run(&["daemon", "reload"]).ok();
    assert_eq!(node.run(&["service", "list", "--json"]).json()[0]["name"], "web");

    node.replace("  web:", "  Web:");
    node.run(&["daemon", "reload"]).fails(6, &["config.yaml", "Web"]);
    let problems = || node.run(&["status", "--json"]).json()["problems"].to_string();
    assert!(
        problems().contains("does not load") && problems().contains("Web"),
        "{}",
        problems()
    );
    node.replace("  Web:", "  web:");
    node.run(&["daemon", "reload"]).ok();
    assert_eq!(problems(), "[]");
    assert_eq!(
        node.run(&["daemon", "services", "--json"]).json()[0]["name"],
        "web"
    );
}

#[test]
fn edits_through_the_daemon_stand_in_the_files() {
    let (_folder, mut node) = node();
    node.start();
    node.run(&["service", "add", "web", "localhost:80"]).ok();
    node.run(&["auth", "add", STRANGER, "--name", "phone"]).ok();
    let relay = format!("/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}");
    node.run(&["relay", "add", &relay]).ok();
    assert_eq!(
        node.run(&["resolve", "phone", "--json"]).json()["source"],
        "names-local"
    );
    node.stop();
    assert_eq!(node.run(&["service", "list", "--json"]).json()[0]["name"], "web");
    assert_eq!(node.run(&["auth", "list", "--json"]).json()[0]["name"], "phone");
    assert_eq!(
        node.run(&["relay", "list", "--json"]).json()[0]["peer_id"],
        STRANGER
    );
}

#[test]
fn a_name_that_the_operator_gives_is_given_or_refused() {
    let (_folder, mut node) = node();
    let other = peer_of_a_fresh_key();
    // Without a daemon and with one.
    for _ in 0..2 {
        node.run(&["auth", "add", STRANGER, "--name", "phone"]).ok();
        node.run(&["auth", "add", &other, "--name", "phone"])
            .fails(1, &["called phone already", STRANGER]);
        node.run(&["auth", "remove", "phone"]).ok();
        node.run(&["auth", "add", STRANGER, "--name", "tablet"])
            .fails(1, &["is called phone already"]);
        assert_eq!(
            node.run(&["auth", "list", "--json"]).json(),
            serde_json::json!([]),
            "who is refused a name is not let in either"
        );
        if node.file("peerup.sock").exists() {
            break;
        }
        node.start();
    }
    let own = node.peer_id();
    node.run(&["auth", "add", &own]).fails(2, &["own peer id"]);
}

/// The peer id of a key that nobody has.
fn peer_of_a_fresh_key() -> String {
    let key = libp2p_identity::Keypair::generate_ed25519();
    key.public().to_peer_id().to_base58()
}

#[test]
fn a_daemon_tells_usage_errors_as_a_command_without_one_does() {
    let (_folder, mut node) = node();
    node.start();
    for (arguments, code, word) in [
        (&["service", "add", "Web", "localhost:80"][..], 2, "Web"),
        (&["service", "remove", "web"], 1, "there is no service web"),
        (&["auth", "add", "nobody"], 2, "nobody"),
        (&["auth", "add", STRANGER, "--name", "a b"], 2, "a b"),
        (&["auth", "add", STRANGER, "--services", "Web"], 2, "Web"),
        (
            &["auth", "add", STRANGER, "--expires", "2020-01-01"],
            2,
            "is over",
        ),
        (&["auth", "remove", "nobody"], 1, "\"nobody\""),
        (&["auth", "remove", STRANGER], 1, "not in authorized_keys"),
        (&["resolve", "nobody"], 1, "\"nobody\""),
        (&["ping", "nobody"], 1, "\"nobody\""),
        (&["daemon", "ping", "nobody"], 1, "\"nobody\""),
        (&["traceroute", "nobody"], 1, "\"nobody\""),
        (
            &["traceroute", "nobody", "--timeout", "0s"],
            2,
            "time-out above zero",
        ),
        (&["proxy", "nobody", "web"], 1, "\"nobody\""),
        (&["proxy", "nobody", "Web"], 2, "Web"),
        (
            &["daemon", "connect", "--peer", "x", "--service", "a b"],
            2,
            "a b",
        ),
        (&["daemon", "disconnect", "proxy-7"], 1, "proxy-7"),
        (
            &["relay", "remove", &format!("/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}")],
            1,
            "not among the relays",
        ),
        (&["invite", "--name", "a b"], 2, "a b"),
        (&["invite", "--ttl", "48h"], 2, "24 hours"),
        (&["invite", "--services", "Web"], 2, "Web"),
    ] {
        node.run(arguments).fails(code, &[word]);
    }
}

#[test]
fn what_goes_on_until_it_is_interrupted_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::init(folder.path(), "home");
    node.start();
    for (words, first) in [
        (&["events"][..], "following the events"),
        (&["logs", "-f"], "Z "),
        (&["plugin", "logs", "ping", "-f"], "Z "),
    ] {
        let mut stream = node.spawn(words);
        stream
            .wait_for_line(first, SOON, |line| line.contains(first))
            .unwrap();
        let finished = stream.interrupt(END).unwrap();
        assert_eq!(finished.code, 0, "{words:?}: {finished:#?}");
        // Whole seconds, for people.
        let mut lines = finished.stdout.lines();
        assert!(
            lines.all(|line| line.split(' ').next().is_some_and(|time| time.len() == 20)),
            "{finished:#?}"
        );
    }
}
