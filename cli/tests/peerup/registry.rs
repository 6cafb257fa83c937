//! Plugins to and from a registry on loopback.

#[path = "../../../host/registry/tests/registry/server.rs"]
#[allow(dead_code, reason = "the tests of the registry client use the rest")]
pub(crate) mod server;

use std::fs;

use peerup_package::Package;
use server::{Auth, Lie, Server};
use tokio::runtime::Runtime;

use crate::support::Node;

const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

/// A registry that lives as long as its runtime.
pub(crate) fn registry(auth: Auth) -> (Runtime, Server) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(Server::start(auth));
    (runtime, server)
}

fn package(node: &Node, version: &str) -> String {
    let text =
        format!("name = \"chess\"\nversion = \"{version}\"\ncontract = \"0.1.0\"\nsummary = \"Plays.\"\n");
    let package = Package::pack(EMPTY, &text, None).unwrap();
    let path = node.file(&package.file_name());
    fs::write(&path, package.bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_plugin_is_published_installed_by_its_tag_and_upgraded_when_the_tag_moves() {
    let (_runtime, server) = registry(Auth::None);
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    let place = server.reference("chess:stable").to_string();
    let published = node
        .run(&["plugin", "publish", &package(&node, "0.1.0"), &place, "--json"])
        .json();
    let pinned = published["reference"].as_str().unwrap().to_owned();
    assert!(pinned.starts_with(&format!("{place}@sha256:")), "{pinned}");

    node.run(&["plugin", "install", &place]).ok();
    assert!(node.read("plugins.lock").contains(&pinned));
    node.run(&["plugin", "publish", &package(&node, "0.2.0"), &place])
        .ok();
    assert!(
        node.run(&["plugin", "upgrade", "chess"])
            .ok()
            .starts_with("upgraded chess 0.2.0")
    );
    // What was pinned is still what it was.
    assert!(
        node.run(&["plugin", "upgrade", "chess", &pinned])
            .ok()
            .starts_with("upgraded chess 0.1.0")
    );
}

#[test]
fn a_registry_that_lies_or_wants_a_login_changes_nothing() {
    let (_runtime, server) = registry(Auth::None);
    let folder = tempfile::tempdir().unwrap();
    let node = Node::init(folder.path(), "home");
    let place = server.reference("chess:stable").to_string();
    let before = node.read("config.yaml");
    node.run(&["plugin", "install", &place])
        .fails(1, &["has no chess"]);
    node.run(&["plugin", "publish", &package(&node, "0.1.0"), &place])
        .ok();
    for (lie, code, word) in [
        (Lie::OtherBytes, 4, "digest"),
        (Lie::EndlessManifest, 1, "more than"),
        (
            Lie::BlobsAt("http://registry.example".to_owned()),
            4,
            "registry.example",
        ),
    ] {
        server.lie(lie);
        node.run(&["plugin", "install", &place]).fails(code, &[word]);
    }
    let (_other, closed) = registry(Auth::Basic);
    let closed = closed.reference("chess:stable").to_string();
    node.run(&["plugin", "install", &closed])
        .fails(4, &["next: docker login 127.0.0.1"]);
    node.run(&["plugin", "install", "oci://127.0.0.1:1/chess:1"])
        .fails(5, &["cannot be reached"]);
    node.run(&["plugin", "install", "oci://chess"])
        .fails(2, &["oci://HOST/NAME:TAG"]);
    assert_eq!(node.read("config.yaml"), before);
    assert!(!node.file("plugins.lock").exists());
}
