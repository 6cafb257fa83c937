//! The keys that a config may have, so that every unknown one is told at once, with the nearest known key.
//!
//! The tests hold this table, the serde schema and the samples in `configs/` together.

use crate::{
    document::{Content, Node, Step, dotted},
    error::Problem,
};

/// What stands below a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// One value.
    Value,
    /// A list of values.
    List,
    /// A list of entries, each with this below.
    Each(&'static Shape),
    /// These keys.
    Map(&'static [(&'static str, Shape)]),
    /// Any name, each with this below.
    Named(&'static Shape),
    /// Whatever a plugin's own schema says.
    Free,
    /// A key of the Go original that has no meaning here; the text says why.
    Ignored(&'static str),
}

use Shape::{Each, Free, Ignored, List, Map, Named, Value};

const RESERVATIONS_KEPT: &str = "reservations are kept up without a setting";
const NO_RENDEZVOUS: &str = "peers are found by their ids, with no meeting point to agree on";
const RELAYS_BEGIN: &str = "the relays are where a search begins; see relay.addresses";
const RELAYS_ARE_THE_NETWORK: &str = "the relays and authorized_keys say who belongs together";

/// Keys of a node's config.
pub(crate) const NODE: Shape = Map(&[
    ("version", Value),
    ("name", Value),
    ("identity", Map(&[("key_file", Value)])),
    (
        "network",
        Map(&[
            ("listen_addresses", List),
            ("external_addresses", List),
            ("upnp", Value),
            (
                "force_private_reachability",
                Ignored("a reservation is made on every relay in any case"),
            ),
        ]),
    ),
    (
        "relay",
        Map(&[
            ("addresses", List),
            ("reservation_interval", Ignored(RESERVATIONS_KEPT)),
        ]),
    ),
    (
        "security",
        Map(&[
            ("authorized_keys_file", Value),
            ("enable_connection_gating", Value),
        ]),
    ),
    (
        "services",
        Named(&Map(&[
            ("local_address", Value),
            ("enabled", Value),
            ("plugin", Value),
            ("allow", List),
            ("authorized_keys", Value),
            (
                "protocol",
                Ignored("the protocol follows from the service's name"),
            ),
        ])),
    ),
    (
        "proxies",
        Named(&Map(&[
            ("peer", Value),
            ("service", Value),
            ("listen", Value),
            ("enabled", Value),
        ])),
    ),
    ("names", Named(&Value)),
    ("resolvers", List),
    (
        "plugins",
        Named(&Map(&[
            ("enabled", Value),
            (
                "grants",
                Map(&[
                    ("protocols", List),
                    ("tcp", Map(&[("connect", List), ("listen", List)])),
                    ("udp", Map(&[("bind", List), ("connect", List)])),
                    ("store", Value),
                    (
                        "directories",
                        Each(&Map(&[("path", Value), ("as", Value), ("access", Value)])),
                    ),
                    ("environment", List),
                    ("names", List),
                    ("peers", List),
                ]),
            ),
            ("settings", Free),
            (
                "limits",
                Map(&[
                    ("memory", Value),
                    ("cpu", Value),
                    ("cpu_budget", Value),
                    ("instances", Value),
                    ("streams", Value),
                    ("tunnels", Value),
                    ("bandwidth", Value),
                    ("datagrams", Value),
                    ("log_lines", Value),
                    ("drain", Value),
                ]),
            ),
            ("allow", List),
            ("authorized_keys", Value),
        ])),
    ),
    (
        "tunnels",
        Map(&[("idle_timeout", Value), ("write_timeout", Value)]),
    ),
    ("daemon", Map(&[("drain_timeout", Value), ("cache_dir", Value)])),
    (
        "discovery",
        Map(&[
            ("mdns", Value),
            ("dht", Value),
            ("rendezvous", Ignored(NO_RENDEZVOUS)),
            ("bootstrap_peers", Ignored(RELAYS_BEGIN)),
            ("network", Ignored(RELAYS_ARE_THE_NETWORK)),
        ]),
    ),
    (
        "paths",
        Map(&[
            ("default", Value),
            ("peers", Named(&Value)),
            ("services", Named(&Value)),
            ("plugins", Named(&Value)),
        ]),
    ),
    ("protocols", Ignored("the ping plugin answers; see plugins.ping")),
]);

/// Keys of a relay's config.
pub(crate) const RELAY: Shape = Map(&[
    ("version", Value),
    ("identity", Map(&[("key_file", Value)])),
    (
        "network",
        Map(&[("listen_addresses", List), ("external_addresses", List)]),
    ),
    (
        "security",
        Map(&[
            ("authorized_keys_file", Value),
            ("enable_connection_gating", Value),
        ]),
    ),
    ("enrollment", Value),
    (
        "resources",
        Map(&[
            ("max_reservations", Value),
            ("max_reservations_per_ip", Value),
            ("max_circuits", Value),
            ("max_circuits_per_peer", Value),
            ("reservation_ttl", Value),
            ("session_duration", Value),
            ("session_data_limit", Value),
            ("buffer_size", Ignored("buffers are sized by the relay itself")),
            (
                "max_reservations_per_asn",
                Ignored("there is no limit per AS number yet"),
            ),
        ]),
    ),
    ("health", Ignored("there is no health endpoint yet")),
]);

/// What the walk over a file found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

impl Walk {
    /// Compares a file with the table.
    pub(crate) fn over(root: &Node, shape: &Shape) -> Self {
        let mut walk = Self::default();
        walk.check(root, shape, &mut Vec::new());
        walk
    }

    fn check(&mut self, node: &Node, shape: &Shape, path: &mut Vec<Step>) {
        match (shape, &node.content) {
            (_, Content::Null) | (Free, Content::Map { .. }) | (Ignored(_), _) => {}
            (Value, Content::Scalar(_)) => {}
            (List, Content::List { items, .. }) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(Step::Item(index));
                    self.check_item(item, path);
                    path.pop();
                }
            }
            (Each(below), Content::List { items, .. }) => {
                for (index, item) in items.iter().enumerate() {
                    if matches!(item.content, Content::Scalar(_)) {
                        // A short form; the schema reads it.
                        continue;
                    }
                    path.push(Step::Item(index));
                    self.check(item, below, path);
                    path.pop();
                }
            }
            (Map(known), Content::Map { entries, .. }) => {
                for entry in entries {
                    path.push(Step::Key(entry.key.clone()));
                    match known.iter().find(|(key, _)| *key == entry.key) {
                        None => self.problems.push(Problem::at(
                            entry.key_position,
                            dotted(path),
                            unknown(&entry.key, known),
                        )),
                        Some((_, Ignored(why))) => self.warnings.push(Problem::at(
                            entry.key_position,
                            dotted(path),
                            format!("this key has no effect: {why}"),
                        )),
                        Some((_, below)) => self.check(&entry.value, below, path),
                    }
                    path.pop();
                }
            }
            (Named(below), Content::Map { entries, .. }) => {
                for entry in entries {
                    path.push(Step::Key(entry.key.clone()));
                    if matches!(entry.value.content, Content::Null) {
                        self.problems
                            .push(Problem::at(entry.key_position, dotted(path), "has no value"));
                    }
                    self.check(&entry.value, below, path);
                    path.pop();
                }
            }
            (expected, found) => self.problems.push(Problem::at(
                node.position,
                dotted(path),
                format!("expected {}, found {}", expected.described(), described(found)),
            )),
        }
    }

    fn check_item(&mut self, item: &Node, path: &[Step]) {
        if !matches!(item.content, Content::Scalar(_)) {
            self.problems.push(Problem::at(
                item.position,
                dotted(path),
                format!("expected one value, found {}", described(&item.content)),
            ));
        }
    }
}

impl Shape {
    fn described(&self) -> &'static str {
        match self {
            Value => "one value",
            List | Each(_) => "a list",
            Map(_) | Named(_) | Free | Ignored(_) => "keys with values",
        }
    }
}

fn described(content: &Content) -> &'static str {
    match content {
        Content::Null => "nothing",
        Content::Scalar(_) => "one value",
        Content::List { .. } => "a list",
        Content::Map { .. } => "keys with values",
    }
}

fn unknown(key: &str, known: &[(&str, Shape)]) -> String {
    let usable = known.iter().filter(|(_, shape)| !matches!(shape, Ignored(_)));
    let mut nearest: Option<(f64, &str)> = None;
    for (candidate, _) in usable.clone() {
        let score = strsim::jaro_winkler(key, candidate);
        if score > 0.75 && nearest.is_none_or(|(best, _)| score > best) {
            nearest = Some((score, candidate));
        }
    }
    match nearest {
        Some((_, candidate)) => format!("there is no such key; did you mean `{candidate}`?"),
        None => {
            let names: Vec<_> = usable.map(|(candidate, _)| *candidate).collect();
            format!("there is no such key; the keys here are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// Every key of the table as a dotted path, names as `*`; ignored ones apart.
    fn paths(shape: &Shape, at: &str, known: &mut BTreeSet<String>, ignored: &mut BTreeSet<String>) {
        let below = |key: &str| match at {
            "" => key.to_owned(),
            at => format!("{at}.{key}"),
        };
        match shape {
            Map(keys) => {
                for (key, shape) in *keys {
                    if let Ignored(_) = shape {
                        ignored.insert(below(key));
                    } else {
                        known.insert(below(key));
                        paths(shape, &below(key), known, ignored);
                    }
                }
            }
            Named(shape) => paths(shape, &below("*"), known, ignored),
            Each(shape) => paths(shape, at, known, ignored),
            Value | List | Free | Ignored(_) => {}
        }
    }

    /// Every key of a file in the same form.
    fn written(node: &Node, shape: &Shape, at: &str, found: &mut BTreeSet<String>) {
        if let Each(below) = shape {
            for item in node.items() {
                written(item, below, at, found);
            }
            return;
        }
        for entry in node.entries() {
            let (name, below) = match shape {
                Map(keys) => match keys.iter().find(|(key, _)| *key == entry.key) {
                    Some((key, below)) => (*key, below),
                    None => unreachable!("the table lacks {}", entry.key),
                },
                Named(below) => ("*", *below),
                Value | List | Each(_) | Free | Ignored(_) => return,
            };
            let path = if at.is_empty() {
                name.to_owned()
            } else {
                format!("{at}.{name}")
            };
            found.insert(path.clone());
            written(&entry.value, below, &path, found);
        }
    }

    fn sample_has_every_key_of(shape: &Shape, file: &str) {
        let (mut known, mut ignored) = (BTreeSet::new(), BTreeSet::new());
        paths(shape, "", &mut known, &mut ignored);
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../configs")
            .join(file);
        let text = std::fs::read_to_string(path).unwrap();
        let mut found = BTreeSet::new();
        written(&Node::parse(&text).unwrap(), shape, "", &mut found);
        found.retain(|path| !path.ends_with(".*"));
        assert_eq!(found, known);
    }

    #[test]
    fn the_samples_have_every_key_and_no_other() {
        sample_has_every_key_of(&NODE, "peerup.yaml");
        sample_has_every_key_of(&RELAY, "relay-server.yaml");
    }

    #[test]
    fn every_key_of_a_sample_stands_below_a_comment() {
        for file in ["peerup.yaml", "relay-server.yaml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../configs")
                .join(file);
            let text = std::fs::read_to_string(path).unwrap();
            let mut explained = BTreeSet::new();
            let mut seen = BTreeSet::new();
            let mut after_comment = false;
            for line in text.lines().map(str::trim) {
                let key = line.split(':').next().unwrap_or_default();
                if !line.starts_with(['#', '-']) && line.contains(':') {
                    seen.insert(key);
                    if after_comment {
                        explained.insert(key);
                    }
                }
                after_comment = line.starts_with('#');
            }
            // Sections and names that need no word of their own.
            let plain = [
                "identity",
                "network",
                "security",
                "resources",
                "grants",
                "tcp",
                "udp",
                "limits",
                "tunnels",
                "daemon",
            ];
            let bare: Vec<_> = seen
                .difference(&explained)
                .filter(|key| {
                    !plain.contains(key) && !["relay", "ssh", "phone", "files", "desktop"].contains(key)
                })
                .collect();
            assert!(bare.is_empty(), "{file}: {bare:?}");
        }
    }

    /// Writes a value below each key, so that serde meets every key of the table.
    fn every_key(shape: &Shape) -> serde_json::Value {
        match shape {
            Value => serde_json::Value::Null,
            List => serde_json::json!([]),
            // A path is needed, and checks itself.
            Each(_) => serde_json::json!([{ "path": "/srv/x", "as": "/x", "access": "ro" }]),
            Map(keys) => keys
                .iter()
                .map(|(key, shape)| ((*key).to_owned(), every_key(shape)))
                .collect(),
            Named(shape) => match every_key(shape) {
                serde_json::Value::Null => serde_json::json!({}),
                below => serde_json::json!({ "x": below }),
            },
            Free => serde_json::json!({}),
            Ignored(_) => serde_json::json!({ "anything": [1, 2] }),
        }
    }

    #[test]
    fn the_table_and_the_serde_schema_know_the_same_keys() {
        serde_json::from_value::<crate::raw::RawNode>(every_key(&NODE)).unwrap();
        serde_json::from_value::<crate::raw::RawRelay>(every_key(&RELAY)).unwrap();
    }
}
