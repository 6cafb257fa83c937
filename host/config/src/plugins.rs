//! The plugins of a node: what each may do, use up, and be asked by whom; and the order in which names are asked for.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use libp2p_identity::PeerId;
use peerup_model::{Grants, NameGrant, PeerGrant, PeerName, PluginName};

use crate::{
    access::{ServiceAccess, access},
    raw::{RawLimits, RawPlugin},
    values::{self, Reader, at},
};

/// Most instances of one plugin: the engine's pool of slots is sized on this scale.
const MAX_INSTANCES: u32 = 100_000;
/// Most streams of one instance, and tunnels of one plugin.
const MAX_STREAMS: u32 = 1_000_000;
/// Most datagrams or log lines a second; far above what makes sense.
const MAX_RATE: u32 = 10_000_000;
/// Least memory that a component can start with: one page of WebAssembly.
const LEAST_MEMORY: u64 = 64 * 1024;
/// Most memory of one instance: a 32-bit address space.
const MAX_MEMORY: u64 = 4 << 30;
/// Most tiers of the name chain; each can hold a lookup up for seconds.
const MAX_RESOLVERS: usize = 8;
/// The tier that answers from `names:`.
const LOCAL_NAMES: &str = "names-local";

/// One plugin with its rights and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEntry {
    /// Whether it is loaded.
    pub enabled: bool,
    /// What it may do. Empty for a plugin that the file names without grants.
    pub grants: Grants,
    /// Its own settings, checked by its own schema.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// What it may use up.
    pub limits: PluginLimits,
    /// Who of the authorised peers may open its protocols.
    pub access: ServiceAccess,
    /// A further list of keys: only peers that stand there, too, may open them.
    pub keys_file: Option<PathBuf>,
}

/// What a plugin may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// Bytes of linear memory of one instance.
    pub memory: u64,
    /// Processor time of one call between two waits.
    pub cpu: Duration,
    /// Processor time of all its calls within a minute.
    pub cpu_budget: Duration,
    /// Instances alive at once.
    pub instances: u32,
    /// Streams and listeners of one instance.
    pub streams: u32,
    /// Tunnels that it carries at once.
    pub tunnels: u32,
    /// Bytes a second, in and out together; none for no limit.
    pub bandwidth: Option<u64>,
    /// UDP datagrams a second that it may send.
    pub datagrams: u32,
    /// Log lines a second; five times as many at once.
    pub log_lines: u32,
    /// How long what it has under way may go on after it was told to end.
    pub drain: Duration,
}

impl Default for PluginEntry {
    /// One that is on, with no rights, no settings, and the usual limits.
    fn default() -> Self {
        Self {
            enabled: true,
            grants: Grants::default(),
            settings: serde_json::Map::new(),
            limits: PluginLimits::default(),
            access: ServiceAccess::Everyone,
            keys_file: None,
        }
    }
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            memory: 16 << 20,
            cpu: Duration::from_secs(1),
            cpu_budget: Duration::from_secs(30),
            instances: 256,
            streams: 1024,
            tunnels: 16_384,
            bandwidth: None,
            datagrams: 10_000,
            log_lines: 20,
            drain: Duration::from_secs(30),
        }
    }
}

/// Returns the plugins that come with the binary, with the grants that they have where the file has no
/// section for them.
pub fn default_plugins() -> BTreeMap<PluginName, PluginEntry> {
    let protocols = |ids: &[&str]| {
        ids.iter()
            .map(|id| {
                id.parse()
                    .expect("the default protocols are valid, as the tests load them all")
            })
            .collect()
    };
    let addresses = |patterns: &[&str]| {
        patterns
            .iter()
            .map(|pattern| {
                pattern
                    .parse()
                    .expect("the default addresses are valid, as the tests load them all")
            })
            .collect()
    };
    let mut proxy = Grants {
        protocols: protocols(&["/peerup/*/1.0.0", "/peerup/ping/1.0.0"]),
        ..Grants::default()
    };
    proxy.tcp.listen = addresses(&["127.0.0.1:*", "[::1]:*"]);
    let ping = Grants {
        protocols: protocols(&["/peerup/ping/1.0.0", "/pingpong/1.0.0"]),
        ..Grants::default()
    };
    let traceroute = Grants {
        protocols: protocols(&["/peerup/ping/1.0.0"]),
        peers: vec![PeerGrant::Read, PeerGrant::Addresses],
        ..Grants::default()
    };
    let local = Grants {
        names: vec![NameGrant::List],
        ..Grants::default()
    };
    [
        ("tcp-proxy", proxy),
        ("ping", ping),
        ("traceroute", traceroute),
        (LOCAL_NAMES, local),
    ]
    .into_iter()
    .map(|(name, grants)| {
        let entry = PluginEntry {
            enabled: true,
            grants,
            settings: serde_json::Map::new(),
            limits: PluginLimits::default(),
            access: ServiceAccess::Everyone,
            keys_file: None,
        };
        (bundled(name), entry)
    })
    .collect()
}

/// Returns the name of a bundled plugin.
pub(crate) fn bundled(name: &str) -> PluginName {
    name.parse()
        .expect("the names of bundled plugins are valid, as the tests load them all")
}

/// Resolves the section `plugins`.
pub(crate) fn resolve(
    raw: BTreeMap<String, Option<RawPlugin>>,
    names: &BTreeMap<PeerName, PeerId>,
    reader: &mut Reader<'_>,
) -> BTreeMap<PluginName, PluginEntry> {
    let mut plugins = default_plugins();
    for (name, plugin) in raw {
        let plugin = plugin.unwrap_or_default();
        let key = reader.take(at!["plugins", &name], values::parsed::<PluginName>(&name));
        let entry = PluginEntry {
            enabled: plugin.enabled.unwrap_or(true),
            grants: plugin.grants.unwrap_or_default(),
            settings: plugin.settings.unwrap_or_default(),
            limits: limits(&name, plugin.limits.unwrap_or_default(), reader),
            access: access(("plugins", &name), plugin.allow, names, reader),
            keys_file: reader.optional_file(at!["plugins", &name, "authorized_keys"], plugin.authorized_keys),
        };
        plugins.extend(key.map(|key| (key, entry)));
    }
    plugins
}

fn limits(plugin: &String, raw: RawLimits, reader: &mut Reader<'_>) -> PluginLimits {
    let default = PluginLimits::default();
    let memory = raw.memory.and_then(|text| {
        let found = values::size(&text).and_then(|bytes| match bytes {
            LEAST_MEMORY..=MAX_MEMORY => Ok(bytes),
            _ => Err(format!("{text:?} is not between 64KB and 4GB")),
        });
        reader.take(at!["plugins", plugin, "limits", "memory"], found)
    });
    let bandwidth = raw
        .bandwidth
        .and_then(|text| reader.take(at!["plugins", plugin, "limits", "bandwidth"], values::rate(&text)))
        .flatten();
    let mut count = |key: &str, text, default, most| {
        reader.count(at!["plugins", plugin, "limits", key], text, default, most)
    };
    let instances = count("instances", raw.instances, default.instances, MAX_INSTANCES);
    let streams = count("streams", raw.streams, default.streams, MAX_STREAMS);
    let tunnels = count("tunnels", raw.tunnels, default.tunnels, MAX_STREAMS);
    let datagrams = count("datagrams", raw.datagrams, default.datagrams, MAX_RATE);
    let log_lines = count("log_lines", raw.log_lines, default.log_lines, MAX_RATE);
    let mut time =
        |key: &str, text, default| reader.duration(at!["plugins", plugin, "limits", key], text, default);
    PluginLimits {
        memory: memory.unwrap_or(default.memory),
        cpu: time("cpu", raw.cpu, default.cpu),
        cpu_budget: time("cpu_budget", raw.cpu_budget, default.cpu_budget),
        drain: time("drain", raw.drain, default.drain),
        instances,
        streams,
        tunnels,
        bandwidth,
        datagrams,
        log_lines,
    }
}

/// Resolves the list `resolvers`.
pub(crate) fn resolvers(
    raw: Option<Vec<String>>,
    plugins: &BTreeMap<PluginName, PluginEntry>,
    reader: &mut Reader<'_>,
) -> Vec<PluginName> {
    let Some(raw) = raw else {
        return vec![bundled(LOCAL_NAMES)];
    };
    let here = at!["resolvers"];
    if raw.len() > MAX_RESOLVERS {
        reader.problem(
            here,
            format!("{} tiers, and {MAX_RESOLVERS} are the most", raw.len()),
        );
    }
    let mut tiers: Vec<PluginName> = Vec::new();
    for name in reader.list(here, &raw, values::parsed::<PluginName>) {
        match plugins.get(&name) {
            _ if tiers.contains(&name) => reader.problem(here, format!("{name} stands there twice")),
            None => reader.problem(
                here,
                format!("{name} is no plugin of this config; add plugins.{name}"),
            ),
            Some(entry) if !entry.enabled => {
                reader.warning(here, format!("{name} is switched off: it is not asked"));
            }
            Some(_) => tiers.push(name),
        }
    }
    tiers
}
