//! A loaded plugin: what it is, what it may do, and the ways to call it.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use peerup_model::{Grants, PathPolicy, PluginName, ServiceName};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wasmtime::component::InstancePre;

use crate::{
    access::Access,
    bindings::exports::peerup::plugin::{command, inbound},
    capability::peer_record,
    command::CommandRun,
    duplex::{Duplex, PeerRef},
    error::{HostError, PluginError},
    guest_log::{GuestLog, LogLine},
    instance::{Call, Instance, Purpose},
    limits::Limits,
    manifest::Manifest,
    state::InstanceState,
    stats::{Counters, PluginStats},
    ticker::Ticker,
    tunnels::Splices,
};

/// Arguments of a command, as JSON.
const MAX_ARGUMENT_BYTES: usize = 256 << 10;

/// What the daemon does for plugins. The engine has checked the grants before it calls.
pub trait Host: Send + Sync + 'static {
    /// Opens a stream to a peer, which is a name, an id or a unique prefix of one.
    fn open<'a>(
        &'a self,
        plugin: &'a PluginName,
        peer: &'a str,
        protocol: &'a str,
        policy: PathPolicy,
    ) -> BoxFuture<'a, Result<Duplex, HostError>>;

    /// Tells who a name stands for, and which tier knew it.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(PeerId, String), HostError>>;
}

/// What a plugin is loaded from.
#[derive(Debug, Clone)]
pub struct PluginSpec {
    /// Its `plugin.toml`.
    pub manifest: Manifest,
    /// The component, in binary form.
    pub wasm: Cow<'static, [u8]>,
    /// What the operator lets it do.
    pub grants: Grants,
    /// Its section of the config, a JSON object.
    pub settings: String,
    /// What it may use.
    pub limits: Limits,
}

/// Which interfaces a plugin exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exports {
    /// It handles streams that peers open.
    pub inbound: bool,
    /// It has commands.
    pub command: bool,
}

/// A stream that a peer opened.
#[derive(Debug, Clone)]
pub struct InboundRequest {
    /// The protocol that it was opened on.
    pub protocol: String,
    /// The service and its `local_address`, where the protocol is that of a service. Grants connecting to
    /// that address, to this instance only.
    pub service: Option<(ServiceName, String)>,
    /// Who opened it: authenticated, and let in by the gate.
    pub peer: PeerRef,
    /// What this instance may do besides.
    pub extra_grants: Grants,
}

/// A loaded plugin. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) manifest: Manifest,
    pub(crate) grants: Arc<ArcSwap<Grants>>,
    pub(crate) settings: ArcSwap<String>,
    pub(crate) limits: Limits,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) pre: InstancePre<InstanceState>,
    pub(crate) inbound: Option<inbound::GuestIndices>,
    pub(crate) command: Option<command::GuestIndices>,
    pub(crate) instances: Arc<Semaphore>,
    pub(crate) engine_instances: Arc<Semaphore>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Arc<GuestLog>,
    pub(crate) splices: Splices,
    pub(crate) tasks: TaskTracker,
    pub(crate) ticker: Arc<Ticker>,
    /// Cancelled when the plugin is stopped.
    pub(crate) stopped: CancellationToken,
}

impl Inner {
    pub(crate) fn access(&self, extra: Grants) -> Access {
        Access::new(
            self.manifest.name.clone(),
            self.grants.clone(),
            extra,
            self.counters.clone(),
        )
    }

    /// Remembers and logs how a run ended.
    pub(crate) fn note(&self, outcome: &Result<(), PluginError>) {
        let Err(error) = outcome else { return };
        let plugin = &self.manifest.name;
        match error {
            PluginError::Cancelled => return,
            PluginError::Guest(_) | PluginError::Denied(_) => tracing::info!(%plugin, %error, "a run failed"),
            _ => tracing::warn!(%plugin, %error, "a run was stopped"),
        }
        self.counters.remember(&error.to_string());
    }
}

/// Resets a stream that no instance took.
struct Unheld(Option<Duplex>);

impl Drop for Unheld {
    fn drop(&mut self) {
        if let Some(duplex) = self.0.take() {
            duplex.reset();
        }
    }
}

impl Plugin {
    /// Its name.
    pub fn name(&self) -> &PluginName {
        &self.0.manifest.name
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Which interfaces it exports.
    pub fn exports(&self) -> Exports {
        Exports {
            inbound: self.0.inbound.is_some(),
            command: self.0.command.is_some(),
        }
    }

    /// What it may use.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What it may do now.
    pub fn grants(&self) -> Arc<Grants> {
        self.0.grants.load_full()
    }

    /// Changes what it may do, for running instances too. What was opened stays open.
    pub fn set_grants(&self, grants: Grants) {
        self.0.grants.store(Arc::new(grants));
    }

    /// Changes its section of the config, which must be a JSON object. Running instances see it when they ask
    /// again. Returns whether it was one.
    pub fn set_settings(&self, settings: String) -> bool {
        let is_object = is_json_object(&settings);
        if is_object {
            self.0.settings.store(Arc::new(settings));
        }
        is_object
    }

    /// What it has done since it was loaded.
    pub fn stats(&self) -> PluginStats {
        self.0.counters.snapshot()
    }

    /// The last lines that it wrote, oldest first.
    pub fn log_lines(&self) -> Vec<LogLine> {
        self.0.log.lines()
    }

    /// Ends its commands and inbound handlers, and refuses new ones. Tunnels run on: see
    /// `Splices::close_plugin`.
    pub fn stop(&self) {
        self.0.stopped.cancel();
        self.0.instances.close();
    }

    /// Hands it a stream that a peer opened. Returns when the instance is gone; tunnels run on. On an error,
    /// and when the returned future is dropped, the stream is reset.
    pub async fn handle_inbound(&self, request: InboundRequest, duplex: Duplex) -> Result<(), PluginError> {
        let unheld = Unheld(Some(duplex));
        let outcome = tokio::select! {
            biased;
            () = self.0.stopped.cancelled() => Err(PluginError::Cancelled),
            outcome = self.inbound(request, unheld) => outcome,
        };
        self.0.note(&outcome);
        outcome
    }

    async fn inbound(&self, request: InboundRequest, mut unheld: Unheld) -> Result<(), PluginError> {
        let inner = &self.0;
        if inner.inbound.is_none() {
            return Err(self.no_export("inbound"));
        }
        let mut access = inner.access(request.extra_grants);
        match &request.service {
            Some((_, local_address)) => access.grant_service(local_address),
            None => access
                .protocol("serving", &request.protocol)
                .map_err(|error| PluginError::Denied(error.to_string()))?,
        }
        let purpose = Purpose {
            access,
            service: request.service.as_ref().map(|(name, _)| name.to_string()),
            group: None,
            output: None,
        };
        let mut instance = Instance::start(inner, purpose, true).await?;
        let peer = peer_record(&request.peer);
        let guest_request = inbound::Request {
            protocol: request.protocol,
            service: request.service.map(|(name, local_address)| inbound::Service {
                name: name.to_string(),
                local_address,
            }),
            peer,
        };
        let Some(duplex) = unheld.0.take() else {
            return Err(PluginError::Cancelled);
        };
        let connection = instance.hold(duplex)?;
        let call = Call::Inbound(guest_request, connection);
        instance.call(call, Some(inner.limits.inbound_deadline)).await
    }

    /// Runs one of its commands in an instance of its own, in a task that the engine owns. `arguments` is a
    /// JSON object. Must be called within a Tokio runtime.
    pub fn run_command(
        &self,
        name: &str,
        arguments: serde_json::Value,
        extra_grants: Grants,
    ) -> Result<CommandRun, PluginError> {
        if self.0.command.is_none() {
            return Err(self.no_export("command"));
        }
        let text = arguments.to_string();
        if !arguments.is_object() || text.len() > MAX_ARGUMENT_BYTES {
            return Err(PluginError::Invalid(format!(
                "the arguments of a command are a JSON object of at most {MAX_ARGUMENT_BYTES} bytes"
            )));
        }
        if self.0.stopped.is_cancelled() {
            return Err(PluginError::Cancelled);
        }
        Ok(CommandRun::start(&self.0, name, text, extra_grants))
    }

    fn no_export(&self, what: &'static str) -> PluginError {
        PluginError::NoExport {
            plugin: self.name().clone(),
            what,
        }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", self.name())
            .field("exports", &self.exports())
            .field("live", &self.0.counters.instances_live.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

pub(crate) fn is_json_object(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}
