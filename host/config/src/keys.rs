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
    /// These keys.
    Map(&'static [(&'static str, Shape)]),
    /// Any name, each with this below.
    Named(&'static Shape),
    /// Whatever a plugin's own schema says.
    Free,
    /// A key of the Go original that has no meaning here; the text says why.
    Ignored(&'static str),
}

use Shape::{Free, Ignored, List, Map, Named, Value};

const RESERVATIONS_KEPT: &str = "reservations are kept up without a setting";
const NO_DHT: &str = "peers are found over relays and known addresses";

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
            (
                "protocol",
                Ignored("the protocol follows from the service's name"),
            ),
        ])),
    ),
    ("names", Named(&Value)),
    (
        "plugins",
        Named(&Map(&[
            ("enabled", Value),
            (
                "grants",
                Map(&[
                    ("protocols", List),
                    ("tcp", Map(&[("connect", List), ("listen", List)])),
                    ("names", List),
                ]),
            ),
            ("settings", Free),
            (
                "limits",
                Map(&[("memory", Value), ("cpu", Value), ("instances", Value)]),
            ),
        ])),
    ),
    (
        "tunnels",
        Map(&[("idle_timeout", Value), ("write_timeout", Value)]),
    ),
    ("daemon", Map(&[("drain_timeout", Value), ("cache_dir", Value)])),
    ("discovery", Ignored(NO_DHT)),
    (
        "protocols",
        Map(&[("ping_pong", Ignored("the ping plugin answers; see plugins.ping"))]),
    ),
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
            List => "a list",
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
