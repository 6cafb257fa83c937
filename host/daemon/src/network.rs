//! The host functions: what a plugin asks of the network, joined to the running node, with errors that name
//! peers as the operator does.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::SystemTime,
};

use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use peerup_config::PathQuery;
use peerup_engine::{
    ConnectionDetails, Duplex, Host, HostError, LogLine, PathRef, PeerDetails, PeerEvent, PeerEventKind,
    PeerRef, PeerRole,
};
use peerup_model::{ErrorCode, Failure, PathKind, PathPolicy, PluginName, ServiceName};
use peerup_net::{ConnSnapshot, NodeEvent, NodeSnapshot, OpenError, PeerStream, RelayRefusal};
use peerup_trust::Role;
use tokio::sync::broadcast;

use crate::{app::App, meters::Opener, path_rules, plugin_logs::PluginLogs};

/// Events that wait for a slow plugin; the contract promises so many.
const EVENT_QUEUE: usize = 256;

/// The host functions' way to the running node, which is made after the plugins are.
#[derive(Debug)]
pub(crate) struct Network {
    app: OnceLock<Weak<App>>,
    events: broadcast::Sender<PeerEvent>,
    logs: Arc<PluginLogs>,
}

/// Makes the duplex that a plugin gets out of a stream to a peer.
pub(crate) fn duplex_of(
    app: &App,
    stream: PeerStream,
    service: Option<ServiceName>,
    opener: Opener,
) -> Duplex {
    let (id, kind) = (stream.peer(), stream.path());
    let throttles = app.throttles.of_stream(|| app.config(), id, service.as_ref());
    let metered = app.meters.traffic.meter(stream, service, (id, kind), opener);
    let (reader, writer) = tokio::io::split(metered);
    let (peer, path) = (peer_ref(app, &id), path_ref(app, kind));
    Duplex::peer(Box::new(reader), Box::new(writer), peer, path).with_throttles(throttles)
}

/// Returns a peer as plugins see it.
pub(crate) fn peer_ref(app: &App, peer: &PeerId) -> PeerRef {
    PeerRef {
        id: *peer,
        name: crate::names::name_of(&app.config(), peer).cloned(),
    }
}

fn path_ref(app: &App, path: PathKind) -> PathRef {
    match path {
        PathKind::Direct(transport) => PathRef::Direct(transport),
        PathKind::Relayed(relay) => PathRef::Relayed(peer_ref(app, &relay)),
    }
}

/// Returns what the node knows of a peer and of the ways to it; none of one that is neither member nor relay,
/// so that plugins do not learn of a peer that is only pairing.
fn details(app: &App, snapshot: &NodeSnapshot, peer: &PeerId) -> Option<PeerDetails> {
    let connections = snapshot.peers.iter().find(|known| known.peer == *peer);
    Some(PeerDetails {
        peer: peer_ref(app, peer),
        role: role_of(app, snapshot, peer)?,
        connections: connections
            .into_iter()
            .flat_map(|known| &known.connections)
            .map(|connection| connection_details(app, connection))
            .collect(),
    })
}

/// A relay that is a member too counts as relay. One that somebody else brought in is one for as long as a
/// connection goes over it.
fn role_of(app: &App, snapshot: &NodeSnapshot, peer: &PeerId) -> Option<PeerRole> {
    let carries =
        |connection: &ConnSnapshot| matches!(connection.path, PathKind::Relayed(relay) if relay == *peer);
    let relays = snapshot.relays.iter().any(|relay| relay.peer == *peer)
        || snapshot
            .peers
            .iter()
            .any(|other| other.connections.iter().any(carries));
    match app.access.policy().load().role(peer, jiff::Timestamp::now()) {
        _ if relays => Some(PeerRole::Relay),
        Some(Role::Infra) => Some(PeerRole::Relay),
        Some(Role::Member(_)) => Some(PeerRole::Member),
        Some(Role::Pairing) | None => None,
    }
}

fn connection_details(app: &App, connection: &ConnSnapshot) -> ConnectionDetails {
    ConnectionDetails {
        path: path_ref(app, connection.path),
        address: connection.address.to_string(),
        rtt: connection.rtt,
        last_answer: connection.last_answer,
        streams: connection.streams,
        age: connection.age,
    }
}

async fn snapshot(app: &App) -> Result<NodeSnapshot, HostError> {
    let taken = app.node.snapshot().await;
    taken.map_err(|error| HostError::Closed(error.to_string()))
}

/// Tells plugins what happens to the peers that they may know of, until the node ends.
async fn tell_events(
    mut events: broadcast::Receiver<NodeEvent>,
    app: Weak<App>,
    told: broadcast::Sender<PeerEvent>,
) {
    loop {
        let event = match events.recv().await {
            Ok(event) => Some(event),
            // What was missed here is missed there: whoever has to know how things stand asks for it.
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let Some(app) = app.upgrade() else { return };
        if told.receiver_count() == 0 {
            continue;
        }
        let event = match event {
            Some(event) => peer_event(&app, &event),
            None => Some(missed()),
        };
        if let Some(event) = event {
            // Nobody may have stayed to hear it.
            let _ = told.send(event);
        }
    }
}

/// That events of the node were missed.
fn missed() -> PeerEvent {
    PeerEvent {
        kind: PeerEventKind::Missed,
        peer: None,
        path: None,
        at: SystemTime::now(),
    }
}

/// Returns an event of the node as plugins see it; none for what is about no peer, or about one that is only pairing.
fn peer_event(app: &App, event: &NodeEvent) -> Option<PeerEvent> {
    let (kind, peer, path) = match event {
        NodeEvent::PeerConnected { peer, path } => (PeerEventKind::Connected, peer, Some(*path)),
        NodeEvent::PeerDisconnected { peer } => (PeerEventKind::Disconnected, peer, None),
        NodeEvent::PathChanged { peer, path } => (PeerEventKind::PathChanged, peer, Some(*path)),
        _ => return None,
    };
    match app.access.policy().load().role(peer, jiff::Timestamp::now()) {
        Some(Role::Pairing) => return None,
        // One that just lost its right is disconnected because of that, and was known until now.
        None if kind != PeerEventKind::Disconnected => return None,
        _ => {}
    }
    Some(PeerEvent {
        kind,
        peer: Some(peer_ref(app, peer)),
        path: path.map(|path| path_ref(app, path)),
        at: SystemTime::now(),
    })
}

impl Network {
    /// Takes where the lines that plugins write are kept.
    pub(crate) fn new(logs: Arc<PluginLogs>) -> Self {
        Self {
            app: OnceLock::new(),
            events: broadcast::Sender::new(EVENT_QUEUE),
            logs,
        }
    }

    /// Joins the host functions to the running node. Called once, by the composition root.
    pub(crate) fn connect(&self, app: &Arc<App>) {
        let _ = self.app.set(Arc::downgrade(app));
        let told = tell_events(app.node.events(), Arc::downgrade(app), self.events.clone());
        let shutdown = app.shutdown.clone();
        app.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = told => {}
            }
        });
    }

    fn app(&self) -> Result<Arc<App>, HostError> {
        self.app
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(|| HostError::Closed("the node is shutting down".to_owned()))
    }
}

impl Host for Network {
    fn hear(&self, plugin: &PluginName, line: &LogLine) {
        self.logs.hear(plugin, line);
    }

    fn open<'a>(
        &'a self,
        plugin: &'a PluginName,
        peer: &'a str,
        protocol: &'a str,
        policy: PathPolicy,
    ) -> BoxFuture<'a, Result<Duplex, HostError>> {
        Box::pin(async move {
            let app = self.app()?;
            let (id, _) = app.resolve(peer).await.map_err(host_error)?;
            tracing::debug!(%plugin, peer = %id, protocol, "opening a stream");
            let service = path_rules::service_of(protocol);
            let query = PathQuery {
                peer: &id,
                service: service.as_ref(),
                plugin: Some(plugin),
                asked: policy,
            };
            let opened = open_stream(&app, protocol, &query).await;
            app.meters
                .count_opening(opened.as_ref().err().map(|failure| failure.code));
            let stream = opened.map_err(host_error)?;
            Ok(duplex_of(&app, stream, service.clone(), Opener::Node).with_protocol(protocol))
        })
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(PeerId, String), HostError>> {
        Box::pin(async move {
            let app = self.app()?;
            let (peer, source) = app.resolve(name).await.map_err(host_error)?;
            Ok((peer, source.as_str().to_owned()))
        })
    }

    fn describe<'a>(&'a self, peer: &'a str) -> BoxFuture<'a, Result<PeerDetails, HostError>> {
        Box::pin(async move {
            let app = self.app()?;
            let (id, _) = app.resolve(peer).await.map_err(host_error)?;
            details(&app, &snapshot(&app).await?, &id).ok_or_else(|| {
                HostError::NotFound(format!(
                    "{} is neither a member nor a relay of this node",
                    app.display(&id)
                ))
            })
        })
    }

    fn connected(&self) -> BoxFuture<'_, Result<Vec<PeerDetails>, HostError>> {
        Box::pin(async move {
            let app = self.app()?;
            let snapshot = snapshot(&app).await?;
            let peers = snapshot.peers.iter();
            Ok(peers
                .filter_map(|known| details(&app, &snapshot, &known.peer))
                .collect())
        })
    }

    fn subscribe(&self) -> Result<broadcast::Receiver<PeerEvent>, HostError> {
        self.app()?;
        Ok(self.events.subscribe())
    }

    fn find_name(&self, name: &str) -> Result<Option<PeerId>, HostError> {
        let config = self.app()?.config();
        Ok(config.names.get(name).copied())
    }

    fn names(&self) -> Result<Vec<(String, PeerId)>, HostError> {
        let config = self.app()?.config();
        let names = config.names.iter();
        Ok(names.map(|(name, peer)| (name.to_string(), *peer)).collect())
    }
}

fn host_error(failure: Failure) -> HostError {
    let text = match &failure.hint {
        Some(hint) => format!("{}; {hint}", failure.message),
        None => failure.message.clone(),
    };
    match failure.code {
        ErrorCode::NotFound => HostError::NotFound(text),
        ErrorCode::Invalid => HostError::Invalid(text),
        ErrorCode::Denied | ErrorCode::Unauthorized => HostError::Denied(text),
        ErrorCode::TimedOut => HostError::TimedOut(text),
        ErrorCode::Conflict => HostError::Limit(text),
        ErrorCode::Interrupted => HostError::Closed(text),
        ErrorCode::CheckFailed => HostError::Refused(text),
        _ => HostError::Unreachable(text),
    }
}

/// Opens a stream to a peer over a path that the config allows, with errors that name the peer as the
/// operator does and the line of the config where one left fewer paths.
pub(crate) async fn open_stream(
    app: &App,
    protocol: &str,
    query: &PathQuery<'_>,
) -> Result<PeerStream, Failure> {
    let peer = *query.peer;
    if peer == app.peer_id() {
        return Err(Failure::new(ErrorCode::Invalid, "this is the node's own peer id"));
    }
    let role = app.access.policy().load().role(&peer, jiff::Timestamp::now());
    if role.is_none() {
        let shown = app.display(&peer);
        return Err(
            Failure::new(ErrorCode::Denied, format!("{shown} is not in authorized_keys"))
                .with_hint(format!("peerup auth add {peer}, or pair with: peerup invite")),
        );
    }
    let decision = path_rules::decide(&app.config(), query)?;
    app.node
        .open(peer, protocol, decision.policy)
        .await
        .map_err(|error| {
            let failure = open_failure(app, &peer, protocol, &error);
            path_rules::blame(failure, decision.rule.as_ref())
        })
}

/// Says what became of an attempt to open a stream, and what to do.
pub(crate) fn open_failure(app: &App, peer: &PeerId, protocol: &str, error: &OpenError) -> Failure {
    let shown = app.display(peer);
    let service = protocol
        .strip_prefix("/peerup/")
        .and_then(|rest| rest.strip_suffix("/1.0.0"));
    match error {
        OpenError::NotListed { .. } => {
            Failure::new(ErrorCode::Denied, format!("{shown} is not in authorized_keys"))
                .with_hint(format!("peerup auth add {peer}, or pair with: peerup invite"))
        }
        OpenError::NotAuthorized { .. } => Failure::new(ErrorCode::Denied, format!("{shown}: {error}"))
            .with_hint(format!(
                "let the other side run: peerup auth add {}",
                app.peer_id()
            )),
        OpenError::RelayRefused {
            relay,
            reason: RelayRefusal::PeerRefused,
            ..
        } => Failure::new(
            ErrorCode::Denied,
            format!(
                "{shown} does not accept this identity: it took no connection over the relay {}",
                app.display(relay)
            ),
        )
        .with_hint(format!(
            "let the other side run: peerup auth add {}",
            app.peer_id()
        )),
        OpenError::RelayRefused {
            relay,
            reason: RelayRefusal::Denied,
            ..
        } => Failure::new(
            ErrorCode::Denied,
            format!(
                "{shown}: the relay {} does not admit this node",
                app.display(relay)
            ),
        )
        .with_hint(format!(
            "on the relay, run: relay-server authorize {}",
            app.peer_id()
        )),
        OpenError::UnsupportedProtocol { .. } => {
            let what = service.map_or_else(|| protocol.to_owned(), |name| format!("the service {name:?}"));
            Failure::new(ErrorCode::Denied, format!("{shown} does not offer {what} to this node")).with_hint(
                "ask it what it offers with: peerup service list, there; it may be off, or not allowed for this peer",
            )
        }
        OpenError::Timeout { .. } => Failure::new(ErrorCode::Unreachable, format!("{shown}: {error}"))
            .with_hint("is its daemon running? see: peerup status"),
        _ => Failure::new(ErrorCode::Unreachable, format!("{shown}: {error}"))
            .with_hint("is its daemon running, and does this node share a relay with it? see: peerup status"),
    }
}
