//! The plugins of this node: loaded from where they come from with the grants of the config.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use peerup_api::{PluginCommandInfo, PluginInfo};
use peerup_config::{NodeConfig, PluginEntry};
use peerup_engine::{Engine, Host, Plugin};
use peerup_model::{ErrorCode, Failure, PluginName};
use peerup_package::Manifest;

use crate::sources::{SourceError, Sources};

/// The loaded plugins and those that failed to load.
pub(crate) struct PluginSet {
    engine: Engine,
    active: BTreeMap<PluginName, Plugin>,
    failed: BTreeMap<PluginName, FailedPlugin>,
    host: Arc<dyn Host>,
}

#[derive(Debug)]
struct FailedPlugin {
    manifest: Option<Manifest>,
    reason: String,
}

impl std::fmt::Debug for PluginSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginSet")
            .field("active", &self.active)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl PluginSet {
    /// Loads every plugin that the config enables. One that fails leaves the others running.
    pub(crate) async fn load(
        engine: Engine,
        host: Arc<dyn Host>,
        config: &NodeConfig,
        sources: &Sources,
    ) -> Self {
        let mut set = Self {
            engine,
            active: BTreeMap::new(),
            failed: BTreeMap::new(),
            host,
        };
        for (name, entry) in config.plugins.iter().filter(|(_, entry)| entry.enabled) {
            match set.load_one(sources, name, entry).await {
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
        sources: &Sources,
        name: &PluginName,
        entry: &PluginEntry,
    ) -> Result<Plugin, (Option<Manifest>, String)> {
        let failed = |error: SourceError| (error.manifest.map(|manifest| *manifest), error.reason);
        let source = sources.find(name).map_err(failed)?.clone();
        let entry = entry.clone();
        let spec = tokio::task::spawn_blocking(move || source.spec(&entry))
            .await
            .map_err(|error| (None, format!("reading it ended early: {error}")))?
            .map_err(failed)?;
        let manifest = spec.manifest.clone();
        self.engine
            .load(spec, self.host.clone())
            .await
            .map_err(|error| (Some(manifest), error.to_string()))
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
        for (name, plugin) in self.active.iter().filter(|(_, plugin)| plugin.exports().serves()) {
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
                if let Err(error) = plugin.check_grants(&entry.grants) {
                    tracing::error!(plugin = %name, %error, "its new instances will not start");
                }
                plugin.set_grants(entry.grants.clone());
                plugin.set_settings(serde_json::Value::Object(entry.settings.clone()).to_string());
            }
        }
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

/// Where the stores of plugins are kept, beside the config.
pub(crate) const DATA_FOLDER: &str = "plugin-data";

/// Returns what no granted directory may hold: the daemon's config, keys and socket, and the compiled plugins, which
/// run as they are read.
pub(crate) fn forbidden_paths(path: &Path, config: &NodeConfig, folder: &Path) -> Vec<PathBuf> {
    vec![
        path.to_owned(),
        config.key_file.clone(),
        config.security.authorized_keys_file.clone(),
        folder.join(peerup_api::SOCKET_FILE),
        cache_dir(config, folder),
    ]
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
