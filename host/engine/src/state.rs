//! What a loaded plugin's instances share, and what one instance's store holds: its handles, its grants, its
//! limits, and the way out for its streams. The two types know each other, so they stand together.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use peerup_model::Grants;
use peerup_package::Manifest;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wasmtime::component::{HasData, InstancePre, Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    access::Access,
    bindings::{
        exports::peerup::plugin::{command, inbound},
        peerup::plugin::types,
    },
    duplex::Duplex,
    ending::Ending,
    error::{HostError, PluginError},
    event::CommandEvent,
    guest_log::{GuestLog, LineWriter, LogLevel},
    handles::DuplexHandle,
    host::Host,
    limits::{Limits, MemoryLimit},
    pace::Pace,
    stats::Counters,
    ticker::Ticker,
    tunnels::{Owner, Splices},
};

/// Handles beside the plugin's own that WASI may need at the same time.
const WASI_HANDLES: usize = 256;

/// A loaded plugin, shared by its handles and its instances.
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
    /// How often its instances together ask about peers.
    pub(crate) peer_pace: Mutex<Pace>,
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

/// The data of one instance's store.
pub(crate) struct InstanceState {
    pub(crate) table: ResourceTable,
    wasi: WasiCtx,
    pub(crate) memory: MemoryLimit,
    pub(crate) plugin: Arc<Inner>,
    pub(crate) access: Access,
    pub(crate) ending: Arc<Ending>,
    pub(crate) owner: Owner,
    pub(crate) output: Option<mpsc::Sender<CommandEvent>>,
    pub(crate) runtime: Handle,
}

impl InstanceState {
    pub(crate) fn new(
        plugin: Arc<Inner>,
        access: Access,
        ending: Arc<Ending>,
        owner: Owner,
        output: Option<mpsc::Sender<CommandEvent>>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(plugin.limits.streams + WASI_HANDLES);
        let wasi = WasiCtx::builder()
            .stdout(LineWriter::new(plugin.log.clone(), LogLevel::Info))
            .stderr(LineWriter::new(plugin.log.clone(), LogLevel::Warn))
            .build();
        Self {
            table,
            wasi,
            memory: MemoryLimit::new(plugin.limits.memory_bytes),
            plugin,
            access,
            ending,
            owner,
            output,
            runtime: Handle::current(),
        }
    }

    /// Gives the plugin a duplex, or resets it where the plugin holds too many.
    pub(crate) fn hold(&mut self, duplex: Duplex) -> Result<Resource<DuplexHandle>, HostError> {
        let shared = duplex.shared.clone();
        let handle = DuplexHandle::new(duplex, self.ending.clone());
        self.table.push(handle).map_err(|error| {
            shared.reset();
            self.too_many(&error)
        })
    }

    /// The answer where the table of handles is full.
    pub(crate) fn too_many(&self, error: &ResourceTableError) -> HostError {
        let (plugin, limit) = (&self.owner.counters.plugin, self.plugin.limits.streams);
        tracing::debug!(%plugin, %error, "no room for another handle");
        HostError::Limit(format!(
            "the plugin {plugin} holds {limit} streams already; its limit is plugins.{plugin}.limits.streams"
        ))
    }
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Tells the bindings that they work on the whole state.
pub(crate) struct Capabilities;

impl HasData for Capabilities {
    type Data<'a> = &'a mut InstanceState;
}

impl types::Host for InstanceState {}

impl From<HostError> for types::Error {
    fn from(error: HostError) -> Self {
        match error {
            HostError::NotFound(text) => Self::NotFound(text),
            HostError::Unreachable(text) => Self::Unreachable(text),
            HostError::Refused(text) => Self::Refused(text),
            HostError::TimedOut(text) => Self::TimedOut(text),
            HostError::Limit(text) => Self::Limit(text),
            HostError::Closed(text) => Self::Closed(text),
            HostError::Denied(text) => Self::Denied(text),
            HostError::Invalid(text) => Self::Invalid(text),
        }
    }
}

impl From<types::Error> for HostError {
    /// A plugin's text goes to logs and terminals: it is bounded and tamed.
    fn from(error: types::Error) -> Self {
        let tame = |text: String| crate::guest_log::tame(&text);
        match error {
            types::Error::NotFound(text) => Self::NotFound(tame(text)),
            types::Error::Unreachable(text) => Self::Unreachable(tame(text)),
            types::Error::Refused(text) => Self::Refused(tame(text)),
            types::Error::TimedOut(text) => Self::TimedOut(tame(text)),
            types::Error::Limit(text) => Self::Limit(tame(text)),
            types::Error::Closed(text) => Self::Closed(tame(text)),
            types::Error::Denied(text) => Self::Denied(tame(text)),
            types::Error::Invalid(text) => Self::Invalid(tame(text)),
        }
    }
}
