//! A node's config, resolved: defaults filled in, paths absolute to the config's folder, values checked.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use peerup_model::{PeerName, PluginName, ProxyName, ServiceName};

use crate::{
    access::{ServiceAccess, access},
    alerts::{self, AlertsConfig},
    bandwidth::{self, BandwidthConfig},
    operate::{LogConfig, MetricsConfig, log_config, metrics_config},
    paths::{self, PathsConfig},
    plugins::{self, PluginEntry, bundled},
    proxies::{self, ProxyEntry},
    raw::{RawDiscovery, RawNode, RawService},
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
    /// How much peers and services may carry.
    pub bandwidth: BandwidthConfig,
    /// What the operator wants to be told of.
    pub alerts: AlertsConfig,
    /// The relays to hold a reservation on.
    pub relays: Vec<RelayAddress>,
    /// Who may connect.
    pub security: SecurityConfig,
    /// What it offers to peers.
    pub services: BTreeMap<ServiceName, ServiceEntry>,
    /// The proxies that the daemon keeps.
    pub proxies: BTreeMap<ProxyName, ProxyEntry>,
    /// What the operator calls other peers.
    pub names: BTreeMap<PeerName, PeerId>,
    /// The plugins that are asked for a name, in this order.
    pub resolvers: Vec<PluginName>,
    /// The plugins with their rights. Holds the bundled ones even where the file says nothing.
    pub plugins: BTreeMap<PluginName, PluginEntry>,
    /// Time limits of tunnels.
    pub tunnels: TunnelConfig,
    /// The daemon's own settings.
    pub daemon: DaemonConfig,
    /// Where and how much the daemon logs.
    pub log: LogConfig,
    /// Where the daemon answers scrapes.
    pub metrics: MetricsConfig,
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
    /// A further list of keys: only peers that stand there, too, may use it.
    pub keys_file: Option<PathBuf>,
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
        self.covers(&entry.access, peer)
    }

    /// Returns whether the `allow` list of this plugin covers the peer. False for a plugin that is not there or is
    /// off.
    pub fn plugin_allows(&self, plugin: &PluginName, peer: &PeerId) -> bool {
        let entry = self.plugins.get(plugin).filter(|entry| entry.enabled);
        entry.is_some_and(|entry| self.covers(&entry.access, peer))
    }

    fn covers(&self, access: &ServiceAccess, peer: &PeerId) -> bool {
        match access {
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
            keys_file: None,
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
    let proxies = proxies::resolve(raw.proxies.unwrap_or_default(), reader);
    let plugins = plugins::resolve(raw.plugins.unwrap_or_default(), &names, reader);
    let resolvers = plugins::resolvers(raw.resolvers, &plugins, reader);
    let paths = paths::resolve(raw.paths.unwrap_or_default(), &names, &plugins, reader);
    let bandwidth = bandwidth::resolve(raw.bandwidth.unwrap_or_default(), &names, reader);
    let alerts = alerts::resolve(raw.alerts.unwrap_or_default(), &names, reader);
    let tunnels = raw.tunnels.unwrap_or_default();
    let daemon = raw.daemon.unwrap_or_default();
    let log = log_config(raw.log, reader);
    let metrics = metrics_config(raw.metrics, reader);
    NodeConfig {
        name,
        key_file,
        network,
        discovery,
        paths,
        bandwidth,
        alerts,
        relays,
        security,
        services,
        proxies,
        names,
        resolvers,
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
        log,
        metrics,
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
    raw: BTreeMap<String, Option<RawService>>,
    names: &BTreeMap<PeerName, PeerId>,
    reader: &mut Reader<'_>,
) -> BTreeMap<ServiceName, ServiceEntry> {
    let mut services = BTreeMap::new();
    for (name, service) in raw {
        let key = reader.take(at!["services", &name], values::parsed(&name));
        let entry = service_entry(&name, service.unwrap_or_default(), names, reader);
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
    let access = access(("services", name), raw.allow, names, reader);
    let keys_file = reader.optional_file(at!["services", name, "authorized_keys"], raw.authorized_keys);
    Some(ServiceEntry {
        local_address,
        enabled: raw.enabled.unwrap_or(true),
        plugin: plugin?,
        access,
        keys_file,
    })
}
