//! The binary as a person or a script meets it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const ID: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

fn relay_server(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay-server"));
    command
        .args(arguments)
        .env_remove("PEERUP_RELAY_CONFIG")
        .env_remove("NOTIFY_SOCKET");
    command
}

/// Makes a relay that listens on loopback, on any free port.
fn made() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let done = relay_server(&[
        "init",
        "--dir",
        text(folder.path()),
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
    ]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let config = folder.path().join("relay-server.yaml");
    (folder, config)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn init_writes_private_files_and_refuses_to_overwrite_them() {
    let (folder, config) = made();
    let files = ["relay-server.yaml", "relay.key", "relay_authorized_keys"];
    for name in files {
        assert_eq!(mode(&folder.path().join(name)), 0o600, "{name}");
    }
    let before: Vec<_> = files
        .iter()
        .map(|name| std::fs::read(folder.path().join(name)).unwrap())
        .collect();

    let again = relay_server(&["init", "--dir", text(folder.path())]);

    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains(text(&config)), "{}", stderr(&again));
    let after: Vec<_> = files
        .iter()
        .map(|name| std::fs::read(folder.path().join(name)).unwrap())
        .collect();
    assert_eq!(before, after);
}

#[test]
fn info_tells_what_to_hand_out() {
    let folder = tempfile::tempdir().unwrap();
    let external = "/ip4/192.0.2.7/tcp/7777";
    let made = relay_server(&["init", "--dir", text(folder.path()), "--external", external]);
    let peer = stdout(&made).trim().to_owned();
    let config = folder.path().join("relay-server.yaml");

    let json = relay_server(&["info", "--json", "--config", text(&config)]);
    let plain = relay_server(&["--config", text(&config), "info"]);

    let info: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(info["peer_id"], peer);
    assert_eq!(
        info["addresses"],
        serde_json::json!([format!("{external}/p2p/{peer}")])
    );
    assert_eq!(info["enrollment"], "members");
    assert!(stdout(&plain).contains(&format!("{external}/p2p/{peer}")));
    assert!(stdout(&plain).contains('█'), "the QR picture");
}

#[test]
fn authorize_list_and_deauthorize_agree() {
    let (_folder, config) = made();
    let run = |arguments: &[&str]| {
        let output = command(arguments)
            .env("PEERUP_RELAY_CONFIG", &config)
            .output()
            .unwrap();
        (output.status.code(), stdout(&output), stderr(&output))
    };

    assert_eq!(run(&["authorize", ID, "--comment", "Ada's laptop"]).0, Some(0));
    assert_eq!(run(&["authorize", ID]).0, Some(0));
    let (_, listed, _) = run(&["list-peers", "--json"]);
    let peers: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        peers,
        serde_json::json!([{
            "peer_id": ID, "role": "member", "comment": "Ada's laptop", "expires": null, "verified": null
        }])
    );
    assert_eq!(
        run(&["list-peers"]).1.trim(),
        format!("{ID}  member  Ada's laptop")
    );
    assert_eq!(run(&["deauthorize", &ID[..20]]).0, Some(0));
    let (code, _, told) = run(&["deauthorize", ID]);
    assert_eq!(code, Some(1));
    assert!(told.contains("list-peers"), "{told}");
    assert_eq!(run(&["list-peers", "--json"]).1.trim(), "[]");
}

#[test]
fn mistakes_have_their_own_message_and_exit_code() {
    let (folder, config) = made();
    let config = text(&config);
    let keys = folder.path().join("relay_authorized_keys");
    let expect = |arguments: &[&str], code: i32, words: &str| {
        let output = relay_server(arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(words),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{arguments:?} wrote data");
    };

    expect(&["dance"], 2, "dance");
    expect(
        &["authorize", "nonsense", "--config", config],
        2,
        "is not a peer id",
    );
    expect(
        &["info", "--config", "/nowhere/relay-server.yaml"],
        6,
        "init --dir",
    );
    expect(&["config", "validate", "--config", config], 0, "is valid");
    std::fs::write(&keys, format!("{ID}\nnonsense\n")).unwrap();
    expect(&["config", "validate", "--config", config], 6, "line 2");
    expect(&["serve", "--config", config], 6, "line 2");
    std::fs::write(&keys, "").unwrap();
    let key = folder.path().join("relay.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    expect(&["--config", config], 1, &format!("chmod 600 {}", key.display()));
    std::fs::write(config, "version: 1\nlisten: []\n").unwrap();
    expect(&["config", "validate", "--config", config], 6, "listen");
}

#[test]
fn a_port_that_is_taken_is_named_with_the_command_that_shows_by_whom() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    relay_server(&["init", "--dir", text(folder.path()), "--listen", &address]);
    let config = folder.path().join("relay-server.yaml");

    let output = relay_server(&["--config", text(&config)]);

    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
    assert!(stderr(&output).contains("ss -ltnup"), "{}", stderr(&output));
    assert!(stderr(&output).contains(&port.to_string()), "{}", stderr(&output));
}

#[test]
fn serve_says_ready_to_people_and_to_systemd_and_ends_cleanly() {
    let (folder, config) = made();
    let socket = folder.path().join("notify.sock");
    let systemd = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut child = command(&["--config", text(&config)])
        .env("NOTIFY_SOCKET", &socket)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let notified = || {
        let mut buffer = [0; 256];
        let length = systemd.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };

    let ready = lines.find(|line| line.starts_with("ready 12D3KooW")).unwrap();
    let peer = ready.trim_start_matches("ready ").to_owned();
    assert!(lines.next().unwrap().ends_with(&format!("/p2p/{peer}")));
    assert!(notified().contains("READY=1"));

    let before = Instant::now();
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(before.elapsed() < Duration::from_secs(5));
    assert!(notified().contains("STOPPING=1"));
}

#[test]
fn version_and_help_are_data() {
    let version = relay_server(&["version"]);
    let help = relay_server(&["--help"]);

    assert_eq!(
        stdout(&version),
        format!("relay-server {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("list-peers"));
}

fn terminate(child: &Child) {
    let done = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}
