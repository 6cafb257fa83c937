//! What one instance's store holds: its handles, its grants, its limits, and the way out for its streams.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::mpsc};
use wasmtime::component::{HasData, Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    access::Access,
    bindings::peerup::plugin::types,
    command::CommandEvent,
    duplex::Duplex,
    ending::Ending,
    error::HostError,
    guest_log::{LineWriter, LogLevel},
    handles::DuplexHandle,
    limits::MemoryLimit,
    plugin::Inner,
    tunnels::Owner,
};

/// Handles beside the plugin's own that WASI may need at the same time.
const WASI_HANDLES: usize = 256;

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
