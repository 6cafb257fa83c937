//! Packing, installing, upgrading and removing plugins: what is shown, what is written, what is refused.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use peerup_package::{AuthorKey, Package};

use crate::support::{Node, Outcome, bare};

/// A component that is empty: enough for everything but running it.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
pub(crate) const ASKS: &str = r#"
[[capability]]
name = "tcp.connect"
reason = "asks the engine"
values = ["localhost:9000"]

[[capability]]
name = "peers.read"
reason = "lists whom to play"
optional = true
"#;
pub(crate) const SECTION: &str = "  chess:
    enabled: true
    grants:
      tcp:
        # tcp.connect: asks the engine
        connect:
          - localhost:9000
      # peers.read: lists whom to play
      peers:
        - read
";

pub(crate) fn node() -> (tempfile::TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    (folder, node)
}

fn manifest(version: &str, rest: &str) -> String {
    format!("name = \"chess\"\nversion = \"{version}\"\ncontract = \"0.1.0\"\nsummary = \"Plays.\"\n{rest}")
}

/// Writes a package beside the node's folder and returns its path.
pub(crate) fn package(node: &Node, version: &str, rest: &str, seed: Option<u8>) -> String {
    let key = seed.map(|seed| AuthorKey::from_seed(&[seed; 32]));
    let package = Package::pack(EMPTY, &manifest(version, rest), key.as_ref()).unwrap();
    let path = node.file(&package.file_name());
    fs::write(&path, package.bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn stored(node: &Node) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.file("plugins/sha256")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

pub(crate) fn files(node: &Node) -> (String, Option<String>) {
    (
        node.read("config.yaml"),
        fs::read_to_string(node.file("plugins.lock")).ok(),
    )
}

#[test]
fn an_author_makes_a_key_and_a_signed_file_that_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| Outcome::of(bare(folder.path(), arguments));
    let author = run(&["plugin", "keygen", "author.key"]).ok();
    assert!(author.starts_with("ed25519:"), "{author}");
    let mode = fs::metadata(folder.path().join("author.key"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    run(&["plugin", "keygen", "author.key"]).fails(1, &["author.key", "not overwritten"]);

    fs::create_dir(folder.path().join("chess")).unwrap();
    fs::write(folder.path().join("chess/plugin.toml"), manifest("1.2.3", ASKS)).unwrap();
    run(&["plugin", "pack", "chess"])
        .fails(1, &["no component", "next: build it: peerup plugin build chess"]);
    fs::write(folder.path().join("chess/chess.wasm"), EMPTY).unwrap();
    let made = run(&["plugin", "pack", "chess", "--sign", "author.key", "--json"]).json();
    assert_eq!(made["file"], "chess-1.2.3.peerup");
    assert_eq!(made["author"], author.as_str());
    let bytes = fs::read(folder.path().join("chess-1.2.3.peerup")).unwrap();
    let read = Package::read(bytes.clone()).unwrap();
    assert_eq!(read.digest().to_string(), made["digest"].as_str().unwrap());
    run(&[
        "plugin",
        "pack",
        "chess",
        "--sign",
        "author.key",
        "--out",
        "again.peerup",
    ])
    .ok();
    assert_eq!(fs::read(folder.path().join("again.peerup")).unwrap(), bytes);
}

#[test]
fn a_key_that_others_can_read_and_a_wrong_manifest_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| Outcome::of(bare(folder.path(), arguments));
    fs::write(folder.path().join("p.wasm"), EMPTY).unwrap();
    fs::write(
        folder.path().join("plugin.toml"),
        "nmae = \"x\"\nversion = \"1\"\n",
    )
    .unwrap();
    run(&["plugin", "pack"]).fails(2, &["plugin.toml", "line 1", "did you mean `name`", "line 2"]);
    fs::write(folder.path().join("plugin.toml"), manifest("0.1.0", "")).unwrap();
    run(&["plugin", "keygen", "author.key"]).ok();
    let key = folder.path().join("author.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    run(&["plugin", "pack", "--sign", "author.key"]).fails(1, &["0644", "next: chmod 600 author.key"]);
    run(&["plugin", "pack", "--sign", "other.key"]).fails(1, &["other.key", "plugin keygen"]);
}

#[test]
fn install_writes_what_it_showed_and_remove_takes_all_of_it_out() {
    let (_folder, node) = node();
    let before = node.read("config.yaml");
    let file = package(&node, "0.1.0", ASKS, Some(1));
    let done = node.run(&["plugin", "install", &file, "--yes-as-declared"]);
    for shown in [
        "signed by ed25519:",
        "asks the engine",
        "can run without",
        SECTION,
    ] {
        assert!(done.stderr.contains(shown), "{shown}: {done:#?}");
    }
    assert!(done.ok().starts_with("installed chess 0.1.0 sha256:"));
    let config = node.read("config.yaml");
    assert!(config.contains(SECTION), "{config}");
    assert!(config.contains("# What you call other peers"));
    let lock = node.read("plugins.lock");
    assert!(
        lock.contains(&file) && lock.contains("author = \"ed25519:"),
        "{lock}"
    );
    assert_eq!(stored(&node).len(), 1);

    let again = node.run(&["plugin", "install", &file, "--yes-as-declared"]);
    assert!(again.stderr.contains("keeps what it grants"), "{again:#?}");
    again.ok();
    assert_eq!(node.read("config.yaml"), config);

    node.run(&["plugin", "remove", "chess"]).ok();
    let gone = node.read("config.yaml");
    assert_eq!(gone, before);
    assert!(!node.read("plugins.lock").contains("chess"));
    assert!(stored(&node).is_empty());
    node.run(&["plugin", "remove", "chess"])
        .fails(1, &["not installed"]);
}

#[test]
fn without_a_terminal_nothing_is_granted_that_no_flag_names() {
    let (_folder, node) = node();
    let before = files(&node);
    let file = package(&node, "0.1.0", ASKS, None);
    for (flags, code, words) in [
        (
            &[][..],
            2,
            &["--yes-as-declared", "--grant", "asks the engine", SECTION][..],
        ),
        (
            &["--grant", "names.resolve"],
            2,
            &["does not ask for names.resolve"],
        ),
        (&["--grant", "tcp.conect=a:1"], 2, &["did you mean `tcp.connect`"]),
        (&["--grant", "tcp.connect=*:80"], 2, &["every host"]),
        (&["--grant", "tcp.connect"], 2, &["needs a value"]),
        (
            &["--grant", "peers.read"],
            2,
            &[
                "cannot run without tcp.connect (asks the engine)",
                "--grant tcp.connect=localhost:9000",
                "--no-enable",
            ],
        ),
    ] {
        let mut arguments = vec!["plugin", "install", &file];
        arguments.extend(flags);
        node.run(&arguments).fails(code, words);
        assert_eq!(files(&node), before, "{flags:?}");
    }
    let narrow = [
        "plugin",
        "install",
        &file,
        "--grant",
        "tcp.connect=127.0.0.1:7",
        "--json",
    ];
    let done = node.run(&narrow).json();
    assert_eq!(done["status"], "installed");
    assert!(done["author"].is_null());
    let config = node.read("config.yaml");
    assert!(config.contains(done["config"].as_str().unwrap().trim_start_matches("plugins:\n")));
    assert!(config.contains("\"127.0.0.1:7\"") && !config.contains("peers:\n        - read"));
}

#[test]
fn a_plugin_can_be_installed_switched_off_without_what_it_needs() {
    let (_folder, node) = node();
    let file = package(&node, "0.1.0", ASKS, None);
    let flags = ["--no-enable", "--grant", "peers.read"];
    let mut arguments = vec!["plugin", "install", &file];
    arguments.extend(flags);
    node.run(&arguments).ok();
    assert!(
        node.read("config.yaml")
            .contains("  chess:\n    enabled: false\n")
    );
}

#[test]
fn an_upgrade_with_the_same_rights_is_made_and_rolled_back() {
    let (_folder, node) = node();
    let one = package(&node, "0.1.0", ASKS, Some(1));
    let two = package(&node, "0.2.0", ASKS, Some(1));
    node.run(&["plugin", "rollback", "chess"])
        .fails(1, &["not installed"]);
    node.run(&["plugin", "install", &one, "--yes-as-declared"]).ok();
    node.run(&["plugin", "rollback", "chess"])
        .fails(1, &["no version of chess before 0.1.0"]);
    node.run(&["plugin", "install", &two, "--yes-as-declared"])
        .fails(1, &["installed already", "peerup plugin upgrade chess"]);
    let config = node.read("config.yaml");
    let done = node.run(&["plugin", "upgrade", "chess", &two]);
    assert!(
        done.stderr.contains("0.1.0 -> 0.2.0") && done.stderr.contains("the same rights"),
        "{done:#?}"
    );
    assert!(done.ok().starts_with("upgraded chess 0.2.0"));
    assert_eq!(stored(&node).len(), 2);
    let back = node.run(&["plugin", "rollback", "chess", "--json"]).json();
    assert_eq!(back["version"], "0.1.0");
    assert_eq!(back["previous"]["version"], "0.2.0");
    // Without a source it is looked for where it came from.
    assert!(
        node.run(&["plugin", "upgrade", "chess"])
            .ok()
            .starts_with("unchanged chess 0.1.0")
    );
    assert_eq!(node.read("config.yaml"), config);
}

#[test]
fn an_older_version_that_nobody_named_is_refused() {
    let (_folder, node) = node();
    let two = package(&node, "0.2.0", ASKS, Some(1));
    node.run(&["plugin", "install", &two, "--yes-as-declared"]).ok();
    let old = package(&node, "0.1.0", ASKS, Some(1));
    fs::copy(&old, &two).unwrap();
    node.run(&["plugin", "upgrade", "chess"])
        .fails(4, &["has the older 0.1.0", "plugin rollback chess"]);
    assert!(
        node.run(&["plugin", "upgrade", "chess", &old])
            .ok()
            .contains("0.1.0")
    );
}

#[test]
fn an_upgrade_that_asks_for_more_needs_consent() {
    let (_folder, node) = node();
    let one = package(&node, "0.1.0", ASKS, None);
    let wider = ASKS.replace("localhost:9000", "localhost:9000-9001")
        + "[[capability]]\nname = \"names.resolve\"\nreason = \"knows names\"\n";
    let two = package(&node, "0.2.0", &wider, None);
    node.run(&["plugin", "install", &one, "--yes-as-declared"]).ok();
    let before = files(&node);

    node.run(&["plugin", "upgrade", "chess", &two]).fails(
        4,
        &[
            "+ names.resolve: knows names",
            "> tcp.connect localhost:9000-9001 instead of localhost:9000",
            "--yes-as-declared",
        ],
    );
    node.run(&[
        "plugin",
        "upgrade",
        "chess",
        &two,
        "--grant",
        "tcp.connect=localhost:9001",
    ])
    .fails(4, &["cannot run without names.resolve"]);
    assert_eq!(files(&node), before);

    let done = node
        .run(&["plugin", "upgrade", "chess", &two, "--yes-as-declared", "--json"])
        .json();
    assert_eq!(
        done["difference"]["added"]["names.resolve"],
        serde_json::json!([])
    );
    assert_eq!(done["difference"]["widened"][0]["after"], "localhost:9000-9001");
    let config = node.read("config.yaml");
    assert!(
        config.contains("- localhost:9000-9001") && config.contains("- resolve"),
        "{config}"
    );
    assert!(config.contains("# tcp.connect: asks the engine"), "{config}");
}

#[test]
fn another_author_is_refused_with_both_keys() {
    let (_folder, node) = node();
    let one = package(&node, "0.1.0", "", Some(1));
    node.run(&["plugin", "install", &one]).ok();
    let before = files(&node);
    let keys = [1, 2].map(|seed| AuthorKey::from_seed(&[seed; 32]).id().to_string());
    let other = package(&node, "0.2.0", "", Some(2));
    node.run(&["plugin", "upgrade", "chess", &other])
        .fails(4, &[&keys[0], &keys[1], "ask its author"]);
    let unsigned = package(&node, "0.3.0", "", None);
    node.run(&["plugin", "upgrade", "chess", &unsigned])
        .fails(4, &[&keys[0], "not signed"]);
    assert_eq!(files(&node), before);
}

#[test]
fn what_is_no_package_or_has_a_name_of_ours_is_refused() {
    let (_folder, node) = node();
    let before = files(&node);
    node.write("bare.peerup", "nonsense");
    node.run(&["plugin", "install", "bare.peerup"])
        .fails(1, &["bare.peerup", "not a WebAssembly component", "plugin pack"]);
    node.run(&["plugin", "install", "missing.peerup"])
        .fails(1, &["missing.peerup"]);
    let file = package(&node, "0.1.0", "", Some(1));
    let mut damaged = fs::read(&file).unwrap();
    damaged[60] ^= 0x20;
    fs::write(node.file("damaged.peerup"), damaged).unwrap();
    let outcome = node.run(&["plugin", "install", "damaged.peerup"]);
    assert_ne!(outcome.code, 0, "{outcome:#?}");
    let ours = manifest("0.1.0", "").replace("chess", "ping");
    fs::write(
        node.file("ping.peerup"),
        Package::pack(EMPTY, &ours, None).unwrap().bytes(),
    )
    .unwrap();
    node.run(&["plugin", "install", "ping.peerup"])
        .fails(1, &["ping is a plugin that comes with peerup"]);
    node.run(&["plugin", "upgrade", "ping"])
        .fails(1, &["comes with peerup"]);
    assert_eq!(files(&node), before);
}

#[test]
fn a_plugin_that_serves_something_is_not_removed() {
    let (_folder, node) = node();
    let file = package(&node, "0.1.0", "", None);
    node.run(&["plugin", "install", &file]).ok();
    node.replace(
        "services: {}",
        "services:\n  board:\n    local_address: localhost:1\n    plugin: chess\n",
    );
    node.run(&["plugin", "remove", "chess"])
        .fails(1, &["chess serves board", "service remove board"]);
}

/// Packs a plugin of the binary under another name, so that it can be run.
fn pong(node: &Node) -> String {
    let ping = peerup_bundle::BUNDLED
        .iter()
        .find(|one| one.name == "ping")
        .unwrap();
    let text = ping
        .manifest
        .replacen("name = \"ping\"", "name = \"pong\"", 1)
        .replacen("protocols = [\"/peerup/ping/1.0.0\", \"/pingpong/1.0.0\"]", "", 1)
        .replacen("[[capability]]", "[[capability]]\noptional = true", 1);
    let package = Package::pack(ping.wasm, &text, None).unwrap();
    let path = node.file("pong.peerup");
    fs::write(&path, package.bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn state(node: &Node, name: &str) -> (String, String) {
    let list = node.run(&["plugin", "list", "--json"]).json();
    let found = list
        .as_array()
        .unwrap()
        .iter()
        .find(|plugin| plugin["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {list}"));
    (
        found["state"].as_str().unwrap().to_owned(),
        found["reason"].as_str().unwrap_or_default().to_owned(),
    )
}

#[test]
fn the_daemon_runs_what_is_installed_and_a_damaged_file_stops_that_plugin_alone() {
    let (_folder, mut node) = node();
    let file = pong(&node);
    node.run(&[
        "plugin",
        "install",
        &file,
        "--grant",
        "protocols=/peerup/ping/1.0.0",
    ])
    .ok();
    node.start();
    assert_eq!(state(&node, "pong").0, "active");
    node.stop();

    let path = stored(&node).remove(0);
    damage(&path);
    node.start();
    let (state_now, reason) = state(&node, "pong");
    assert_eq!(state_now, "failed");
    assert!(
        reason.contains("damaged") && reason.contains(&format!("peerup plugin install {file}")),
        "{reason}"
    );
    assert_eq!(state(&node, "ping").0, "active");
    node.stop();

    fs::remove_file(&path).unwrap();
    node.run(&[
        "plugin",
        "install",
        &file,
        "--grant",
        "protocols=/peerup/ping/1.0.0",
    ])
    .ok();
    node.start();
    assert_eq!(state(&node, "pong").0, "active");
    node.stop();
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}
