//! What this node serves: which protocol belongs to which service or plugin, and what peers are told of it.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use peerup_config::{EditError, NodeConfig};
use peerup_model::{ErrorCode, Failure, INVITE_PROTOCOL, PluginName, ServiceName, service_protocol};
use peerup_net::{Audience, MAX_PROTOCOLS, ProtocolTable, RegisterError};
/// Services by protocol id, and what peers are told that this node speaks.
#[derive(Debug)]
pub(crate) struct ServiceTable {
    protocols: ProtocolTable,
    routes: ArcSwap<Routes>,
    plugin_protocols: BTreeMap<String, PluginName>,
}

#[derive(Debug, Default)]
struct Routes {
    services: BTreeMap<String, Route>,
}

/// Where the streams of a service go.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) service: ServiceName,
    pub(crate) local_address: String,
    pub(crate) plugin: PluginName,
}

impl ServiceTable {
    /// Creates the table. `plugin_protocols` are what the loaded plugins serve besides services.
    pub(crate) fn new(
        protocols: ProtocolTable,
        plugin_protocols: BTreeMap<String, PluginName>,
        config: &NodeConfig,
    ) -> Result<Self, Failure> {
        let register = |protocol: &str| {
            protocols
                .register(protocol, Audience::Members)
                .map_err(|error| register_failure(&error))
        };
        register(INVITE_PROTOCOL)?;
        for protocol in plugin_protocols.keys() {
            register(protocol)?;
        }
        let table = Self {
            protocols,
            routes: ArcSwap::default(),
            plugin_protocols,
        };
        table.set(config)?;
        Ok(table)
    }

    /// Puts the services of a config in force. Streams that are open stay open.
    pub(crate) fn set(&self, config: &NodeConfig) -> Result<(), Failure> {
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
        for (_, route) in services
            .iter()
            .filter(|(protocol, _)| !before.services.contains_key(*protocol))
        {
            self.protocols
                .register_service(&route.service)
                .map_err(|error| register_failure(&error))?;
        }
        Ok(())
    }

    /// Refuses an edit after which the node would speak more protocols than it can, before it is written: the
    /// next start would fail. One that leaves no more of them than before may pass.
    pub(crate) fn check_room(&self, before: &NodeConfig, after: &NodeConfig) -> Result<(), EditError> {
        let enabled = |config: &NodeConfig| config.services.values().filter(|entry| entry.enabled).count();
        let others = 1 + self.plugin_protocols.len();
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
    pub(crate) fn plugin_of(&self, protocol: &str) -> Option<&PluginName> {
        self.plugin_protocols.get(protocol)
    }
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
        let pings = BTreeMap::from([("/peerup/ping/1.0.0".to_owned(), "ping".parse().unwrap())]);
        let table = ServiceTable::new(ProtocolTable::default(), pings, &config(0)).unwrap();
        let room = MAX_PROTOCOLS - 2;
        table.check_room(&config(room - 1), &config(room)).unwrap();
        assert!(table.check_room(&config(room), &config(room + 1)).is_err());
        table.check_room(&config(room + 5), &config(room + 4)).unwrap();
        table.set(&config(room)).unwrap();
        assert!(table.set(&config(room + 1)).is_err());
    }
}
