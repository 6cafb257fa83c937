//! What a plan says of single changes, and that it says nothing where nothing changes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::path::Path;

use peerup_config::{Drops, Lost, NodeConfig, Plan, ReloadClass, parse_node, parse_relay, plan, plan_relay};

const PHONE: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

fn config(text: &str) -> NodeConfig {
    parse_node(text, Path::new("/x/config.yaml")).unwrap().config
}

fn planned(old: &str, new: &str) -> Plan {
    plan(&config(old), &config(new))
}

#[test]
fn a_default_that_is_written_down_is_no_change() {
    let written = "version: 1\ntunnels: { idle_timeout: 24h }\npaths: { default: prefer-direct }\nservices: {}\n\
                   resolvers: [names-local]\nnetwork: { upnp: true }\n";
    assert_eq!(planned("version: 1", written), Plan::default());
    assert_eq!(planned(written, ""), Plan::default());
}

#[test]
fn each_change_has_its_path_its_values_and_its_class() {
    let plan = planned(
        "name: one",
        "name: two\ndiscovery: { mdns: false }\nplugins: { ping: { enabled: false } }",
    );
    let told: Vec<(&str, Option<&str>, Option<&str>, ReloadClass)> = plan
        .changes
        .iter()
        .map(|change| {
            (
                change.path.as_str(),
                change.from.as_deref(),
                change.to.as_deref(),
                change.class,
            )
        })
        .filter(|change| !change.0.contains("grants"))
        .collect();
    assert_eq!(
        told,
        [
            (
                "discovery.mdns",
                Some("true"),
                Some("false"),
                ReloadClass::Restart
            ),
            ("name", Some("one"), Some("two"), ReloadClass::Live),
            (
                "plugins.ping.enabled",
                Some("true"),
                Some("false"),
                ReloadClass::Part
            ),
        ]
    );
    assert!(plan.effects.plugins_stopped.contains("ping"));
    assert!(plan.drops.plugins.contains("ping"));
    assert_eq!(
        plan.effects.needs_restart.iter().collect::<Vec<_>>(),
        ["discovery.mdns"]
    );
}

#[test]
fn it_says_who_loses_a_service() {
    let names = format!("names: {{ phone: {PHONE} }}\n");
    let web = |more: &str| format!("{names}services: {{ web: {{ local_address: 'localhost:80'{more} }} }}");
    let lost = |old: &str, new: &str| planned(&web(old), &web(new)).drops.services.get("web").cloned();
    assert_eq!(lost("", ", allow: [phone]"), Some(Lost::EverybodyElse));
    assert_eq!(lost(", allow: [phone]", ""), None);
    // The same peer by another word.
    assert_eq!(lost(", allow: [phone]", &format!(", allow: [{PHONE}]")), None);
    let peers = Lost::Peers(["phone".to_owned()].into());
    assert_eq!(lost(", allow: [phone]", ", allow: []"), Some(peers));
    assert_eq!(lost("", ", authorized_keys: more"), Some(Lost::NotInKeys));
    // Tunnels of a service that is switched off run on.
    assert_eq!(
        planned(&web(""), &web(", enabled: false")).drops,
        Drops::default()
    );
}

#[test]
fn it_says_which_lines_and_relays_cost_streams() {
    let relay = format!("relay: {{ addresses: [/ip4/192.0.2.1/tcp/1/p2p/{PHONE}] }}");
    let plan = planned(
        &format!("{relay}\npaths: {{ services: {{ web: prefer-direct }} }}"),
        "paths: { default: direct-only, services: { web: relay-only } }\n",
    );
    assert_eq!(plan.drops.relays, [PHONE.to_owned()].into());
    assert_eq!(
        plan.drops.paths,
        ["paths.default".to_owned(), "paths.services.web".to_owned()].into()
    );
    let gate = planned("security: { enable_connection_gating: false }", "");
    assert!(gate.drops.strangers);
}

#[test]
fn a_relay_says_which_keys_are_live_and_which_wait() {
    let relay = |text| {
        parse_relay(text, Path::new("/x/relay-server.yaml"))
            .unwrap()
            .config
    };
    let plan = plan_relay(
        &relay(""),
        &relay(
            "enrollment: closed\nresources: { max_reservations: 5, max_circuits: 5, session_duration: 10m }\n",
        ),
    );
    let told: Vec<(&str, Option<&str>, ReloadClass)> = plan
        .changes
        .iter()
        .map(|change| (change.path.as_str(), change.to.as_deref(), change.class))
        .collect();
    assert_eq!(
        told,
        [
            ("enrollment", Some("closed"), ReloadClass::Live),
            ("resources.max_circuits", Some("5"), ReloadClass::Restart),
            ("resources.max_reservations", Some("5"), ReloadClass::Live),
        ]
    );
    assert_eq!(
        plan.effects.needs_restart.iter().collect::<Vec<_>>(),
        ["resources.max_circuits"]
    );
    assert!(plan.drops.is_empty());
    let written = "version: 1\nenrollment: members\nhealth: { enabled: false }\n";
    assert_eq!(plan_relay(&relay(""), &relay(written)), Plan::default());
}
