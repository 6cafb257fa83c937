//! What this node serves: which protocol belongs to which service or plugin, and what peers are told of it.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use peerup_config::{EditError, Effects, NodeConfig};
use peerup_model::{ErrorCode, Failure, INVITE_PROTOCOL, PluginName, ServiceName, service_protocol};
use peerup_net::{Audience, MAX_PROTOCOLS, ProtocolTable, RegisterError};
/// Services by protocol id, and what peers are told that this node speaks.
#[derive(Debug)]
pub(crate) struct ServiceTable {
    protocols: ProtocolTable,
    routes: ArcSwap<Routes>,
    /// What active plugins serve besides services. Written by the supervisor alone.
    plugins: ArcSwap<BTreeMap<String, PluginName>>,
}

#[derive(Debug, Default)]
struct Routes {
    services: BTreeMap<String, Route>,
}

/// Where the streams of a service go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) service: ServiceName,
    pub(crate) local_address: String,
    pub(crate) plugin: PluginName,
}

impl ServiceTable {
    /// Creates the table with the services of a config and no plugin.
    pub(crate) fn new(protocols: ProtocolTable, config: &NodeConfig) -> Result<Self, Failure> {
        protocols
            .register(INVITE_PROTOCOL, Audience::Members)
            .map_err(|error| register_failure(&error))?;
        let table = Self {
            protocols,
            routes: ArcSwap::default(),
            plugins: ArcSwap::default(),
        };
        table.set(config)?;
        Ok(table)
    }

    /// Tells whether a plugin's protocols could be served now.
    pub(crate) fn check_plugin(&self, plugin: &PluginName, served: &[String]) -> Result<(), Failure> {
        let (routes, plugins) = (self.routes.load(), self.plugins.load());
        for protocol in served {
            let other = plugins.get(protocol).filter(|other| *other != plugin);
            if let Some(other) = other {
                let message = format!("the plugin {other} serves {protocol} already");
                return Err(Failure::new(ErrorCode::Conflict, message)
                    .with_hint(format!("disable one of them: peerup plugin disable {other}")));
            }
            if let Some(route) = routes.services.get(protocol) {
                let message = format!("{protocol} is the protocol of the service {}", route.service);
                return Err(
                    Failure::new(ErrorCode::Conflict, message).with_hint("call the service otherwise")
                );
            }
        }
        let others = plugins.values().filter(|other| *other != plugin).count();
        match 1 + routes.services.len() + others + served.len() <= MAX_PROTOCOLS {
            true => Ok(()),
            false => Err(register_failure(&RegisterError::Full)),
        }
    }

    /// Serves these protocols of a plugin, and none of its others any more. Streams that are open stay open.
    pub(crate) fn set_plugin(&self, plugin: &PluginName, served: &[String]) -> Result<(), Failure> {
        let mut table = BTreeMap::clone(&self.plugins.load());
        let gone: Vec<String> = table
            .iter()
            .filter(|(protocol, owner)| *owner == plugin && !served.contains(protocol))
            .map(|(protocol, _)| protocol.clone())
            .collect();
        for protocol in gone {
            self.protocols.unregister(&protocol);
            table.remove(&protocol);
        }
        let mut outcome = Ok(());
        for protocol in served {
            if table.contains_key(protocol) {
                continue;
            }
            match self.protocols.register(protocol, Audience::Members) {
                Ok(()) => {
                    table.insert(protocol.clone(), plugin.clone());
                }
                Err(error) => outcome = Err(register_failure(&error)),
            }
        }
        self.plugins.store(Arc::new(table));
        outcome
    }

    /// Serves nothing of a plugin any more.
    pub(crate) fn remove_plugin(&self, plugin: &PluginName) {
        // Taking away cannot fail.
        let _ = self.set_plugin(plugin, &[]);
    }

    /// Puts the services of a config in force, and returns which that begins, ends and sends elsewhere. Streams that
    /// are open stay open.
    pub(crate) fn set(&self, config: &NodeConfig) -> Result<Effects, Failure> {
        let enabled = config.services.iter().filter(|(_, entry)| entry.enabled);
        let services: BTreeMap<String, Route> = enabled
            .map(|(name, entry)| {
                let route = Route {
                    service: name.clone(),
                    local_address: entry.local_address.clone(),
                    plugin: entry.plugin.clone(),
                };
                (service_protocol(name), route)
            })
            .collect();
        let before = self.routes.swap(Arc::new(Routes {
            services: services.clone(),
        }));
        for gone in before
            .services
            .keys()
            .filter(|protocol| !services.contains_key(*protocol))
        {
            self.protocols.unregister(gone);
        }
        let mut outcome = Ok(changed(&before.services, &services));
        for (_, route) in services
            .iter()
            .filter(|(protocol, _)| !before.services.contains_key(*protocol))
        {
            // One that cannot be served keeps no other from it.
            if let Err(error) = self.protocols.register_service(&route.service) {
                outcome = Err(register_failure(&error));
            }
        }
        outcome
    }

    /// Refuses an edit after which the node would speak more protocols than it can, before it is written: the
    /// next start would fail. One that leaves no more of them than before may pass.
    pub(crate) fn check_room(&self, before: &NodeConfig, after: &NodeConfig) -> Result<(), EditError> {
        let enabled = |config: &NodeConfig| config.services.values().filter(|entry| entry.enabled).count();
        let others = 1 + self.plugins.load().len();
        let (before, after) = (enabled(before), enabled(after));
        if after <= before || after + others <= MAX_PROTOCOLS {
            return Ok(());
        }
        let room = MAX_PROTOCOLS.saturating_sub(others);
        Err(EditError::Value {
            key: "services".to_owned(),
            message: format!("{room} may be enabled at once; disable one: peerup service disable NAME"),
        })
    }

    /// Returns where the streams of a service's protocol go.
    pub(crate) fn route(&self, protocol: &str) -> Option<Route> {
        self.routes.load().services.get(protocol).cloned()
    }

    /// Returns the plugin that serves a protocol which is no service's.
    pub(crate) fn plugin_of(&self, protocol: &str) -> Option<PluginName> {
        self.plugins.load().get(protocol).cloned()
    }
}

fn changed(before: &BTreeMap<String, Route>, after: &BTreeMap<String, Route>) -> Effects {
    let mut effects = Effects::default();
    for (protocol, route) in after {
        let name = route.service.to_string();
        match before.get(protocol) {
            None => effects.services_started.insert(name),
            Some(known) if known != route => effects.services_redirected.insert(name),
            Some(_) => false,
        };
    }
    let gone = before
        .iter()
        .filter(|(protocol, _)| !after.contains_key(*protocol));
    effects.services_stopped = gone.map(|(_, route)| route.service.to_string()).collect();
    effects
}

fn register_failure(error: &RegisterError) -> Failure {
    Failure::new(ErrorCode::Conflict, error.to_string())
        .with_hint("disable a service that is not needed: peerup service disable NAME")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(services: usize) -> NodeConfig {
        let mut text = "version: 1\nservices:\n".to_owned();
        for number in 0..services {
            text.push_str(&format!("  s{number}:\n    local_address: localhost:80\n"));
        }
        peerup_config::parse_node(&text, std::path::Path::new("/x/config.yaml"))
            .unwrap()
            .config
    }

    #[test]
    fn an_edit_that_the_next_start_would_refuse_is_refused() {
        let table = ServiceTable::new(ProtocolTable::default(), &config(0)).unwrap();
        let ping = "ping".parse().unwrap();
        table
            .set_plugin(&ping, &["/peerup/ping/1.0.0".to_owned()])
            .unwrap();
        let room = MAX_PROTOCOLS - 2;
        table.check_room(&config(room - 1), &config(room)).unwrap();
        assert!(table.check_room(&config(room), &config(room + 1)).is_err());
        table.check_room(&config(room + 5), &config(room + 4)).unwrap();
        table.set(&config(room)).unwrap();
        assert!(table.set(&config(room + 1)).is_err());
    }

    #[test]
    fn a_protocol_has_one_plugin_and_is_no_services() {
        let table = ServiceTable::new(ProtocolTable::default(), &config(1)).unwrap();
        let [one, other] = ["one", "other"].map(|name| name.parse::<PluginName>().unwrap());
        let play = vec!["/peerup/play/1.0.0".to_owned()];
        table.check_plugin(&one, &play).unwrap();
        table.set_plugin(&one, &play).unwrap();
        table.check_plugin(&one, &play).unwrap();
        assert!(table.check_plugin(&other, &play).is_err());
        assert!(
            table
                .check_plugin(&other, &["/peerup/s0/1.0.0".to_owned()])
                .is_err()
        );
        assert_eq!(table.plugin_of(&play[0]), Some(one.clone()));
        table.remove_plugin(&one);
        assert_eq!(table.plugin_of(&play[0]), None);
        table.check_plugin(&other, &play).unwrap();
        let many: Vec<String> = (0..MAX_PROTOCOLS).map(|number| format!("/p/{number}")).collect();
        assert!(table.check_plugin(&one, &many).is_err());
    }
}
