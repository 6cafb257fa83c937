//! How a generation is loaded, checked and run: the supervisor's way to the engine, and the seam for its tests.

use std::sync::Arc;

use futures::future::BoxFuture;
use peerup_config::{NodeConfig, PluginEntry};
use peerup_engine::{Engine, Host, Plugin, PluginError};
use peerup_lifecycle::{LoadFailure, ServiceEnd, Traits};
use peerup_model::PluginName;
use tokio_util::sync::CancellationToken;

use super::{
    grants,
    package::{Library, Package, Source},
};
use crate::{own_files::OwnFiles, sources};

/// What a load came to. The package is told also where the load failed, for people to see what it was.
#[derive(Debug)]
pub(crate) struct LoadOutcome {
    pub(crate) package: Option<Arc<Package>>,
    pub(crate) loaded: Result<(Plugin, Traits), LoadFailure>,
}

/// Loads, checks and runs generations.
pub(crate) trait Runtime: Send + Sync + 'static {
    /// Keeps the files that a config names out of plugins' reach, and says whether they are others than before.
    fn protect(&self, config: &NodeConfig) -> bool;

    /// Loads a plugin with the rights, settings and limits of its entry. Nothing runs yet.
    fn load(&self, name: PluginName, entry: PluginEntry, source: Source) -> BoxFuture<'static, LoadOutcome>;

    /// Tries whether it can run.
    fn check(&self, plugin: Plugin) -> BoxFuture<'static, Result<(), LoadFailure>>;

    /// Runs its service until it ends; `stopping` asks it to. Dropping the future cancels it.
    fn run_service(&self, plugin: Plugin, stopping: CancellationToken) -> BoxFuture<'static, ServiceEnd>;
}

/// Over the WebAssembly engine.
pub(crate) struct EngineRuntime {
    engine: Engine,
    host: Arc<dyn Host>,
    library: Arc<dyn Library>,
    own: OwnFiles,
}

impl EngineRuntime {
    pub(crate) fn new(engine: Engine, host: Arc<dyn Host>, library: Arc<dyn Library>, own: OwnFiles) -> Self {
        Self {
            engine,
            host,
            library,
            own,
        }
    }
}

impl Runtime for EngineRuntime {
    fn protect(&self, config: &NodeConfig) -> bool {
        self.own
            .take(config)
            .map(|paths| self.engine.set_forbidden_paths(paths))
            .is_some()
    }

    fn load(&self, name: PluginName, entry: PluginEntry, source: Source) -> BoxFuture<'static, LoadOutcome> {
        let (engine, host, library) = (self.engine.clone(), self.host.clone(), self.library.clone());
        Box::pin(async move {
            let found = match source {
                Source::Given(package) => Ok(package),
                Source::Library => tokio::task::spawn_blocking(move || library.find(&name))
                    .await
                    .unwrap_or_else(|error| Err(error.to_string())),
            };
            match found {
                Ok(package) => LoadOutcome {
                    loaded: load(&engine, host, &entry, &package).await,
                    package: Some(package),
                },
                Err(reason) => LoadOutcome {
                    package: None,
                    loaded: Err(lasting(reason)),
                },
            }
        })
    }

    fn check(&self, plugin: Plugin) -> BoxFuture<'static, Result<(), LoadFailure>> {
        Box::pin(async move {
            let checked = plugin.check().await;
            checked.map_err(|error| LoadFailure {
                reason: format!("it does not begin: {error}"),
                // A host that is busy has room later; a plugin that traps at its start will trap again.
                lasting: !matches!(error, PluginError::Limit(_)),
            })
        })
    }

    fn run_service(&self, plugin: Plugin, stopping: CancellationToken) -> BoxFuture<'static, ServiceEnd> {
        Box::pin(async move {
            match plugin.run_service(stopping).await {
                // Cut off after its time to end: it was asked to.
                Ok(()) | Err(PluginError::Cancelled) => ServiceEnd::Returned,
                Err(PluginError::Guest(error)) => ServiceEnd::Failed(error.to_string()),
                Err(error) => ServiceEnd::Trapped(error.to_string()),
            }
        })
    }
}

async fn load(
    engine: &Engine,
    host: Arc<dyn Host>,
    entry: &PluginEntry,
    package: &Package,
) -> Result<(Plugin, Traits), LoadFailure> {
    if let Some(missing) = grants::missing(&package.manifest, &entry.grants) {
        return Err(lasting(missing));
    }
    let spec = sources::spec(&package.manifest, package.wasm.clone(), entry)
        .map_err(|error| lasting(error.reason))?;
    let plugin = engine
        .load(spec, host)
        .await
        .map_err(|error| lasting(error.to_string()))?;
    let traits = traits_of(&plugin);
    Ok((plugin, traits))
}

/// What the supervisor must know of a plugin's exports and imports.
fn traits_of(plugin: &Plugin) -> Traits {
    Traits {
        service: plugin.exports().service,
        takes_settings: plugin.takes_settings_live(),
    }
}

fn lasting(reason: String) -> LoadFailure {
    LoadFailure {
        reason,
        lasting: true,
    }
}
