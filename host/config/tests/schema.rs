//! The JSON Schemas against the samples, and against what the loader says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use peerup_config::{
    NodeTemplate, RelayTemplate, node_json_schema, parse_node, parse_relay, relay_json_schema,
    render_node_config, render_relay_config,
};
use serde_json::Value;

struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

fn validator(schema: &str) -> Validator {
    let mut compiler = Compiler::new();
    let mut schemas = Schemas::new();
    compiler
        .add_resource("schema.json", serde_json::from_str(schema).unwrap())
        .unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    Validator { schemas, index }
}

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Returns what the schema refuses; nothing where the text fits.
fn problems(validator: &Validator, text: &str) -> String {
    let value = read(text);
    let outcome = validator.schemas.validate(&value, validator.index);
    outcome
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default()
}

fn sample(file: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    std::fs::read_to_string(folder.join(file)).unwrap()
}

#[test]
fn the_samples_and_what_init_writes_fit_their_schemas() {
    let node = validator(&node_json_schema());
    let relay = validator(&relay_json_schema());
    let template = NodeTemplate {
        name: Some("laptop".parse().unwrap()),
        port: 4001,
        relays: Vec::new(),
    };
    for text in [sample("peerup.yaml"), render_node_config(&template)] {
        assert_eq!(problems(&node, &text), "");
    }
    for text in [
        sample("relay-server.yaml"),
        render_relay_config(&RelayTemplate::default()),
    ] {
        assert_eq!(problems(&relay, &text), "");
    }
}

#[test]
fn the_samples_name_their_schemas() {
    for (file, schema) in [
        ("peerup.yaml", "peerup.schema.json"),
        ("relay-server.yaml", "relay-server.schema.json"),
    ] {
        let first = format!("# yaml-language-server: $schema=./{schema}");
        assert_eq!(sample(file).lines().next(), Some(first.as_str()));
    }
}

#[test]
fn what_the_schema_refuses_the_loader_refuses_too() {
    let node = validator(&node_json_schema());
    for text in [
        "nmae: x",
        "version: 2",
        "network: { upnp: 1 }",
        "network: { listen_addresses: x }",
        "network: { listen_addresses: [localhost] }",
        "services: { web: { local_address: localhost } }",
        "services: { web: { local_adress: localhost:80 } }",
        "services: { Web_!: { local_address: localhost:80 } }",
        "tunnels: { idle_timeout: soon }",
        "plugins: { ping: { limits: { memory: 16 } } }",
        "plugins: { ping: { limits: { instances: 0 } } }",
        "plugins: { ping: { grants: { peers: [write] } } }",
        "paths: { default: fastest }",
        "relay: { addresses: [/ip4/1.2.3.4/tcp/1] }",
    ] {
        assert!(!problems(&node, text).is_empty(), "the schema takes {text}");
        assert!(
            parse_node(text, Path::new("/x/c.yaml")).is_err(),
            "the loader takes {text}"
        );
    }
    let relay = validator(&relay_json_schema());
    for text in [
        "enrollment: all",
        "resources: { max_circuits: none }",
        "services: {}",
    ] {
        assert!(!problems(&relay, text).is_empty(), "the schema takes {text}");
        assert!(
            parse_relay(text, Path::new("/x/c.yaml")).is_err(),
            "the loader takes {text}"
        );
    }
}

#[test]
fn what_the_loader_takes_in_its_own_way_the_schema_takes_too() {
    let node = validator(&node_json_schema());
    for text in [
        "services:\nnames:\nplugins:\n",
        "tunnels: { idle_timeout: 1h 30m }",
        "plugins: { ping: { limits: { instances: '5', bandwidth: unlimited, memory: 64 mib } } }",
        "plugins: { ping: { grants: { directories: ['/srv/music:ro'] }, settings: { a: { b: [1] } } } }",
        "protocols: { ping_pong: { enabled: true } }",
    ] {
        assert_eq!(problems(&node, text), "", "{text}");
        let loaded = parse_node(text, Path::new("/x/c.yaml"));
        assert!(loaded.is_ok(), "{text}: {loaded:?}");
    }
}
