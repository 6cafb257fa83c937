//! The way of an inbound stream: who is asking, which service or plugin it is for, and a fresh instance of it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Instant,
};

use libp2p_identity::PeerId;
use peerup_config::{NodeConfig, PathQuery};
use peerup_engine::{InboundRequest, PathRef, SpliceInfo};
use peerup_model::{Grants, INVITE_PROTOCOL, PathKind, PathPolicy, PluginName, ServiceName};
use peerup_net::{InboundStream, PeerStream};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    app::App,
    meters::{Opener, RefusalKind},
    network, pairing,
    path_rules::{self, RefusalLog},
};

/// Inbound streams that are being handed to plugins at once; more wait. A spliced tunnel no longer
/// counts, so this bounds work in progress, not tunnels.
const MAX_HANDLING: usize = 1024;
/// Of these for one peer; its others wait. A quarter of the instances that a plugin may have.
const MAX_HANDLING_PER_PEER: usize = 64;

/// Hands inbound streams to plugins until the network ends or the node shuts down.
pub(crate) async fn serve(app: Arc<App>, mut inbound: mpsc::Receiver<InboundStream>) {
    let slots = Arc::new(Semaphore::new(MAX_HANDLING));
    let mut shares = Shares::default();
    let refusals = Arc::new(RefusalLog::default());
    loop {
        let stream = tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            stream = inbound.recv() => stream,
        };
        let Some(stream) = stream else { return };
        let (share, slots) = (shares.of(stream.peer), slots.clone());
        let (task_app, task_refusals) = (app.clone(), refusals.clone());
        app.tasks.spawn(async move {
            // Never closed. First the peer's own share, so that its streams that wait keep nobody else's out; how many
            // can wait is bounded by the streams that a peer may have.
            let _turn = share.acquire().await;
            let _slot = slots.acquire().await;
            handle(&task_app, stream, &task_refusals).await;
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

async fn handle(app: &Arc<App>, inbound: InboundStream, refusals: &RefusalLog) {
    let protocol = inbound.protocol.to_string();
    if protocol == INVITE_PROTOCOL {
        pairing::handle_joiner(app, inbound).await;
        return;
    }
    let peer = inbound.peer;
    let Err(Refused { kind, reason }) = hand_over(app, inbound).await else {
        return;
    };
    app.meters.count_refusal(kind);
    // A peer tries a path that the config forbids it again and again.
    if kind == RefusalKind::Path && !refusals.is_due(peer, Instant::now()) {
        tracing::debug!(%peer, protocol, reason, "an inbound stream was refused");
    } else {
        tracing::warn!(%peer, protocol, reason, "an inbound stream was refused");
    }
}

/// Why an inbound stream was refused.
#[derive(Debug)]
struct Refused {
    kind: RefusalKind,
    /// For the log.
    reason: String,
}

/// Ends a stream because of this.
fn refuse(stream: PeerStream, kind: RefusalKind, reason: impl Into<String>) -> Result<(), Refused> {
    stream.reset();
    Err(Refused {
        kind,
        reason: reason.into(),
    })
}

/// Checks again who is asking (the gate did already), then gives the stream to the plugin.
async fn hand_over(app: &Arc<App>, inbound: InboundStream) -> Result<(), Refused> {
    let peer = inbound.peer;
    let route = app.services.route(inbound.protocol.as_ref());
    let plugin = match &route {
        Some(route) => {
            if !may_use(app, &peer, &route.service) {
                let reason = format!("this peer may not use the service {}", route.service);
                return refuse(inbound.stream, RefusalKind::Service, reason);
            }
            route.plugin.clone()
        }
        None => match app.services.plugin_of(inbound.protocol.as_ref()) {
            Some(_) if !is_member(app, &peer) => {
                return refuse(inbound.stream, RefusalKind::Plugin, "this peer is no member");
            }
            Some(plugin) if !may_call(app, &app.config(), &peer, &plugin) => {
                let reason = format!("this peer may not use the plugin {plugin}");
                return refuse(inbound.stream, RefusalKind::Plugin, reason);
            }
            Some(plugin) => plugin,
            None => {
                return refuse(
                    inbound.stream,
                    RefusalKind::Unknown,
                    "nothing serves this protocol",
                );
            }
        },
    };
    let query = PathQuery {
        peer: &peer,
        service: route.as_ref().map(|route| &route.service),
        plugin: Some(&plugin),
        asked: PathPolicy::PreferDirect,
    };
    if let Some(why) = path_rules::forbidden(&app.config(), &query, inbound.stream.path()) {
        return refuse(inbound.stream, RefusalKind::Path, why);
    }
    let Some(lease) = app.plugins.enter(&plugin) else {
        let reason = format!("the plugin {plugin} is not active");
        return refuse(inbound.stream, RefusalKind::Inactive, reason);
    };
    let service = route.as_ref().map(|route| route.service.clone());
    let request = InboundRequest {
        protocol: inbound.protocol.to_string(),
        service: route.map(|route| (route.service, route.local_address)),
        peer: network::peer_ref(app, &peer),
        extra_grants: Grants::default(),
    };
    let duplex = network::duplex_of(app, inbound.stream, service, Opener::Peer);
    let handled = lease.plugin().handle_inbound(request, duplex).await;
    handled.map_err(|error| {
        app.plugins.note(&lease, &error);
        Refused {
            kind: RefusalKind::Failed,
            reason: error.to_string(),
        }
    })
}

fn may_use(app: &App, peer: &PeerId, service: &ServiceName) -> bool {
    listed_for(app, &app.config(), peer, service) && is_granted(app, peer, service)
}

/// Whether the service's own lists, and those of the plugin that serves it, cover the peer.
fn listed_for(app: &App, config: &NodeConfig, peer: &PeerId, service: &ServiceName) -> bool {
    let Some(entry) = config.services.get(service) else {
        return false;
    };
    let now = jiff::Timestamp::now();
    config.service_allows(service, peer)
        && app.extra_keys.admits(entry.keys_file.as_deref(), peer, now)
        && may_call(app, config, peer, &entry.plugin)
}

/// Whether the plugin's own lists cover the peer. A plugin that the config does not have is none that peers reach.
fn may_call(app: &App, config: &NodeConfig, peer: &PeerId, plugin: &PluginName) -> bool {
    let keys = config
        .plugins
        .get(plugin)
        .and_then(|entry| entry.keys_file.as_deref());
    config.plugin_allows(plugin, peer) && app.extra_keys.admits(keys, peer, jiff::Timestamp::now())
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

/// Ends the tunnels to services that their peers may not use any more, and those on a path that the config
/// does not allow any more. Those of a service that was switched off or taken away run on.
pub(crate) fn close_forbidden(app: &App) {
    let config = app.config();
    let tunnels = app.engine.splices();
    for tunnel in tunnels.list() {
        let Some(peer) = tunnel.peer.as_ref().map(|peer| peer.id) else {
            continue;
        };
        let why = lost_right(app, &config, &tunnel, &peer).or_else(|| lost_path(&config, &tunnel, &peer));
        let Some(why) = why else { continue };
        tracing::info!(%peer, plugin = %tunnel.plugin, why, "closes a tunnel that is not allowed any more");
        tunnels.close(tunnel.id);
    }
}

fn kind_of(path: &PathRef) -> PathKind {
    match path {
        PathRef::Direct(transport) => PathKind::Direct(*transport),
        PathRef::Relayed(relay) => PathKind::Relayed(relay.id),
    }
}

/// Returns why a tunnel to a service of this node may not go on, if its peer lost the right to it.
fn lost_right(app: &App, config: &NodeConfig, tunnel: &SpliceInfo, peer: &PeerId) -> Option<String> {
    let service: ServiceName = tunnel.service.as_deref()?.parse().ok()?;
    let is_on = config.services.get(&service).is_some_and(|entry| entry.enabled);
    let listed = !is_on || listed_for(app, config, peer, &service);
    let allowed = listed && is_granted(app, peer, &service);
    (!allowed).then(|| format!("this peer may not use the service {service}"))
}

/// Returns why a tunnel may not go on, if its path is not allowed any more.
fn lost_path(config: &NodeConfig, tunnel: &SpliceInfo, peer: &PeerId) -> Option<String> {
    let path = kind_of(tunnel.path.as_ref()?);
    let served = tunnel.service.as_deref().and_then(|name| name.parse().ok());
    let service = served.or_else(|| tunnel.protocol.as_deref().and_then(path_rules::service_of));
    let query = PathQuery {
        peer,
        service: service.as_ref(),
        plugin: Some(&tunnel.plugin),
        asked: PathPolicy::PreferDirect,
    };
    path_rules::forbidden(config, &query, path)
}

#[cfg(test)]
mod tests {
    use super::*;

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
