//! What needs no daemon: the files that `init` makes, edits of them, and what is wrong with them.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::support::{Node, Outcome, bare};

const STRANGER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

fn node() -> (tempfile::TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    (folder, node)
}

fn mode(node: &Node, name: &str) -> u32 {
    fs::metadata(node.file(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_makes_private_files_and_prints_the_peer_id() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::blank(folder.path(), "new");
    let made = Outcome::of(bare(
        &node.folder,
        &["init", "--non-interactive", "--dir", ".", "--port", "4567"],
    ));
    assert_eq!(made.ok(), node.peer_id());
    for name in ["config.yaml", "identity.key", "authorized_keys"] {
        assert_eq!(mode(&node, name), 0o600, "{name}");
    }
    assert_eq!(node.read("config.yaml").matches("/4567").count(), 4);
    assert_eq!(fs::metadata(node.file("identity.key")).unwrap().len(), 68);
}

#[test]
fn init_overwrites_nothing() {
    let (_folder, node) = node();
    let (config, id) = (node.read("config.yaml"), node.peer_id());

    let again = Outcome::of(bare(&node.folder, &["init", "--non-interactive", "--dir", "."]));

    again.fails(1, &["config.yaml"]);
    assert_eq!((node.read("config.yaml"), node.peer_id()), (config, id));
}

#[test]
fn init_takes_a_relay_in_both_forms_and_refuses_others() {
    let folder = tempfile::tempdir().unwrap();
    let full = format!("/ip4/127.0.0.1/tcp/7777/p2p/{STRANGER}");
    for (number, arguments) in [
        &["--relay", &full][..],
        &["--relay", "127.0.0.1", "--relay-id", STRANGER],
    ]
    .iter()
    .enumerate()
    {
        let node = Node::blank(folder.path(), &number.to_string());
        let mut all = vec!["init", "--non-interactive", "--dir", "."];
        all.extend_from_slice(arguments);
        Outcome::of(bare(&node.folder, &all)).ok();
        let relays = node.run(&["relay", "list", "--json"]).json();
        assert_eq!(relays[0]["peer_id"], STRANGER);
        assert_eq!(relays[0]["addresses"][0], full.as_str());
    }
    for bad in ["127.0.0.1:7777", "/ip4/127.0.0.1/tcp/7777", "/nonsense"] {
        let node = Node::blank(folder.path(), "bad");
        let all = ["init", "--non-interactive", "--dir", ".", "--relay", bad];
        Outcome::of(bare(&node.folder, &all)).fails(2, &[bad]);
        assert!(!node.config.exists(), "{bad} left a config behind");
    }
}

#[test]
fn whoami_never_makes_a_key() {
    let (_folder, node) = node();
    fs::remove_file(node.file("identity.key")).unwrap();
    node.run(&["whoami"]).fails(6, &["identity.key"]);
    assert!(!node.file("identity.key").exists());
}

#[test]
fn without_a_config_init_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["status"][..], &["daemon"], &["whoami"], &["invite"]] {
        Outcome::of(bare(folder.path(), arguments)).fails(6, &["there is no config file", "peerup init"]);
    }
    let named = ["status", "--config", "elsewhere.yaml"];
    Outcome::of(bare(folder.path(), &named)).fails(6, &["elsewhere.yaml", "--config"]);
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_chmod_to_run() {
    let (_folder, node) = node();
    fs::set_permissions(node.file("identity.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let chmod = format!("next: chmod 600 {}", node.file("identity.key").display());
    for arguments in [&["whoami"][..], &["status"], &["daemon"]] {
        node.run(arguments).fails(6, &["0644", &chmod]);
    }
    fs::set_permissions(node.file("identity.key"), fs::Permissions::from_mode(0o600)).unwrap();
    node.run(&["whoami"]).ok();
}

#[test]
fn a_damaged_key_is_an_error_and_stays_as_it_is() {
    let (_folder, node) = node();
    for damage in ["", "not a key", &"x".repeat(68)] {
        node.write("identity.key", damage);
        node.run(&["whoami"]).fails(6, &["identity.key", "damaged"]);
        node.run(&["daemon"]).fails(6, &["identity.key", "damaged"]);
        assert_eq!(node.read("identity.key"), damage);
    }
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest_one() {
    let (_folder, node) = node();
    node.replace("external_addresses", "external_adresses");
    let text = node.read("config.yaml");
    let line = 1 + text
        .lines()
        .position(|line| line.contains("external_adresses"))
        .unwrap();
    let place = format!("line {line}");
    for arguments in [
        &["status"][..],
        &["daemon"],
        &["config", "validate"],
        &["service", "list"],
        &["auth", "add", STRANGER],
    ] {
        node.run(arguments).fails(
            6,
            &["config.yaml", &place, "external_adresses", "external_addresses"],
        );
    }
    assert_eq!(node.read("config.yaml"), text);
}

#[test]
fn every_problem_of_a_config_is_told_at_once() {
    let (_folder, node) = node();
    node.replace("services: {}", "services:\n  Web:\n    local_address: nowhere\n");
    node.replace("idle_timeout: 24h", "idle_timeout: tomorrow");
    node.run(&["config", "validate"])
        .fails(6, &["services.Web", "idle_timeout"]);
}

#[test]
fn a_bad_line_of_authorized_keys_is_told_with_its_number() {
    let (_folder, node) = node();
    node.write("authorized_keys", &format!("# mine\n{STRANGER}\nnonsense\n"));
    for arguments in [
        &["daemon"][..],
        &["auth", "validate"],
        &["auth", "list"],
        &["auth", "remove", STRANGER],
        &["resolve", STRANGER],
    ] {
        node.run(arguments)
            .fails(6, &["authorized_keys", "line 3", "peerup auth validate"]);
    }
    node.write("authorized_keys", &format!("# mine\n{STRANGER}\n"));
    assert!(node.run(&["auth", "validate"]).ok().contains("1 entries"));
}

#[test]
fn services_are_edited_in_the_file_where_no_daemon_runs() {
    let (_folder, node) = node();
    node.run(&["service", "add", "web", "localhost:80"]).ok();
    node.run(&["service", "disable", "web"]).ok();
    let list = node.run(&["service", "list", "--json"]).json();
    assert_eq!(list[0]["name"], "web");
    assert_eq!(list[0]["local_address"], "localhost:80");
    assert_eq!(list[0]["enabled"], false);
    node.run(&["service", "enable", "web"]).ok();
    assert_eq!(
        node.run(&["service", "list", "--json"]).json()[0]["enabled"],
        true
    );
    assert!(node.read("config.yaml").contains("# What you call other peers"));
    node.run(&["service", "remove", "web"]).ok();
    assert_eq!(
        node.run(&["service", "list", "--json"]).json(),
        serde_json::json!([])
    );
    for word in ["remove", "enable", "disable"] {
        node.run(&["service", word, "web"])
            .fails(1, &["there is no service web"]);
    }
}

#[test]
fn peers_are_authorized_in_the_files_where_no_daemon_runs() {
    let (_folder, node) = node();
    let add = [
        "auth",
        "add",
        STRANGER,
        "--name",
        "phone",
        "--services",
        "web,ssh",
        "--comment",
        "mine",
    ];
    node.run(&add).ok();
    let list = node.run(&["auth", "list", "--json"]).json();
    assert_eq!(list[0]["peer_id"], STRANGER);
    assert_eq!(list[0]["name"], "phone");
    assert_eq!(list[0]["services"], serde_json::json!(["web", "ssh"]));
    assert_eq!(list[0]["comment"], "mine");
    assert_eq!(
        node.run(&["resolve", "phone", "--json"]).json()["peer_id"],
        STRANGER
    );
    assert_eq!(
        node.run(&["resolve", &STRANGER[..20]]).ok(),
        format!("{STRANGER} (peer-id)")
    );

    node.run(&add).fails(1, &[STRANGER]);
    node.run(&["auth", "remove", "phone"]).ok();
    node.run(&["auth", "remove", STRANGER])
        .fails(1, &["not in authorized_keys"]);
}

#[test]
fn bad_names_ids_and_times_are_usage_errors_and_change_nothing() {
    let (_folder, node) = node();
    let (config, keys) = (node.read("config.yaml"), node.read("authorized_keys"));
    for (arguments, word) in [
        (&["service", "add", "Web", "localhost:80"][..], "Web"),
        (&["service", "add", "-web", "localhost:80"], "-web"),
        (&["service", "add", "ping", "localhost:80"], "ping"),
        (&["service", "add", "web", "localhost"], "localhost"),
        (&["service", "add", "web", "localhost:0"], "localhost:0"),
        (&["service", "remove", "a b"], "a b"),
        (&["auth", "add", "nobody"], "nobody"),
        (&["auth", "add", STRANGER, "--name", "a b"], "a b"),
        (&["auth", "add", STRANGER, "--services", "Web"], "Web"),
        (&["auth", "add", STRANGER, "--expires", "soon"], "soon"),
        (&["relay", "add", "/ip4/127.0.0.1/tcp/1"], "/ip4/127.0.0.1/tcp/1"),
        (&["proxy", "home", "web", "nowhere"], "nowhere"),
    ] {
        let outcome = node.run(arguments);
        // clap takes what begins with a dash for a flag, and says so in its own words.
        if word.starts_with('-') {
            assert_eq!(outcome.code, 2, "{outcome:#?}");
            continue;
        }
        outcome.fails(2, &[word]);
    }
    assert_eq!(
        (node.read("config.yaml"), node.read("authorized_keys")),
        (config, keys)
    );
}

#[test]
fn an_unknown_peer_is_told_with_the_names_that_are_known() {
    let (_folder, node) = node();
    node.run(&["auth", "add", STRANGER, "--name", "phone"]).ok();
    node.run(&["resolve", "fone"]).fails(1, &["\"fone\"", "phone"]);
    node.run(&["ping", "fone"]).fails(1, &["\"fone\"", "phone"]);
    node.run(&["proxy", "fone", "web"])
        .fails(1, &["\"fone\"", "phone"]);
    node.run(&["auth", "remove", "fone"])
        .fails(1, &["\"fone\"", "phone"]);
}

#[test]
fn what_only_a_daemon_can_do_ends_with_3_without_one() {
    let (_folder, node) = node();
    for arguments in [
        &["daemon", "status"][..],
        &["daemon", "stop"],
        &["daemon", "services"],
        &["daemon", "peers"],
        &["daemon", "ping", "home"],
        &["daemon", "connect", "--peer", "home", "--service", "web"],
        &["daemon", "disconnect", "proxy-1"],
        &["daemon", "reload"],
        &["plugin", "list"],
        &["plugin", "inspect", "ping"],
        &["plugin", "reload", "ping"],
        &["plugin", "logs", "ping"],
    ] {
        node.run(arguments).fails(3, &["no daemon", "peerup daemon"]);
    }
}
