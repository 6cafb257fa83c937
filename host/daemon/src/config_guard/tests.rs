//! A plan says exactly what a node then does, over a hundred random pairs of configs.

use std::collections::BTreeSet;

use peerup_api::ConfigApplyRequest;
use peerup_config::{Effects, parse_node, plan};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::daemon::{Daemon, DaemonOptions, Mode};

const PAIRS: usize = 100;
const PHONE: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
const RELAYS: [&str; 3] = [
    "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
    "/ip4/127.0.0.1/tcp/10/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
    "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq",
];

const SCRAPES: [Option<&str>; 3] = [None, Some("127.0.0.1:0"), Some("127.0.0.2:0")];

/// Lines that a config may have or not, each kind with its ways to say it.
fn texts() -> impl Strategy<Value = String> {
    let service = || {
        prop_oneof![
            Just(None),
            (0..2_u8, any::<bool>(), 0..3_u8).prop_map(|(port, enabled, allow)| {
                let allow = ["", ", allow: []", ", allow: [phone]"][usize::from(allow)];
                Some(format!(
                    "{{ local_address: 'localhost:8{port}', enabled: {enabled}{allow} }}"
                ))
            }),
        ]
    };
    let plugin = |grants: &'static str| {
        prop_oneof![
            Just(None),
            (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(move |(enabled, few, wide)| {
                let limits = if few { ", limits: { instances: 100 }" } else { "" };
                let more = if wide { ", environment: [PEERUP_TEST]" } else { "" };
                Some(format!(
                    "{{ enabled: {enabled}, grants: {{ {grants}{more} }}{limits} }}"
                ))
            }),
        ]
    };
    let ping = plugin("protocols: ['/peerup/ping/1.0.0', '/pingpong/1.0.0']");
    let traceroute = plugin("protocols: ['/peerup/ping/1.0.0'], peers: [read, addresses]");
    let relays = proptest::sample::subsequence(RELAYS.to_vec(), 0..=RELAYS.len());
    let places = (0..3_u8, any::<bool>());
    let others = (0..3_u8, 0..3_u8, any::<bool>(), any::<bool>(), places);
    (service(), service(), ping, traceroute, relays, others).prop_map(
        |(web, ssh, ping, traceroute, relays, (idle, path, named, gating, places))| {
            let section = |entries: &[(&str, Option<String>)]| -> String {
                let there = entries
                    .iter()
                    .filter_map(|(name, value)| Some((name, value.as_ref()?)));
                there
                    .map(|(name, value)| format!("\n  {name}: {value}"))
                    .collect()
            };
            let path = ["prefer-direct", "direct-only", "relay-only"][usize::from(path)];
            let (scrapes, debug) = places;
            let mut text = format!(
                "version: 1\nnetwork: {{ listen_addresses: [/ip4/127.0.0.1/tcp/0] }}\n\
                 discovery: {{ mdns: false, dht: false }}\nnames: {{ phone: {PHONE} }}\n\
                 tunnels: {{ idle_timeout: {}h }}\npaths: {{ default: {path} }}\n\
                 security: {{ enable_connection_gating: {gating} }}\n\
                 relay: {{ addresses: [{}] }}\n",
                20 + idle,
                relays.join(", "),
            );
            if let Some(address) = SCRAPES[usize::from(scrapes)] {
                text.push_str(&format!("metrics: {{ listen: '{address}' }}\n"));
            }
            if debug {
                text.push_str("log: { level: debug }\n");
            }
            if named {
                text.push_str("name: laptop\n");
            }
            text.push_str(&format!("services:{}\n", section(&[("web", web), ("ssh", ssh)])));
            let plugins = section(&[("ping", ping), ("traceroute", traceroute)]);
            text.push_str(&format!("plugins:{plugins}\n"));
            text
        },
    )
}

fn without_restarts(effects: Effects) -> Effects {
    Effects {
        needs_restart: BTreeSet::new(),
        ..effects
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_leaves_everything_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    peerup_trust::create_identity(folder.path().join("identity.key")).unwrap();
    let text = |scrapes: &str, name: &str| {
        format!(
            "version: 1\nname: {name}\nnetwork: {{ listen_addresses: [/ip4/127.0.0.1/tcp/0] }}\n\
             discovery: {{ mdns: false, dht: false }}\nmetrics: {{ listen: '{scrapes}' }}\n"
        )
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let before = text("127.0.0.1:0", "one");
    std::fs::write(&path, &before).unwrap();
    let options = DaemonOptions {
        config: path.clone(),
        mode: Mode::Daemon,
        log: Default::default(),
    };
    let daemon = Daemon::start(options).await.unwrap();
    let app = daemon.app().clone();
    let name = || app.config().name.as_ref().unwrap().to_string();
    let by_hand = text(&format!("127.0.0.1:{port}"), "two");
    let request = ConfigApplyRequest {
        config: by_hand.clone(),
        confirm_timeout_ms: None,
        confirm_if: Vec::new(),
        by: None,
    };

    let refused = peerup_ops::apply_config(&app, request).await;
    let refused = refused.unwrap_err().message;
    assert!(
        refused.contains("metrics.listen") && refused.contains(&port.to_string()),
        "{refused}"
    );
    assert_eq!(name(), "one");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    assert!(app.unmet().is_empty());

    // By hand the rest comes into force, and what could not is told, for as long as that is so.
    std::fs::write(&path, &by_hand).unwrap();
    let told = daemon.reload().await.unwrap_err();
    assert!(told.message.contains("metrics.listen"), "{told:?}");
    assert_eq!(name(), "two");
    let problems = crate::status::problems(&app, &[]);
    assert!(
        problems.iter().any(|problem| problem.contains("metrics.listen")),
        "{problems:?}"
    );
    drop(taken);
    daemon.reload().await.unwrap();
    assert!(app.unmet().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_exactly_what_the_node_then_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    peerup_trust::create_identity(folder.path().join("identity.key")).unwrap();
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]),
    );
    let mut next = || texts().new_tree(&mut runner).unwrap().current();
    std::fs::write(&path, next()).unwrap();
    let options = DaemonOptions {
        config: path.clone(),
        mode: Mode::Daemon,
        log: Default::default(),
    };
    let daemon = Daemon::start(options).await.unwrap();
    let app = daemon.app().clone();
    let mut with_effects = 0;
    for pair in 0..PAIRS {
        let text = next();
        let config = parse_node(&text, &path).unwrap().config;
        let before = app.config();
        // A plugin that is still being loaded may have to be loaded afresh for another reason.
        app.plugins.all_settled().await;
        let planned = plan(&before, &config);

        let done = app.put_in_force(config.clone()).await.unwrap();

        let expected = without_restarts(planned.effects.clone());
        assert_eq!(done, expected, "pair {pair}: {:#?}\n{text}", planned.changes);
        assert_eq!(
            planned.effects.needs_restart,
            BTreeSet::new(),
            "pair {pair}: {text}"
        );
        let unchanged = planned.changes.is_empty();
        assert_eq!(unchanged, *before == config, "pair {pair}: {text}");
        assert!(!unchanged || planned.drops.is_empty());
        let relays: BTreeSet<String> = crate::app::relays(&config)
            .iter()
            .map(|relay| relay.peer.to_string())
            .collect();
        let held = app.node.snapshot().await.unwrap().relays;
        let held: BTreeSet<String> = held.iter().map(|relay| relay.peer.to_string()).collect();
        assert_eq!(held, relays, "pair {pair}");
        for name in ["web", "ssh"] {
            let name: peerup_model::ServiceName = name.parse().unwrap();
            let wanted = config.services.get(&name).is_some_and(|entry| entry.enabled);
            let routed = app
                .services
                .route(&peerup_model::service_protocol(&name))
                .is_some();
            assert_eq!(routed, wanted, "pair {pair}");
        }
        with_effects += usize::from(!done.is_empty());
    }
    assert!(
        with_effects > PAIRS / 2,
        "{with_effects} pairs of {PAIRS} did anything"
    );
    daemon.stop().await;
}
