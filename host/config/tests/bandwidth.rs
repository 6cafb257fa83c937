//! The section `bandwidth`: what it may say, and what it comes to for a peer and for a service.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::path::Path;

use peerup_config::{BandwidthConfig, NodeConfig, ReloadClass, parse_node, plan};

const HOME: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

fn node(section: &str) -> NodeConfig {
    let text = format!("names: {{home: {HOME}, house: {HOME}}}\nbandwidth: {section}\n");
    parse_node(&text, Path::new("/home/u/peerup.yaml"))
        .unwrap()
        .config
}

#[test]
fn a_peer_has_the_narrowest_of_its_lines_else_the_default() {
    let home = HOME.parse().unwrap();
    let of = |section: &str| {
        let config = node(section);
        config.bandwidth.of_peer(&config.names, &home)
    };
    assert_eq!(node("{}").bandwidth, BandwidthConfig::default());
    assert_eq!(of("{}"), None);
    assert_eq!(of("{default_per_peer: 1MB}"), Some(1 << 20));
    assert_eq!(of("{default_per_peer: 1MB, peers: {home: 2MB}}"), Some(2 << 20));
    assert_eq!(of("{default_per_peer: 1MB, peers: {home: unlimited}}"), None);
    assert_eq!(
        of(&format!(
            "{{peers: {{home: 2MB, house: unlimited, {HOME}: 64KB}}}}"
        )),
        Some(64 << 10)
    );
    let config = node("{services: {web: 3MB}}");
    let of_service = |name: &str| config.bandwidth.of_service(&name.parse().unwrap());
    assert_eq!((of_service("web"), of_service("ssh")), (Some(3 << 20), None));
}

#[test]
fn what_is_wrong_in_bandwidth_is_told_with_its_place() {
    let text = "bandwidth:\n  default_per_peer: 0\n  peers:\n    A B: 1MB\n    away: fast\n  services:\n    ping: 1MB\n    web: 63KB\n";
    insta::assert_snapshot!(parse_node(text, Path::new("/p.yaml")).unwrap_err().to_string(), @r#"
    the config file /p.yaml is not valid
      line 2, column 3: bandwidth.default_per_peer: "0" is less than 64KB a second; write at least that, or unlimited
      line 4, column 5: bandwidth.peers.A B: "A B" is neither a name nor a peer id
      line 5, column 5: bandwidth.peers.away: "fast" is not a size; write a whole number with a unit, such as 512KB, 64MB or 1GB
      line 7, column 5: bandwidth.services.ping: the service name "ping" is reserved for a protocol of peerup itself; choose another
      line 8, column 5: bandwidth.services.web: "63KB" is less than 64KB a second; write at least that, or unlimited
    "#);
    let loaded = parse_node("bandwidth: {peers: {away: 1MB}}\n", Path::new("/p.yaml")).unwrap();
    insta::assert_snapshot!(loaded.warnings[0], @"line 1, column 21: bandwidth.peers.away: away is not in names: this line is about nobody");
}

#[test]
fn a_changed_limit_is_in_force_at_once_and_ends_nothing() {
    let plan = plan(&node("{}"), &node("{peers: {home: 1MB}}"));
    assert!(plan.drops.is_empty() && plan.effects.is_empty());
    assert_eq!(plan.changes.len(), 1);
    assert_eq!(plan.changes[0].class, ReloadClass::Live);
    assert_eq!(plan.changes[0].path, "bandwidth.peers.home");
}
