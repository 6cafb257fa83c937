//! A node's config, resolved: defaults filled in, paths absolute to the config's folder, values checked.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use peerup_model::{Grants, PeerGrant, PeerName, PluginName, ServiceName};

use crate::{
    listed::AllowedPeer,
    paths::{self, PathsConfig},
    raw::{RawDiscovery, RawLimits, RawNode, RawPlugin, RawService},
    values::{self, Reader, RelayAddress, at, check_host_port},
};

/// The plugin that serves a service which names none.
pub const DEFAULT_SERVICE_PLUGIN: &str = "tcp-proxy";

const DEFAULT_LISTEN: [&str; 4] = [
    "/ip4/0.0.0.0/tcp/4001",
    "/ip4/0.0.0.0/udp/4001/quic-v1",
    "/ip6/::/tcp/4001",
    "/ip6/::/udp/4001/quic-v1",
];
const DEFAULT_IDLE: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_WRITE: Duration = Duration::from_secs(3600);
const DEFAULT_DRAIN: Duration = Duration::from_secs(3);
/// Most instances of one plugin: the engine's pool of slots is sized on this scale.
const MAX_INSTANCES: u32 = 100_000;
/// Most datagrams or lines of log a second; far above what makes sense.
const MAX_A_SECOND: u32 = 10_000_000;
/// Least memory that a component can start with: one page of WebAssembly.
const LEAST_MEMORY: u64 = 64 * 1024;
/// Most memory of one instance: a 32-bit address space.
const MAX_MEMORY: u64 = 4 << 30;

/// Everything that one node is told by its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// What this node calls itself when it pairs, where the operator chose a name.
    pub name: Option<PeerName>,
    /// The identity key. Default `identity.key` beside the config.
    pub key_file: PathBuf,
    /// Where it listens and what it announces.
    pub network: NetworkConfig,
    /// By which ways it looks for peers, and peers for it.
    pub discovery: DiscoveryConfig,
    /// Which paths streams may take.
    pub paths: PathsConfig,
    /// The relays to hold a reservation on.
    pub relays: Vec<RelayAddress>,
    /// Who may connect.
    pub security: SecurityConfig,
    /// What it offers to peers.
    pub services: BTreeMap<ServiceName, ServiceEntry>,
    /// What the operator calls other peers.
    pub names: BTreeMap<PeerName, PeerId>,
    /// The plugins with their rights. Holds the bundled ones even where the file says nothing.
    pub plugins: BTreeMap<PluginName, PluginEntry>,
    /// Time limits of tunnels.
    pub tunnels: TunnelConfig,
    /// The daemon's own settings.
    pub daemon: DaemonConfig,
}

/// Addresses of a node or relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Addresses to listen on, without `/p2p/`; at least one.
    pub listen_addresses: Vec<Multiaddr>,
    /// Addresses to announce besides those that are found out, without `/p2p/`.
    pub external_addresses: Vec<Multiaddr>,
}

/// By which ways a node looks for peers and for addresses under which it is reached itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Whether it asks for and answers to peers on the local network.
    pub mdns: bool,
    /// Whether it leaves its addresses in the relays' private table, sealed, and looks others up there.
    pub dht: bool,
    /// Whether it asks the router to forward its ports. `network.upnp` in the file.
    pub upnp: bool,
}

/// The gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityConfig {
    /// The list of who may connect. Default `authorized_keys` beside the config.
    pub authorized_keys_file: PathBuf,
    /// Whether strangers are refused. True unless the file says `false` in so many words.
    pub enable_connection_gating: bool,
}

/// One service that this node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    /// `host:port` to connect to for each stream; checked, not looked up.
    pub local_address: String,
    /// Whether peers may use it.
    pub enabled: bool,
    /// The plugin that serves it.
    pub plugin: PluginName,
    /// Who of the authorised peers may use it.
    pub access: ServiceAccess,
}

/// Who of the authorised peers may use a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAccess {
    /// All of them: the file has no `allow` list.
    Everyone,
    /// Only these; an empty list lets nobody in.
    Only(Vec<AllowedPeer>),
}

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
}

/// What a plugin may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// Bytes of linear memory of one instance.
    pub memory: u64,
    /// Processor time of one call between two waits.
    pub cpu: Duration,
    /// Instances alive at once.
    pub instances: u32,
    /// Processor time of all calls together in a minute.
    pub cpu_budget: Duration,
    /// Bytes a second through its streams, tunnels and sockets; none is as fast as it goes.
    pub bandwidth: Option<u64>,
    /// UDP datagrams a second that it may send.
    pub datagrams: u32,
    /// Lines of log a second.
    pub log_lines: u32,
    /// How long its service may go on after it was asked to end.
    pub drain: Duration,
}

/// Time limits of tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelConfig {
    /// A tunnel without a byte for this long is closed.
    pub idle_timeout: Duration,
    /// A write that makes no progress for this long ends the tunnel.
    pub write_timeout: Duration,
}

/// The daemon's own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonConfig {
    /// How long open tunnels may go on after the daemon was told to stop.
    pub drain_timeout: Duration,
    /// Where compiled plugins are kept; none leaves it to the daemon's usual place.
    pub cache_dir: Option<PathBuf>,
}

impl NodeConfig {
    /// Returns whether the `allow` list of this service covers the peer. The gate and `authorized_keys`
    /// come first; this is only the service's own list. False for a service that is not there or is off.
    pub fn service_allows(&self, service: &ServiceName, peer: &PeerId) -> bool {
        let Some(entry) = self.services.get(service).filter(|entry| entry.enabled) else {
            return false;
        };
        match &entry.access {
            ServiceAccess::Everyone => true,
            ServiceAccess::Only(allowed) => allowed.iter().any(|one| one.is(peer, &self.names)),
        }
    }
}

impl ServiceEntry {
    /// An enabled service of the TCP proxy, open to every authorised peer. The address is not checked here.
    pub fn new(local_address: impl Into<String>) -> Self {
        Self {
            local_address: local_address.into(),
            enabled: true,
            plugin: bundled(DEFAULT_SERVICE_PLUGIN),
            access: ServiceAccess::Everyone,
        }
    }
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            memory: 16 << 20,
            cpu: Duration::from_secs(1),
            instances: 256,
            cpu_budget: Duration::from_secs(30),
            bandwidth: None,
            datagrams: 10_000,
            log_lines: 20,
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            mdns: true,
            dht: true,
            upnp: true,
        }
    }
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self {
            idle_timeout: DEFAULT_IDLE,
            write_timeout: DEFAULT_WRITE,
        }
    }
}

fn bundled(name: &str) -> PluginName {
    name.parse()
        .expect("the names of bundled plugins are valid, as the tests load them all")
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
    [("tcp-proxy", proxy), ("ping", ping), ("traceroute", traceroute)]
        .into_iter()
        .map(|(name, grants)| {
            let entry = PluginEntry {
                enabled: true,
                grants,
                settings: serde_json::Map::new(),
                limits: PluginLimits::default(),
            };
            (bundled(name), entry)
        })
        .collect()
}

/// Resolves what the file says; everything wrong is in the reader afterwards.
pub(crate) fn resolve(raw: RawNode, reader: &mut Reader<'_>) -> NodeConfig {
    let name = raw
        .name
        .and_then(|name| reader.take(at!["name"], values::parsed(&name)));
    let key_file = raw.identity.unwrap_or_default().key_file;
    let key_file = reader.file(at!["identity", "key_file"], key_file, "identity.key");
    let network = raw.network.unwrap_or_default();
    let discovery = discovery_config(&raw.discovery.unwrap_or_default(), network.upnp);
    let network = network_config(
        network.listen_addresses,
        network.external_addresses,
        &DEFAULT_LISTEN,
        reader,
    );
    let relays = reader.list(
        at!["relay", "addresses"],
        &raw.relay.unwrap_or_default().addresses.unwrap_or_default(),
        values::parsed,
    );
    let security = security_config(raw.security.unwrap_or_default(), reader);
    let names = names(raw.names.unwrap_or_default(), reader);
    let services = services(raw.services.unwrap_or_default(), &names, reader);
    let plugins = plugins(raw.plugins.unwrap_or_default(), reader);
    let paths = paths::resolve(raw.paths.unwrap_or_default(), &names, &plugins, reader);
    let tunnels = raw.tunnels.unwrap_or_default();
    let daemon = raw.daemon.unwrap_or_default();
    NodeConfig {
        name,
        key_file,
        network,
        discovery,
        paths,
        relays,
        security,
        services,
        names,
        plugins,
        tunnels: TunnelConfig {
            idle_timeout: reader.duration(at!["tunnels", "idle_timeout"], tunnels.idle_timeout, DEFAULT_IDLE),
            write_timeout: reader.duration(
                at!["tunnels", "write_timeout"],
                tunnels.write_timeout,
                DEFAULT_WRITE,
            ),
        },
        daemon: DaemonConfig {
            drain_timeout: reader.duration(
                at!["daemon", "drain_timeout"],
                daemon.drain_timeout,
                DEFAULT_DRAIN,
            ),
            cache_dir: daemon
                .cache_dir
                .map(|dir| reader.file(at!["daemon", "cache_dir"], Some(dir), "")),
        },
    }
}

/// Resolves the addresses of a node or relay.
pub(crate) fn network_config(
    listen: Option<Vec<String>>,
    external: Option<Vec<String>>,
    default: &[&str],
    reader: &mut Reader<'_>,
) -> NetworkConfig {
    let listen = listen.unwrap_or_else(|| default.iter().map(|&address| address.to_owned()).collect());
    if listen.is_empty() {
        reader.problem(
            at!["network", "listen_addresses"],
            "the list is empty; name at least one address, or leave the key out for the default",
        );
    }
    NetworkConfig {
        listen_addresses: reader.list(at!["network", "listen_addresses"], &listen, values::bare_address),
        external_addresses: reader.list(
            at!["network", "external_addresses"],
            &external.unwrap_or_default(),
            values::bare_address,
        ),
    }
}

fn discovery_config(raw: &RawDiscovery, upnp: Option<bool>) -> DiscoveryConfig {
    let default = DiscoveryConfig::default();
    DiscoveryConfig {
        mdns: raw.mdns.unwrap_or(default.mdns),
        dht: raw.dht.unwrap_or(default.dht),
        upnp: upnp.unwrap_or(default.upnp),
    }
}

/// Resolves the gate's settings; what is not said is closed.
pub(crate) fn security_config(raw: crate::raw::RawSecurity, reader: &mut Reader<'_>) -> SecurityConfig {
    let gating = raw.enable_connection_gating.unwrap_or(true);
    if !gating {
        reader.warning(
            at!["security", "enable_connection_gating"],
            "the gate is off: anybody who finds this node may connect",
        );
    }
    SecurityConfig {
        authorized_keys_file: reader.file(
            at!["security", "authorized_keys_file"],
            raw.authorized_keys_file,
            "authorized_keys",
        ),
        enable_connection_gating: gating,
    }
}

fn names(raw: BTreeMap<String, String>, reader: &mut Reader<'_>) -> BTreeMap<PeerName, PeerId> {
    let mut names = BTreeMap::new();
    for (name, id) in raw {
        let here = at!["names", &name];
        let key = reader.take(here, values::parsed(&name));
        let id = reader.take(here, values::peer_id(&id));
        names.extend(key.zip(id));
    }
    names
}

fn services(
    raw: BTreeMap<String, RawService>,
    names: &BTreeMap<PeerName, PeerId>,
    reader: &mut Reader<'_>,
) -> BTreeMap<ServiceName, ServiceEntry> {
    let mut services = BTreeMap::new();
    for (name, service) in raw {
        let key = reader.take(at!["services", &name], values::parsed(&name));
        let entry = service_entry(&name, service, names, reader);
        services.extend(key.zip(entry));
    }
    services
}

fn service_entry(
    name: &String,
    raw: RawService,
    names: &BTreeMap<PeerName, PeerId>,
    reader: &mut Reader<'_>,
) -> Option<ServiceEntry> {
    let Some(local_address) = raw.local_address else {
        reader.problem(
            at!["services", name],
            "local_address is missing: the host:port that this service stands for",
        );
        return None;
    };
    let here = at!["services", name, "local_address"];
    let checked = check_host_port(&local_address).map_err(|error| error.to_string());
    reader.take(here, checked);
    let plugin = match raw.plugin {
        None => Some(bundled(DEFAULT_SERVICE_PLUGIN)),
        Some(plugin) => reader.take(at!["services", name, "plugin"], values::parsed(&plugin)),
    };
    let access = match raw.allow {
        None => ServiceAccess::Everyone,
        Some(allow) => {
            ServiceAccess::Only(reader.list(at!["services", name, "allow"], &allow, values::parsed))
        }
    };
    warn_about_unknown_names(name, &access, names, reader);
    Some(ServiceEntry {
        local_address,
        enabled: raw.enabled.unwrap_or(true),
        plugin: plugin?,
        access,
    })
}

fn warn_about_unknown_names(
    service: &String,
    access: &ServiceAccess,
    names: &BTreeMap<PeerName, PeerId>,
    reader: &mut Reader<'_>,
) {
    let ServiceAccess::Only(allowed) = access else {
        return;
    };
    if allowed.is_empty() {
        reader.warning(
            at!["services", service, "allow"],
            "the list is empty: nobody may use this service",
        );
    }
    for one in allowed {
        if let Some(name) = one.unknown_name(names) {
            reader.warning(
                at!["services", service, "allow"],
                format!("{name} is not in names: this entry lets nobody in"),
            );
        }
    }
}

fn plugins(raw: BTreeMap<String, RawPlugin>, reader: &mut Reader<'_>) -> BTreeMap<PluginName, PluginEntry> {
    let mut plugins = default_plugins();
    for (name, plugin) in raw {
        let key = reader.take(at!["plugins", &name], values::parsed::<PluginName>(&name));
        let entry = PluginEntry {
            enabled: plugin.enabled.unwrap_or(true),
            grants: plugin.grants.unwrap_or_default(),
            settings: plugin.settings.unwrap_or_default(),
            limits: limits(&name, plugin.limits.unwrap_or_default(), reader),
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
    let bandwidth = raw.bandwidth.filter(|text| text != "unlimited").and_then(|text| {
        let found = values::size(&text).and_then(|bytes| match bytes {
            0 => Err("has to be more than 0, or `unlimited`".to_owned()),
            bytes => Ok(bytes),
        });
        reader.take(at!["plugins", plugin, "limits", "bandwidth"], found)
    });
    let mut count = |key: &str, text: Option<String>, default: u32| {
        reader.count(at!["plugins", plugin, "limits", key], text, default, MAX_A_SECOND)
    };
    let datagrams = count("datagrams", raw.datagrams, default.datagrams);
    let log_lines = count("log_lines", raw.log_lines, default.log_lines);
    PluginLimits {
        bandwidth,
        datagrams,
        log_lines,
        cpu_budget: reader.duration(
            at!["plugins", plugin, "limits", "cpu_budget"],
            raw.cpu_budget,
            default.cpu_budget,
        ),
        drain: reader.duration(
            at!["plugins", plugin, "limits", "drain"],
            raw.drain,
            default.drain,
        ),
        memory: memory.unwrap_or(default.memory),
        cpu: reader.duration(at!["plugins", plugin, "limits", "cpu"], raw.cpu, default.cpu),
        instances: reader.count(
            at!["plugins", plugin, "limits", "instances"],
            raw.instances,
            default.instances,
            MAX_INSTANCES,
        ),
    }
}
