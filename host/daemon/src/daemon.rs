//! Starts a node, keeps it, and ends it in order: stop accepting, drain, cancel, close, remove the socket.

use std::{path::PathBuf, sync::Arc, time::Duration};

use libp2p_identity::{Keypair, PeerId};
use multiaddr::{Multiaddr, Protocol};
use peerup_api::{Client, InProcess};
use peerup_config::{Loaded, NodeConfig, Vault};
use peerup_engine::{Engine, EngineConfig};
use peerup_model::{ErrorCode, Failure};
use peerup_net::{InboundStream, Node, ProtocolTable, StartError};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::{AccessControl, Look},
    alert_watch,
    app::{self, App, Parts},
    audit::{AUDIT_FILE, Audit},
    dispatch,
    endpoint::Endpoint,
    event_sources,
    events::Events,
    http,
    log_ring::DaemonLog,
    network::Network,
    own_files::{self, OwnFiles},
    places::Places,
    plugin_calls::PluginCalls,
    plugin_logs::PluginLogs,
    plugins::{self, PluginParts},
    services::ServiceTable,
    standing::StandingProxies,
    status, trials, watch,
};

/// Where the daemon keeps the addresses of peers between two starts, beside the config.
const ADDRESS_BOOK: &str = "peers.json";
/// What the engine has to tell for the audit log and waits; more is counted and left out.
const AUDIT_QUEUE: usize = 1024;
/// How often `authorized_keys` is looked at, for those who edit it by hand.
const KEYS_CHECK: Duration = Duration::from_millis(500);
/// How long after a change tunnels are looked at: one that was allowed just before may be joined a little later.
const REVIEW_TIME: Duration = Duration::from_secs(15);
/// How long after a change it is looked at again before it is read: an editor that empties a file and then
/// writes it must not lock everybody out in between.
const KEYS_SETTLE: Duration = Duration::from_millis(50);
/// How long after its start a daemon has made the first rounds of what it does again and again.
const START_OVER: Duration = Duration::from_secs(60);
/// How often it lets go of the code that it has not needed since.
const LET_GO_EVERY: Duration = Duration::from_secs(900);
/// How long a start waits for a first reservation before it says why there is none.
const RESERVATION_WAIT: Duration = Duration::from_secs(10);
/// How often a start looks at what the relays have answered.
const RELAY_LOOK: Duration = Duration::from_millis(50);
/// How long ending may take after tunnels had their time to drain.
const CLOSE_TIME: Duration = Duration::from_millis(1500);

/// What kind of node to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The daemon: the config's listen addresses, reservations at relays, the socket.
    Daemon,
    /// A node for one command in the command's own process: no socket and no reservation, so it never
    /// disturbs those of a daemon of the same identity on another machine.
    Client,
    /// Like a client, but reachable: it holds reservations, to hand out invites.
    Reachable,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// The config file.
    pub config: PathBuf,
    /// What kind of node.
    pub mode: Mode,
    /// Where the log of this process is kept in memory, for those who read it through the API.
    pub log: DaemonLog,
}

/// A running node.
#[derive(Debug)]
pub struct Daemon {
    app: Arc<App>,
    endpoint: Option<Endpoint>,
}

impl Daemon {
    /// Starts a node. When this returns it listens, its services and its API stand; reservations are under
    /// way, see [`Daemon::wait_ready`].
    ///
    /// # Errors
    /// The config or the key does not hold, another daemon lives, a port is taken.
    pub async fn start(options: DaemonOptions) -> Result<Self, Failure> {
        let folder = options.config.parent().map(PathBuf::from).unwrap_or_default();
        if options.mode == Mode::Daemon {
            return Self::start_guarded(options, folder).await;
        }
        let path = options.config.clone();
        let loaded = app::blocking(move || load(&path)).await?;
        let (app, inbound) = launch(&options, loaded, &folder).await?;
        app.tasks.spawn(dispatch::serve(app.clone(), inbound));
        app.tasks.spawn(watch_keys(app.clone()));
        Ok(Self { app, endpoint: None })
    }

    /// Starts the daemon: with the config file, or with what the guard has where that does not do.
    async fn start_guarded(options: DaemonOptions, folder: PathBuf) -> Result<Self, Failure> {
        let vault = Arc::new(Vault::new(&options.config));
        let (path, looking) = (options.config.clone(), vault.clone());
        app::blocking(move || {
            if let Some(why) = peerup_config::open_to_others(&path) {
                tracing::warn!("{why}");
            }
            let found = looking.found();
            match found.pending.is_none() && found.generations.is_empty() {
                // Nothing to fall back to: what is wrong is told before anything is made.
                true => load(&path).map(drop),
                false => Ok(()),
            }
        })
        .await?;
        // The socket comes first: a second daemon ends here, before it disturbs the first one's reservations.
        let (endpoint, listener) = Endpoint::claim(&folder).await?;
        let mut launching = Launching {
            options: &options,
            folder: &folder,
        };
        let ((app, inbound), held) = peerup_ops::choose_config(vault, &mut launching).await?;
        app.guard.install(held).await;
        app.tasks.spawn(dispatch::serve(app.clone(), inbound));
        app.tasks.spawn(watch_keys(app.clone()));
        app.tasks.spawn(peerup_ops::watch_config(app.clone()));
        app.tasks.spawn(trials::watch(app.clone()));
        app.tasks.spawn(alert_watch::watch(app.clone()));
        app.tasks.spawn(slim_down(app.clone()));
        app.set_keeper(Arc::new(StandingProxies::new(&app)));
        app.keep_proxies().await;
        app.set_places(Arc::new(Places::new(Arc::downgrade(&app), options.log.control())));
        app.take_places().await;
        let router = http::router(app.clone(), Some(endpoint.cookie()));
        app.tasks
            .spawn(http::serve(listener, router, app.shutdown.clone()));
        watch::start(&app, folder.clone(), endpoint.file());
        Ok(Self {
            app,
            endpoint: Some(endpoint),
        })
    }

    #[cfg(test)]
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Returns this node's peer id.
    pub fn peer_id(&self) -> PeerId {
        self.app.peer_id()
    }

    /// Returns the socket's path, where there is one.
    pub fn socket(&self) -> Option<PathBuf> {
        self.endpoint
            .as_ref()
            .map(|endpoint| endpoint.socket().to_owned())
    }

    /// Returns a client of this node's API that needs no socket.
    pub fn client(&self) -> Client {
        let router = http::router(self.app.clone(), None);
        let tasks = self.app.tasks.clone();
        Client::in_process(InProcess::new(move || {
            let (near, far) = tokio::io::duplex(64 << 10);
            tasks.spawn(http::serve_connection(far, router.clone()));
            near
        }))
    }

    /// Returns the token that ends the node when it is cancelled, for signal handlers.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.app.shutdown.clone()
    }

    /// Waits for a first reservation, if relays are configured, then tells systemd. Returns what is not as it
    /// should be, a sentence each.
    pub async fn wait_ready(&self) -> Vec<String> {
        tokio::select! {
            () = self.app.shutdown.cancelled() => {}
            _ = tokio::time::timeout(RESERVATION_WAIT, relays_have_answered(&self.app)) => {}
        }
        let relays = status::relays(&self.app).await.unwrap_or_default();
        let problems = status::problems(&self.app, &relays);
        peerup_ops::notify_ready(&self.status_line(&problems));
        problems
    }

    fn status_line(&self, problems: &[String]) -> String {
        match problems {
            [] => watch::status_line(&self.app, *self.app.node.watch().borrow()),
            problems => problems.join("; "),
        }
    }

    /// Reads the config again and puts it in force, and tells the service manager when that begins and ends.
    ///
    /// # Errors
    /// The config does not hold, and the one before stays in force; or not all of it could be put in force.
    pub async fn reload(&self) -> Result<(), Failure> {
        peerup_ops::notify_reloading();
        let outcome = self.app.reload().await;
        let problems: Vec<String> = match &outcome {
            Ok(()) => Vec::new(),
            Err(failure) => vec![match failure.code {
                ErrorCode::ConfigInvalid => format!("the config was not read again: {}", failure.message),
                _ => failure.message.clone(),
            }],
        };
        peerup_ops::notify_ready(&self.status_line(&problems));
        outcome
    }

    /// Makes the node's task stand still, so that a test sees what notices that.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub async fn stall(&self, time: Duration) {
        self.app.node.stall(time).await;
    }

    /// Waits until the node is told to end, then ends it. Never longer than the config's drain time and two
    /// seconds more.
    pub async fn run(self) {
        self.app.shutdown.cancelled().await;
        self.stop().await;
    }

    /// Ends the node: no new streams, tunnels may finish within the drain time, then everything is closed.
    pub async fn stop(self) {
        peerup_ops::notify_stopping();
        let app = self.app;
        app.shutdown.cancel();
        app.tasks.close();
        // A node of one command ends with its person's patience; only a daemon's tunnels belong to others.
        let drain = match self.endpoint {
            Some(_) => app.config().daemon.drain_timeout,
            None => Duration::ZERO,
        };
        app.engine.shut_down(drain).await;
        if tokio::time::timeout(CLOSE_TIME, app.tasks.wait()).await.is_err() {
            tracing::warn!(
                left = app.tasks.len(),
                "some tasks did not end in time and are dropped"
            );
        }
        app.node.shutdown().await;
        let audit = app.audit.clone();
        if let Err(error) = app::blocking(move || {
            audit.close();
            Ok(())
        })
        .await
        {
            tracing::warn!(%error, "the audit log was not closed");
        }
        drop(self.endpoint);
    }
}

/// Waits until one relay holds a reservation, or every one has said why it does not.
async fn relays_have_answered(app: &App) {
    let mut look = tokio::time::interval(RELAY_LOOK);
    loop {
        look.tick().await;
        let Ok(relays) = status::relays(app).await else {
            return;
        };
        if relays.iter().any(|relay| relay.reserved) || relays.iter().all(|relay| relay.last_error.is_some())
        {
            return;
        }
    }
}

fn load(path: &std::path::Path) -> Result<Loaded<NodeConfig>, Failure> {
    peerup_config::load_node(path).map_err(|error| crate::config_failure(&error))
}

/// A daemon that is tried with one config after another.
struct Launching<'a> {
    options: &'a DaemonOptions,
    folder: &'a std::path::Path,
}

impl peerup_ops::Attempt for Launching<'_> {
    type Started = (Arc<App>, mpsc::Receiver<InboundStream>);

    async fn start(&mut self, text: &str) -> Result<Self::Started, Failure> {
        let loaded = peerup_config::parse_node(text, &self.options.config)
            .map_err(|error| crate::config_failure(&error))?;
        launch(self.options, loaded, self.folder).await
    }
}

/// Starts everything with one config, or leaves nothing behind.
async fn launch(
    options: &DaemonOptions,
    loaded: Loaded<NodeConfig>,
    folder: &std::path::Path,
) -> Result<(Arc<App>, mpsc::Receiver<InboundStream>), Failure> {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let config = Arc::new(loaded.config);
    let identity = load_identity(&config).await?;
    assemble(options, config, identity, folder).await
}

async fn load_identity(config: &NodeConfig) -> Result<Keypair, Failure> {
    let path = config.key_file.clone();
    app::blocking(move || peerup_trust::load_identity(&path).map_err(|error| crate::identity_failure(&error)))
        .await
}

/// Makes the parts in the order in which they need each other.
async fn assemble(
    options: &DaemonOptions,
    config: Arc<NodeConfig>,
    identity: Keypair,
    folder: &std::path::Path,
) -> Result<(Arc<App>, mpsc::Receiver<InboundStream>), Failure> {
    let keys = config.security.authorized_keys_file.clone();
    let (infra, gating) = (app::infra(&config), config.security.enable_connection_gating);
    let access = Arc::new(app::blocking(move || AccessControl::load(keys, infra, gating)).await?);
    let audit = match options.mode {
        Mode::Daemon => Audit::open(folder.join(AUDIT_FILE)),
        // A node of one command leaves no file behind.
        Mode::Client | Mode::Reachable => Audit::default(),
    };
    let events = Arc::new(Events::default());
    let audit = audit.heard_by(events.clone());
    let (audit_sender, audited) = mpsc::channel(AUDIT_QUEUE);
    let calls = Arc::new(PluginCalls::default());
    let own = OwnFiles::new(&options.config, folder, &config);
    let engine = Engine::new(EngineConfig {
        observer: Some(calls.clone()),
        audit: Some(audit_sender),
        cache_dir: Some(own_files::cache_dir(&config, folder)),
        tunnel_idle: config.tunnels.idle_timeout,
        tunnel_write: config.tunnels.write_timeout,
        data_dir: Some(folder.join(own_files::DATA_FOLDER)),
        forbidden_paths: own.at_start().to_owned(),
        ..EngineConfig::default()
    })
    .map_err(|error| {
        Failure::new(
            ErrorCode::Failed,
            format!("the plugin engine does not start: {error}"),
        )
    })?;
    let logs = Arc::new(PluginLogs::default());
    let network = Arc::new(Network::new(logs.clone()));
    let protocols = ProtocolTable::default();
    let services = Arc::new(ServiceTable::new(protocols.clone(), &config)?);
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(audit.clone().take(audited, shutdown.clone()));
    let parts = PluginParts {
        folder: folder.to_owned(),
        own,
        engine: engine.clone(),
        host: network.clone(),
        services: services.clone(),
        audit: audit.clone(),
        logs: logs.clone(),
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
    };
    let plugins = plugins::start(parts, &config).await;
    let network_config = network_config(options.mode, &config, &identity, folder);
    let (node, inbound) = match Node::start(network_config, access.policy(), protocols).await {
        Ok(started) => started,
        Err(error) => {
            // The supervisor has started already, and what it has open another attempt may need.
            shutdown.cancel();
            tasks.close();
            let _ = tokio::time::timeout(CLOSE_TIME, tasks.wait()).await;
            return Err(start_failure(&error));
        }
    };
    let app = App::new(Parts {
        path: options.config.clone(),
        config,
        identity,
        node,
        access,
        services,
        engine,
        plugins,
        logs,
        log: options.log.clone(),
        calls,
        audit,
        events,
        shutdown,
        tasks,
    });
    network.connect(&app);
    event_sources::connect(&app);
    app.tell_path_wishes().await;
    Ok((app, inbound))
}

fn network_config(
    mode: Mode,
    config: &NodeConfig,
    identity: &Keypair,
    folder: &std::path::Path,
) -> peerup_net::NodeConfig {
    let discovery = peerup_net::DiscoveryConfig {
        mdns: config.discovery.mdns,
        dht: config.discovery.dht,
        upnp: config.discovery.upnp,
        ..peerup_net::DiscoveryConfig::default()
    };
    let common = peerup_net::NodeConfig {
        relays: app::relays(config),
        discovery,
        ..peerup_net::NodeConfig::new(identity.clone())
    };
    match mode {
        // It runs for a moment and serves nobody, so it opens no port of the router's.
        Mode::Client => peerup_net::NodeConfig {
            listen: any_port(&config.network.listen_addresses),
            reserve: false,
            watch_network: false,
            discovery: peerup_net::DiscoveryConfig {
                upnp: false,
                autonat: false,
                ..discovery
            },
            ..common
        },
        Mode::Reachable | Mode::Daemon => peerup_net::NodeConfig {
            listen: config.network.listen_addresses.clone(),
            external: config.network.external_addresses.clone(),
            address_book: (mode == Mode::Daemon).then(|| folder.join(ADDRESS_BOOK)),
            ..common
        },
    }
}

/// The same transports and families on ports that nobody else has: a hole is punched from a listener's port.
fn any_port(addresses: &[Multiaddr]) -> Vec<Multiaddr> {
    addresses
        .iter()
        .map(|address| {
            let part = |part| match part {
                Protocol::Tcp(_) => Protocol::Tcp(0),
                Protocol::Udp(_) => Protocol::Udp(0),
                other => other,
            };
            address.iter().map(part).collect()
        })
        .collect()
}

fn start_failure(error: &StartError) -> Failure {
    match error {
        StartError::AddressInUse { address, .. } => Failure::new(
            ErrorCode::Conflict,
            format!("the address {address} is taken by another program"),
        )
        .with_hint("see who has it with: ss -lntup; or choose another port under network.listen_addresses"),
        _ => Failure::new(ErrorCode::Failed, error.to_string()),
    }
}

/// Lets go of what only the start needed in memory, once it is over, and from time to time of what was needed once since.
/// What it does again and again is back within a minute; while bytes pass through a tunnel, it does not wait for that.
async fn slim_down(app: Arc<App>) {
    let mut rounds = tokio::time::interval_at(Instant::now() + START_OVER, LET_GO_EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = rounds.tick() => {}
        }
        if app.engine.splices().live() == 0 {
            let _ = tokio::task::spawn_blocking(peerup_ops::let_go_of_the_start).await;
        }
    }
}

/// Puts edits that were made by hand in force, and ends tunnels that a change of rights forbids.
async fn watch_keys(app: Arc<App>) {
    let mut seen = (app.access.policy().load(), app.config());
    let mut review_until = Instant::now();
    let mut tick = tokio::time::interval(KEYS_CHECK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        let access = app.access.clone();
        match app::blocking(move || Ok(access.reload_if_changed())).await {
            Ok(Look::Settled) => {}
            Ok(Look::Changing) => tick.reset_after(KEYS_SETTLE),
            Err(error) => tracing::warn!(%error, "authorized_keys could not be looked at"),
        }
        let now = (app.access.policy().load(), app.config());
        let (task_app, config) = (app.clone(), now.1.clone());
        match app::blocking(move || Ok(task_app.extra_keys.look(&config))).await {
            Ok(false) => {}
            Ok(true) => review_until = Instant::now() + REVIEW_TIME,
            Err(error) => tracing::warn!(%error, "lists of keys could not be looked at"),
        }
        if !Arc::ptr_eq(&seen.0, &now.0) || !Arc::ptr_eq(&seen.1, &now.1) {
            seen = now;
            review_until = Instant::now() + REVIEW_TIME;
        }
        if Instant::now() < review_until {
            dispatch::close_forbidden(&app);
        }
    }
}
