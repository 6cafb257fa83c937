//! What a loaded plugin's instances share, and what one instance's store holds: its handles, its grants, its
//! limits, and the way out for its streams. The two types know each other, so they stand together.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use peerup_model::Grants;
use peerup_package::Manifest;
use tokio::{
    runtime::Handle,
    sync::{OnceCell, Semaphore, mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wasmtime::component::{HasData, InstancePre, Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    access::Access,
    audit::RunKind,
    bindings::{
        exports::peerup::plugin::{answer, command, inbound, resolver, service, task},
        peerup::plugin::types,
    },
    budget::Bucket,
    call::CallObserver,
    clock::Clocks,
    directories,
    duplex::Duplex,
    ending::Ending,
    error::{HostError, PluginError},
    event::CommandEvent,
    guest_log::{GuestLog, LineWriter, LogLevel},
    handles::DuplexHandle,
    host::Host,
    limits::{CpuMeter, Limits, MemoryLimit},
    lookup::AddressLookup,
    pace::Pace,
    sockets::Sockets,
    stats::Counters,
    store_file::{StoreFile, Stores},
    ticker::Ticker,
    tunnels::{Owner, Splices},
};

/// Changes of one plugin's store that may be under way at once; each holds up to 4 MiB.
pub(crate) const MAX_WRITES: usize = 4;
/// Datagrams and events of one plugin that may be on their way out at once.
pub(crate) const MAX_SENDING: usize = 64;

/// Handles beside the plugin's own that WASI may need at the same time.
const WASI_HANDLES: usize = 256;

/// A loaded plugin, shared by its handles and its instances.
pub(crate) struct Inner {
    pub(crate) manifest: Manifest,
    pub(crate) grants: Arc<ArcSwap<Grants>>,
    /// Where the granted directories led when they were granted.
    pub(crate) pins: ArcSwap<directories::Pins>,
    pub(crate) settings: ArcSwap<String>,
    pub(crate) limits: Limits,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) pre: InstancePre<InstanceState>,
    pub(crate) inbound: Option<inbound::GuestIndices>,
    pub(crate) command: Option<command::GuestIndices>,
    pub(crate) service: Option<service::GuestIndices>,
    pub(crate) resolver: Option<resolver::GuestIndices>,
    pub(crate) answer: Option<answer::GuestIndices>,
    pub(crate) task: Option<task::GuestIndices>,
    /// Whether it wants to be told of changed settings instead of being started anew.
    pub(crate) imports_life: bool,
    pub(crate) instances: Arc<Semaphore>,
    pub(crate) engine_instances: Arc<Semaphore>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Arc<GuestLog>,
    pub(crate) splices: Splices,
    pub(crate) tasks: TaskTracker,
    pub(crate) ticker: Arc<Ticker>,
    /// How often its instances together ask about peers.
    pub(crate) peer_pace: Mutex<Pace>,
    /// How many datagrams its instances together send.
    pub(crate) datagrams: Mutex<Bucket>,
    pub(crate) cpu: Arc<CpuMeter>,
    pub(crate) lookup: AddressLookup,
    pub(crate) sockets: Arc<dyn Sockets>,
    pub(crate) clocks: Clocks,
    /// Who watches its calls.
    pub(crate) observer: Option<Arc<dyn CallObserver>>,
    pub(crate) stores: Arc<Stores>,
    /// Changes of the store that may be under way at once.
    pub(crate) writes: Arc<Semaphore>,
    /// Datagrams and events on their way out, which hold the host's memory.
    pub(crate) sending: Arc<Semaphore>,
    /// Its store, once something was asked of it.
    pub(crate) store: OnceCell<Arc<StoreFile>>,
    /// Files and folders that no grant may touch.
    pub(crate) forbidden: Arc<ArcSwap<Vec<PathBuf>>>,
    /// Told whenever the settings have changed.
    pub(crate) settings_changed: watch::Sender<()>,
    /// Cancelled when the plugin is asked to end.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when the plugin is stopped.
    pub(crate) stopped: CancellationToken,
}

impl Inner {
    pub(crate) fn access(&self, extra: Grants, run: RunKind) -> Access {
        Access::new(
            self.manifest.name.clone(),
            self.grants.clone(),
            extra,
            self.counters.clone(),
            run,
        )
    }

    /// Its store, opened where it is not open yet.
    pub(crate) async fn store(&self) -> Result<Arc<StoreFile>, HostError> {
        let open = || self.stores.open(&self.manifest.name);
        self.store.get_or_try_init(open).await.cloned()
    }

    /// Takes the turn of one datagram and tells how long to wait for it.
    pub(crate) fn datagram_turn(&self, now: Instant) -> Option<Duration> {
        let mut datagrams = self.datagrams.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = datagrams.take(now, 1.0);
        drop(datagrams);
        if wait.is_some() {
            self.counters.auditor.limit("datagrams");
        }
        wait
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

    /// The same for a command. What it answers to who asked is no failure of the plugin: a peer that is away, a mistake in
    /// the arguments.
    pub(crate) fn note_command(&self, outcome: &Result<(), PluginError>) {
        match outcome {
            Err(error @ (PluginError::Guest(_) | PluginError::Invalid(_))) => {
                tracing::info!(plugin = %self.manifest.name, %error, "a command failed");
            }
            _ => self.note(outcome),
        }
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
    /// Cancelled when this instance is asked to end.
    pub(crate) stopping: CancellationToken,
    pub(crate) settings_seen: watch::Receiver<()>,
}

impl InstanceState {
    /// Makes the state of one instance; fails where a granted directory cannot be had.
    pub(crate) fn new(
        plugin: Arc<Inner>,
        access: Access,
        ending: Arc<Ending>,
        owner: Owner,
        output: Option<mpsc::Sender<CommandEvent>>,
    ) -> Result<Self, String> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(plugin.limits.streams + WASI_HANDLES);
        Ok(Self {
            table,
            wasi: wasi(&plugin, &access)?,
            memory: MemoryLimit::new(plugin.limits.memory_bytes, plugin.counters.clone()),
            stopping: plugin.stopping.clone(),
            settings_seen: plugin.settings_changed.subscribe(),
            plugin,
            access,
            ending,
            owner,
            output,
            runtime: Handle::current(),
        })
    }

    /// Gives the plugin something to hold, where it does not hold too much.
    pub(crate) fn give<T: Send + 'static>(&mut self, handle: T) -> Result<Resource<T>, HostError> {
        let given = self.table.push(handle).map_err(|error| self.too_many(&error));
        if given.is_ok() {
            self.plugin.counters.handles_total.fetch_add(1, Ordering::Relaxed);
        }
        given
    }

    /// Gives the plugin a duplex, or resets it where the plugin holds too many.
    pub(crate) fn hold(&mut self, duplex: Duplex) -> Result<Resource<DuplexHandle>, HostError> {
        let shared = duplex.shared.clone();
        let handle = DuplexHandle::new(duplex, self.ending.clone());
        self.give(handle).inspect_err(|_| shared.reset())
    }

    /// The answer where the table of handles is full.
    pub(crate) fn too_many(&self, error: &ResourceTableError) -> HostError {
        let (plugin, limit) = (&self.owner.counters.plugin, self.plugin.limits.streams);
        tracing::debug!(%plugin, %error, "no room for another handle");
        self.plugin.counters.auditor.limit("streams");
        HostError::Limit(format!(
            "the plugin {plugin} holds {limit} streams already; its limit is plugins.{plugin}.limits.streams"
        ))
    }
}

/// What WASI shows to one instance: standard output and error as log lines, granted directories, granted variables.
fn wasi(plugin: &Inner, access: &Access) -> Result<WasiCtx, String> {
    let mut wasi = WasiCtx::builder();
    wasi.stdout(LineWriter::new(plugin.log.clone(), LogLevel::Info))
        .stderr(LineWriter::new(plugin.log.clone(), LogLevel::Warn));
    plugin.clocks.give(&mut wasi);
    let grants = access.now();
    if !grants.directories.is_empty() {
        directories::open(&grants, &plugin.pins.load(), &plugin.forbidden.load(), &mut wasi)?;
        let folders = || {
            let folders: Vec<_> = grants.directories.iter().map(|grant| grant.guest()).collect();
            folders.join(", ")
        };
        plugin.counters.auditor.used("directories", folders, access.run());
    }
    for name in &grants.environment {
        // One that is not set is not there; one that is no text cannot be passed on.
        if let Ok(value) = std::env::var(name.as_str()) {
            wasi.env(name.as_str(), value);
            plugin
                .counters
                .auditor
                .used("environment", || name.to_string(), access.run());
        }
    }
    Ok(wasi.build())
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
