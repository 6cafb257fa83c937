//! What a change from one config to another leads to, said before it is made. Pure.

use std::collections::{BTreeMap, BTreeSet};

use libp2p_identity::PeerId;
use peerup_model::{PeerName, PluginName, ServiceName};
use serde::Serialize;

use crate::{
    access::ServiceAccess,
    flatten::{Lines, flatten, flatten_relay},
    keys::{self, ReloadClass, Shape},
    listed::AllowedPeer,
    node::NodeConfig,
    relay::RelayConfig,
};

/// What a change of config leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Every key that says something else, in the order of their paths.
    pub changes: Vec<Change>,
    /// What the change does.
    pub effects: Effects,
    /// Whose streams it ends.
    pub drops: Drops,
}

/// One key that says something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its path, dotted.
    pub path: String,
    /// What it said; none where it said nothing.
    pub from: Option<String>,
    /// What it says; none where it says nothing any more.
    pub to: Option<String>,
    /// How soon that is in force.
    pub class: ReloadClass,
    /// What happens, in words.
    pub effect: String,
}

/// What a node that takes a config over does: no more than this, and all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Effects {
    /// Services that peers can use from now on.
    pub services_started: BTreeSet<String>,
    /// Services that no new stream reaches any more. Those that are open run on.
    pub services_stopped: BTreeSet<String>,
    /// Services whose new streams go elsewhere.
    pub services_redirected: BTreeSet<String>,
    /// Plugins that are loaded.
    pub plugins_started: BTreeSet<String>,
    /// Plugins that end; what runs has their drain time.
    pub plugins_stopped: BTreeSet<String>,
    /// Plugins that are loaded afresh; their tunnels run on.
    pub plugins_reloaded: BTreeSet<String>,
    /// Plugins that run on with other rights or settings.
    pub plugins_changed: BTreeSet<String>,
    /// Relays that are used from now on.
    pub relays_added: BTreeSet<String>,
    /// Relays that are left.
    pub relays_removed: BTreeSet<String>,
    /// Relays whose addresses change.
    pub relays_changed: BTreeSet<String>,
    /// Keys whose address is exchanged: the new one is listened on, then the old one no more.
    pub exchanged: BTreeSet<String>,
    /// Keys that are in force after the next start.
    pub needs_restart: BTreeSet<String>,
}

impl Effects {
    /// Returns whether nothing happens.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whose open streams a change ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// Streams to these services, of peers that may not use them any more.
    pub services: BTreeMap<String, Lost>,
    /// Everything of these plugins, at the latest when their drain time is over.
    pub plugins: BTreeSet<String>,
    /// Connections over and to these relays.
    pub relays: BTreeSet<String>,
    /// Streams on a path that these lines forbid.
    pub paths: BTreeSet<String>,
    /// Connections of everybody who is not in `authorized_keys`.
    pub strangers: bool,
}

impl Drops {
    /// Returns whether no stream ends.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Who loses a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// These peers: a name or an id each.
    Peers(BTreeSet<String>),
    /// Everybody who is not in the new list.
    EverybodyElse,
    /// Those who are not in another file of keys.
    NotInKeys,
}

/// Says what a node that runs with `old` does when it takes `new` over.
pub fn plan(old: &NodeConfig, new: &NodeConfig) -> Plan {
    let effects = effects(old, new);
    let changes = changes(&keys::NODE, &flatten(old), &flatten(new), |path| {
        effect(path, &effects)
    });
    Plan {
        drops: drops(old, new, &effects),
        effects: Effects {
            needs_restart: needs_restart(&changes),
            ..effects
        },
        changes,
    }
}

/// Says what a relay server that runs with `old` does when it takes `new` over. It ends nothing that is open.
pub fn plan_relay(old: &RelayConfig, new: &RelayConfig) -> Plan {
    let changes = changes(
        &keys::RELAY,
        &flatten_relay(old),
        &flatten_relay(new),
        relay_effect,
    );
    Plan {
        effects: Effects {
            needs_restart: needs_restart(&changes),
            ..Effects::default()
        },
        drops: Drops::default(),
        changes,
    }
}

/// Returns every key that says something else, in the order of their paths.
fn changes(shape: &Shape, before: &Lines, after: &Lines, effect: impl Fn(&[&str]) -> String) -> Vec<Change> {
    let paths: BTreeSet<&Vec<String>> = before.keys().chain(after.keys()).collect();
    let differs = paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path));
    differs
        .map(|path| {
            let steps: Vec<&str> = path.iter().map(String::as_str).collect();
            let class = keys::class_of(shape, &steps).unwrap_or(ReloadClass::Restart);
            Change {
                path: path.join("."),
                from: before.get(path).cloned(),
                to: after.get(path).cloned(),
                effect: match class {
                    ReloadClass::Restart => "in force after the next start".to_owned(),
                    _ => effect(&steps),
                },
                class,
            }
        })
        .collect()
}

fn needs_restart(changes: &[Change]) -> BTreeSet<String> {
    let waits = changes
        .iter()
        .filter(|change| change.class == ReloadClass::Restart);
    waits.map(|change| change.path.clone()).collect()
}

fn relay_effect(path: &[&str]) -> String {
    match path {
        ["enrollment"] => "holds for peers that are admitted from now on",
        ["resources", ..] => "holds for new reservations; those that are held stay",
        ["health", ..] => "checks and scrapes are answered there, then no more where they were",
        ["log", ..] => "holds for lines from then on",
        _ => "in force at once",
    }
    .to_owned()
}

fn effect(path: &[&str], effects: &Effects) -> String {
    match path {
        ["services", name, ..] if effects.services_started.contains(*name) => {
            format!("the service {name} is offered")
        }
        ["services", name, ..] if effects.services_stopped.contains(*name) => {
            format!("the service {name} takes no new streams")
        }
        ["services", name, ..] => format!("holds for new streams of the service {name}"),
        ["plugins", name, ..] if effects.plugins_started.contains(*name) => {
            format!("the plugin {name} is loaded")
        }
        ["plugins", name, ..] if effects.plugins_stopped.contains(*name) => {
            format!("the plugin {name} ends after its drain time")
        }
        ["plugins", name, ..] if effects.plugins_reloaded.contains(*name) => {
            format!("the plugin {name} is loaded afresh; its tunnels run on")
        }
        ["plugins", name, ..] if effects.plugins_changed.contains(*name) => {
            format!("the plugin {name} has it at once")
        }
        ["relay", ..] => "reservations follow".to_owned(),
        ["metrics", "listen"] => "scrapes are answered there, then no more where they were".to_owned(),
        ["log", ..] => "holds for lines from then on".to_owned(),
        _ => "in force at once".to_owned(),
    }
}

/// Returns everything but `needs_restart`.
fn effects(old: &NodeConfig, new: &NodeConfig) -> Effects {
    let mut effects = Effects::default();
    services(old, new, &mut effects);
    plugins(old, new, &mut effects);
    let (before, after) = (relays(old), relays(new));
    for (peer, addresses) in &after {
        match before.get(peer) {
            None => effects.relays_added.insert(peer.clone()),
            Some(known) if known != addresses => effects.relays_changed.insert(peer.clone()),
            Some(_) => false,
        };
    }
    if old.metrics != new.metrics {
        effects.exchanged.insert("metrics.listen".to_owned());
    }
    effects.relays_removed = before
        .keys()
        .filter(|peer| !after.contains_key(*peer))
        .cloned()
        .collect();
    effects
}

fn services(old: &NodeConfig, new: &NodeConfig, effects: &mut Effects) {
    let names: BTreeSet<&ServiceName> = old.services.keys().chain(new.services.keys()).collect();
    for name in names {
        let on = |config: &NodeConfig| config.services.get(name).filter(|entry| entry.enabled).cloned();
        let set = match (on(old), on(new)) {
            (None, Some(_)) => &mut effects.services_started,
            (Some(_), None) => &mut effects.services_stopped,
            (Some(before), Some(after))
                if (&before.local_address, &before.plugin) != (&after.local_address, &after.plugin) =>
            {
                &mut effects.services_redirected
            }
            _ => continue,
        };
        set.insert(name.to_string());
    }
}

fn plugins(old: &NodeConfig, new: &NodeConfig, effects: &mut Effects) {
    let names: BTreeSet<&PluginName> = old.plugins.keys().chain(new.plugins.keys()).collect();
    for name in names {
        let before = old.plugins.get(name).filter(|entry| entry.enabled);
        let after = new.plugins.get(name).filter(|entry| entry.enabled);
        let set = match (before, after) {
            (None, Some(_)) => &mut effects.plugins_started,
            (Some(_), None) => &mut effects.plugins_stopped,
            (Some(before), Some(after)) if before.limits != after.limits => &mut effects.plugins_reloaded,
            (Some(before), Some(after))
                if before.grants != after.grants || before.settings != after.settings =>
            {
                &mut effects.plugins_changed
            }
            _ => continue,
        };
        set.insert(name.to_string());
    }
}

fn relays(config: &NodeConfig) -> BTreeMap<String, Vec<String>> {
    let mut relays: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for relay in &config.relays {
        let addresses = relays.entry(relay.peer().to_string()).or_default();
        addresses.push(relay.dial_address().to_string());
    }
    relays
}

fn drops(old: &NodeConfig, new: &NodeConfig, effects: &Effects) -> Drops {
    let mut drops = Drops {
        plugins: effects.plugins_stopped.clone(),
        relays: effects.relays_removed.clone(),
        strangers: !old.security.enable_connection_gating && new.security.enable_connection_gating,
        ..Drops::default()
    };
    for (name, after) in &new.services {
        let Some(before) = old
            .services
            .get(name)
            .filter(|entry| entry.enabled && after.enabled)
        else {
            continue;
        };
        let lost = match after.keys_file != before.keys_file && after.keys_file.is_some() {
            true => Some(Lost::NotInKeys),
            false => lost((&before.access, &old.names), (&after.access, &new.names)),
        };
        drops.services.extend(lost.map(|lost| (name.to_string(), lost)));
    }
    let rules = [(old.paths.default != new.paths.default).then(|| "paths.default".to_owned())];
    drops.paths.extend(rules.into_iter().flatten());
    drops
        .paths
        .extend(narrowed("paths.peers", &old.paths.peers, &new.paths.peers));
    drops.paths.extend(narrowed(
        "paths.services",
        &old.paths.services,
        &new.paths.services,
    ));
    drops
        .paths
        .extend(narrowed("paths.plugins", &old.paths.plugins, &new.paths.plugins));
    drops
}

/// Returns who may not use a service any more.
fn lost(
    (before, old_names): (&ServiceAccess, &BTreeMap<PeerName, PeerId>),
    (after, new_names): (&ServiceAccess, &BTreeMap<PeerName, PeerId>),
) -> Option<Lost> {
    let ServiceAccess::Only(after) = after else {
        return None;
    };
    let ServiceAccess::Only(before) = before else {
        return Some(Lost::EverybodyElse);
    };
    let id = |peer: &AllowedPeer, names: &BTreeMap<PeerName, PeerId>| match peer {
        AllowedPeer::Id(id) => Some(*id),
        AllowedPeer::Name(name) => names.get(name).copied(),
    };
    let kept: BTreeSet<PeerId> = after.iter().filter_map(|peer| id(peer, new_names)).collect();
    let gone: BTreeSet<String> = before
        .iter()
        .filter(|peer| id(peer, old_names).is_some_and(|id| !kept.contains(&id)))
        .map(ToString::to_string)
        .collect();
    (!gone.is_empty()).then_some(Lost::Peers(gone))
}

/// Returns the lines that may forbid what was allowed.
fn narrowed<K: Ord + ToString>(
    section: &str,
    old: &BTreeMap<K, peerup_model::PathPolicy>,
    new: &BTreeMap<K, peerup_model::PathPolicy>,
) -> Vec<String> {
    let keys: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    let changed = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    changed
        .map(|key| format!("{section}.{}", key.to_string()))
        .collect()
}
