//! What this node serves: which protocol belongs to which service or plugin, and the way of an inbound
//! stream to a fresh instance of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use arc_swap::ArcSwap;
use libp2p_identity::PeerId;
use peerup_config::{EditError, NodeConfig};
use peerup_engine::InboundRequest;
use peerup_model::{ErrorCode, Failure, Grants, INVITE_PROTOCOL, PluginName, ServiceName, service_protocol};
use peerup_net::{Audience, InboundStream, MAX_PROTOCOLS, ProtocolTable, RegisterError};
use tokio::sync::{Semaphore, mpsc};

use crate::{app::App, pairing, plugins::duplex_of};

/// Inbound streams that are being handed to plugins at once; more are reset. A spliced tunnel no longer
/// counts, so this bounds work in progress, not tunnels.
const MAX_HANDLING: usize = 1024;
/// Of these for one peer; its others wait. A quarter of the instances that a plugin may have.
const MAX_HANDLING_PER_PEER: usize = 64;

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

#[derive(Debug, Clone)]
struct Route {
    service: ServiceName,
    local_address: String,
    plugin: PluginName,
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

    fn route(&self, protocol: &str) -> Option<Route> {
        self.routes.load().services.get(protocol).cloned()
    }
}

fn register_failure(error: &RegisterError) -> Failure {
    Failure::new(ErrorCode::Conflict, error.to_string())
        .with_hint("disable a service that is not needed: peerup service disable NAME")
}

/// Hands inbound streams to plugins until the network ends or the node shuts down.
pub(crate) async fn serve(app: Arc<App>, mut inbound: mpsc::Receiver<InboundStream>) {
    let slots = Arc::new(Semaphore::new(MAX_HANDLING));
    let mut shares = Shares::default();
    loop {
        let stream = tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            stream = inbound.recv() => stream,
        };
        let Some(stream) = stream else { return };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::warn!(peer = %stream.peer, protocol = %stream.protocol, "too many streams at once, one was reset");
            stream.stream.reset();
            continue;
        };
        let share = shares.of(stream.peer);
        let task_app = app.clone();
        app.tasks.spawn(async move {
            // Never closed, so this waits until one of the peer's own streams is through.
            let _turn = share.acquire().await;
            handle(&task_app, stream).await;
            drop(slot);
        });
    }
}

/// What each peer may have in progress, so that one whose streams hang starves nobody else. An entry ends
/// with the peer's last stream.
#[derive(Debug, Default)]
struct Shares {
    by_peer: HashMap<PeerId, Weak<Semaphore>>,
}

impl Shares {
    fn of(&mut self, peer: PeerId) -> Arc<Semaphore> {
        if let Some(share) = self.by_peer.get(&peer).and_then(Weak::upgrade) {
            return share;
        }
        self.by_peer.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(MAX_HANDLING_PER_PEER));
        self.by_peer.insert(peer, Arc::downgrade(&share));
        share
    }
}

async fn handle(app: &Arc<App>, inbound: InboundStream) {
    let protocol = inbound.protocol.to_string();
    if protocol == INVITE_PROTOCOL {
        pairing::handle_joiner(app, inbound).await;
        return;
    }
    let peer = inbound.peer;
    if let Err(reason) = hand_over(app, inbound).await {
        tracing::warn!(%peer, protocol, reason, "an inbound stream was refused");
    }
}

/// Checks again who is asking (the gate did already), then gives the stream to the plugin.
async fn hand_over(app: &Arc<App>, inbound: InboundStream) -> Result<(), String> {
    let peer = inbound.peer;
    let route = app.services.route(inbound.protocol.as_ref());
    let plugin = match &route {
        Some(route) => {
            if !may_use(app, &peer, &route.service) {
                inbound.stream.reset();
                return Err(format!("this peer may not use the service {}", route.service));
            }
            route.plugin.clone()
        }
        None => match app.services.plugin_protocols.get(inbound.protocol.as_ref()) {
            Some(_) if !is_member(app, &peer) => {
                inbound.stream.reset();
                return Err("this peer is no member".to_owned());
            }
            Some(plugin) => plugin.clone(),
            None => {
                inbound.stream.reset();
                return Err("nothing serves this protocol".to_owned());
            }
        },
    };
    let Some(plugin) = app.plugins.get(&plugin) else {
        inbound.stream.reset();
        return Err(format!("the plugin {plugin} is not active"));
    };
    let request = InboundRequest {
        protocol: inbound.protocol.to_string(),
        service: route.map(|route| (route.service, route.local_address)),
        peer: app.plugins.peer_ref(&peer),
        extra_grants: Grants::default(),
    };
    let duplex = duplex_of(&app.plugins, inbound.stream);
    plugin
        .handle_inbound(request, duplex)
        .await
        .map_err(|error| error.to_string())
}

fn may_use(app: &App, peer: &PeerId, service: &ServiceName) -> bool {
    app.config().service_allows(service, peer) && is_granted(app, peer, service)
}

/// Whether `authorized_keys` lets the peer use the service.
fn is_granted(app: &App, peer: &PeerId, service: &ServiceName) -> bool {
    let policy = app.access.policy().load();
    policy
        .member(peer, jiff::Timestamp::now())
        .is_some_and(|access| access.may_use(service))
}

fn is_member(app: &App, peer: &PeerId) -> bool {
    let policy = app.access.policy().load();
    policy.member(peer, jiff::Timestamp::now()).is_some()
}

/// Ends the tunnels to services that their peers may not use any more. Those of a service that was switched
/// off or taken away run on.
pub(crate) fn close_forbidden(app: &App) {
    let config = app.config();
    let tunnels = app.plugins.engine().splices();
    for tunnel in tunnels.list() {
        let service = tunnel.service.as_deref().map(str::parse::<ServiceName>);
        let (Some(Ok(service)), Some(peer)) = (service, tunnel.peer) else {
            continue;
        };
        let is_on = config.services.get(&service).is_some_and(|entry| entry.enabled);
        let listed = !is_on || config.service_allows(&service, &peer.id);
        if listed && is_granted(app, &peer.id, &service) {
            continue;
        }
        tracing::info!(peer = %peer.id, %service, "closes a tunnel of a peer that may not use the service any more");
        tunnels.close(tunnel.id);
    }
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

    #[test]
    fn a_peer_has_one_share_and_a_peer_that_is_through_none() {
        let mut shares = Shares::default();
        let [one, other, third] = [1_u8, 2, 3].map(|seed| {
            libp2p_identity::Keypair::ed25519_from_bytes([seed; 32])
                .unwrap()
                .public()
                .to_peer_id()
        });
        let held = shares.of(one);
        assert!(Arc::ptr_eq(&held, &shares.of(one)));
        assert!(!Arc::ptr_eq(&held, &shares.of(other)));
        drop(held);
        shares.of(third);
        assert_eq!(shares.by_peer.len(), 1);
    }
}
