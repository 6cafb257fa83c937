//! The samples in `configs/` and the files that `init` writes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::{collections::BTreeSet, path::Path};

use peerup_config::{
    AlertsConfig, ConfigEditor, NodeTemplate, RelayAddress, RelayResources, RelayTemplate, ServiceAccess,
    default_plugins, load_node, load_relay, parse_node, parse_relay, render_node_config, render_relay_config,
};

const RELAY: &str = "/ip4/203.0.113.7/tcp/7777/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

fn sample(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../configs")
        .join(name)
}

#[test]
fn the_node_sample_loads_without_warnings() {
    let loaded = load_node(&sample("peerup.yaml")).unwrap();
    assert_eq!(loaded.warnings, []);
    let mut config = loaded.config;
    assert_eq!(config.relays.len(), 2);
    let files = config.plugins.remove("files").unwrap();
    assert_eq!(
        files.grants.lines(),
        [
            "directories: [{path: \"/srv/music\", as: \"/music\", access: ro}]",
            "store: 10MB"
        ]
    );
    assert_eq!(
        config.plugins,
        default_plugins(),
        "the sample spells the defaults out"
    );
    let web = &config.services["web"];
    assert!(matches!(&web.access, ServiceAccess::Only(allowed) if allowed.len() == 2));
    assert!(config.key_file.ends_with("configs/identity.key"));
}

#[test]
fn the_relay_sample_is_the_defaults() {
    let loaded = load_relay(&sample("relay-server.yaml")).unwrap();
    assert_eq!(loaded.warnings, []);
    let empty = parse_relay("version: 1\n", &sample("relay-server.yaml")).unwrap();
    let mut config = loaded.config;
    // Examples.
    assert!(config.resources.asn_table.take().is_some());
    assert!(config.log.file.take().is_some() && config.log.level.take().is_some());
    assert_eq!(config, empty.config);
    assert_eq!(config.resources, RelayResources::default());
}

#[test]
fn the_node_sample_says_the_defaults_where_it_does_not_say_example() {
    let path = sample("peerup.yaml");
    let mut config = load_node(&path).unwrap().config;
    let empty = parse_node("version: 1\n", &path).unwrap().config;
    config.name = None;
    config.relays.clear();
    config.services.clear();
    config.names.clear();
    config.proxies.clear();
    config.daemon.cache_dir = None;
    config.paths.peers.clear();
    config.paths.services.clear();
    config.paths.plugins.clear();
    config.bandwidth.peers.clear();
    config.bandwidth.services.clear();
    config.alerts = AlertsConfig::default();
    config.plugins.remove("files");
    config.metrics.listen = None;
    config.log.file = None;
    config.log.level = None;
    assert_eq!(config, empty);
}

#[test]
fn a_new_node_has_what_init_was_told() {
    let relay: RelayAddress = RELAY.parse().unwrap();
    let text = render_node_config(&NodeTemplate {
        name: Some("laptop".parse().unwrap()),
        port: 4123,
        relays: vec![relay.clone()],
    });
    let loaded = parse_node(&text, Path::new("/x/peerup.yaml")).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.name.unwrap().as_str(), "laptop");
    assert_eq!(loaded.config.relays, [relay]);
    assert_eq!(loaded.config.plugins, default_plugins());
    let ports: BTreeSet<_> = loaded
        .config
        .network
        .listen_addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ports.len(), 4);
    assert!(ports.iter().all(|address| address.contains("/4123")));
}

#[test]
fn a_new_node_without_a_name_or_relays_can_be_edited_into_one_with_them() {
    let text = render_node_config(&NodeTemplate {
        name: None,
        port: 0,
        relays: Vec::new(),
    });
    let mut editor = ConfigEditor::new(&text, Path::new("/x/peerup.yaml")).unwrap();
    editor.set_own_name(&"0".parse().unwrap()).unwrap();
    assert!(editor.add_relay(&RELAY.parse().unwrap()).unwrap());
    editor
        .set_service(&"web".parse().unwrap(), "localhost:80", true)
        .unwrap();
    insta::assert_snapshot!(diff(&text, editor.text()), @r#"
    -   addresses: []
    - services: {}
    +   addresses:
    +     - /ip4/203.0.113.7/tcp/7777/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN
    + services:
    +   web:
    +     local_address: localhost:80
    + name: "0"
    "#);
}

#[test]
fn a_new_relay_is_generous_and_says_so() {
    let text = render_relay_config(&RelayTemplate {
        listen: vec!["/ip4/127.0.0.1/tcp/7000".parse().unwrap()],
        external: vec!["/dns4/relay.example.org/tcp/7000".parse().unwrap()],
    });
    let loaded = parse_relay(&text, Path::new("/x/relay-server.yaml")).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.resources.session_data_limit, None);
    assert_eq!(
        loaded.config.resources.session_duration.unwrap().as_secs(),
        24 * 3600
    );
    assert_eq!(loaded.config.network.external_addresses.len(), 1);
    let plain = render_relay_config(&RelayTemplate::default());
    assert_eq!(
        parse_relay(&plain, Path::new("/x/r.yaml"))
            .unwrap()
            .config
            .network
            .listen_addresses
            .len(),
        4
    );
}

/// Lines that only one of the two has.
fn diff(before: &str, after: &str) -> String {
    let lines = |mark: &str, text: &str, other: &str| -> String {
        let other: Vec<_> = other.lines().collect();
        let only = text.lines().filter(|line| !other.contains(line));
        only.map(|line| format!("{mark} {line}\n")).collect()
    };
    lines("-", before, after) + &lines("+", after, before)
}
