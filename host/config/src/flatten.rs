//! A config as one line for each key that says something, under the path that the key has in the file.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use peerup_model::Grants;

use crate::{
    access::ServiceAccess,
    alerts::{AlertCondition, AlertWay, AlertsConfig, BandwidthOf},
    bandwidth::Rate,
    node::NodeConfig,
    operate::LogConfig,
    plugins::{PluginEntry, PluginLimits},
    relay::RelayConfig,
};

/// What each key says, by its path. Keys that say nothing are left out, so that a default that is written down is no
/// change.
pub(crate) type Lines = BTreeMap<Vec<String>, String>;

struct Flattener {
    lines: Lines,
}

impl Flattener {
    fn say(&mut self, path: &[&str], value: impl ToString) {
        let path = path.iter().map(|step| (*step).to_owned()).collect();
        self.lines.insert(path, value.to_string());
    }

    fn list<T: ToString>(&mut self, path: &[&str], items: impl IntoIterator<Item = T>) {
        let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
        if !items.is_empty() {
            self.say(path, format!("[{}]", items.join(", ")));
        }
    }

    fn optional(&mut self, path: &[&str], value: Option<impl ToString>) {
        if let Some(value) = value {
            self.say(path, value);
        }
    }

    fn access(&mut self, section: &str, name: &str, access: &ServiceAccess) {
        if let ServiceAccess::Only(allowed) = access {
            // An empty list says that nobody may.
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            self.say(&[section, name, "allow"], format!("[{}]", allowed.join(", ")));
        }
    }

    fn log(&mut self, log: &LogConfig) {
        self.optional(&["log", "file"], log.file.as_ref().map(|path| path.display()));
        self.optional(&["log", "level"], log.level.as_ref());
        self.say(&["log", "max_size"], log.max_size);
        self.say(&["log", "keep"], log.keep);
    }

    fn plugin(&mut self, name: &str, entry: &PluginEntry) {
        self.say(&["plugins", name, "enabled"], entry.enabled);
        self.grants(name, &entry.grants);
        for (key, value) in &entry.settings {
            self.say(&["plugins", name, "settings", key], value);
        }
        self.limits(name, &entry.limits);
        self.access("plugins", name, &entry.access);
        let keys = entry.keys_file.as_ref().map(|path| path.display());
        self.optional(&["plugins", name, "authorized_keys"], keys);
    }

    fn grants(&mut self, name: &str, grants: &Grants) {
        let at = ["plugins", name, "grants"];
        let below = |key: &'static str| [at[0], at[1], at[2], key];
        let deeper = |key: &'static str, last: &'static str| [at[0], at[1], at[2], key, last];
        self.list(&below("protocols"), &grants.protocols);
        self.list(&deeper("tcp", "connect"), &grants.tcp.connect);
        self.list(&deeper("tcp", "listen"), &grants.tcp.listen);
        self.list(&deeper("udp", "bind"), &grants.udp.bind);
        self.list(&deeper("udp", "connect"), &grants.udp.connect);
        self.optional(&below("store"), grants.store);
        for directory in &grants.directories {
            let text = directory.to_string();
            self.say(&[at[0], at[1], at[2], "directories", &text], "granted");
        }
        self.list(&below("environment"), &grants.environment);
        let words = serde_json::to_value(grants).unwrap_or_default();
        for key in ["names", "peers"] {
            let items = words.get(key).and_then(|list| list.as_array());
            let items = items.into_iter().flatten().filter_map(|word| word.as_str());
            self.list(&below(key), items);
        }
    }

    fn alerts(&mut self, alerts: &AlertsConfig) {
        for (name, target) in &alerts.targets {
            let at = |key: &'static str| ["alerts", "targets", name.as_str(), key];
            match &target.way {
                AlertWay::Command(words) => self.say(&at("command"), format!("[{}]", words.join(", "))),
                AlertWay::Webhook {
                    url,
                    authorization_file,
                } => {
                    self.say(&at("webhook"), masked(url, &target.way.shown()));
                    let file = authorization_file.as_ref().map(|path| path.display());
                    self.optional(&at("authorization_file"), file);
                }
            }
            self.say(&at("timeout"), time(target.timeout));
        }
        for (name, rule) in &alerts.rules {
            let at = |key: &'static str| ["alerts", "rules", name.as_str(), key];
            self.say(&at("when"), rule.condition.word());
            self.condition(name.as_str(), &rule.condition);
            self.say(&at("for"), time(rule.hold));
            self.optional(&at("repeat"), rule.repeat.map(time));
            self.list(&at("notify"), &rule.notify);
        }
    }

    fn condition(&mut self, name: &str, condition: &AlertCondition) {
        let mut say = |key: &str, value: String| self.say(&["alerts", "rules", name, key], value);
        match condition {
            AlertCondition::PeerAway(peer) => say("peer", peer.to_string()),
            AlertCondition::PluginDown(Some(plugin)) => say("plugin", plugin.to_string()),
            AlertCondition::Bandwidth { of, above } => {
                match of {
                    BandwidthOf::Total => {}
                    BandwidthOf::Peer(peer) => say("peer", peer.to_string()),
                    BandwidthOf::Service(service) => say("service", service.to_string()),
                }
                say("above", bytes(*above));
            }
            AlertCondition::AuthDenied { more_than, within } => {
                say("more_than", more_than.to_string());
                say("within", time(*within));
            }
            AlertCondition::DiskLow(below) => say("below", bytes(*below)),
            AlertCondition::RelayAway | AlertCondition::PluginDown(None) | AlertCondition::ConfigReverted => {
            }
        }
    }

    fn limits(&mut self, name: &str, limits: &PluginLimits) {
        let mut say = |key: &str, value: String| self.say(&["plugins", name, "limits", key], value);
        say("memory", bytes(limits.memory));
        say("cpu", time(limits.cpu));
        say("cpu_budget", time(limits.cpu_budget));
        say("instances", limits.instances.to_string());
        say("streams", limits.streams.to_string());
        say("tunnels", limits.tunnels.to_string());
        say("bandwidth", rate(limits.bandwidth));
        say("datagrams", limits.datagrams.to_string());
        say("log_lines", limits.log_lines.to_string());
        say("drain", time(limits.drain));
    }
}

/// An address that may be a secret, so that a change of it is seen and it is not.
fn masked(url: &str, shown: &str) -> String {
    let mut hasher = DefaultHasher::new();
    url.hash(&mut hasher);
    format!("{shown} ({:08x})", hasher.finish() >> 32)
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn rate(rate: Rate) -> String {
    rate.map_or_else(|| "unlimited".to_owned(), bytes)
}

fn bytes(count: u64) -> String {
    format!("{count}B")
}

/// Says everything that a config says.
pub(crate) fn flatten(config: &NodeConfig) -> Lines {
    let mut all = Flattener { lines: Lines::new() };
    all.optional(&["name"], config.name.as_ref());
    all.say(&["identity", "key_file"], config.key_file.display());
    all.list(&["network", "listen_addresses"], &config.network.listen_addresses);
    all.list(
        &["network", "external_addresses"],
        &config.network.external_addresses,
    );
    all.say(&["network", "upnp"], config.discovery.upnp);
    all.say(&["discovery", "mdns"], config.discovery.mdns);
    all.say(&["discovery", "dht"], config.discovery.dht);
    all.list(&["relay", "addresses"], &config.relays);
    let security = &config.security;
    let keys = security.authorized_keys_file.display();
    all.say(&["security", "authorized_keys_file"], keys);
    all.say(
        &["security", "enable_connection_gating"],
        security.enable_connection_gating,
    );
    for (name, entry) in &config.services {
        let name = name.as_str();
        all.say(&["services", name, "local_address"], &entry.local_address);
        all.say(&["services", name, "enabled"], entry.enabled);
        all.say(&["services", name, "plugin"], &entry.plugin);
        all.access("services", name, &entry.access);
        let keys = entry.keys_file.as_ref().map(|path| path.display());
        all.optional(&["services", name, "authorized_keys"], keys);
    }
    for (name, entry) in &config.proxies {
        let name = name.as_str();
        all.say(&["proxies", name, "peer"], &entry.peer);
        all.say(&["proxies", name, "service"], &entry.service);
        all.say(&["proxies", name, "listen"], &entry.listen);
        all.say(&["proxies", name, "enabled"], entry.enabled);
    }
    for (name, peer) in &config.names {
        all.say(&["names", name.as_str()], peer);
    }
    all.list(&["resolvers"], &config.resolvers);
    for (name, entry) in &config.plugins {
        all.plugin(name.as_str(), entry);
    }
    all.say(&["tunnels", "idle_timeout"], time(config.tunnels.idle_timeout));
    all.say(&["tunnels", "write_timeout"], time(config.tunnels.write_timeout));
    all.say(&["daemon", "drain_timeout"], time(config.daemon.drain_timeout));
    let cache = config.daemon.cache_dir.as_ref().map(|path| path.display());
    all.optional(&["daemon", "cache_dir"], cache);
    all.say(&["paths", "default"], config.paths.default);
    for (peer, policy) in &config.paths.peers {
        all.say(&["paths", "peers", &peer.to_string()], policy);
    }
    for (service, policy) in &config.paths.services {
        all.say(&["paths", "services", service.as_str()], policy);
    }
    for (plugin, policy) in &config.paths.plugins {
        all.say(&["paths", "plugins", plugin.as_str()], policy);
    }
    let bandwidth = &config.bandwidth;
    all.say(
        &["bandwidth", "default_per_peer"],
        rate(bandwidth.default_per_peer),
    );
    for (peer, limit) in &bandwidth.peers {
        all.say(&["bandwidth", "peers", &peer.to_string()], rate(*limit));
    }
    for (service, limit) in &bandwidth.services {
        all.say(&["bandwidth", "services", service.as_str()], rate(*limit));
    }
    all.alerts(&config.alerts);
    all.log(&config.log);
    all.optional(&["metrics", "listen"], config.metrics.listen);
    all.lines
}

/// Says everything that a relay server's config says.
pub(crate) fn flatten_relay(config: &RelayConfig) -> Lines {
    let mut all = Flattener { lines: Lines::new() };
    all.say(&["identity", "key_file"], config.key_file.display());
    all.list(&["network", "listen_addresses"], &config.network.listen_addresses);
    all.list(
        &["network", "external_addresses"],
        &config.network.external_addresses,
    );
    let security = &config.security;
    let keys = security.authorized_keys_file.display();
    all.say(&["security", "authorized_keys_file"], keys);
    all.say(
        &["security", "enable_connection_gating"],
        security.enable_connection_gating,
    );
    all.say(&["enrollment"], config.enrollment);
    let resources = &config.resources;
    let mut say = |key: &str, value: String| all.say(&["resources", key], value);
    say("max_reservations", resources.max_reservations.to_string());
    say(
        "max_reservations_per_ip",
        resources.max_reservations_per_ip.to_string(),
    );
    say(
        "max_reservations_per_asn",
        resources.max_reservations_per_asn.to_string(),
    );
    say("max_circuits", resources.max_circuits.to_string());
    say(
        "max_circuits_per_peer",
        resources.max_circuits_per_peer.to_string(),
    );
    say("reservation_ttl", time(resources.reservation_ttl));
    let unlimited = || "unlimited".to_owned();
    say(
        "session_duration",
        resources.session_duration.map_or_else(unlimited, time),
    );
    say(
        "session_data_limit",
        resources.session_data_limit.map_or_else(unlimited, bytes),
    );
    let table = resources.asn_table.as_ref().map(|path| path.display());
    all.optional(&["resources", "asn_table"], table);
    all.say(&["health", "enabled"], config.health.is_some());
    all.optional(&["health", "listen_address"], config.health);
    all.log(&config.log);
    all.lines
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::{
        keys::{NODE, RELAY, Shape},
        load::{load_node, load_relay},
    };

    /// Writes `*` for names; none for a path that the table does not have.
    fn generic(mut shape: Shape, path: &[String]) -> Option<String> {
        let mut steps = Vec::new();
        for step in path {
            match shape {
                Shape::Map(keys) => {
                    shape = keys.iter().find(|key| key.name == step)?.shape;
                    steps.push(step.as_str());
                }
                Shape::Named(_, below) => {
                    shape = *below;
                    steps.push("*");
                }
                Shape::Each(_) | Shape::Free => break,
                _ => return None,
            }
        }
        Some(steps.join("."))
    }

    fn keys(shape: &Shape, at: &str, found: &mut BTreeSet<String>) {
        let below = |key: &str| match at {
            "" => key.to_owned(),
            at => format!("{at}.{key}"),
        };
        match shape {
            Shape::Map(known) => {
                for key in known.iter().filter(|key| !matches!(key.shape, Shape::Ignored(_))) {
                    keys(&key.shape, &below(key.name), found);
                }
            }
            Shape::Named(_, shape) => keys(shape, &below("*"), found),
            _ => drop(found.insert(at.to_owned())),
        }
    }

    #[test]
    fn every_key_of_the_table_is_said_of_a_config_that_has_them_all() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/peerup.yaml");
        let mut config = load_node(&sample).unwrap().config;
        // Lists that are empty in the sample.
        let address: multiaddr::Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        config.network.external_addresses.push(address);
        let proxy = config
            .plugins
            .get_mut(&crate::plugins::bundled("tcp-proxy"))
            .unwrap();
        let pattern = || "192.0.2.1:1".parse().unwrap();
        proxy.grants.tcp.connect.push(pattern());
        proxy.grants.udp.bind.push(pattern());
        proxy.grants.udp.connect.push(pattern());
        proxy.grants.environment.push("HOME".parse().unwrap());
        proxy.settings.insert("key".to_owned(), 1.into());
        let said: BTreeSet<String> = flatten(&config)
            .keys()
            .map(|path| generic(NODE, path).unwrap_or_else(|| panic!("{path:?} is no key")))
            .collect();
        let mut expected = BTreeSet::new();
        keys(&NODE, "", &mut expected);
        expected.remove("version");
        assert_eq!(said, expected);
    }

    #[test]
    fn every_key_of_a_relay_is_said_of_a_config_that_has_them_all() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/relay-server.yaml");
        let mut config = load_relay(&sample).unwrap().config;
        config.network.external_addresses = vec!["/ip4/192.0.2.1/tcp/1".parse().unwrap()];
        config.resources.asn_table = Some("/asn".into());
        config.health = Some("127.0.0.1:9090".parse().unwrap());
        config.log.file = Some("/log".into());
        config.log.level = Some("info".to_owned());
        let said: BTreeSet<String> = flatten_relay(&config)
            .keys()
            .map(|path| generic(RELAY, path).unwrap_or_else(|| panic!("{path:?} is no key")))
            .collect();
        let mut expected = BTreeSet::new();
        keys(&RELAY, "", &mut expected);
        expected.remove("version");
        assert_eq!(said, expected);
    }
}
