//! The config as it stands in the file: the one serde schema, with nothing resolved.
//!
//! Values that have a form of their own are text here and are checked in `node` and `relay`, so that one
//! load tells all that is wrong and not only the first thing.

use std::collections::BTreeMap;

use peerup_model::Grants;
use serde::{Deserialize, de::IgnoredAny};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawNode {
    pub(crate) version: Option<u64>,
    pub(crate) name: Option<String>,
    pub(crate) identity: Option<RawIdentity>,
    pub(crate) network: Option<RawNetwork>,
    pub(crate) relay: Option<RawRelays>,
    pub(crate) security: Option<RawSecurity>,
    pub(crate) services: Option<BTreeMap<String, Option<RawService>>>,
    pub(crate) proxies: Option<BTreeMap<String, RawProxy>>,
    pub(crate) names: Option<BTreeMap<String, String>>,
    pub(crate) resolvers: Option<Vec<String>>,
    pub(crate) plugins: Option<BTreeMap<String, Option<RawPlugin>>>,
    pub(crate) tunnels: Option<RawTunnels>,
    pub(crate) daemon: Option<RawDaemon>,
    pub(crate) discovery: Option<RawDiscovery>,
    pub(crate) paths: Option<RawPaths>,
    pub(crate) bandwidth: Option<RawBandwidth>,
    pub(crate) alerts: Option<RawAlerts>,
    pub(crate) log: Option<RawLog>,
    pub(crate) metrics: Option<RawMetrics>,
    #[serde(rename = "protocols")]
    _protocols: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawIdentity {
    pub(crate) key_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawNetwork {
    pub(crate) listen_addresses: Option<Vec<String>>,
    pub(crate) external_addresses: Option<Vec<String>>,
    pub(crate) upnp: Option<bool>,
    #[serde(rename = "force_private_reachability")]
    _force_private_reachability: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDiscovery {
    pub(crate) mdns: Option<bool>,
    pub(crate) dht: Option<bool>,
    #[serde(rename = "rendezvous")]
    _rendezvous: Option<IgnoredAny>,
    #[serde(rename = "bootstrap_peers")]
    _bootstrap_peers: Option<IgnoredAny>,
    #[serde(rename = "network")]
    _network: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPaths {
    pub(crate) default: Option<String>,
    pub(crate) peers: Option<BTreeMap<String, String>>,
    pub(crate) services: Option<BTreeMap<String, String>>,
    pub(crate) plugins: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawBandwidth {
    pub(crate) default_per_peer: Option<String>,
    pub(crate) peers: Option<BTreeMap<String, String>>,
    pub(crate) services: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAlerts {
    pub(crate) targets: Option<BTreeMap<String, Option<RawAlertTarget>>>,
    pub(crate) rules: Option<BTreeMap<String, Option<RawAlertRule>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAlertTarget {
    pub(crate) webhook: Option<String>,
    pub(crate) authorization_file: Option<String>,
    pub(crate) command: Option<Vec<String>>,
    pub(crate) timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAlertRule {
    pub(crate) when: Option<String>,
    pub(crate) peer: Option<String>,
    pub(crate) plugin: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) above: Option<String>,
    pub(crate) below: Option<String>,
    pub(crate) more_than: Option<String>,
    pub(crate) within: Option<String>,
    #[serde(rename = "for")]
    pub(crate) hold: Option<String>,
    pub(crate) repeat: Option<String>,
    pub(crate) notify: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawRelays {
    pub(crate) addresses: Option<Vec<String>>,
    #[serde(rename = "reservation_interval")]
    _reservation_interval: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawSecurity {
    pub(crate) authorized_keys_file: Option<String>,
    pub(crate) enable_connection_gating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawService {
    pub(crate) local_address: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) plugin: Option<String>,
    pub(crate) allow: Option<Vec<String>>,
    pub(crate) authorized_keys: Option<String>,
    #[serde(rename = "protocol")]
    _protocol: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawProxy {
    pub(crate) peer: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) listen: Option<String>,
    pub(crate) enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPlugin {
    pub(crate) enabled: Option<bool>,
    pub(crate) grants: Option<Grants>,
    pub(crate) settings: Option<serde_json::Map<String, serde_json::Value>>,
    pub(crate) limits: Option<RawLimits>,
    pub(crate) allow: Option<Vec<String>>,
    pub(crate) authorized_keys: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLimits {
    pub(crate) memory: Option<String>,
    pub(crate) cpu: Option<String>,
    pub(crate) cpu_budget: Option<String>,
    pub(crate) instances: Option<String>,
    pub(crate) streams: Option<String>,
    pub(crate) tunnels: Option<String>,
    pub(crate) bandwidth: Option<String>,
    pub(crate) datagrams: Option<String>,
    pub(crate) log_lines: Option<String>,
    pub(crate) drain: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTunnels {
    pub(crate) idle_timeout: Option<String>,
    pub(crate) write_timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDaemon {
    pub(crate) drain_timeout: Option<String>,
    pub(crate) cache_dir: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawRelay {
    pub(crate) version: Option<u64>,
    pub(crate) identity: Option<RawIdentity>,
    pub(crate) network: Option<RawNetwork>,
    pub(crate) security: Option<RawSecurity>,
    pub(crate) enrollment: Option<String>,
    pub(crate) resources: Option<RawResources>,
    pub(crate) health: Option<RawHealth>,
    pub(crate) log: Option<RawLog>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawHealth {
    pub(crate) enabled: Option<bool>,
    pub(crate) listen_address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawMetrics {
    pub(crate) listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLog {
    pub(crate) file: Option<String>,
    pub(crate) level: Option<String>,
    pub(crate) max_size: Option<String>,
    pub(crate) keep: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawResources {
    pub(crate) max_reservations: Option<String>,
    pub(crate) max_reservations_per_ip: Option<String>,
    pub(crate) max_circuits: Option<String>,
    pub(crate) max_circuits_per_peer: Option<String>,
    pub(crate) reservation_ttl: Option<String>,
    pub(crate) session_duration: Option<String>,
    pub(crate) session_data_limit: Option<String>,
    #[serde(rename = "buffer_size")]
    _buffer_size: Option<IgnoredAny>,
    pub(crate) max_reservations_per_asn: Option<String>,
    pub(crate) asn_table: Option<String>,
}
