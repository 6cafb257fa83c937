//! Discovery's switches and the section `paths`: what they may say, and what they come to for one stream.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::{collections::BTreeMap, path::Path};

use libp2p_identity::PeerId;
use peerup_config::{
    AllowedPeer, DiscoveryConfig, NodeConfig, PathConflict, PathQuery, PathRule, PathsConfig, parse_node,
};
use peerup_model::{PathPolicy, PeerName, PluginName, ServiceName};
use proptest::prelude::*;

use PathPolicy::{DirectOnly, PreferDirect, RelayOnly};

const HOME: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

fn node(text: &str) -> NodeConfig {
    parse_node(text, Path::new("/home/u/peerup.yaml")).unwrap().config
}

fn paths(section: &str) -> NodeConfig {
    node(&format!(
        "names: {{home: {HOME}, house: {HOME}}}\npaths: {section}\n"
    ))
}

/// What holds for a stream of a service to or from `home` by a plugin, or why nothing does.
fn policy(config: &NodeConfig, service: &str, plugin: &str, asked: PathPolicy) -> Result<PathPolicy, String> {
    let (service, plugin): (ServiceName, PluginName) = (service.parse().unwrap(), plugin.parse().unwrap());
    let home = HOME.parse().unwrap();
    config
        .paths
        .policy(&config.names, &home, Some(&service), Some(&plugin), asked)
        .map_err(|conflict| conflict.to_string())
}

#[test]
fn the_switches_of_discovery_are_read() {
    let config = node("network: {upnp: false}\ndiscovery: {mdns: false}\n");
    let expected = DiscoveryConfig {
        mdns: false,
        dht: true,
        upnp: false,
    };
    assert_eq!(config.discovery, expected);
    assert!(!node("discovery: {dht: false}\n").discovery.dht);
    let error = |text: &str| parse_node(text, Path::new("/p.yaml")).unwrap_err().to_string();
    insta::assert_snapshot!(error("network: {upnpp: true}\ndiscovery:\n  mdsn: false\n  dht: maybe\n"), @r#"
    the config file /p.yaml is not valid
      line 1, column 11: network.upnpp: there is no such key; did you mean `upnp`?
      line 3, column 3: discovery.mdsn: there is no such key; did you mean `mdns`?
      line 4, column 8: discovery.dht: "maybe" is neither true nor false
    "#);
    insta::assert_snapshot!(error("discovery: {dht: maybe}\n"), @r#"
    the config file /p.yaml is not valid
      line 1, column 18: discovery.dht: "maybe" is neither true nor false
    "#);
}

#[test]
fn a_relay_has_no_such_switches() {
    for text in [
        "network: {upnp: true}\n",
        "discovery: {mdns: true}\n",
        "paths: {}\n",
    ] {
        let refused = peerup_config::parse_relay(text, Path::new("/r.yaml"));
        assert!(refused.is_err(), "{text}");
    }
}

#[test]
fn what_is_wrong_in_paths_is_told_with_its_place() {
    let error = parse_node(
        concat!(
            "paths:\n  default: direct\n  peers:\n    A B: direct-only\n    home: relay\n  services:\n    ping: relay-only\n",
            "    web: Relay-Only\n  plugins:\n    a_b: prefer-direct\n",
        ),
        Path::new("/home/u/peerup.yaml"),
    );
    insta::assert_snapshot!(error.unwrap_err().to_string(), @r#"
    the config file /home/u/peerup.yaml is not valid
      line 2, column 3: paths.default: "direct" is none of prefer-direct, direct-only and relay-only
      line 4, column 5: paths.peers.A B: "A B" is neither a name nor a peer id
      line 5, column 5: paths.peers.home: "relay" is none of prefer-direct, direct-only and relay-only
      line 7, column 5: paths.services.ping: the service name "ping" is reserved for a protocol of peerup itself; choose another
      line 8, column 5: paths.services.web: "Relay-Only" is none of prefer-direct, direct-only and relay-only
      line 10, column 5: paths.plugins.a_b: the name "a_b" is not valid: use lower-case letters, digits and dashes, with a letter or digit at both ends
    "#);
    let error = parse_node("paths: {peer: {}, services: web}\n", Path::new("/p.yaml"));
    insta::assert_snapshot!(error.unwrap_err().to_string(), @r#"
    the config file /p.yaml is not valid
      line 1, column 9: paths.peer: there is no such key; did you mean `peers`?
      line 1, column 29: paths.services: expected keys with values, found one value
    "#);
}

#[test]
fn a_line_about_nobody_is_a_warning() {
    let text = "paths:\n  peers: {bob: direct-only}\n  services: {elsewhere: relay-only}\n  plugins: {chess: relay-only}\n";
    let warnings = parse_node(text, Path::new("/p.yaml")).unwrap().warnings;
    let warnings: String = warnings.iter().map(|warning| format!("{warning}\n")).collect();
    insta::assert_snapshot!(warnings, @r#"
    line 2, column 11: paths.peers.bob: bob is not in names: this line is about nobody
    line 4, column 13: paths.plugins.chess: chess is not in plugins: this line is about nothing
    "#);
}

#[test]
fn the_default_holds_where_no_other_line_is_about_the_stream() {
    let config = paths("{default: relay-only, services: {web: prefer-direct, ssh: direct-only}}");
    assert_eq!(policy(&config, "other", "tcp-proxy", PreferDirect), Ok(RelayOnly));
    assert_eq!(
        policy(&config, "web", "tcp-proxy", PreferDirect),
        Ok(PreferDirect)
    );
    assert_eq!(policy(&config, "ssh", "tcp-proxy", PreferDirect), Ok(DirectOnly));
}

#[test]
fn every_line_narrows_and_none_widens() {
    let config =
        paths("{peers: {home: direct-only}, services: {web: prefer-direct}, plugins: {ping: direct-only}}");
    for (service, plugin) in [("web", "ping"), ("web", "tcp-proxy"), ("ssh", "ping")] {
        assert_eq!(policy(&config, service, plugin, PreferDirect), Ok(DirectOnly));
        assert_eq!(policy(&config, service, plugin, DirectOnly), Ok(DirectOnly));
    }
    let open = paths("{}");
    for asked in [PreferDirect, DirectOnly, RelayOnly] {
        assert_eq!(policy(&open, "web", "ping", asked), Ok(asked));
    }
}

#[test]
fn a_conflict_names_both_lines() {
    let config =
        paths("{peers: {home: direct-only}, services: {web: relay-only}, plugins: {ping: relay-only}}");
    insta::assert_snapshot!(policy(&config, "web", "tcp-proxy", PreferDirect).unwrap_err(), @"no path is left: `paths.peers.home: direct-only` against `paths.services.web: relay-only`");
    insta::assert_snapshot!(policy(&config, "ssh", "ping", PreferDirect).unwrap_err(), @"no path is left: `paths.peers.home: direct-only` against `paths.plugins.ping: relay-only`");
    insta::assert_snapshot!(policy(&config, "ssh", "tcp-proxy", RelayOnly).unwrap_err(), @"no path is left: `paths.peers.home: direct-only` against relay-only, which was asked for");
    let config = paths("{default: relay-only}");
    insta::assert_snapshot!(policy(&config, "ssh", "tcp-proxy", DirectOnly).unwrap_err(), @"no path is left: `paths.default: relay-only` against direct-only, which was asked for");
    let config = paths("{peers: {home: direct-only, house: relay-only}}");
    insta::assert_snapshot!(policy(&config, "ssh", "tcp-proxy", PreferDirect).unwrap_err(), @"no path is left: `paths.peers.home: direct-only` against `paths.peers.house: relay-only`");
}

#[test]
fn a_peer_is_known_by_name_and_by_id_and_others_are_not_meant() {
    let by_id = paths(&format!("{{peers: {{{HOME}: relay-only}}}}"));
    let home: PeerId = HOME.parse().unwrap();
    let query = |peer| PathQuery {
        peer,
        service: None,
        plugin: None,
        asked: PreferDirect,
    };
    let decided = by_id.paths.decide(&by_id.names, &query(&home)).unwrap();
    assert_eq!(
        decided.rule.unwrap().to_string(),
        format!("paths.peers.{HOME}: relay-only")
    );
    let other = libp2p_identity::Keypair::ed25519_from_bytes([7; 32])
        .unwrap()
        .public()
        .to_peer_id();
    let decided = by_id.paths.decide(&by_id.names, &query(&other)).unwrap();
    assert_eq!((decided.policy, decided.rule), (PreferDirect, None));
    let by_name = paths("{peers: {home: relay-only}}");
    let nobody = BTreeMap::<PeerName, PeerId>::new();
    assert_eq!(by_name.paths.decide(&nobody, &query(&home)).unwrap().rule, None);
}

fn any_policy() -> impl Strategy<Value = PathPolicy> {
    prop::sample::select(vec![PreferDirect, DirectOnly, RelayOnly])
}

proptest! {
    /// Against the plain statement of the rule: all that is said holds at once.
    #[test]
    fn the_policy_is_what_all_demands_have_in_common(
        default in any_policy(),
        lines in prop::array::uniform3(prop::option::of(any_policy())),
        asked in any_policy(),
    ) {
        let [peer, service, plugin] = lines;
        let home: PeerId = HOME.parse().unwrap();
        let (web, proxy): (ServiceName, PluginName) = ("web".parse().unwrap(), "tcp-proxy".parse().unwrap());
        let config = PathsConfig {
            default,
            peers: peer.map(|policy| (AllowedPeer::Id(home), policy)).into_iter().collect(),
            services: service.map(|policy| (web.clone(), policy)).into_iter().collect(),
            plugins: plugin.map(|policy| (proxy.clone(), policy)).into_iter().collect(),
        };
        let mut said: Vec<PathPolicy> = lines.into_iter().flatten().collect();
        if said.is_empty() {
            said.push(default);
        }
        said.push(asked);
        let (direct, relayed) = (said.contains(&DirectOnly), said.contains(&RelayOnly));
        let found = config.policy(&BTreeMap::new(), &home, Some(&web), Some(&proxy), asked);
        match (direct, relayed) {
            (true, true) => prop_assert!(found.is_err()),
            (true, false) => prop_assert_eq!(found, Ok(DirectOnly)),
            (false, true) => prop_assert_eq!(found, Ok(RelayOnly)),
            (false, false) => prop_assert_eq!(found, Ok(PreferDirect)),
        }
    }

    #[test]
    fn both_sides_of_a_conflict_disagree(lines in prop::array::uniform3(any_policy()), asked in any_policy()) {
        let home: PeerId = HOME.parse().unwrap();
        let (web, proxy): (ServiceName, PluginName) = ("web".parse().unwrap(), "tcp-proxy".parse().unwrap());
        let config = PathsConfig {
            default: PreferDirect,
            peers: [(AllowedPeer::Id(home), lines[0])].into(),
            services: [(web.clone(), lines[1])].into(),
            plugins: [(proxy.clone(), lines[2])].into(),
        };
        match config.policy(&BTreeMap::new(), &home, Some(&web), Some(&proxy), asked) {
            Err(PathConflict::Lines { one: PathRule { policy: one, .. }, other }) => prop_assert_ne!(one, other.policy),
            Err(PathConflict::Asked { rule, asked }) => prop_assert_ne!(rule.policy, asked),
            Err(_) | Ok(_) => {}
        }
    }
}
