//! `doctor`: what it finds on this machine, what it mends, and what it leaves alone.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Node, Outcome, Relay, bare, free_port, inject_relay};

const STRANGER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
const SYSCTL: &str = "proc/sys/net/core";

fn node() -> (TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    machine(folder.path());
    (folder, node)
}

/// A machine whose kernel has the usual buffers, so that no test changes this one's.
fn machine(root: &Path) {
    fs::create_dir_all(root.join(SYSCTL)).unwrap();
    for (key, value) in [
        ("rmem_max", "212992"),
        ("wmem_max", "212992"),
        ("rmem_default", "212992"),
        ("wmem_default", "212992"),
    ] {
        fs::write(root.join(SYSCTL).join(key), value).unwrap();
    }
}

fn on(root: &Path, mut command: Command) -> Command {
    command.env("PEERUP_ROOT", root).env_remove("SSLKEYLOGFILE");
    command
}

fn doctor(folder: &TempDir, node: &Node, arguments: &[&str]) -> Outcome {
    let mut words = vec!["doctor"];
    words.extend(arguments);
    Outcome::of(on(folder.path(), node.command(&words)))
}

/// Runs it with `--json` and returns the exit code with the checks.
#[track_caller]
fn examined(folder: &TempDir, node: &Node, arguments: &[&str]) -> (i32, Value) {
    let mut words = vec!["--json"];
    words.extend(arguments);
    let outcome = doctor(folder, node, &words);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:#?}"));
    assert_eq!(report["ok"], outcome.code == 0, "{outcome:#?}");
    (outcome.code, report["checks"].clone())
}

#[track_caller]
fn check<'a>(checks: &'a Value, name: &str) -> &'a Value {
    let mut list = checks.as_array().unwrap().iter();
    list.find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {checks:#}"))
}

fn states<'a>(checks: &'a Value, name: &str) -> Vec<&'a str> {
    let list = checks.as_array().unwrap().iter();
    list.filter(|check| check["name"] == name)
        .map(|check| check["state"].as_str().unwrap())
        .collect()
}

fn chmod(node: &Node, name: &str, mode: u32) {
    fs::set_permissions(node.file(name), fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(node: &Node, name: &str) -> u32 {
    fs::metadata(node.file(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_fresh_node_has_no_problem() {
    let (folder, node) = node();
    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!(code, 0, "{checks:#}");
    for name in [
        "config",
        "config_mode",
        "identity",
        "authorized_keys",
        "socket",
        "listen",
    ] {
        assert_eq!(check(&checks, name)["state"], "ok", "{checks:#}");
    }
    for name in ["relay", "dns", "nat"] {
        assert_eq!(check(&checks, name)["state"], "skipped", "{checks:#}");
    }
    assert_eq!(check(&checks, "daemon")["next"], "peerup daemon");

    let told = doctor(&folder, &node, &[]).ok();
    assert!(told.contains("[ok]   identity: "), "{told}");
    assert!(told.contains("[skip] relay: no relay is configured"), "{told}");
    assert!(!told.contains('\x1b'), "{told}");
    assert!(
        doctor(&folder, &node, &["--color", "always"])
            .ok()
            .contains("\x1b[32m[ok]")
    );
}

#[test]
fn without_a_config_the_machine_is_examined_and_init_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = Outcome::of(on(folder.path(), bare(folder.path(), &["doctor"])));
    let outcome = outcome.fails(7, &["1 problem"]);
    for words in [
        "[FAIL] config: there is no config file",
        "peerup init",
        "clock: ",
        "[skip] udp_buffers",
    ] {
        assert!(outcome.stdout.contains(words), "{words}: {outcome:#?}");
    }
    Outcome::of(bare(folder.path(), &["doctor", "--mend"])).fails_at_use();
    assert!(!folder.path().join("xdg").exists());
}

impl Outcome {
    #[track_caller]
    fn fails_at_use(self) {
        assert_eq!(self.code, 2, "{self:#?}");
    }
}

#[test]
fn every_error_of_the_config_is_told_with_file_and_line() {
    let (folder, node) = node();
    node.replace("services: {}", "services:\n  Web:\n    local_address: nowhere\n");
    node.replace("idle_timeout: 24h", "idle_timeout: tomorrow");
    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!(code, 7);
    let found = check(&checks, "config")["found"].as_str().unwrap();
    let place = format!("{}:", node.config.display());
    assert!(found.lines().count() >= 2, "{found}");
    assert!(found.lines().all(|line| line.starts_with(&place)), "{found}");
    assert!(
        found.contains("idle_timeout") && found.contains("services.Web"),
        "{found}"
    );
}

#[test]
fn wrong_modes_are_found_and_mended_where_asked() {
    let (folder, node) = node();
    let files = ["identity.key", "config.yaml", "authorized_keys"];
    let before = files.map(|name| node.read_bytes(name));
    for (name, bits) in files.into_iter().zip([0o644, 0o644, 0o666]) {
        chmod(&node, name, bits);
    }

    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!(code, 7);
    assert_eq!(check(&checks, "identity")["state"], "problem");
    assert_eq!(check(&checks, "config_mode")["state"], "warning");
    assert_eq!(check(&checks, "authorized_keys_mode")["state"], "problem");
    let next = check(&checks, "identity")["next"].as_str().unwrap();
    assert_eq!(next, format!("chmod 600 {}", node.file("identity.key").display()));
    assert_eq!(mode(&node, "identity.key"), 0o644);

    let (code, checks) = examined(&folder, &node, &["--fix"]);
    assert_eq!(code, 0, "{checks:#}");
    for name in ["identity", "config_mode", "authorized_keys_mode"] {
        assert_eq!(check(&checks, name)["state"], "ok");
        assert!(check(&checks, name)["fixed"].as_str().unwrap().contains("0600"));
    }
    assert_eq!(files.map(|name| mode(&node, name)), [0o600; 3]);
    assert_eq!(files.map(|name| node.read_bytes(name)), before);
}

impl Node {
    fn read_bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }
}

#[test]
fn a_missing_or_damaged_key_is_left_alone() {
    let (folder, node) = node();
    node.write("identity.key", "damage");
    let (code, checks) = examined(&folder, &node, &["--fix"]);
    assert_eq!(
        (code, &check(&checks, "identity")["state"]),
        (7, &Value::from("problem"))
    );
    assert_eq!(node.read("identity.key"), "damage");

    fs::remove_file(node.file("identity.key")).unwrap();
    doctor(&folder, &node, &["--fix"]).fails(7, &["problem"]);
    assert!(!node.file("identity.key").exists());
}

#[test]
fn a_bad_line_of_authorized_keys_is_told_with_its_number() {
    let (folder, node) = node();
    node.write("authorized_keys", &format!("# mine\n{STRANGER}\nnonsense\n"));
    let (code, checks) = examined(&folder, &node, &["--fix"]);
    assert_eq!(code, 7);
    let found = check(&checks, "authorized_keys")["found"].as_str().unwrap();
    assert!(found.contains("line 3"), "{found}");

    node.write(
        "authorized_keys",
        &format!("{STRANGER} expires=2001-01-01T00:00:00Z\n"),
    );
    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!((code, states(&checks, "authorized_keys")), (0, vec!["warning"]));
}

#[test]
fn a_stale_socket_goes_and_one_in_use_stays() {
    let (folder, mut node) = node();
    drop(UnixListener::bind(node.file("peerup.sock")).unwrap());
    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!((code, states(&checks, "socket")), (0, vec!["warning"]));
    let (_, checks) = examined(&folder, &node, &["--fix"]);
    assert_eq!(states(&checks, "socket"), ["ok"]);
    assert!(!node.file("peerup.sock").exists());

    node.start();
    let (code, checks) = examined(&folder, &node, &["--fix"]);
    assert_eq!(code, 0, "{checks:#}");
    for name in ["socket", "daemon", "listen"] {
        assert_eq!(states(&checks, name), ["ok"], "{checks:#}");
    }
    assert_eq!(node.run(&["status", "--json"]).json()["running"], true);
}

#[test]
fn a_port_that_another_program_has_is_told() {
    let (folder, node) = node();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    node.replace("/ip4/127.0.0.1/tcp/0", &format!("/ip4/127.0.0.1/tcp/{port}"));
    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!((code, states(&checks, "listen")), (7, vec!["problem"]));
    let next = check(&checks, "listen")["next"].as_str().unwrap();
    assert!(next.starts_with(&format!("ss -lntup | grep :{port}")), "{next}");

    drop(other);
    let (code, _) = examined(&folder, &node, &[]);
    assert_eq!(code, 0);
}

#[test]
fn a_live_relay_answers_and_a_dead_one_does_not() {
    let (folder, node) = node();
    let mut relay = Relay::start(&[node.peer_id()], "");
    inject_relay(&node, &relay.address);
    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!((code, states(&checks, "relay")), (0, vec!["ok"]), "{checks:#}");
    assert_eq!(states(&checks, "udp"), ["skipped"]);

    relay.stop();
    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!(
        (code, states(&checks, "relay")),
        (7, vec!["problem"]),
        "{checks:#}"
    );
}

/// Addresses of a daemon, which speaks TCP and QUIC as a relay does.
fn addresses_of(node: &Node, kind: &str) -> String {
    let status = node.run(&["status", "--json"]).json();
    let list = status["listen_addresses"].as_array().unwrap().clone();
    let mut texts = list.iter().map(|address| address.as_str().unwrap());
    let address = texts.find(|address| address.contains(kind)).unwrap();
    let bare = address.split("/p2p/").next().unwrap();
    format!("{bare}/p2p/{}", node.peer_id())
}

#[test]
fn quic_is_tried_apart_from_tcp() {
    let (folder, node) = node();
    let mut other = Node::init(folder.path(), "other");
    other.start();
    let (tcp, quic) = (addresses_of(&other, "/tcp/"), addresses_of(&other, "/quic-v1"));
    inject_relay(&node, &format!("{tcp}\n    - {quic}"));
    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!(
        (code, states(&checks, "relay")),
        (0, vec!["ok", "ok"]),
        "{checks:#}"
    );
    assert_eq!(states(&checks, "udp"), ["ok"]);

    let dead = format!(
        "/ip4/127.0.0.1/udp/{}/quic-v1/p2p/{}",
        free_port(),
        other.peer_id()
    );
    node.replace(&quic, &dead);
    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!(
        (code, states(&checks, "relay")),
        (0, vec!["ok", "warning"]),
        "{checks:#}"
    );
    assert!(
        check(&checks, "udp")["found"]
            .as_str()
            .unwrap()
            .contains("UDP seems blocked")
    );
}

#[test]
fn a_name_that_nobody_knows_is_told_in_time() {
    let (folder, node) = node();
    inject_relay(&node, &format!("/dns4/relay.invalid/tcp/7777/p2p/{STRANGER}"));
    let (code, checks) = examined(&folder, &node, &[]);
    assert_eq!(code, 7);
    assert_eq!(states(&checks, "dns"), ["problem"]);
    assert_eq!(states(&checks, "relay"), ["problem"]);
    let found = check(&checks, "dns")["found"].as_str().unwrap();
    assert!(found.contains("/etc/resolv.conf"), "{found}");
}

#[test]
fn small_buffers_are_told_with_what_to_run() {
    let (folder, node) = node();
    let (_, checks) = examined(&folder, &node, &[]);
    let buffers = check(&checks, "udp_buffers");
    assert_eq!(buffers["state"], "warning");
    let next = buffers["next"].as_str().unwrap();
    assert!(
        next.contains("net.core.rmem_max=7500000") && next.contains("60-peerup.conf"),
        "{next}"
    );

    doctor(&folder, &node, &["--fix"]).ok();
    // Only root may, in earnest as in this test.
    let written = folder.path().join("etc/sysctl.d/60-peerup.conf").exists();
    let raised = fs::read_to_string(folder.path().join(SYSCTL).join("rmem_max")).unwrap() == "7500000";
    assert_eq!(written, raised);
}

#[test]
fn a_log_of_keys_is_a_problem() {
    let (folder, node) = node();
    let mut command = on(folder.path(), node.command(&["doctor"]));
    command.env("SSLKEYLOGFILE", "/tmp/keys");
    let outcome = Outcome::of(command).fails(7, &["1 problem"]);
    assert!(
        outcome.stdout.contains("next: unset SSLKEYLOGFILE"),
        "{outcome:#?}"
    );
}
