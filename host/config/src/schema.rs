//! The JSON Schema of both configs, for editors: made of the table of keys, with the words of the samples.
//!
//! The loader checks more than a schema can say, and refuses nothing that the schema lets pass by its shape alone.

use std::collections::BTreeMap;

use serde_json::{Map as Object, Value as Json, json};

use crate::keys::{Key, Kind, NODE, RELAY, Shape};

const NODE_SAMPLE: &str = include_str!("../../../configs/peerup.yaml");
const RELAY_SAMPLE: &str = include_str!("../../../configs/relay-server.yaml");
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";
const DURATION: &str = r"^\s*(0|(\d+\s*[a-zA-Z]+\s*)+)\s*$";
const SIZE: &str = r"^\s*(0|\d+\s*([kKmMgGtT][iI]?)?[bB])\s*$";
const NAME: &str = "^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$";
const HOST_PORT: &str = r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$";

/// Returns the JSON Schema of a node's config, as text.
pub fn node_json_schema() -> String {
    text(&NODE, "peerup", NODE_SAMPLE)
}

/// Returns the JSON Schema of a relay server's config, as text.
pub fn relay_json_schema() -> String {
    text(&RELAY, "relay-server", RELAY_SAMPLE)
}

fn text(shape: &Shape, title: &str, sample: &str) -> String {
    let words = explained(sample, shape);
    let mut schema = Object::new();
    schema.insert("$schema".to_owned(), json!(DRAFT));
    schema.insert(
        "title".to_owned(),
        json!(format!("The config of {title}, version 1")),
    );
    if let Json::Object(root) = of_shape(shape, &mut Vec::new(), &words) {
        schema.extend(root);
    }
    // A map of JSON values is always written.
    serde_json::to_string_pretty(&schema).unwrap_or_default()
}

fn of_shape(shape: &Shape, path: &mut Vec<&'static str>, words: &BTreeMap<String, String>) -> Json {
    match shape {
        Shape::Value(kind) => of_kind(*kind),
        Shape::List(kind) => json!({ "type": ["array", "null"], "items": of_kind(*kind) }),
        Shape::Each(below) => json!({
            "type": ["array", "null"],
            "items": { "anyOf": [{ "type": "string" }, of_shape(below, path, words)] },
        }),
        Shape::Named(name, below) => {
            path.push("*");
            let below = of_shape(below, path, words);
            path.pop();
            json!({
                "type": ["object", "null"],
                "propertyNames": of_kind(*name),
                "additionalProperties": below,
            })
        }
        Shape::Free => json!({ "type": ["object", "null"] }),
        Shape::Ignored(why) => json!({ "deprecated": true, "description": format!("No effect: {why}.") }),
        Shape::Map(keys) => {
            let properties: Object<String, Json> = keys
                .iter()
                .map(|key| (key.name.to_owned(), of_key(key, path, words)))
                .collect();
            json!({
                "type": ["object", "null"],
                "additionalProperties": false,
                "properties": properties,
            })
        }
    }
}

fn of_key(key: &Key, path: &mut Vec<&'static str>, words: &BTreeMap<String, String>) -> Json {
    path.push(key.name);
    let mut schema = of_shape(&key.shape, path, words);
    if let Json::Object(schema) = &mut schema {
        if let Some(words) = words.get(&path.join(".")) {
            schema.insert("description".to_owned(), json!(words));
        }
        if let Some(class) = key.class {
            schema.insert("x-reload".to_owned(), json!(class.words()));
        }
    }
    path.pop();
    schema
}

fn of_kind(kind: Kind) -> Json {
    match kind {
        Kind::Version => json!({ "enum": [1] }),
        Kind::Switch => json!({ "type": ["boolean", "null"] }),
        Kind::Text | Kind::Path => json!({ "type": ["string", "null"], "minLength": 1 }),
        Kind::Name => json!({ "type": ["string", "null"], "pattern": NAME, "maxLength": 63 }),
        Kind::PeerId | Kind::NameOrPeerId => json!({ "type": "string", "minLength": 1 }),
        Kind::Address => json!({ "type": "string", "pattern": "^/(ip4|ip6|dns|dns4|dns6|dnsaddr|memory)/" }),
        Kind::RelayAddress => json!({ "type": "string", "pattern": "^/.*/p2p/[A-Za-z0-9]+$" }),
        Kind::HostPort => json!({ "type": "string", "pattern": HOST_PORT }),
        Kind::Duration => json!({ "type": ["string", "integer", "null"], "pattern": DURATION, "maximum": 0 }),
        Kind::Size => json!({ "type": ["string", "integer", "null"], "pattern": SIZE, "maximum": 0 }),
        Kind::Rate => json!({ "anyOf": [{ "const": "unlimited" }, of_kind(Kind::Size)] }),
        Kind::Count(most) => json!({
            "type": ["integer", "string", "null"], "pattern": "^[0-9]+$", "minimum": 1, "maximum": most,
        }),
        Kind::Words(words) => json!({ "enum": words }),
    }
}

/// Returns the comment above each key of a sample, by the key's path with names as `*`; the first one counts.
fn explained(sample: &str, shape: &Shape) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in sample.lines() {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim();
        if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        // The first key of an item stands behind its dash.
        let (indent, text) = match text.strip_prefix("- ") {
            Some(rest) => (indent + 2, rest),
            None => (indent, text),
        };
        let key = text.split_once(':').filter(|(key, rest)| {
            !key.contains(['/', ' ', '"']) && (rest.is_empty() || rest.starts_with(' '))
        });
        if let Some((key, _)) = key {
            above.retain(|(outer, _)| *outer < indent);
            above.push((indent, key.to_owned()));
            let keys: Vec<&str> = above.iter().map(|(_, key)| key.as_str()).collect();
            let path = generic(&keys, shape);
            if !comment.is_empty() {
                found.entry(path).or_insert_with(|| comment.join(" "));
            }
        }
        comment.clear();
    }
    found
}

/// Writes `*` for names.
fn generic(keys: &[&str], shape: &Shape) -> String {
    let mut shape = *shape;
    let mut path = Vec::with_capacity(keys.len());
    for key in keys {
        while let Shape::Each(below) = shape {
            shape = *below;
        }
        match shape {
            Shape::Map(known) => {
                path.push(*key);
                shape = known
                    .iter()
                    .find(|one| one.name == *key)
                    .map_or(Shape::Free, |one| one.shape);
            }
            Shape::Named(_, below) => {
                path.push("*");
                shape = *below;
            }
            _ => path.push(*key),
        }
    }
    path.join(".")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::keys::ReloadClass;

    fn configs() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs")
    }

    /// `PEERUP_WRITE_SCHEMAS=1` writes them.
    #[test]
    fn the_files_are_what_the_table_says() {
        for (file, schema) in [
            ("peerup.schema.json", node_json_schema()),
            ("relay-server.schema.json", relay_json_schema()),
        ] {
            let path = configs().join(file);
            let schema = format!("{schema}\n");
            if std::env::var_os("PEERUP_WRITE_SCHEMAS").is_some() {
                std::fs::write(&path, &schema).unwrap();
            }
            let there = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                there == schema,
                "{file} is old; write it with PEERUP_WRITE_SCHEMAS=1"
            );
        }
    }

    /// Every key with a class, as a dotted path.
    fn classes(shape: &Shape, at: &str, found: &mut BTreeMap<String, ReloadClass>) {
        let below = |key: &str| match at {
            "" => key.to_owned(),
            at => format!("{at}.{key}"),
        };
        match shape {
            Shape::Map(keys) => {
                for key in *keys {
                    found.extend(key.class.map(|class| (below(key.name), class)));
                    classes(&key.shape, &below(key.name), found);
                }
            }
            Shape::Named(_, shape) => classes(shape, &below("*"), found),
            Shape::Each(shape) => classes(shape, at, found),
            _ => {}
        }
    }

    #[test]
    fn the_samples_explain_every_key_and_say_what_a_change_of_it_leads_to() {
        for (shape, sample) in [(&NODE, NODE_SAMPLE), (&RELAY, RELAY_SAMPLE)] {
            let words = explained(sample, shape);
            let mut expected = BTreeMap::new();
            classes(shape, "", &mut expected);
            for (path, class) in expected {
                let said = words
                    .get(&path)
                    .unwrap_or_else(|| panic!("{path} is not explained"));
                let mark = format!("[{}]", class.words());
                assert!(
                    said.ends_with(&mark),
                    "{path} is {mark} and the sample says: {said}"
                );
            }
        }
    }
}
