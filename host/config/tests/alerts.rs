//! The section `alerts`: what it may say, what is wrong with it and where, and what a plan shows of it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::{path::Path, time::Duration};

use peerup_config::{
    AlertCondition, AlertWay, AlertsConfig, BandwidthOf, NodeConfig, ReloadClass, parse_node, plan,
};

const HOME: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

fn node(section: &str) -> NodeConfig {
    let text = format!("names: {{home: {HOME}}}\n{section}");
    parse_node(&text, Path::new("/home/u/peerup.yaml"))
        .unwrap()
        .config
}

fn error(section: &str) -> String {
    parse_node(section, Path::new("/p.yaml")).unwrap_err().to_string()
}

#[test]
fn rules_and_targets_are_read_with_their_defaults() {
    assert_eq!(node("").alerts, AlertsConfig::default());
    let alerts = node(
        "alerts:\n  targets:\n    chat: {webhook: 'https://h.example/x', authorization_file: token}\n    pager: {command: [/bin/page, now], timeout: 1m}\n  rules:\n    away: {when: peer-away, peer: home, for: 5m, repeat: 1h}\n    busy: {when: bandwidth, above: 1MB, notify: [pager]}\n    strangers: {when: auth-denied}\n    full: {when: disk-low, below: 5MB}\n    down: {when: plugin-down}\n",
    )
    .alerts;
    let chat = &alerts.targets["chat"];
    assert_eq!(chat.timeout, Duration::from_secs(10));
    let expected = AlertWay::Webhook {
        url: "https://h.example/x".to_owned(),
        authorization_file: Some("/home/u/token".into()),
    };
    assert_eq!(chat.way, expected);
    let away = &alerts.rules["away"];
    assert_eq!(away.condition, AlertCondition::PeerAway("home".parse().unwrap()));
    assert_eq!(
        (away.hold, away.repeat),
        (Duration::from_secs(300), Some(Duration::from_secs(3600)))
    );
    // Without the key all targets are told.
    assert_eq!(away.notify.len(), 2);
    let busy = &alerts.rules["busy"];
    assert_eq!((busy.notify.len(), busy.hold), (1, Duration::ZERO));
    let expected = AlertCondition::Bandwidth {
        of: BandwidthOf::Total,
        above: 1 << 20,
    };
    assert_eq!(busy.condition, expected);
    let within = Duration::from_secs(60);
    let expected = AlertCondition::AuthDenied {
        more_than: 20,
        within,
    };
    assert_eq!(alerts.rules["strangers"].condition, expected);
    assert_eq!(alerts.rules["full"].condition, AlertCondition::DiskLow(5 << 20));
    assert_eq!(alerts.rules["down"].condition, AlertCondition::PluginDown(None));
}

#[test]
fn what_is_wrong_with_a_target_is_told_with_its_place_and_without_the_address() {
    let error = error(
        "alerts:\n  targets:\n    a: {webhook: 'ftp://secret.example/token'}\n    b: {command: [page]}\n    c: {}\n    d: {webhook: 'https://h.example', command: [/bin/x]}\n    e: {command: [/bin/x], authorization_file: f}\n    f: {webhook: 'https://user:password@h.example/'}\n    g: {webhook: 'https://h.example', timeout: 1h}\n    H: {webhook: 'https://h.example'}\n",
    );
    assert!(
        !error.contains("token") && !error.contains("password@"),
        "{error}"
    );
    insta::assert_snapshot!(error, @r#"
    the config file /p.yaml is not valid
      line 3, column 9: alerts.targets.a.webhook: is not an address that begins with https:// or http://
      line 4, column 9: alerts.targets.b.command: "page" is not a whole path: which program that is must not depend on PATH
      line 5, column 5: alerts.targets.c: needs webhook: URL, or command: [PROGRAM, ARGUMENT...]
      line 6, column 5: alerts.targets.d: has a webhook and a command; make two targets of it
      line 7, column 28: alerts.targets.e.authorization_file: is for a webhook, and this is a command
      line 8, column 9: alerts.targets.f.webhook: has a user and a password in it; write them into the authorization_file
      line 9, column 39: alerts.targets.g.timeout: is longer than 5 minutes, the most
      line 10, column 5: alerts.targets.H: the name "H" is not valid: use lower-case letters, digits and dashes, with a letter or digit at both ends
    "#);
}

#[test]
fn what_is_wrong_with_a_rule_is_told_with_its_place() {
    insta::assert_snapshot!(error(
        "alerts:\n  rules:\n    a: {for: 5m}\n    b: {when: peer-gone}\n    c: {when: peer-away}\n    d: {when: relay-away, peer: home}\n    e: {when: bandwidth, peer: home, service: web, above: 1MB}\n    f: {when: disk-low}\n    g: {when: auth-denied, more_than: 0, within: 48h}\n    h: {when: relay-away, for: soon, notify: [nobody]}\n    i: {when: disk-low, below: 0, forr: 1m}\n",
    ), @r#"
    the config file /p.yaml is not valid
      line 3, column 5: alerts.rules.a: when is missing: one of peer-away, relay-away, plugin-down, bandwidth, config-reverted, auth-denied, disk-low
      line 4, column 9: alerts.rules.b.when: "peer-gone" is none of peer-away, relay-away, plugin-down, bandwidth, config-reverted, auth-denied, disk-low
      line 5, column 5: alerts.rules.c: peer is missing: peer-away needs it
      line 6, column 27: alerts.rules.d.peer: means nothing for relay-away
      line 7, column 5: alerts.rules.e: has a peer and a service; make two rules of it
      line 8, column 5: alerts.rules.f: below is missing: disk-low needs it
      line 9, column 28: alerts.rules.g.more_than: "0" is not a number from 1 to 1000000
      line 9, column 42: alerts.rules.g.within: is longer than 24 hours, the most
      line 10, column 27: alerts.rules.h.for: "soon" is not a duration; write a number with a unit, such as 30s, 10m or 24h
      line 10, column 38: alerts.rules.h.notify: nobody is no target; add alerts.targets.nobody
      line 11, column 25: alerts.rules.i.below: has to be more than 0
      line 11, column 35: alerts.rules.i.forr: there is no such key; did you mean `for`?
    "#);
    let loaded = parse_node(
        "alerts: {rules: {a: {when: peer-away, peer: away}}}\n",
        Path::new("/p.yaml"),
    )
    .unwrap();
    insta::assert_snapshot!(loaded.warnings[0], @"line 1, column 39: alerts.rules.a.peer: away is not in names: this rule is about nobody");
}

#[test]
fn there_are_no_more_rules_and_targets_than_the_node_keeps_apart() {
    let rules: String = (0..65)
        .map(|number| format!("    r{number}: {{when: relay-away}}\n"))
        .collect();
    let targets: String = (0..17)
        .map(|number| format!("    t{number}: {{command: [/bin/x]}}\n"))
        .collect();
    let error = error(&format!("alerts:\n  rules:\n{rules}  targets:\n{targets}"));
    assert!(
        error.contains("alerts.targets: 17 of them, and 16 are the most"),
        "{error}"
    );
    assert!(
        error.contains("alerts.rules: 65 of them, and 64 are the most"),
        "{error}"
    );
}

#[test]
fn a_plan_shows_that_an_address_changes_and_not_the_address() {
    let with = |url: &str| node(&format!("alerts: {{targets: {{chat: {{webhook: '{url}'}}}}}}\n"));
    let plan = plan(&with("https://h.example/one"), &with("https://h.example/two"));
    assert_eq!(plan.changes.len(), 1);
    let change = &plan.changes[0];
    assert_eq!(
        (change.path.as_str(), change.class),
        ("alerts.targets.chat.webhook", ReloadClass::Live)
    );
    for text in [&change.from, &change.to] {
        let text = text.as_ref().unwrap();
        assert!(
            text.starts_with("https://h.example/... (") && !text.contains("one"),
            "{text}"
        );
    }
    assert!(!format!("{:?}", with("https://h.example/secret").alerts).contains("secret"));
}
