//! The keys that a config may have, so that every unknown one is told at once, with the nearest known key.
//!
//! The tests hold this table, the serde schema, the samples and the JSON Schemas in `configs/` together. After a change
//! `PEERUP_WRITE_SCHEMAS=1 cargo test -p peerup-config --lib` writes the schemas.

use crate::{
    alerts::CONDITIONS,
    document::{Content, Node, Step, dotted},
    error::Problem,
};

/// What stands below a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// One value.
    Value(Kind),
    /// A list of values.
    List(Kind),
    /// A list of entries, each with this below, or in a short form.
    Each(&'static Shape),
    /// These keys.
    Map(&'static [Key]),
    /// Any name of this kind, each with this below.
    Named(Kind, &'static Shape),
    /// Whatever a plugin's own schema says.
    Free,
    /// A key of the Go original that has no meaning here; the text says why.
    Ignored(&'static str),
}

/// A key of a map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// What a change of it leads to; none for a section, whose keys say it themselves.
    pub(crate) class: Option<ReloadClass>,
}

/// What a change of a key leads to in a node that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadClass {
    /// It is in force at once, and nothing is interrupted that is still allowed.
    Live,
    /// One part is started again, such as one plugin. Tunnels run on.
    Part,
    /// It is in force after the next start.
    Restart,
}

impl ReloadClass {
    /// Returns the words for it, as the samples have them.
    pub fn words(self) -> &'static str {
        match self {
            Self::Live => "reloads live",
            Self::Part => "restarts a part",
            Self::Restart => "needs a restart",
        }
    }
}

/// What a value is, for the JSON Schema. The loader checks values itself, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Version,
    Switch,
    Text,
    Name,
    PeerId,
    NameOrPeerId,
    Path,
    Address,
    RelayAddress,
    HostPort,
    Duration,
    Size,
    /// A size, or `unlimited`.
    Rate,
    /// A whole number from 1 to this.
    Count(u32),
    Words(&'static [&'static str]),
}

use Kind::{
    Address, Count, Duration, HostPort, Name, NameOrPeerId, Path, PeerId, Rate, RelayAddress, Size, Switch,
    Text, Version, Words,
};
use Shape::{Each, Free, Ignored, List, Map, Named, Value};

const fn live(name: &'static str, shape: Shape) -> Key {
    Key {
        name,
        shape,
        class: Some(ReloadClass::Live),
    }
}

const fn part(name: &'static str, shape: Shape) -> Key {
    Key {
        name,
        shape,
        class: Some(ReloadClass::Part),
    }
}

const fn restart(name: &'static str, shape: Shape) -> Key {
    Key {
        name,
        shape,
        class: Some(ReloadClass::Restart),
    }
}

const fn section(name: &'static str, shape: Shape) -> Key {
    Key {
        name,
        shape,
        class: None,
    }
}

const fn ignored(name: &'static str, why: &'static str) -> Key {
    Key {
        name,
        shape: Ignored(why),
        class: None,
    }
}

const RESERVATIONS_KEPT: &str = "reservations are kept up without a setting";
const NO_RENDEZVOUS: &str = "peers are found by their ids, with no meeting point to agree on";
const RELAYS_BEGIN: &str = "the relays are where a search begins; see relay.addresses";
const RELAYS_ARE_THE_NETWORK: &str = "the relays and authorized_keys say who belongs together";
const POLICIES: Kind = Words(&["prefer-direct", "direct-only", "relay-only"]);

/// Keys of a node's config.
pub(crate) const NODE: Shape = Map(&[
    live("version", Value(Version)),
    live("name", Value(Name)),
    section("identity", Map(&[restart("key_file", Value(Path))])),
    section(
        "network",
        Map(&[
            restart("listen_addresses", List(Address)),
            live("external_addresses", List(Address)),
            restart("upnp", Value(Switch)),
            ignored(
                "force_private_reachability",
                "a reservation is made on every relay in any case",
            ),
        ]),
    ),
    section(
        "relay",
        Map(&[
            live("addresses", List(RelayAddress)),
            ignored("reservation_interval", RESERVATIONS_KEPT),
        ]),
    ),
    section(
        "security",
        Map(&[
            restart("authorized_keys_file", Value(Path)),
            live("enable_connection_gating", Value(Switch)),
        ]),
    ),
    section(
        "services",
        Named(
            Name,
            &Map(&[
                live("local_address", Value(HostPort)),
                live("enabled", Value(Switch)),
                live("plugin", Value(Name)),
                live("allow", List(NameOrPeerId)),
                live("authorized_keys", Value(Path)),
                ignored("protocol", "the protocol follows from the service's name"),
            ]),
        ),
    ),
    section(
        "proxies",
        Named(
            Name,
            &Map(&[
                part("peer", Value(NameOrPeerId)),
                part("service", Value(Name)),
                part("listen", Value(Text)),
                part("enabled", Value(Switch)),
            ]),
        ),
    ),
    live("names", Named(Name, &Value(PeerId))),
    live("resolvers", List(Name)),
    section("plugins", Named(Name, &PLUGIN)),
    section(
        "tunnels",
        Map(&[
            live("idle_timeout", Value(Duration)),
            live("write_timeout", Value(Duration)),
        ]),
    ),
    section(
        "daemon",
        Map(&[
            live("drain_timeout", Value(Duration)),
            restart("cache_dir", Value(Path)),
        ]),
    ),
    section(
        "discovery",
        Map(&[
            restart("mdns", Value(Switch)),
            restart("dht", Value(Switch)),
            ignored("rendezvous", NO_RENDEZVOUS),
            ignored("bootstrap_peers", RELAYS_BEGIN),
            ignored("network", RELAYS_ARE_THE_NETWORK),
        ]),
    ),
    section(
        "paths",
        Map(&[
            live("default", Value(POLICIES)),
            live("peers", Named(NameOrPeerId, &Value(POLICIES))),
            live("services", Named(Name, &Value(POLICIES))),
            live("plugins", Named(Name, &Value(POLICIES))),
        ]),
    ),
    section(
        "bandwidth",
        Map(&[
            live("default_per_peer", Value(Rate)),
            live("peers", Named(NameOrPeerId, &Value(Rate))),
            live("services", Named(Name, &Value(Rate))),
        ]),
    ),
    section("alerts", ALERTS),
    section("log", LOG),
    section("metrics", Map(&[part("listen", Value(HostPort))])),
    ignored("protocols", "the ping plugin answers; see plugins.ping"),
]);

/// What the operator wants to be told of.
const ALERTS: Shape = Map(&[
    section(
        "targets",
        Named(
            Name,
            &Map(&[
                live("webhook", Value(Text)),
                live("authorization_file", Value(Path)),
                live("command", List(Text)),
                live("timeout", Value(Duration)),
            ]),
        ),
    ),
    section(
        "rules",
        Named(
            Name,
            &Map(&[
                live("when", Value(Words(&CONDITIONS))),
                live("peer", Value(NameOrPeerId)),
                live("plugin", Value(Name)),
                live("service", Value(Name)),
                live("above", Value(Size)),
                live("below", Value(Size)),
                live("more_than", Value(Count(1_000_000))),
                live("within", Value(Duration)),
                live("for", Value(Duration)),
                live("repeat", Value(Duration)),
                live("notify", List(Name)),
            ]),
        ),
    ),
]);

/// Where a process logs.
const LOG: Shape = Map(&[
    live("file", Value(Path)),
    live(
        "level",
        Value(Words(&["error", "warn", "info", "debug", "trace"])),
    ),
    live("max_size", Value(Size)),
    live("keep", Value(Count(1000))),
]);

/// Keys of one plugin.
const PLUGIN: Shape = Map(&[
    part("enabled", Value(Switch)),
    section(
        "grants",
        Map(&[
            live("protocols", List(Text)),
            section(
                "tcp",
                Map(&[live("connect", List(Text)), live("listen", List(Text))]),
            ),
            section(
                "udp",
                Map(&[live("bind", List(Text)), live("connect", List(Text))]),
            ),
            live("store", Value(Size)),
            section(
                "directories",
                Each(&Map(&[
                    live("path", Value(Path)),
                    live("as", Value(Path)),
                    live("access", Value(Words(&["ro", "rw"]))),
                ])),
            ),
            live("environment", List(Text)),
            live("names", List(Words(&["resolve", "list"]))),
            live("peers", List(Words(&["read", "addresses"]))),
        ]),
    ),
    part("settings", Free),
    section(
        "limits",
        Map(&[
            part("memory", Value(Size)),
            part("cpu", Value(Duration)),
            part("cpu_budget", Value(Duration)),
            part("instances", Value(Count(100_000))),
            part("streams", Value(Count(1_000_000))),
            part("tunnels", Value(Count(1_000_000))),
            part("bandwidth", Value(Rate)),
            part("datagrams", Value(Count(10_000_000))),
            part("log_lines", Value(Count(10_000_000))),
            part("drain", Value(Duration)),
        ]),
    ),
    live("allow", List(NameOrPeerId)),
    live("authorized_keys", Value(Path)),
]);

/// Most that a count of a relay may be set to.
const RELAY_COUNT: Kind = Count(1_000_000);

/// Keys of a relay's config.
pub(crate) const RELAY: Shape = Map(&[
    live("version", Value(Version)),
    section("identity", Map(&[restart("key_file", Value(Path))])),
    section(
        "network",
        Map(&[
            restart("listen_addresses", List(Address)),
            restart("external_addresses", List(Address)),
        ]),
    ),
    section(
        "security",
        Map(&[
            restart("authorized_keys_file", Value(Path)),
            restart("enable_connection_gating", Value(Switch)),
        ]),
    ),
    live("enrollment", Value(Words(&["members", "admins", "closed"]))),
    section(
        "resources",
        Map(&[
            live("max_reservations", Value(RELAY_COUNT)),
            live("max_reservations_per_ip", Value(RELAY_COUNT)),
            live("max_reservations_per_asn", Value(RELAY_COUNT)),
            live("asn_table", Value(Path)),
            restart("max_circuits", Value(RELAY_COUNT)),
            restart("max_circuits_per_peer", Value(RELAY_COUNT)),
            restart("reservation_ttl", Value(Duration)),
            restart("session_duration", Value(Duration)),
            restart("session_data_limit", Value(Size)),
            ignored("buffer_size", "buffers are sized by the relay itself"),
        ]),
    ),
    section(
        "health",
        Map(&[
            part("enabled", Value(Switch)),
            part("listen_address", Value(HostPort)),
        ]),
    ),
    section("log", LOG),
]);

/// Returns the class of the key at a dotted path, names as they are.
pub(crate) fn class_of(shape: &Shape, path: &[&str]) -> Option<ReloadClass> {
    let mut shape = *shape;
    let mut class = None;
    for step in path {
        match shape {
            Map(keys) => {
                let key = keys.iter().find(|key| key.name == *step)?;
                class = key.class.or(class);
                shape = key.shape;
            }
            Named(_, below) | Each(below) => shape = *below,
            Free => return class,
            Value(_) | List(_) | Ignored(_) => return None,
        }
    }
    class
}

/// Bytes that are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// A key with its value and, between braces, with the comma that follows.
    Entry(usize, usize),
    /// A value, with what says nothing in its place.
    Value(usize, usize, &'static str),
}

/// What the walk over a file found.
#[derive(Debug, Default)]
pub(crate) struct Walk<'a> {
    /// What the file says.
    text: &'a str,
    pub(crate) problems: Vec<Problem>,
    /// Where the bytes are that are wrong, for each problem.
    pub(crate) spans: Vec<Span>,
    pub(crate) warnings: Vec<Problem>,
}

impl<'a> Walk<'a> {
    /// Compares a file with the table.
    pub(crate) fn over(text: &'a str, root: &Node, shape: &Shape) -> Self {
        let mut walk = Self {
            text,
            ..Self::default()
        };
        walk.check(root, shape, &mut Vec::new());
        walk
    }

    fn check(&mut self, node: &Node, shape: &Shape, path: &mut Vec<Step>) {
        match (shape, &node.content) {
            (_, Content::Null) | (Free, Content::Map { .. }) | (Ignored(_), _) => {}
            (Value(_), Content::Scalar(_)) => {}
            (List(_), Content::List { items, .. }) => {
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
                for (index, entry) in entries.iter().enumerate() {
                    path.push(Step::Key(entry.key.clone()));
                    match known
                        .iter()
                        .find(|key| key.name == entry.key)
                        .map(|key| &key.shape)
                    {
                        None => self.refuse(
                            Problem::at(entry.key_position, dotted(path), unknown(&entry.key, known)),
                            entry_span(self.text, node, index),
                        ),
                        Some(Ignored(why)) => self.warnings.push(Problem::at(
                            entry.key_position,
                            dotted(path),
                            format!("this key has no effect: {why}"),
                        )),
                        Some(below) => self.check(&entry.value, below, path),
                    }
                    path.pop();
                }
            }
            (Named(_, below), Content::Map { entries, .. }) => {
                for (index, entry) in entries.iter().enumerate() {
                    path.push(Step::Key(entry.key.clone()));
                    if matches!(entry.value.content, Content::Null) {
                        self.refuse(
                            Problem::at(entry.key_position, dotted(path), "has no value"),
                            entry_span(self.text, node, index),
                        );
                    }
                    self.check(&entry.value, below, path);
                    path.pop();
                }
            }
            (expected, found) => self.refuse(
                Problem::at(
                    node.position,
                    dotted(path),
                    format!("expected {}, found {}", expected.described(), described(found)),
                ),
                Span::Value(node.start, node.end, expected.nothing()),
            ),
        }
    }

    fn check_item(&mut self, item: &Node, path: &[Step]) {
        if !matches!(item.content, Content::Scalar(_)) {
            self.refuse(
                Problem::at(
                    item.position,
                    dotted(path),
                    format!("expected one value, found {}", described(&item.content)),
                ),
                Span::Value(item.start, item.end, "~"),
            );
        }
    }

    fn refuse(&mut self, problem: Problem, span: Span) {
        self.problems.push(problem);
        self.spans.push(span);
    }
}

/// Returns what goes with an entry of a map, so that the rest can still be read.
fn entry_span(text: &str, map: &Node, index: usize) -> Span {
    let entries = map.entries();
    let (Some(entry), Content::Map { flow, .. }) = (entries.get(index), &map.content) else {
        return Span::Entry(map.start, map.end);
    };
    let between = |start: usize, end: usize| text.get(start..end).unwrap_or_default();
    let before = index.checked_sub(1).and_then(|index| entries.get(index));
    // The mark of a key in its long form, `? key`, goes too.
    let gap = between(
        before.map_or(map.start, |before| before.value.end),
        entry.key_start,
    );
    let last_line = gap.rsplit('\n').next().unwrap_or_default();
    let start = match last_line.trim_end().strip_suffix('?') {
        Some(before) => entry.key_start - (last_line.len() - before.len()),
        None => entry.key_start,
    };
    let end = entry.value.end.max(entry.key_end);
    if !flow {
        // A key that has no value has its colon.
        return Span::Entry(start, end.max(entry.key_end + 1));
    }
    if !between(map.start, map.end).starts_with('{') {
        // A single pair as the item of a list: the comma that follows is the list's.
        return Span::Value(start, end, "~");
    }
    let next = entries.get(index + 1).map_or(map.end, |next| next.key_start);
    Span::Entry(start, comma_after(text, end, next).unwrap_or(end))
}

/// Returns the place after the first comma in a part of a text that is no value; one in a comment is none.
fn comma_after(text: &str, start: usize, end: usize) -> Option<usize> {
    let mut in_comment = false;
    for (at, byte) in text.get(start..end)?.bytes().enumerate() {
        match byte {
            b'\n' | b'\r' => in_comment = false,
            b'#' => in_comment = true,
            b',' if !in_comment => return Some(start + at + 1),
            _ => {}
        }
    }
    None
}

impl Shape {
    /// Returns what says nothing in the place of such a value.
    fn nothing(&self) -> &'static str {
        match self {
            Value(_) | Ignored(_) => "~",
            List(_) | Each(_) => "[]",
            Map(_) | Named(..) | Free => "{}",
        }
    }

    fn described(&self) -> &'static str {
        match self {
            Value(_) => "one value",
            List(_) | Each(_) => "a list",
            Map(_) | Named(..) | Free | Ignored(_) => "keys with values",
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

fn unknown(key: &str, known: &[Key]) -> String {
    let usable = known
        .iter()
        .filter(|key| !matches!(key.shape, Ignored(_)))
        .map(|key| key.name);
    let mut nearest: Option<(f64, &str)> = None;
    for candidate in usable.clone() {
        let score = strsim::jaro_winkler(key, candidate);
        if score > 0.75 && nearest.is_none_or(|(best, _)| score > best) {
            nearest = Some((score, candidate));
        }
    }
    match nearest {
        Some((_, candidate)) => format!("there is no such key; did you mean `{candidate}`?"),
        None => {
            let names: Vec<_> = usable.collect();
            format!("there is no such key; the keys here are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every key of the table as a dotted path, names as `*`; ignored ones apart.
    fn paths(shape: &Shape, at: &str, known: &mut BTreeSet<String>, ignored: &mut BTreeSet<String>) {
        let below = |key: &str| match at {
            "" => key.to_owned(),
            at => format!("{at}.{key}"),
        };
        match shape {
            Map(keys) => {
                for key in *keys {
                    if let Ignored(_) = key.shape {
                        ignored.insert(below(key.name));
                    } else {
                        known.insert(below(key.name));
                        paths(&key.shape, &below(key.name), known, ignored);
                    }
                }
            }
            Named(_, shape) => paths(shape, &below("*"), known, ignored),
            Each(shape) => paths(shape, at, known, ignored),
            Value(_) | List(_) | Free | Ignored(_) => {}
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
                Map(keys) => match keys.iter().find(|key| key.name == entry.key) {
                    Some(key) => (key.name, &key.shape),
                    None => unreachable!("the table lacks {}", entry.key),
                },
                Named(_, below) => ("*", *below),
                Value(_) | List(_) | Each(_) | Free | Ignored(_) => return,
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
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
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
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
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
            let named = [
                "relay",
                "ssh",
                "phone",
                "files",
                "desktop",
                "chat",
                "pager",
                "phone-gone",
                "ping-down",
                "web-busy",
                "strangers",
                "disk",
            ];
            let bare: Vec<_> = seen
                .difference(&explained)
                .filter(|key| !plain.contains(key) && !named.contains(key))
                .collect();
            assert!(bare.is_empty(), "{file}: {bare:?}");
        }
    }

    /// Writes a value below each key, so that serde meets every key of the table.
    fn every_key(shape: &Shape) -> serde_json::Value {
        match shape {
            Value(_) => serde_json::Value::Null,
            List(_) => serde_json::json!([]),
            // A path is needed, and checks itself.
            Each(_) => serde_json::json!([{ "path": "/srv/x", "as": "/x", "access": "ro" }]),
            Map(keys) => keys
                .iter()
                .map(|key| (key.name.to_owned(), every_key(&key.shape)))
                .collect(),
            Named(_, shape) => match every_key(shape) {
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
