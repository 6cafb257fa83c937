//! The plugins of this node: loaded from the bundle with the grants of the config, and the host functions
//! that join them to the network.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
};

use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use peerup_api::{PluginCommandInfo, PluginInfo};
use peerup_config::{NodeConfig, PluginEntry};
use peerup_engine::{
    Duplex, Engine, Host, HostError, Limits, Manifest, PathRef, PeerRef, Plugin, PluginSpec,
};
use peerup_model::{ErrorCode, Failure, PathKind, PathPolicy, PluginName};
use peerup_net::{OpenError, PeerStream, RelayRefusal};

use crate::app::App;

/// The loaded plugins and those that failed to load.
#[derive(Debug)]
pub(crate) struct PluginSet {
    engine: Engine,
    active: BTreeMap<PluginName, Plugin>,
    failed: BTreeMap<PluginName, FailedPlugin>,
    network: Arc<Network>,
}

#[derive(Debug)]
struct FailedPlugin {
    manifest: Option<Manifest>,
    reason: String,
}

/// The host functions' way to the running node, which is made after the plugins are.
#[derive(Debug, Default)]
pub(crate) struct Network {
    app: OnceLock<Weak<App>>,
}

impl PluginSet {
    /// Loads every bundled plugin that the config enables. One that fails leaves the others running.
    pub(crate) async fn load(engine: Engine, config: &NodeConfig) -> Self {
        let network = Arc::new(Network::default());
        let mut set = Self {
            engine,
            active: BTreeMap::new(),
            failed: BTreeMap::new(),
            network,
        };
        for (name, entry) in config.plugins.iter().filter(|(_, entry)| entry.enabled) {
            match set.load_one(name, entry).await {
                Ok(plugin) => {
                    set.active.insert(name.clone(), plugin);
                }
                Err((manifest, reason)) => {
                    tracing::error!(plugin = %name, reason, "the plugin does not start; the others do");
                    set.failed.insert(name.clone(), FailedPlugin { manifest, reason });
                }
            }
        }
        set
    }

    async fn load_one(
        &self,
        name: &PluginName,
        entry: &PluginEntry,
    ) -> Result<Plugin, (Option<Manifest>, String)> {
        let bundled = peerup_bundle::BUNDLED
            .iter()
            .find(|bundled| bundled.name == name.as_str());
        let Some(bundled) = bundled else {
            let known: Vec<&str> = peerup_bundle::BUNDLED
                .iter()
                .map(|bundled| bundled.name)
                .collect();
            return Err((
                None,
                format!("there is no such plugin; there are: {}", known.join(", ")),
            ));
        };
        let manifest = Manifest::parse(bundled.manifest).map_err(|error| (None, error.to_string()))?;
        let spec = PluginSpec {
            manifest: manifest.clone(),
            wasm: bundled.wasm.into(),
            grants: entry.grants.clone(),
            settings: serde_json::Value::Object(entry.settings.clone()).to_string(),
            limits: Limits {
                memory_bytes: usize::try_from(entry.limits.memory).unwrap_or(usize::MAX),
                cpu: entry.limits.cpu,
                instances: usize::try_from(entry.limits.instances).unwrap_or(usize::MAX),
                ..Limits::default()
            },
        };
        self.engine
            .load(spec, self.network.clone())
            .await
            .map_err(|error| (Some(manifest), error.to_string()))
    }

    /// Joins the host functions to the running node.
    pub(crate) fn connect(&self, app: &Arc<App>) {
        // Set once, by the composition root.
        let _ = self.network.app.set(Arc::downgrade(app));
    }

    /// Returns an active plugin.
    pub(crate) fn get(&self, name: &PluginName) -> Option<&Plugin> {
        self.active.get(name)
    }

    /// Returns an active plugin, or why there is none.
    pub(crate) fn require(&self, name: &str) -> Result<&Plugin, Failure> {
        if let Some(plugin) = self.active.get(name) {
            return Ok(plugin);
        }
        Err(match self.failed.get(name) {
            Some(failed) => Failure::new(
                ErrorCode::Failed,
                format!("the plugin {name} does not run: {}", failed.reason),
            ),
            None => Failure::new(ErrorCode::NotFound, format!("the plugin {name} is not enabled"))
                .with_hint(format!("write in the config: plugins.{name}.enabled: true")),
        })
    }

    /// Returns which plugin serves which protocol besides services: what its manifest names and its grants cover.
    pub(crate) fn protocols(&self) -> BTreeMap<String, PluginName> {
        let mut protocols = BTreeMap::new();
        for (name, plugin) in self.active.iter().filter(|(_, plugin)| plugin.exports().inbound) {
            // A pattern stands for services, which have routes of their own.
            let named = plugin
                .manifest()
                .protocols
                .iter()
                .filter(|protocol| !protocol.contains('*'));
            for protocol in named {
                if plugin.grants().allows_protocol(name.as_str(), protocol) {
                    protocols.insert(protocol.clone(), name.clone());
                }
            }
        }
        protocols
    }

    /// Puts the grants and settings of a config in force for what starts from now on.
    pub(crate) fn set_config(&self, config: &NodeConfig) {
        for (name, plugin) in &self.active {
            if let Some(entry) = config.plugins.get(name) {
                plugin.set_grants(entry.grants.clone());
                plugin.set_settings(serde_json::Value::Object(entry.settings.clone()).to_string());
            }
        }
    }

    /// Returns a peer as plugins see it.
    pub(crate) fn peer_ref(&self, peer: &PeerId) -> PeerRef {
        self.network.peer_ref(peer)
    }

    /// Returns the engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns what `plugin list` shows.
    pub(crate) fn list(&self) -> Vec<PluginInfo> {
        let active = self.active.iter().map(|(name, plugin)| describe(name, plugin));
        let failed = self
            .failed
            .iter()
            .map(|(name, failed)| describe_failed(name, failed));
        let mut list: Vec<PluginInfo> = active.chain(failed).collect();
        list.sort_by(|one, other| one.name.cmp(&other.name));
        list
    }
}

fn describe(name: &PluginName, plugin: &Plugin) -> PluginInfo {
    let stats = plugin.stats();
    PluginInfo {
        state: "active".to_owned(),
        reason: stats.last_error,
        instances: stats.instances_live,
        instances_total: stats.instances_total,
        tunnels: stats.spliced_live,
        tunnels_total: stats.spliced_total,
        traps: stats.traps,
        denials: stats.denials,
        bytes: stats.bytes_in + stats.bytes_out,
        grants: serde_json::to_value(plugin.grants().as_ref()).unwrap_or_default(),
        ..describe_manifest(name, Some(plugin.manifest()))
    }
}

fn describe_failed(name: &PluginName, failed: &FailedPlugin) -> PluginInfo {
    PluginInfo {
        state: "failed".to_owned(),
        reason: Some(failed.reason.clone()),
        ..describe_manifest(name, failed.manifest.as_ref())
    }
}

fn describe_manifest(name: &PluginName, manifest: Option<&Manifest>) -> PluginInfo {
    let commands = manifest
        .map(|manifest| manifest.commands.as_slice())
        .unwrap_or_default();
    PluginInfo {
        name: name.to_string(),
        version: manifest
            .map(|manifest| manifest.version.clone())
            .unwrap_or_default(),
        summary: manifest
            .map(|manifest| manifest.summary.clone())
            .unwrap_or_default(),
        state: String::new(),
        reason: None,
        instances: 0,
        instances_total: 0,
        tunnels: 0,
        tunnels_total: 0,
        traps: 0,
        denials: 0,
        bytes: 0,
        grants: serde_json::Value::Null,
        commands: commands
            .iter()
            .map(|command| PluginCommandInfo {
                name: command.name.clone(),
                summary: command.summary.clone(),
            })
            .collect(),
    }
}

/// Returns where compiled plugins are kept: the config's choice, else the user's cache folder, else beside
/// the config.
pub(crate) fn cache_dir(config: &NodeConfig, folder: &std::path::Path) -> PathBuf {
    if let Some(chosen) = &config.daemon.cache_dir {
        return chosen.clone();
    }
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    match home.filter(|path| path.is_absolute()) {
        Some(cache) => cache.join("peerup").join("plugins"),
        None => folder.join(".plugin-cache"),
    }
}

/// Makes the duplex that a plugin gets out of a stream to a peer.
pub(crate) fn duplex_of(plugins: &PluginSet, stream: PeerStream) -> Duplex {
    plugins.network.duplex(stream)
}

impl Network {
    fn app(&self) -> Result<Arc<App>, HostError> {
        self.app
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(|| HostError::Closed("the node is shutting down".to_owned()))
    }

    fn peer_ref(&self, peer: &PeerId) -> PeerRef {
        let name = self
            .app()
            .ok()
            .and_then(|app| crate::names::name_of(&app.config(), peer).cloned());
        PeerRef { id: *peer, name }
    }

    fn duplex(&self, stream: PeerStream) -> Duplex {
        let peer = self.peer_ref(&stream.peer());
        let path = match stream.path() {
            PathKind::Direct(transport) => PathRef::Direct(transport),
            PathKind::Relayed(relay) => PathRef::Relayed(self.peer_ref(&relay)),
        };
        let (reader, writer) = stream.into_split();
        Duplex::peer(Box::new(reader), Box::new(writer), peer, path)
    }
}

impl Host for Network {
    fn open<'a>(
        &'a self,
        plugin: &'a PluginName,
        peer: &'a str,
        protocol: &'a str,
        policy: PathPolicy,
    ) -> BoxFuture<'a, Result<Duplex, HostError>> {
        Box::pin(async move {
            let app = self.app()?;
            let (id, _) = app.resolve(peer).map_err(host_error)?;
            tracing::debug!(%plugin, peer = %id, protocol, "opening a stream");
            let stream = open_stream(&app, id, protocol, policy)
                .await
                .map_err(host_error)?;
            Ok(self.duplex(stream))
        })
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(PeerId, String), HostError>> {
        Box::pin(async move {
            let (peer, source) = self.app()?.resolve(name).map_err(host_error)?;
            Ok((peer, source.as_str().to_owned()))
        })
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

/// Opens a stream to a peer, with errors that name it as the operator does.
pub(crate) async fn open_stream(
    app: &App,
    peer: PeerId,
    protocol: &str,
    policy: PathPolicy,
) -> Result<PeerStream, Failure> {
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
    app.node
        .open(peer, protocol, policy)
        .await
        .map_err(|error| open_failure(app, &peer, protocol, &error))
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
