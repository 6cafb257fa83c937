//! Joins the supervisor to this node: the engine below it, the plugins of the binary and those installed, the audit log beside the config.

use std::{path::PathBuf, sync::Arc};

use peerup_config::NodeConfig;
use peerup_engine::{Engine, Host};
use peerup_lifecycle::Policy;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::Audit,
    own_files::OwnFiles,
    plugin_logs::PluginLogs,
    services::ServiceTable,
    supervisor::{EngineRuntime, Installed, Supervisor, SupervisorParts},
};

/// What the supervisor of a node is made from.
pub(crate) struct PluginParts {
    /// The config's folder, with what is installed.
    pub(crate) folder: PathBuf,
    pub(crate) own: OwnFiles,
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
        runtime: Arc::new(EngineRuntime::new(parts.engine, parts.host, library, parts.own)),
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
