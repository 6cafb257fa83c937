//! Joins the supervisor to this node: the engine below it, the plugins of the binary and those installed, the audit log beside the config.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use peerup_config::NodeConfig;
use peerup_engine::{Engine, Host};
use peerup_lifecycle::Policy;
use peerup_model::PluginName;
use peerup_package::PluginFolder;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::Audit,
    plugin_logs::PluginLogs,
    services::ServiceTable,
    supervisor::{EngineRuntime, Installed, Supervisor, SupervisorParts},
};

/// What the supervisor of a node is made from.
pub(crate) struct PluginParts {
    /// The config's folder, with what is installed.
    pub(crate) folder: PathBuf,
    pub(crate) engine: Engine,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) services: Arc<ServiceTable>,
    pub(crate) audit: Audit,
    pub(crate) logs: Arc<PluginLogs>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

/// Starts the supervisor and every plugin that the config enables. One that fails leaves the others running.
pub(crate) async fn start(parts: PluginParts, config: &Arc<NodeConfig>) -> Supervisor {
    let library = Arc::new(Installed(parts.folder));
    let splices = parts.engine.splices();
    let supervisor = Supervisor::start(SupervisorParts {
        runtime: Arc::new(EngineRuntime::new(parts.engine, parts.host, library)),
        services: parts.services,
        splices,
        audit: parts.audit,
        logs: parts.logs,
        policy: Policy::default(),
        tasks: parts.tasks,
        shutdown: parts.shutdown,
    });
    supervisor.apply(config.clone()).await;
    supervisor.all_settled().await;
    supervisor
}

/// Where the stores of plugins are kept, beside the config.
pub(crate) const DATA_FOLDER: &str = "plugin-data";

/// Returns where a plugin keeps what it stores.
pub fn store_path(folder: &Path, name: &PluginName) -> PathBuf {
    folder.join(DATA_FOLDER).join(format!("{name}.redb"))
}

/// Returns what no granted directory may hold: the daemon's config, keys and socket, and the compiled plugins, which
/// run as they are read.
pub(crate) fn forbidden_paths(path: &Path, config: &NodeConfig, folder: &Path) -> Vec<PathBuf> {
    let lists = config
        .services
        .values()
        .filter_map(|entry| entry.keys_file.clone());
    let more = config
        .plugins
        .values()
        .filter_map(|entry| entry.keys_file.clone());
    let own = [
        path.to_owned(),
        config.key_file.clone(),
        config.security.authorized_keys_file.clone(),
        folder.join(peerup_api::SOCKET_FILE),
        folder.join(crate::audit::AUDIT_FILE),
        folder.join(DATA_FOLDER),
        PluginFolder::new(folder).lock_path(),
        folder.join("plugins"),
        cache_dir(config, folder),
    ];
    own.into_iter().chain(lists).chain(more).collect()
}

/// Returns where compiled plugins are kept: the config's choice, else the user's cache folder, else beside
/// the config.
pub(crate) fn cache_dir(config: &NodeConfig, folder: &Path) -> PathBuf {
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
