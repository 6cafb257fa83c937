//! What a config file may say, and what the operator reads where it says something else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use peerup_config::{
    ConfigError, DiscoveryConfig, Enrollment, FindError, NodeConfig, PathsConfig, SearchPlaces,
    ServiceAccess, default_plugins, find_config, load_node, load_relay, parse_node, parse_relay,
};
use proptest::prelude::*;

const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

fn node(text: &str) -> NodeConfig {
    parse_node(text, Path::new("/home/u/peerup.yaml")).unwrap().config
}

fn node_error(text: &str) -> String {
    parse_node(text, Path::new("/home/u/peerup.yaml"))
        .unwrap_err()
        .to_string()
}

fn relay_error(text: &str) -> String {
    parse_relay(text, Path::new("/home/u/relay-server.yaml"))
        .unwrap_err()
        .to_string()
}

fn node_warnings(text: &str) -> String {
    let warnings = parse_node(text, Path::new("/home/u/peerup.yaml"))
        .unwrap()
        .warnings;
    warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

#[test]
fn every_grant_is_read() {
    let text = "plugins:\n  x:\n    grants:\n      udp: {bind: ['0.0.0.0:53'], connect: ['dns.example:53']}\n      store: 10MB\n      \
                directories: [{path: /srv/music, as: /music, access: rw}, {path: /srv/a}]\n      environment: [LANG]\n      \
                names: [resolve, list]\n";
    let config = parse_node(text, Path::new("/x/peerup.yaml")).unwrap().config;
    let grants = &config.plugins["x"].grants;
    assert!(grants.allows_udp_bind("0.0.0.0:53") && grants.allows_udp_connect("dns.example:53"));
    assert!(
        grants.allows_variable("LANG") && !grants.allows_variable("HOME") && grants.allows_listing_names()
    );
    assert_eq!(grants.store.unwrap().bytes(), 10 << 20);
    let directories: Vec<_> = grants.directories.iter().map(ToString::to_string).collect();
    assert_eq!(
        directories,
        [
            "{path: \"/srv/music\", as: \"/music\", access: rw}",
            "{path: \"/srv/a\", access: ro}"
        ]
    );
}

#[test]
fn every_limit_is_read() {
    let text = "plugins:\n  x:\n    limits: {cpu_budget: 10s, bandwidth: 1MB, datagrams: 5, log_lines: 6, drain: 7s}\n";
    let limits = node(text).plugins["x"].limits;
    assert_eq!(
        (limits.cpu_budget, limits.drain),
        (Duration::from_secs(10), Duration::from_secs(7))
    );
    assert_eq!(
        (limits.bandwidth, limits.datagrams, limits.log_lines),
        (Some(1 << 20), 5, 6)
    );
    let error = node_error("plugins:\n  x:\n    limits: {bandwidth: 0, datagrams: 0}\n");
    assert!(
        error.contains("line 3, column 14: plugins.x.limits.bandwidth: \"0\" is less than 64KB a second"),
        "{error}"
    );
    assert!(error.contains("plugins.x.limits.datagrams"), "{error}");
}

#[test]
fn a_wrong_grant_is_told_with_its_place() {
    let lines = [
        "stor: 10MB",
        "store: 10",
        "udp: {bnd: []}",
        "environment: ['*']",
        "directories: [{path: /srv, acess: rw}]",
        "directories: [{path: /srv, access: all}]",
        "directories: [{path: ../srv}]",
        "directories: [{path: /}]",
        "directories: [{path: /proc/1}]",
        "directories: [/srv]",
        "directories: [{as: /srv}]",
    ];
    let told: String = lines
        .iter()
        .map(|line| node_error(&format!("plugins:\n  x:\n    grants:\n      {line}\n")))
        .flat_map(|text| {
            text.lines()
                .skip(1)
                .map(|line| format!("{}\n", line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    insta::assert_snapshot!(told, @r#"
    line 4, column 7: plugins.x.grants.stor: there is no such key; did you mean `store`?
    line 4, column 14: plugins.x.grants.store: "10" is not a size; write a whole number with a unit, such as 512KB, 64MB or 1GB
    line 4, column 13: plugins.x.grants.udp.bnd: there is no such key; did you mean `bind`?
    line 4, column 21: plugins.x.grants.environment[0]: "*" is not the name of an environment variable: letters, digits and _, one exact name
    line 4, column 34: plugins.x.grants.directories[0].acess: there is no such key; did you mean `access`?
    line 4, column 42: plugins.x.grants.directories[0].access: unknown variant `all`, expected one of ro, rw
    line 4, column 21: plugins.x.grants.directories[0]: the directory "../srv" is relative; write the whole path, starting with /
    line 4, column 21: plugins.x.grants.directories[0]: the directory "/" grants every file of this machine; name the folder that the plugin needs
    line 4, column 21: plugins.x.grants.directories[0]: the directory "/proc/1" belongs to the kernel (/proc) and is never granted
    line 4, column 21: plugins.x.grants.directories[0]: the directory "/srv" needs the form PATH:ro or PATH:rw
    line 4, column 22: plugins.x.grants.directories[0].as: missing field `path`
    "#);
}

#[test]
fn a_file_with_only_a_version_has_every_default() {
    let config = node("version: 1\n");
    assert_eq!(config.key_file, PathBuf::from("/home/u/identity.key"));
    assert_eq!(
        config.security.authorized_keys_file,
        PathBuf::from("/home/u/authorized_keys")
    );
    assert!(
        config.security.enable_connection_gating,
        "closed unless the file says otherwise"
    );
    assert_eq!(config.network.listen_addresses.len(), 4);
    assert_eq!(config.tunnels.idle_timeout, Duration::from_secs(86400));
    assert_eq!(config.daemon.drain_timeout, Duration::from_secs(3));
    assert_eq!(config.discovery, DiscoveryConfig::default());
    assert!(config.discovery.mdns && config.discovery.dht && config.discovery.upnp);
    assert_eq!(config.paths, PathsConfig::default());
    assert_eq!(config.plugins, default_plugins());
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "{}",
        "version:\n",
        "\u{feff}version: 1",
        "services:\nplugins:\nrelay:\n",
    ] {
        assert_eq!(node(text), config, "{text:?}");
    }
}

#[test]
fn absolute_paths_stay_and_relative_ones_start_at_the_file() {
    let config = node(
        "identity: {key_file: /k/id}\nsecurity: {authorized_keys_file: ../keys}\ndaemon: {cache_dir: c}\n",
    );
    assert_eq!(config.key_file, PathBuf::from("/k/id"));
    assert_eq!(
        config.security.authorized_keys_file,
        PathBuf::from("/home/u/../keys")
    );
    assert_eq!(config.daemon.cache_dir, Some(PathBuf::from("/home/u/c")));
}

#[test]
fn a_plugin_section_takes_the_place_of_its_own_default_only() {
    let config = node(concat!(
        "plugins:\n  ping: {enabled: false}\n  chess:\n    settings: {level: 3, name: x}\n",
        "    limits: {memory: 64MiB, cpu: 500ms, instances: 2}\n    grants: {names: [resolve], peers: [read], tcp: {connect: ['db:5432']}}\n",
    ));
    let defaults = default_plugins();
    let plugin = |name: &str| &config.plugins[name];
    assert_eq!(plugin("tcp-proxy"), &defaults["tcp-proxy"]);
    assert!(!plugin("ping").enabled);
    assert_eq!(plugin("ping").grants, peerup_model::Grants::default());
    let chess = plugin("chess");
    assert_eq!(chess.limits.memory, 64 << 20);
    assert_eq!(chess.limits.cpu, Duration::from_millis(500));
    assert_eq!(chess.limits.instances, 2);
    assert_eq!(chess.settings["level"], 3);
    assert!(chess.grants.allows_connect("db:5432") && chess.grants.allows_resolve());
    assert!(chess.grants.allows_reading_peers() && !chess.grants.allows_peer_addresses());
}

#[test]
fn a_service_is_open_to_everyone_or_to_its_list() {
    let config = node(&format!(
        "names: {{phone: {PEER}}}\nservices:\n  a: {{local_address: 'localhost:1'}}\n  b: {{local_address: '[::1]:2', allow: [phone]}}\n  \
         c: {{local_address: 'h:3', allow: []}}\n  d: {{local_address: 'h:4', allow: [{PEER}]}}\n  \
         e: {{local_address: 'h:5', enabled: false}}\n  f: {{local_address: 'h:6', allow: [stranger]}}\n"
    ));
    let peer = PEER.parse().unwrap();
    let allows = |service: &str| config.service_allows(&service.parse().unwrap(), &peer);
    assert!(allows("a") && allows("b") && allows("d"));
    assert!(!allows("c") && !allows("e") && !allows("f") && !allows("absent"));
    assert_eq!(config.services["c"].access, ServiceAccess::Only(Vec::new()));
}

#[test]
fn unknown_keys_are_told_all_at_once_with_the_nearest() {
    insta::assert_snapshot!(node_error(concat!(
        "version: 1\nservice: {}\nservices:\n  web:\n    local_adress: localhost:80\n    enabeld: true\n",
        "plugins:\n  tcp-proxy:\n    grants:\n      tcp: {conect: []}\nzzz: 1\nrelay: [a]\nname: {a: b}\n",
    )), @r"
    the config file /home/u/peerup.yaml is not valid
      line 2, column 1: service: there is no such key; did you mean `services`?
      line 5, column 5: services.web.local_adress: there is no such key; did you mean `local_address`?
      line 6, column 5: services.web.enabeld: there is no such key; did you mean `enabled`?
      line 10, column 13: plugins.tcp-proxy.grants.tcp.conect: there is no such key; did you mean `connect`?
      line 11, column 1: zzz: there is no such key; the keys here are version, name, identity, network, relay, security, services, proxies, names, resolvers, plugins, tunnels, daemon, discovery, paths, bandwidth, alerts, log, metrics
      line 12, column 8: relay: expected keys with values, found a list
      line 13, column 7: name: expected one value, found keys with values
    ");
}

#[test]
fn unknown_keys_wrong_types_and_bad_values_are_told_in_one_go() {
    let text = "nmae: x\nversion: one\nnetwork:\n  upnp: maybe\n  listen_addresses: 5\n\
                tunnels: { idle_timeout: soon, wirte_timeout: ä }\n\
                services:\n  web:\n    local_adress: localhost:80\n    enabled: 1\n  ssh:\n    local_address: localhost\n\
                plugins:\n  ping:\n    grants:\n      tcp: { connect: [nowhere, 'a:1'] }\n      peers: [write]\n\
                security: { enable_connection_gating: no, authorised_keys_file: x }\n";
    let Err(ConfigError::Invalid { problems, .. }) = parse_node(text, Path::new("/x/c.yaml")) else {
        panic!("it was taken");
    };
    let told: Vec<(usize, usize, &str)> = problems
        .iter()
        .map(|problem| (problem.line, problem.column, problem.key.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (1, 1, "nmae"),
            (2, 10, "version"),
            (4, 9, "network.upnp"),
            (5, 21, "network.listen_addresses"),
            (6, 12, "tunnels.idle_timeout"),
            (6, 32, "tunnels.wirte_timeout"),
            (9, 5, "services.web.local_adress"),
            (10, 14, "services.web.enabled"),
            (12, 5, "services.ssh.local_address"),
            (16, 24, "plugins.ping.grants.tcp.connect[0]"),
            (17, 15, "plugins.ping.grants.peers[0]"),
            (18, 39, "security.enable_connection_gating"),
            (18, 43, "security.authorised_keys_file"),
        ],
        "{problems:#?}"
    );
}

/// Returns what is told, as line, column and key.
fn told(text: &str) -> Vec<(usize, usize, String)> {
    let Err(ConfigError::Invalid { problems, .. }) = parse_node(text, Path::new("/x/c.yaml")) else {
        panic!("it was taken: {text}");
    };
    let told = problems.into_iter().map(|one| (one.line, one.column, one.key));
    told.collect()
}

#[test]
fn an_unknown_key_between_braces_hides_nothing() {
    for (plugin, keys) in [
        // First, middle, last, only, all, and with a comma after the last.
        ("{enabeld: true, limits: {memory: 16XB}}", 1),
        ("{enabled: true, limts: 1, limits: {memory: 16XB}}", 1),
        ("{limits: {memory: 16XB}, enabeld: true}", 1),
        ("{limits: {memory: 16XB}, enabeld: true , }", 1),
        ("{limits: {memory: 16XB, mmory: 1}}", 1),
        ("{limits: {memory: 16XB}, grants: {tcp: {conect: []}}}", 1),
        ("{one: 1, two: 2, limits: {memory: 16XB}, three: 3, four: 4}", 4),
        // What looks like a comma and is none, and one that stands apart.
        ("{enabeld: 'a, b', limits: {memory: 16XB}}", 1),
        ("{\"a, b\": [1, 2], limits: {memory: 16XB}}", 1),
        ("{enabeld: {a: 1, b: {c: 2}}, limits: {memory: 16XB}}", 1),
        (
            "{enabeld: true # one, two\n    , # three, four\n    limits: {memory: 16XB}}",
            1,
        ),
        ("{enabeld: true, # a, b: c\n    limits: {memory: 16XB}}", 1),
        // Without a value, without a colon, in the long form.
        ("{enabeld: , limits: {memory: 16XB}}", 1),
        ("{enabeld, limits: {memory: 16XB}}", 1),
        ("{limits: {memory: 16XB}, enabeld}", 1),
        ("{? enabeld : true, limits: {memory: 16XB}}", 1),
        ("{limits: {memory: 16XB}, ? enabeld : true}", 1),
        // A single pair as an item of a list.
        (
            "{limits: {memory: 16XB}, grants: {directories: [pth: /a, {path: /srv/b}]}}",
            1,
        ),
        (
            "{limits: {memory: 16XB}, grants: {directories: [{path: /srv/b}, pth: /a]}}",
            1,
        ),
    ] {
        let told = told(&format!(
            "plugins:\n  ping: {plugin}\ntunnels:\n  idle_timeout: banana\n"
        ));
        let has = |key: &str| told.iter().any(|(.., found)| found == key);
        assert!(
            told.len() == keys + 2 && has("plugins.ping.limits.memory") && has("tunnels.idle_timeout"),
            "{plugin}: {told:#?}"
        );
    }
    let only = told("names: {home: }\nservices: {web: {zz: }}\ntunnels: {idle_timeout: banana, zz}\n");
    assert_eq!(only.len(), 4, "{only:#?}");
}

#[test]
fn a_key_in_the_long_form_hides_nothing() {
    let told = told("? nmae\n: x\nname: y ?\nnaem: z\ntunnels:\n  idle_timeout: banana\n");
    assert_eq!(
        told.iter().map(|(.., key)| key.as_str()).collect::<Vec<_>>(),
        ["nmae", "name", "naem", "tunnels.idle_timeout"]
    );
}

proptest! {
    /// However many of the entries between braces are wrong, and wherever: each is told, and so is the rest.
    #[test]
    fn what_is_wrong_between_braces_is_all_told(
        entries in proptest::collection::vec(prop::sample::select(vec![
            ("enabled: true", 0), ("limits: {memory: 16XB}", 1), ("zz: 1", 1), ("zz: {a: [1, 2], b: }", 1),
            ("'z, z': ',}'", 1), ("zz", 1), ("limits: {zz: 1, memory: 16XB, yy: }", 3), ("zz: [ä, {é: 1}] # , x\n  ", 1),
        ]), 1..6),
        last in prop::sample::select(vec!["", ",", " # a, b\n  "]),
    ) {
        let mut wrong = 0;
        let mut lines = Vec::new();
        let mut known = std::collections::HashSet::new();
        for (index, (entry, problems)) in entries.iter().enumerate() {
            // A key stands once; the unknown ones are numbered.
            let entry = match entry.strip_prefix("zz").or_else(|| entry.strip_prefix("'z, z'")) {
                Some(rest) if entry.starts_with('\'') => format!("'z, {index}'{rest}"),
                Some(rest) => format!("z{index}{rest}"),
                None => (*entry).to_owned(),
            };
            if known.insert(entry.split(':').next().unwrap_or_default().to_owned()) {
                wrong += problems;
                lines.push(entry);
            }
        }
        let text = format!(
            "plugins:\n  ping: {{{}{last}}}\ntunnels: {{idle_timeout: banana}}\n",
            lines.join(", ")
        );
        let told = told(&text);
        prop_assert_eq!(told.len(), wrong + 1, "{}: {:#?}", text, told);
    }
}

proptest! {
    /// Taking parts out must not lead to a panic, nor to a config out of a text with something wrong.
    #[test]
    fn what_is_wrong_is_never_taken(seed in "[a-z]{1,6}", at in 0_usize..6) {
        let sections = ["name: x", "network: { upnp: true }", "names: {}", "tunnels: { idle_timeout: 1h }", "services: {}"];
        let mut lines: Vec<String> = sections.iter().map(|line| (*line).to_owned()).collect();
        lines.insert(at.min(lines.len()), format!("zz{seed}: {{ a: [ä, 1] }}"));
        let outcome = parse_node(&lines.join("\n"), Path::new("/x/c.yaml"));
        let refused = matches!(outcome, Err(ConfigError::Invalid { problems, .. }) if problems.len() == 1);
        prop_assert!(refused);
    }
}

#[test]
fn bad_values_are_told_all_at_once() {
    insta::assert_snapshot!(node_error(concat!(
        "name: My Laptop\nnetwork:\n  listen_addresses: [/tcp/1, nonsense]\n  external_addresses:\n    - /ip4/1.2.3.4/tcp/1/p2p/",
        "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN\n",
        "relay:\n  addresses:\n    - /ip4/127.0.0.1/tcp/7777\n    - relay.example.org:7777\n",
        "services:\n  ping: {local_address: 'localhost:80'}\n  a_b: {local_address: 'localhost:80'}\n  web: {local_address: localhost}\n  \
         v6: {local_address: '::1:80'}\n  zero: {local_address: 'h:0'}\n  none: {enabled: true}\n  who: {local_address: 'h:1', allow: [A B]}\n",
        "names:\n  home: 12D3KooWshort\n  Home: x\ntunnels: {idle_timeout: 24, write_timeout: 0}\n",
        "plugins:\n  x: {limits: {memory: 16, cpu: 1 parsec, instances: many}}\n",
    )), @r#"
    the config file /home/u/peerup.yaml is not valid
      line 1, column 1: name: the name "My Laptop" is not valid: use lower-case letters, digits and dashes, with a letter or digit at both ends
      line 3, column 22: network.listen_addresses[0]: "/tcp/1" is not a multiaddr such as /ip4/192.0.2.1/tcp/4001: it has to start with an IP address or a DNS name
      line 3, column 30: network.listen_addresses[1]: "nonsense" is not a multiaddr such as /ip4/192.0.2.1/tcp/4001: invalid multiaddr
      line 5, column 7: network.external_addresses[0]: "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN" must not end in /p2p/...: the peer id is this node's own
      line 8, column 7: relay.addresses[0]: "/ip4/127.0.0.1/tcp/7777" has to end in /p2p/ and the relay's peer id; `relay-server info` prints it in full
      line 9, column 7: relay.addresses[1]: "relay.example.org:7777" is not a multiaddr such as /ip4/192.0.2.1/tcp/4001: invalid multiaddr
      line 11, column 3: services.ping: the service name "ping" is reserved for a protocol of peerup itself; choose another
      line 12, column 3: services.a_b: the name "a_b" is not valid: use lower-case letters, digits and dashes, with a letter or digit at both ends
      line 13, column 9: services.web.local_address: "localhost" cannot be dialled: it has no port; write host:port, such as localhost:80
      line 14, column 8: services.v6.local_address: "::1:80" cannot be dialled: an IPv6 address stands in brackets, such as [::1]:80
      line 15, column 10: services.zero.local_address: "h:0" cannot be dialled: the port is not a number from 1 to 65535
      line 16, column 3: services.none: local_address is missing: the host:port that this service stands for
      line 17, column 39: services.who.allow[0]: "A B" is neither a name nor a peer id
      line 19, column 3: names.home: "12D3KooWshort" is not a peer id; `peerup whoami` prints one, such as 12D3KooW...
      line 20, column 3: names.Home: the name "Home" is not valid: use lower-case letters, digits and dashes, with a letter or digit at both ends
      line 20, column 3: names.Home: "x" is not a peer id; `peerup whoami` prints one, such as 12D3KooW...
      line 21, column 11: tunnels.idle_timeout: "24" is not a duration; write a number with a unit, such as 30s, 10m or 24h
      line 21, column 29: tunnels.write_timeout: has to be longer than 0
      line 23, column 16: plugins.x.limits.memory: "16" is not a size; write a whole number with a unit, such as 512KB, 64MB or 1GB
      line 23, column 28: plugins.x.limits.cpu: "1 parsec" is not a duration; write a number with a unit, such as 30s, 10m or 24h
      and 1 more
    "#);
}

#[test]
fn an_ungrantable_grant_is_told_with_its_place() {
    insta::assert_snapshot!(node_error("plugins:\n  x:\n    grants:\n      tcp:\n        connect: ['*:80']\n"), @r#"
    the config file /home/u/peerup.yaml is not valid
      line 5, column 19: plugins.x.grants.tcp.connect[0]: the address "*:80" grants every host; name the hosts
    "#);
    insta::assert_snapshot!(node_error("security:\n  enable_connection_gating: maybe\n"), @r#"
    the config file /home/u/peerup.yaml is not valid
      line 2, column 29: security.enable_connection_gating: "maybe" is neither true nor false
    "#);
}

#[test]
fn duplicate_keys_are_refused() {
    insta::assert_snapshot!(node_error("version: 1\nnames:\n  a: x\n  b: y\n  \"a\": z\n"), @r"
    the config file /home/u/peerup.yaml is not valid
      line 5, column 3: names.a: this key already stands on line 3; keep one of the two
    ");
}

#[test]
fn yaml_that_is_none_and_yaml_that_is_too_much_are_refused() {
    insta::assert_snapshot!(node_error("version: 1\nservices: {\n"), @r"
    the config file /home/u/peerup.yaml is not valid
      line 2, column 11: this is not valid YAML: unclosed bracket '{'
    ");
    insta::assert_snapshot!(node_error("version: 1\n\tname: x\n"), @r"
    the config file /home/u/peerup.yaml is not valid
      line 1, column 10: this is not valid YAML: while scanning a plain scalar, found a tab
    ");
    insta::assert_snapshot!(node_error("names: &a {}\nservices: *a\n"), @r"
    the config file /home/u/peerup.yaml is not valid
      line 1, column 11: anchors (`&name`) are not used in a config; write the value out
    ");
    insta::assert_snapshot!(node_error("names: !x {}\n"), @r"
    the config file /home/u/peerup.yaml is not valid
      line 1, column 11: tags (`!name`) are not used in a config
    ");
    insta::assert_snapshot!(node_error("version: 1\n---\nversion: 1\n"), @r"
    the config file /home/u/peerup.yaml is not valid
      line 3, column 1: a config is one YAML document; this starts another
    ");
    insta::assert_snapshot!(node_error("just text\n"), @r"
    the config file /home/u/peerup.yaml is not valid
      line 1, column 1: expected keys with values, found one value
    ");
    insta::assert_snapshot!(node_error("? [a]\n: b\n"), @r"
    the config file /home/u/peerup.yaml is not valid
      line 1, column 3: a key has to be plain text
    ");
    let deep = format!(
        "plugins: {{x: {{settings: {}{}}}}}",
        "{a: ".repeat(60),
        "}".repeat(60)
    );
    insta::assert_snapshot!(node_error(&deep), @r"
    the config file /home/u/peerup.yaml is not valid
      line 1, column 145: values are nested too deeply here
    ");
}

#[test]
fn a_later_version_asks_for_an_upgrade_whatever_else_it_says() {
    insta::assert_snapshot!(node_error("version: 2\nfuture: yes\n"), @"the config file /home/u/peerup.yaml has version 2, and this peerup reads up to 1; upgrade peerup");
    insta::assert_snapshot!(node_error("version: one\n"), @r#"
    the config file /home/u/peerup.yaml is not valid
      line 1, column 10: version: "one" is not a whole number
    "#);
    insta::assert_snapshot!(node_error("services: {web: {local_address: 'h:1', enabled: off}}"), @r#"
    the config file /home/u/peerup.yaml is not valid
      line 1, column 49: services.web.enabled: "off" is neither true nor false
    "#);
    assert_eq!(node("version: 0\n"), node("version: 1\n"));
}

#[test]
fn a_config_of_the_go_original_works_and_says_what_is_ignored() {
    let old = format!(
        "version: 1\nidentity:\n  key_file: \"identity.key\"\nnetwork:\n  listen_addresses:\n    - \"/ip4/0.0.0.0/tcp/0\"\n  \
         force_private_reachability: false\nrelay:\n  addresses:\n    - \"/ip4/127.0.0.1/tcp/7777/p2p/{PEER}\"\n  \
         reservation_interval: \"2m\"\ndiscovery:\n  rendezvous: \"peerup-default-network\"\n  bootstrap_peers: []\n  network: \"\"\n\
         security:\n  authorized_keys_file: \"authorized_keys\"\n  enable_connection_gating: true\nprotocols:\n  ping_pong:\n    \
         enabled: true\n    id: \"/pingpong/1.0.0\"\nservices:\n  ssh:\n    enabled: true\n    local_address: \"localhost:22\"\n    \
         protocol: \"ssh\"\nnames: {{}}\n"
    );
    assert_eq!(node(&old).relays.len(), 1);
    insta::assert_snapshot!(node_warnings(&old), @r"
    line 7, column 3: network.force_private_reachability: this key has no effect: a reservation is made on every relay in any case
    line 11, column 3: relay.reservation_interval: this key has no effect: reservations are kept up without a setting
    line 13, column 3: discovery.rendezvous: this key has no effect: peers are found by their ids, with no meeting point to agree on
    line 14, column 3: discovery.bootstrap_peers: this key has no effect: the relays are where a search begins; see relay.addresses
    line 15, column 3: discovery.network: this key has no effect: the relays and authorized_keys say who belongs together
    line 19, column 1: protocols: this key has no effect: the ping plugin answers; see plugins.ping
    line 27, column 5: services.ssh.protocol: this key has no effect: the protocol follows from the service's name
    ");
}

#[test]
fn what_is_unwise_is_a_warning() {
    insta::assert_snapshot!(node_warnings(
        "security: {enable_connection_gating: false}\nservices:\n  a: {local_address: 'h:1', allow: []}\n  b: {local_address: 'h:1', allow: [bob]}\n"
    ), @r"
    line 1, column 12: security.enable_connection_gating: the gate is off: anybody who finds this node may connect
    line 3, column 29: services.a.allow: the list is empty: nobody may use this service
    line 4, column 29: services.b.allow: bob is not in names: this entry lets nobody in
    ");
}

#[test]
fn a_relay_reads_its_limits_and_zero_is_no_limit_where_it_may_be() {
    let config = parse_relay(
        "enrollment: closed\nresources: {max_circuits: 5000, session_duration: 0, session_data_limit: 0}\n",
        Path::new("/r.yaml"),
    )
    .unwrap()
    .config;
    assert_eq!(config.enrollment, Enrollment::Closed);
    assert_eq!(config.resources.session_duration, None);
    assert_eq!(config.resources.session_data_limit, None);
    assert_eq!(config.resources.max_circuits, 5000);
    assert_eq!(config.resources.max_reservations, 128);
    insta::assert_snapshot!(relay_error(
        "enrollment: all\nresources: {max_reservations: 0, reservation_ttl: 0s, session_data_limit: 64Mb/s, max_circuit: 1}\n"
    ), @r#"
    the config file /home/u/relay-server.yaml is not valid
      line 1, column 1: enrollment: "all" is none of members, admins and closed
      line 2, column 13: resources.max_reservations: "0" is not a number from 1 to 1000000
      line 2, column 34: resources.reservation_ttl: has to be longer than 0
      line 2, column 55: resources.session_data_limit: "64Mb/s" is not a size; write a whole number with a unit, such as 512KB, 64MB or 1GB
      line 2, column 83: resources.max_circuit: there is no such key; did you mean `max_circuits`?
    "#);
    insta::assert_snapshot!(relay_error(
        "enrollment: all\nresources: {max_reservations: 0, reservation_ttl: 0s, session_data_limit: 64Mb/s}\n"
    ), @r#"
    the config file /home/u/relay-server.yaml is not valid
      line 1, column 1: enrollment: "all" is none of members, admins and closed
      line 2, column 13: resources.max_reservations: "0" is not a number from 1 to 1000000
      line 2, column 34: resources.reservation_ttl: has to be longer than 0
      line 2, column 55: resources.session_data_limit: "64Mb/s" is not a size; write a whole number with a unit, such as 512KB, 64MB or 1GB
    "#);
}

#[test]
fn a_relay_config_of_the_go_original_is_warned_about_its_circuits() {
    let warnings = parse_relay(
        "resources:\n  max_circuits: 16\n  buffer_size: 2048\n  max_reservations_per_asn: 32\nhealth:\n  enabled: false\n",
        Path::new("/r.yaml"),
    )
    .unwrap()
    .warnings;
    let text: String = warnings.iter().map(|warning| format!("{warning}\n")).collect();
    insta::assert_snapshot!(text, @r"
    line 2, column 3: resources.max_circuits: this is the number for the whole relay; the one for each peer is max_circuits_per_peer
    line 3, column 3: resources.buffer_size: this key has no effect: buffers are sized by the relay itself
    ");
}

#[test]
fn files_that_are_missing_too_long_or_no_text_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peerup.yaml");
    assert!(matches!(
        load_node(&path),
        Err(ConfigError::Missing {
            init: "peerup init",
            ..
        })
    ));
    assert!(matches!(
        load_relay(&path),
        Err(ConfigError::Missing {
            init: "relay-server init",
            ..
        })
    ));
    fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
    assert!(load_node(&path).is_ok());
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(matches!(load_node(&path), Err(ConfigError::TooLarge { .. })));
    fs::write(&path, b"version: 1\nname: \xff\n").unwrap();
    assert!(matches!(
        load_node(&path),
        Err(ConfigError::NotText { line: 2, .. })
    ));
    assert!(matches!(load_node(folder.path()), Err(ConfigError::Read { .. })));
}

fn places(folder: &Path) -> SearchPlaces {
    SearchPlaces {
        working_dir: folder.join("work"),
        home: Some(folder.join("home")),
        xdg_config_home: None,
        system: Some(folder.join("etc")),
    }
}

fn touch(path: PathBuf) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "version: 1\n").unwrap();
    path
}

#[test]
fn the_config_is_found_in_the_order_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    let mut places = places(folder.path());
    let find = |places: &SearchPlaces| find_config(None, None, places).unwrap();

    let system = touch(folder.path().join("etc/peerup/config.yaml"));
    assert_eq!(find(&places), system);
    let home = touch(folder.path().join("home/.config/peerup/config.yaml"));
    assert_eq!(find(&places), home);
    places.xdg_config_home = Some(folder.path().join("xdg"));
    assert_eq!(find(&places), system, "the variable takes the place of ~/.config");
    let xdg = touch(folder.path().join("xdg/peerup/config.yaml"));
    assert_eq!(find(&places), xdg);
    places.xdg_config_home = Some("relative".into());
    assert_eq!(find(&places), home);
    let work = touch(folder.path().join("work/peerup.yaml"));
    assert_eq!(find(&places), work);
    let env = touch(folder.path().join("work/env.yaml"));
    assert_eq!(find_config(None, Some("env.yaml"), &places).unwrap(), env);
    assert_eq!(find_config(None, Some(""), &places).unwrap(), work);
    assert_eq!(find_config(Some(&home), Some("env.yaml"), &places).unwrap(), home);
}

#[test]
fn a_named_file_that_is_missing_is_no_reason_to_look_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    touch(folder.path().join("work/peerup.yaml"));
    let missing = find_config(Some(Path::new("no.yaml")), None, &places(folder.path()));
    assert!(matches!(
        missing,
        Err(FindError::Named {
            origin: "--config",
            ..
        })
    ));
    let missing = find_config(None, Some("no.yaml"), &places(folder.path()));
    assert!(matches!(
        missing,
        Err(FindError::Named {
            origin: "PEERUP_CONFIG",
            ..
        })
    ));
}

#[test]
fn no_config_at_all_names_the_places_and_init() {
    let places = SearchPlaces {
        working_dir: "/nowhere/w".into(),
        home: Some("/nowhere/h".into()),
        xdg_config_home: None,
        system: Some("/nowhere/etc".into()),
    };
    insta::assert_snapshot!(find_config(None, None, &places).unwrap_err().to_string(), @r"
    there is no config file; looked for
      /nowhere/w/peerup.yaml
      /nowhere/h/.config/peerup/config.yaml
      /nowhere/etc/peerup/config.yaml
    run `peerup init` to make one, or name one with --config
    ");
}

const SAMPLE: &str = include_str!("../../../configs/peerup.yaml");

proptest! {
    /// Small damage leaves many files valid but odd, and those are edited as well.
    #[test]
    fn no_damaged_sample_makes_the_loader_or_an_edit_panic(
        places in proptest::collection::vec((0..SAMPLE.len(), prop::sample::select(vec![
            "", "\n", " ", "  ", "#", ": ", "- ", "{}", "[]", "\r", "'", "\"", ",", "}", "|\n", "? ", "~", "\t",
        ]), 0..4_usize), 1..4),
    ) {
        let mut text = SAMPLE.to_owned();
        for (at, insert, cut) in places {
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, insert);
        }
        peerup_config::fuzzing::config(text.as_bytes());
    }

    #[test]
    fn no_text_makes_the_loader_panic(text in "[ -~\n\t]{0,200}") {
        peerup_config::fuzzing::config(text.as_bytes());
    }

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        peerup_config::fuzzing::config(&bytes);
    }

    #[test]
    fn no_config_like_text_makes_the_loader_panic(parts in proptest::collection::vec(
        prop::sample::select(vec![
            "version: 1\n", "services:", "names:", "relay:", "addresses:", "\n", "  ", "    ", "- ", "{", "}", "[", "]", ",", ": ",
            "web:", "local_address: h:1", "enabled: no", "# c", "\r\n", "|\n", ">-\n", "\"", "'", "&a ", "*a", "<<: ", "!x ", "---\n",
            "...\n", "? ", "~", "null", "home: ", "paths:", "peers:", "default: ", "relay-only", PEER, "\u{feff}", "ä", "plugins:", "x:", "settings:", "grants:", "name: n",
        ]), 0..25,
    )) {
        peerup_config::fuzzing::config(parts.concat().as_bytes());
    }
}

#[test]
fn resolvers_are_plugins_of_the_config_and_in_its_order() {
    let config =
        |text: &str| parse_node(text, Path::new("/x/peerup.yaml")).map(|loaded| loaded.config.resolvers);
    let names =
        |text: &str| -> Vec<String> { config(text).unwrap().iter().map(ToString::to_string).collect() };
    assert_eq!(names("version: 1\n"), ["names-local"]);
    assert_eq!(names("version: 1\nresolvers: []\n"), Vec::<String>::new());
    let both = "version: 1\nresolvers: [names-dns, names-local]\nplugins:\n  names-dns: {}\n";
    assert_eq!(names(both), ["names-dns", "names-local"]);
    for wrong in [
        "[nobody]",
        "[names-local, names-local]",
        "[a, b, c, d, e, f, g, h, i]",
        "[A_B]",
    ] {
        assert!(
            config(&format!("version: 1\nresolvers: {wrong}\n")).is_err(),
            "{wrong}"
        );
    }
    let off = "version: 1\nresolvers: [ping, names-local]\nplugins:\n  ping: {enabled: false}\n";
    assert_eq!(names(off), ["names-local"]);
}

#[test]
fn a_plugin_has_its_own_callers_and_limits() {
    let text = concat!(
        "version: 1\nplugins:\n  files:\n    allow: []\n    authorized_keys: files_keys\n",
        "    limits: {bandwidth: 1MB, log_lines: 5, streams: 7, tunnels: 8, cpu_budget: 3s, drain: 4s}\n",
    );
    let loaded = parse_node(text, Path::new("/x/peerup.yaml")).unwrap();
    assert_eq!(loaded.warnings.len(), 1, "an empty list lets nobody in");
    let config = loaded.config;
    let files: peerup_model::PluginName = "files".parse().unwrap();
    let entry = &config.plugins[&files];
    assert_eq!(entry.keys_file.as_deref(), Some(Path::new("/x/files_keys")));
    assert_eq!(
        (entry.limits.bandwidth, entry.limits.log_lines),
        (Some(1 << 20), 5)
    );
    assert_eq!((entry.limits.streams, entry.limits.tunnels), (7, 8));
    assert_eq!(entry.limits.drain.as_secs(), 4);
    let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
        .parse()
        .unwrap();
    assert!(!config.plugin_allows(&files, &peer));
    assert!(config.plugin_allows(&"ping".parse().unwrap(), &peer));
    for wrong in ["bandwidth: 1KB", "log_lines: 0", "tunnels: many"] {
        let text = format!("version: 1\nplugins:\n  x: {{limits: {{{wrong}}}}}\n");
        assert!(parse_node(&text, Path::new("/x/peerup.yaml")).is_err(), "{wrong}");
    }
}
