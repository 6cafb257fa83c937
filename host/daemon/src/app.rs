//! The running node as its parts see it: who it is, what it was told, and the handles to what it does.
//!
//! Changes to the files go through here, one at a time, and are live when they return.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Instant,
};

use arc_swap::ArcSwap;
use libp2p_identity::{Keypair, PeerId};
use peerup_config::{AllowedPeer, ConfigEditor, ConfigFile, EditError, Effects, NodeConfig};
use peerup_engine::Engine;
use peerup_model::{ErrorCode, Failure, PathPolicy, PeerName};
use peerup_net::{Node, RelayAddress};
use peerup_ops::{GuardCell, Watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::AccessControl,
    alerts::Alerts,
    audit::Audit,
    events::Events,
    extra_keys::ExtraKeys,
    invites::Invites,
    last_seen::LastSeen,
    log_ring::DaemonLog,
    meters::Meters,
    names,
    place_keeper::{Exchanged, PlaceKeeper, Unmet},
    plugin_calls::PluginCalls,
    plugin_logs::PluginLogs,
    proxies::Proxies,
    proxy_keeper::ProxyKeeper,
    resolvers::{Chain, Resolvers},
    services::ServiceTable,
    supervisor::Supervisor,
    throttles::Throttles,
    trial_cell::Trials,
};

/// Everything that lives as long as the node.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) identity: Keypair,
    pub(crate) node: Node,
    pub(crate) access: Arc<AccessControl>,
    pub(crate) extra_keys: ExtraKeys,
    pub(crate) resolvers: Resolvers,
    pub(crate) services: Arc<ServiceTable>,
    pub(crate) engine: Engine,
    pub(crate) plugins: Supervisor,
    pub(crate) logs: Arc<PluginLogs>,
    pub(crate) log: DaemonLog,
    pub(crate) calls: Arc<PluginCalls>,
    pub(crate) audit: Audit,
    pub(crate) events: Arc<Events>,
    pub(crate) proxies: Proxies,
    /// Who keeps the proxies of the config; a node of one command leaves them to the daemon.
    keeper: OnceLock<Arc<dyn ProxyKeeper>>,
    /// Who keeps the places outside of the node; one of one command has those of its start.
    places: OnceLock<Arc<dyn PlaceKeeper>>,
    pub(crate) invites: Invites,
    pub(crate) started: Instant,
    pub(crate) last_seen: LastSeen,
    pub(crate) meters: Meters,
    pub(crate) throttles: Throttles,
    pub(crate) alerts: Alerts,
    /// What the node was started with: some keys are in force only after the next start.
    pub(crate) started_with: Arc<NodeConfig>,
    /// Decides what becomes of a config that is applied.
    pub(crate) guard: GuardCell,
    /// Upgrades of plugins that wait to be confirmed.
    pub(crate) trials: Trials,
    /// Ends the node when it is cancelled.
    pub(crate) shutdown: CancellationToken,
    /// Every task of the node; shutdown waits for them.
    pub(crate) tasks: TaskTracker,
    config: ArcSwap<NodeConfig>,
    file: ConfigFile,
    path: PathBuf,
    /// What the watchdog finds; none before it watches.
    watch: OnceLock<Watch>,
    /// One change of files at a time.
    pub(crate) edit: tokio::sync::Mutex<()>,
}

/// What an [`App`] is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) path: PathBuf,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) identity: Keypair,
    pub(crate) node: Node,
    pub(crate) access: Arc<AccessControl>,
    pub(crate) services: Arc<ServiceTable>,
    pub(crate) engine: Engine,
    pub(crate) plugins: Supervisor,
    pub(crate) logs: Arc<PluginLogs>,
    pub(crate) log: DaemonLog,
    pub(crate) calls: Arc<PluginCalls>,
    pub(crate) audit: Audit,
    pub(crate) events: Arc<Events>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let extra_keys = ExtraKeys::default();
        extra_keys.look(&parts.config);
        Arc::new(Self {
            identity: parts.identity,
            node: parts.node,
            access: parts.access,
            extra_keys,
            services: parts.services,
            engine: parts.engine,
            plugins: parts.plugins,
            resolvers: Resolvers::default(),
            logs: parts.logs,
            log: parts.log,
            calls: parts.calls,
            audit: parts.audit,
            events: parts.events,
            proxies: Proxies::default(),
            keeper: OnceLock::new(),
            places: OnceLock::new(),
            invites: Invites::default(),
            started: Instant::now(),
            last_seen: LastSeen::default(),
            meters: Meters::default(),
            throttles: Throttles::default(),
            alerts: Alerts::default(),
            started_with: parts.config.clone(),
            guard: GuardCell::default(),
            trials: Trials::default(),
            shutdown: parts.shutdown,
            tasks: parts.tasks,
            config: ArcSwap::new(parts.config),
            file: ConfigFile::new(parts.path.clone()),
            path: parts.path,
            edit: tokio::sync::Mutex::new(()),
            watch: OnceLock::new(),
        })
    }

    /// Returns the config in force.
    pub(crate) fn config(&self) -> Arc<NodeConfig> {
        self.config.load_full()
    }

    /// Returns the config file's path.
    pub(crate) fn config_path(&self) -> &Path {
        &self.path
    }

    /// Returns this node's own peer id.
    pub(crate) fn peer_id(&self) -> PeerId {
        self.identity.public().to_peer_id()
    }

    /// Finds out who a text stands for. Waits for the plugins that know.
    pub(crate) async fn resolve(&self, text: &str) -> Result<(PeerId, names::Source), Failure> {
        let chain = Chain {
            config: self.config(),
            plugins: &self.plugins,
            known: self.known_peers(),
        };
        self.resolvers.resolve(chain, text).await
    }

    /// Finds out who a text stands for, without asking a plugin: for what changes rights.
    pub(crate) fn resolve_own(&self, text: &str) -> Result<(PeerId, names::Source), Failure> {
        names::resolve(&self.config(), &self.known_peers(), text)
    }

    /// The peers whose ids may be shortened.
    pub(crate) fn known_peers(&self) -> BTreeSet<PeerId> {
        let config = self.config();
        let mut known: BTreeSet<PeerId> = self.access.members();
        known.extend(config.names.values());
        known.extend(config.relays.iter().map(|relay| relay.peer()));
        known
    }

    /// Returns what the operator calls a peer.
    pub(crate) fn name_of(&self, peer: &PeerId) -> Option<String> {
        names::name_of(&self.config(), peer).map(ToString::to_string)
    }

    /// Returns a peer for people: its name, else the last characters of its id.
    pub(crate) fn display(&self, peer: &PeerId) -> String {
        self.name_of(peer).unwrap_or_else(|| peer.to_base58())
    }

    /// Edits the config file and puts the result in force, both even if the caller goes away meanwhile.
    pub(crate) async fn edit_config<T: Send + 'static>(
        self: &Arc<Self>,
        edit: impl FnOnce(&mut ConfigEditor) -> Result<T, EditError> + Send + 'static,
    ) -> Result<T, Failure> {
        let app = self.clone();
        let task = self.tasks.spawn(async move {
            let _one_at_a_time = app.edit.lock().await;
            let editing = app.clone();
            let edited = blocking(move || {
                let checked = |editor: &mut ConfigEditor| {
                    let before = editor.config().clone();
                    let value = edit(editor)?;
                    editing.services.check_room(&before, editor.config())?;
                    Ok(value)
                };
                editing
                    .file
                    .edit(checked)
                    .map_err(|error| crate::edit_failure(&error))
            })
            .await?;
            app.put_in_force(edited.config).await?;
            // A file that could not be in force is now.
            app.guard.reloaded(edited.text).await;
            app.meters.reloads.keep_problem(None);
            Ok(edited.value)
        });
        task.await.unwrap_or_else(|error| Err(ended_early(&error)))
    }

    /// Changes `authorized_keys` through the given closure, off the event loop.
    pub(crate) async fn edit_access<T: Send + 'static>(
        self: &Arc<Self>,
        edit: impl FnOnce(&AccessControl) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let _one_at_a_time = self.edit.lock().await;
        let access = self.access.clone();
        let value = blocking(move || edit(&access)).await?;
        self.events.tell_change("authorized_keys");
        Ok(value)
    }

    /// Writes the name by which a peer calls itself, with `-2` and so on where another peer has it, and returns the name.
    pub(crate) async fn write_name(
        self: &Arc<Self>,
        wanted: PeerName,
        peer: PeerId,
    ) -> Result<PeerName, Failure> {
        // Chosen under the lock of the file: a name that two peers want at once goes to one of them.
        self.edit_config(move |editor| {
            let config = editor.config();
            if let Some(name) = names::name_of(config, &peer) {
                return Ok(name.clone());
            }
            let name = wanted.unless_taken(|name| names::is_taken(config, name));
            editor.set_name(&name, peer)?;
            Ok(name)
        })
        .await
    }

    /// Takes where the watchdog tells what it finds. Called once.
    pub(crate) fn set_watch(&self, watch: Watch) {
        let _ = self.watch.set(watch);
    }

    /// Returns what the watchdog finds.
    pub(crate) fn watch(&self) -> Watch {
        self.watch.get().cloned().unwrap_or_default()
    }

    /// Reads the config file again and puts it in force.
    pub(crate) async fn reload(self: &Arc<Self>) -> Result<(), Failure> {
        let outcome = self.reload_all().await.and_then(|()| self.all_met());
        self.meters.reloads.count(outcome.is_ok());
        outcome
    }

    async fn reload_all(self: &Arc<Self>) -> Result<(), Failure> {
        let config = self.edit_config(|_| Ok(())).await;
        let failed = config.as_ref().err().map(|failure| failure.message.clone());
        self.meters.reloads.keep_problem(failed);
        // Each is read whatever became of the other.
        let keys = self.edit_access(AccessControl::reload).await;
        config.and(keys)
    }

    /// Fails where the config in force names places that cannot be had.
    fn all_met(&self) -> Result<(), Failure> {
        match self.unmet().as_slice() {
            [] => Ok(()),
            unmet => Err(Failure::new(
                ErrorCode::Failed,
                format!("the config is in force but for {}", joined(unmet)),
            )
            .with_hint("what was before stays in its place; correct the config and reload again")),
        }
    }

    /// Tells the node to which peers it need not look for a direct path.
    pub(crate) async fn tell_path_wishes(&self) {
        let config = self.config();
        let relay_only = |policy: PathPolicy| policy == PathPolicy::RelayOnly;
        let everybody = relay_only(config.paths.default);
        let exceptions = config
            .paths
            .peers
            .iter()
            .filter(|(_, policy)| relay_only(**policy) != everybody)
            .filter_map(|(peer, _)| match peer {
                AllowedPeer::Id(id) => Some(*id),
                AllowedPeer::Name(name) => config.names.get(name).copied(),
            })
            .collect();
        self.node.set_relay_only(everybody, exceptions).await;
    }

    /// Takes who keeps the proxies of the config. Called once.
    pub(crate) fn set_keeper(&self, keeper: Arc<dyn ProxyKeeper>) {
        let _ = self.keeper.set(keeper);
    }

    /// Returns who keeps the proxies of the config.
    pub(crate) fn keeper(&self) -> Option<&Arc<dyn ProxyKeeper>> {
        self.keeper.get()
    }

    /// Starts and ends proxies until they are those of the config.
    pub(crate) async fn keep_proxies(&self) {
        if let Some(keeper) = self.keeper() {
            keeper.apply().await;
        }
    }

    /// Takes who keeps the places outside of the node. Called once.
    pub(crate) fn set_places(&self, places: Arc<dyn PlaceKeeper>) {
        let _ = self.places.set(places);
    }

    /// Exchanges the places of the node for those of the config in force.
    pub(crate) async fn take_places(&self) -> Exchanged {
        self.take_places_of(&self.config()).await
    }

    async fn take_places_of(&self, config: &NodeConfig) -> Exchanged {
        match self.places.get() {
            Some(places) => places.take(config).await,
            None => Exchanged::default(),
        }
    }

    /// Returns the keys whose places cannot be had.
    pub(crate) fn unmet(&self) -> Vec<Unmet> {
        self.places.get().map(|places| places.unmet()).unwrap_or_default()
    }

    /// Puts a config in force if all its places can be had, and leaves all as it is where one cannot that is not in the
    /// config before. The caller holds the lock on edits.
    pub(crate) async fn put_in_force_whole(self: &Arc<Self>, config: NodeConfig) -> Result<Effects, Failure> {
        let known = self.unmet();
        let mut unmet = self.take_places_of(&config).await.unmet;
        unmet.retain(|unmet| !known.contains(unmet));
        if !unmet.is_empty() {
            self.take_places().await;
            return Err(Failure::new(ErrorCode::Failed, joined(&unmet)));
        }
        self.put_in_force(config).await
    }

    /// Puts a config in force, as far as that is possible without a restart. The caller holds the lock on edits.
    /// Returns what that did to its parts: what `plan` says of them.
    pub(crate) async fn put_in_force(self: &Arc<Self>, config: NodeConfig) -> Result<Effects, Failure> {
        let config = Arc::new(config);
        let before = self.config.swap(config.clone());
        let exchanged = self.take_places().await;
        self.access
            .set_rules(infra(&config), config.security.enable_connection_gating);
        let plugins = self.plugins.apply(config.clone()).await;
        let (known, wanted) = (relays(&before), relays(&config));
        let mut effects = relay_effects(&known, &wanted);
        self.node.set_relays(wanted).await;
        if before.network.external_addresses != config.network.external_addresses {
            self.node
                .set_external(config.network.external_addresses.clone())
                .await;
        }
        let tunnels = config.tunnels;
        self.engine
            .splices()
            .set_patience(tunnels.idle_timeout, tunnels.write_timeout);
        self.throttles.apply(&config);
        self.tell_path_wishes().await;
        self.keep_proxies().await;
        let services = self.services.set(&config)?;
        effects.plugins_started = plugins.plugins_started;
        effects.plugins_stopped = plugins.plugins_stopped;
        effects.plugins_reloaded = plugins.plugins_reloaded;
        effects.plugins_changed = plugins.plugins_changed;
        effects.exchanged = exchanged.keys;
        effects.services_started = services.services_started;
        effects.services_stopped = services.services_stopped;
        effects.services_redirected = services.services_redirected;
        self.events.tell_change("config");
        Ok(effects)
    }
}

fn joined(unmet: &[Unmet]) -> String {
    let unmet: Vec<String> = unmet.iter().map(ToString::to_string).collect();
    unmet.join("; ")
}

fn relay_effects(before: &[RelayAddress], after: &[RelayAddress]) -> Effects {
    let mut effects = Effects::default();
    for relay in after {
        let peer = relay.peer.to_string();
        match before.iter().find(|known| known.peer == relay.peer) {
            None => effects.relays_added.insert(peer),
            Some(known) if known.addresses != relay.addresses => effects.relays_changed.insert(peer),
            Some(_) => false,
        };
    }
    let gone = before
        .iter()
        .filter(|known| after.iter().all(|relay| relay.peer != known.peer));
    effects.relays_removed = gone.map(|known| known.peer.to_string()).collect();
    effects
}

/// Returns the peers that are relays.
pub(crate) fn infra(config: &NodeConfig) -> HashSet<PeerId> {
    config.relays.iter().map(|relay| relay.peer()).collect()
}

/// Returns the configured relays, each once with all its addresses, without the `/p2p/` part.
pub(crate) fn relays(config: &NodeConfig) -> Vec<RelayAddress> {
    let mut relays: Vec<RelayAddress> = Vec::new();
    for relay in &config.relays {
        let address = relay.dial_address();
        match relays.iter_mut().find(|known| known.peer == relay.peer()) {
            Some(known) => known.addresses.push(address),
            None => relays.push(RelayAddress {
                peer: relay.peer(),
                addresses: vec![address],
            }),
        }
    }
    relays
}

/// Runs work that blocks on the disk away from the event loop.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(ended_early(&error)))
}

fn ended_early(error: &tokio::task::JoinError) -> Failure {
    Failure::new(ErrorCode::Failed, format!("a task ended early: {error}"))
}
