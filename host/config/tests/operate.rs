//! Logs, metrics, health and the table of AS numbers in a config.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::path::Path;

use peerup_config::{ConfigError, LogConfig, parse_node, parse_relay};

fn problems(text: &str) -> String {
    match parse_relay(text, Path::new("/x/r.yaml")) {
        Err(ConfigError::Invalid { problems, .. }) => {
            problems.iter().map(|problem| format!("{problem}\n")).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_listens_and_nothing_is_written_unless_the_file_says_so() {
    let relay = parse_relay("version: 1\n", Path::new("/x/r.yaml"))
        .unwrap()
        .config;
    assert_eq!((relay.health, relay.log), (None, LogConfig::default()));
    let node = parse_node("version: 1\n", Path::new("/x/c.yaml")).unwrap().config;
    assert_eq!((node.metrics.listen, node.log), (None, LogConfig::default()));
    let off = parse_relay("health: {listen_address: 127.0.0.1:1}\n", Path::new("/x/r.yaml"));
    assert_eq!(off.unwrap().config.health, None);
}

#[test]
fn health_log_and_table_are_read() {
    let text = "health: {enabled: true}\nlog: {file: r.log, level: warn, max_size: 1MB, keep: 2}\nresources: {max_reservations_per_asn: 5, asn_table: asn.txt}\n";
    let loaded = parse_relay(text, Path::new("/x/r.yaml")).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.health.unwrap().to_string(), "127.0.0.1:9090");
    assert_eq!(
        config.resources.asn_table.as_deref(),
        Some(Path::new("/x/asn.txt"))
    );
    assert_eq!(config.resources.max_reservations_per_asn, 5);
    let log = LogConfig {
        file: Some("/x/r.log".into()),
        level: Some("warn".to_owned()),
        max_size: 1 << 20,
        keep: 2,
    };
    assert_eq!(config.log, log);
}

#[test]
fn an_address_for_everybody_is_warned_of() {
    let loaded = parse_node("metrics: {listen: \"0.0.0.0:9091\"}\n", Path::new("/x/c.yaml")).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].to_string().contains("without a password"));
}

#[test]
fn what_does_not_hold_is_told_with_its_line() {
    insta::assert_snapshot!(problems("health: {enabled: true, listen_address: localhost}\nlog: {level: loud, max_size: 1KB, keep: 0}\n"), @r#"
    line 1, column 25: health.listen_address: "localhost" is not an IP address with a port, such as 127.0.0.1:9091 or [::1]:9091
    line 2, column 7: log.level: "loud" is none of error, warn, info, debug, trace
    line 2, column 20: log.max_size: "1KB" is less than 64KB
    line 2, column 35: log.keep: "0" is not a number from 1 to 1000
    "#);
}
