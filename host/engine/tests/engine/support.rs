//! What the tests share: an engine, the hostile plugin, a host that knows one peer, and pairs of streams.

use std::{
    borrow::Cow,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use futures::future::BoxFuture;
use libp2p_identity::{Keypair, PeerId};
use peerup_engine::{
    AuditEvent, AuditKind, CommandEvent, ConnectionDetails, Duplex, Engine, EngineConfig, Host, HostError,
    InboundRequest, Limits, PathRef, PeerDetails, PeerEvent, PeerEventKind, PeerRef, PeerRole, Plugin,
    PluginError, PluginSpec,
};
use peerup_model::{Grants, PathPolicy, PluginName, Transport};
use peerup_package::Manifest;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
    sync::{broadcast, mpsc},
    time::timeout,
};

/// Nothing here takes as long; a test that waits for more hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A host that knows the peer `home`, connected directly and over the relay `relay`, and keeps the far ends of
/// the streams opened to it. Opened as `far` it is reached over the relay.
pub(crate) struct OnePeer {
    pub(crate) id: PeerId,
    pub(crate) relay: PeerId,
    pub(crate) opened: Mutex<Vec<(String, DuplexStream)>>,
    pub(crate) events: broadcast::Sender<PeerEvent>,
}

impl OnePeer {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            id: Keypair::generate_ed25519().public().to_peer_id(),
            relay: Keypair::generate_ed25519().public().to_peer_id(),
            opened: Mutex::default(),
            events: broadcast::Sender::new(256),
        })
    }

    fn relay_ref(&self) -> PeerRef {
        PeerRef {
            id: self.relay,
            name: Some("relay".parse().unwrap()),
        }
    }

    /// An event about the peer `home`.
    pub(crate) fn event(&self, kind: PeerEventKind, path: Option<PathRef>) -> PeerEvent {
        PeerEvent {
            kind,
            peer: Some(self.home().peer),
            path,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        }
    }

    fn home(&self) -> PeerDetails {
        let connection = |path, rtt: Option<u64>, last_answer| ConnectionDetails {
            path,
            address: "/ip4/192.0.2.1/udp/4001/quic-v1".to_owned(),
            rtt: rtt.map(Duration::from_micros),
            last_answer: Some(Duration::from_secs(last_answer)),
            streams: 1,
            age: Duration::from_millis(61_500),
        };
        PeerDetails {
            peer: PeerRef {
                id: self.id,
                name: Some("home".parse().unwrap()),
            },
            role: PeerRole::Member,
            connections: vec![
                connection(PathRef::Direct(Transport::Quic), Some(1_500), 7),
                connection(PathRef::Relayed(self.relay_ref()), None, 2),
            ],
        }
    }

    fn relay(&self) -> PeerDetails {
        PeerDetails {
            peer: self.relay_ref(),
            role: PeerRole::Relay,
            connections: vec![ConnectionDetails {
                path: PathRef::Direct(Transport::Tcp),
                address: "/ip4/192.0.2.7/tcp/7777".to_owned(),
                rtt: Some(Duration::from_micros(12_345)),
                last_answer: None,
                streams: 0,
                age: Duration::ZERO,
            }],
        }
    }
}

impl Host for OnePeer {
    fn open<'a>(
        &'a self,
        _: &'a PluginName,
        peer: &'a str,
        protocol: &'a str,
        _: PathPolicy,
    ) -> BoxFuture<'a, Result<Duplex, HostError>> {
        Box::pin(async move {
            let path = match peer {
                "home" => PathRef::Direct(Transport::Quic),
                "far" => PathRef::Relayed(self.relay_ref()),
                _ => return Err(HostError::NotFound(format!("no peer is called {peer}"))),
            };
            let (far, near) = stream_on(self.home().peer, path);
            self.opened.lock().unwrap().push((protocol.to_owned(), far));
            Ok(near)
        })
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(PeerId, String), HostError>> {
        Box::pin(async move {
            match name {
                "home" => Ok((self.id, "config".to_owned())),
                _ => Err(HostError::NotFound(format!("no peer is called {name}"))),
            }
        })
    }

    fn describe<'a>(&'a self, peer: &'a str) -> BoxFuture<'a, Result<PeerDetails, HostError>> {
        Box::pin(async move {
            match peer {
                "home" => Ok(self.home()),
                "relay" => Ok(self.relay()),
                id if id == self.id.to_base58() => Ok(self.home()),
                id if id == self.relay.to_base58() => Ok(self.relay()),
                "away" => Ok(PeerDetails {
                    connections: Vec::new(),
                    ..self.home()
                }),
                _ => Err(HostError::NotFound(format!("no peer is called {peer}"))),
            }
        })
    }

    fn connected(&self) -> BoxFuture<'_, Result<Vec<PeerDetails>, HostError>> {
        Box::pin(async { Ok(vec![self.home(), self.relay()]) })
    }

    fn subscribe(&self) -> Result<broadcast::Receiver<PeerEvent>, HostError> {
        Ok(self.events.subscribe())
    }

    fn find_name(&self, name: &str) -> Result<Option<PeerId>, HostError> {
        Ok((name == "home").then_some(self.id))
    }

    fn names(&self) -> Result<Vec<(String, PeerId)>, HostError> {
        Ok(vec![
            ("home".to_owned(), self.id),
            ("relay".to_owned(), self.relay),
        ])
    }
}

pub(crate) fn engine() -> Engine {
    engine_with(EngineConfig::default())
}

/// An engine with these settings, but for its size and its cache.
pub(crate) fn engine_with(config: EngineConfig) -> Engine {
    Engine::new(EngineConfig {
        // Compiled once for all tests of a build.
        cache_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins")),
        max_instances: 64,
        ..config
    })
    .unwrap()
}

/// The plugin that answers without waiting.
pub(crate) fn sync() -> PluginSpec {
    let guest = peerup_bundle::TEST_GUESTS
        .iter()
        .find(|guest| guest.name == "sync")
        .unwrap();
    PluginSpec {
        manifest: Manifest::parse(guest.manifest).unwrap(),
        wasm: Cow::Borrowed(guest.wasm),
        ..hostile()
    }
}

/// Grants as the config writes them, as JSON.
pub(crate) fn grants(json: Value) -> Grants {
    serde_json::from_value(json).unwrap()
}

/// Runs a command that succeeds, and returns the text of its last event.
pub(crate) async fn told(plugin: &Plugin, name: &str, arguments: Value) -> String {
    let (mut events, outcome) = run(plugin, name, arguments, Grants::default()).await;
    outcome.unwrap();
    events.pop().map(|event| event.text).unwrap_or_default()
}

/// Runs a command that fails in the plugin, and returns the error that it passed on.
pub(crate) async fn refused(plugin: &Plugin, name: &str, arguments: Value) -> HostError {
    match run(plugin, name, arguments, Grants::default()).await.1 {
        Err(PluginError::Guest(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The hostile plugin as a spec, to be changed before it is loaded.
pub(crate) fn hostile() -> PluginSpec {
    let guest = &peerup_bundle::TEST_GUESTS[0];
    assert_eq!(guest.name, "hostile");
    PluginSpec {
        manifest: Manifest::parse(guest.manifest).unwrap(),
        wasm: Cow::Borrowed(guest.wasm),
        grants: Grants::default(),
        settings: "{}".to_owned(),
        limits: Limits {
            cpu: Duration::from_millis(200),
            ..Limits::default()
        },
    }
}

pub(crate) async fn load(engine: &Engine, spec: PluginSpec) -> Plugin {
    engine.load(spec, OnePeer::new()).await.unwrap()
}

pub(crate) fn a_peer() -> PeerRef {
    PeerRef {
        id: Keypair::generate_ed25519().public().to_peer_id(),
        name: Some("laptop".parse().unwrap()),
    }
}

/// A request for one behaviour of the hostile plugin.
pub(crate) fn request(behaviour: &str) -> InboundRequest {
    InboundRequest {
        protocol: format!("/peerup/p/hostile/{behaviour}/1.0.0"),
        service: None,
        peer: a_peer(),
        extra_grants: Grants::default(),
    }
}

/// The same, bound to a service at this address.
pub(crate) fn request_at(behaviour: &str, local_address: &str) -> InboundRequest {
    InboundRequest {
        service: Some(("web".parse().unwrap(), local_address.to_owned())),
        ..request(behaviour)
    }
}

/// A stream in memory, and its near end as one to a peer.
pub(crate) fn peer_stream() -> (DuplexStream, Duplex) {
    stream_on(a_peer(), PathRef::Direct(Transport::Quic))
}

fn stream_on(peer: PeerRef, path: PathRef) -> (DuplexStream, Duplex) {
    let (far, near) = tokio::io::duplex(64 << 10);
    let (reader, writer) = tokio::io::split(near);
    (far, Duplex::peer(Box::new(reader), Box::new(writer), peer, path))
}

/// Both ends of a TCP connection over loopback.
pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Opens a stream to the plugin with a peer at its other end, and drives the handler in a task.
pub(crate) fn call(
    plugin: &Plugin,
    request: InboundRequest,
) -> (DuplexStream, tokio::task::JoinHandle<Result<(), PluginError>>) {
    let (far, near) = peer_stream();
    let plugin = plugin.clone();
    (
        far,
        tokio::spawn(async move { plugin.handle_inbound(request, near).await }),
    )
}

/// Runs one behaviour on a stream of its own and answers what the handler came to.
pub(crate) async fn outcome_of(plugin: &Plugin, request: InboundRequest) -> Result<(), PluginError> {
    let (_far, near) = peer_stream();
    within(plugin.handle_inbound(request, near)).await
}

/// Runs a command to its end: what it told, and what it came to.
pub(crate) async fn run(
    plugin: &Plugin,
    name: &str,
    arguments: Value,
    extra: Grants,
) -> (Vec<CommandEvent>, Result<(), PluginError>) {
    let mut command = plugin.run_command(name, arguments, extra).unwrap();
    let mut events = Vec::new();
    while let Some(event) = within(command.next_event()).await {
        events.push(event);
    }
    let outcome = within(command.finish()).await;
    (events, outcome)
}

/// Returns the text of a denial that the plugin passed on.
#[track_caller]
pub(crate) fn denied(outcome: Result<(), PluginError>) -> String {
    match outcome {
        Err(PluginError::Guest(HostError::Denied(text))) => text,
        other => panic!("{other:?}"),
    }
}

/// Sends a text there and expects it back.
pub(crate) async fn bounce(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), text: &str) {
    within(stream.write_all(text.as_bytes())).await.unwrap();
    let mut back = vec![0; text.len()];
    within(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, text.as_bytes());
}

/// Serves TCP on loopback, sending back what comes, on every connection.
pub(crate) async fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    address
}

pub(crate) async fn within<F: Future>(work: F) -> F::Output {
    timeout(PATIENCE, work).await.expect("it hangs")
}

/// Waits until something is so, giving way to other tasks meanwhile.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    within(async {
        while !so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until a limit was met.
pub(crate) async fn limit_hit(audit: &mut mpsc::Receiver<AuditEvent>, wanted: &str) {
    within(async {
        loop {
            let event = audit.recv().await.expect("the engine is gone");
            if matches!(event.what, AuditKind::LimitHit { limit, .. } if limit == wanted) {
                return;
            }
        }
    })
    .await;
}
