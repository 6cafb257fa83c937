//! The engine: compiles plugins, links what they may import, and owns the clock, the tasks and the tunnels.

use std::{
    borrow::Cow,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{OnceCell, Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::{Component, InstancePre, Linker},
};
use wasmtime_wasi::{cli::WasiCliView, filesystem::WasiFilesystemView, random::WasiRandomView};

use crate::{
    audit::{AuditEvent, Auditor},
    bindings::{
        exports::peerup::plugin::{answer, command, inbound, resolver, service, task},
        peerup::plugin as contract,
    },
    budget::Bucket,
    cache::Cache,
    call::CallObserver,
    clock::{Clocks, GuestClock},
    directories,
    error::{EngineError, LoadError},
    guest_log::{GuestLog, LogLine},
    host::Host,
    limits::{CpuMeter, Limits, MAX_TABLE_ELEMENTS},
    lookup::AddressLookup,
    plugin::{Plugin, PluginSpec, is_json_object},
    preflight::{self, CONTRACT_VERSION, SERVED_VERSIONS},
    sockets::{Sockets, SystemSockets},
    splice::Patience,
    state::{Capabilities, Inner, InstanceState, MAX_SENDING, MAX_WRITES},
    stats::Counters,
    store_file::Stores,
    ticker::Ticker,
    tunnels::Splices,
};

/// Core modules that one component may bring: its own, those that the adapters add, and the libraries of an interpreter;
/// one in Python has 38.
const MODULES_PER_COMPONENT: u32 = 64;
/// Memories of one component. An interpreter brings a second one, which is empty.
const MEMORIES_PER_COMPONENT: u32 = 2;
/// The most instances that the pool can be made for.
const MAX_INSTANCES: u32 = 4096;
/// Written bytes of one memory or table that are cleared for the next instance; the rest goes back to the kernel.
const KEPT_BYTES: usize = 64 << 10;
/// Stack of a guest and of the host functions that it calls.
const ASYNC_STACK_BYTES: usize = 1 << 20;
const GUEST_STACK_BYTES: usize = 512 << 10;

/// What an engine is made from.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where compiled plugins are kept; none compiles them at each start.
    pub cache_dir: Option<PathBuf>,
    /// Instances of all plugins at the same time, 1 to 4096. 512. Each reserves address space, not memory.
    pub max_instances: u32,
    /// The most memory that any plugin's limits may name, in bytes. 256 MiB.
    pub max_memory_bytes: usize,
    /// How long a tunnel may stay without a byte in either direction. 24 h.
    pub tunnel_idle: Duration,
    /// How long a tunnel's bytes may wait for the receiving side. 1 h.
    pub tunnel_write: Duration,
    /// Where plugins' stores are kept, a file for each plugin; none keeps no stores. Made with mode 0700.
    pub data_dir: Option<PathBuf>,
    /// Files and folders of the daemon's own: config, key, socket, stores. No granted directory may hold one of
    /// them or lie in one. [`Engine::set_forbidden_paths`] changes them.
    pub forbidden_paths: Vec<PathBuf>,
    /// How host names become addresses.
    pub lookup: AddressLookup,
    /// Where sockets come from. The system.
    pub sockets: Arc<dyn Sockets>,
    /// What guests see as the time. The system's clocks.
    pub clock: GuestClock,
    /// Who sees every call that plugins make of the host. Nobody.
    pub observer: Option<Arc<dyn CallObserver>>,
    /// Where what an operator may want to read afterwards is told. What does not fit is dropped and counted.
    pub audit: Option<mpsc::Sender<AuditEvent>>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cache_dir: None,
            max_instances: 512,
            max_memory_bytes: 256 << 20,
            tunnel_idle: Duration::from_secs(24 * 3600),
            tunnel_write: Duration::from_secs(3600),
            data_dir: None,
            forbidden_paths: Vec::new(),
            lookup: AddressLookup::system(),
            sockets: Arc::new(SystemSockets),
            clock: GuestClock::default(),
            observer: None,
            audit: None,
        }
    }
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<EngineInner>);

struct EngineInner {
    engine: wasmtime::Engine,
    linker: Linker<InstanceState>,
    cache: Option<Cache>,
    instances: Arc<Semaphore>,
    max_memory_bytes: usize,
    splices: Splices,
    tasks: TaskTracker,
    ticker: Arc<Ticker>,
    lookup: AddressLookup,
    sockets: Arc<dyn Sockets>,
    clocks: Clocks,
    observer: Option<Arc<dyn CallObserver>>,
    stores: Arc<Stores>,
    data_dir: Option<PathBuf>,
    forbidden: Arc<ArcSwap<Vec<PathBuf>>>,
    audit: Option<mpsc::Sender<AuditEvent>>,
    audit_dropped: Arc<AtomicU64>,
    stopped: CancellationToken,
}

impl Engine {
    /// Makes an engine: reserves the pool's address space and starts the clock's thread.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let setup = |error: wasmtime::Error| EngineError::Setup(format!("{error:#}"));
        if config.max_instances == 0 || config.max_instances > MAX_INSTANCES {
            return Err(EngineError::Setup(format!(
                "max_instances is {}, and 1 to {MAX_INSTANCES} make sense",
                config.max_instances
            )));
        }
        let engine = wasmtime::Engine::new(&runtime_config(&config)).map_err(setup)?;
        let linker = linker(&engine).map_err(setup)?;
        let ticker = Ticker::start(engine.weak()).map_err(EngineError::Ticker)?;
        let tasks = TaskTracker::new();
        let patience = Patience {
            idle: config.tunnel_idle,
            write: config.tunnel_write,
        };
        Ok(Self(Arc::new(EngineInner {
            cache: config.cache_dir.map(Cache::new),
            lookup: config.lookup,
            sockets: config.sockets,
            clocks: Clocks::new(config.clock),
            observer: config.observer,
            stores: Stores::new(config.data_dir.clone()),
            forbidden: Arc::new(ArcSwap::from_pointee(joined(
                config.forbidden_paths,
                config.data_dir.as_ref(),
            ))),
            data_dir: config.data_dir,
            audit: config.audit,
            audit_dropped: Arc::default(),
            instances: Arc::new(Semaphore::new(config.max_instances as usize)),
            max_memory_bytes: config.max_memory_bytes,
            splices: Splices::new(tasks.clone(), patience),
            engine,
            linker,
            tasks,
            ticker,
            stopped: CancellationToken::new(),
        })))
    }

    /// Loads a plugin, from the cache where it was compiled before. Compiling takes a tenth of a second and
    /// more, on a thread of its own.
    pub async fn load(&self, spec: PluginSpec, host: Arc<dyn Host>) -> Result<Plugin, LoadError> {
        let plugin = spec.manifest.name.clone();
        let pins = self.check(&spec)?;
        let component = self.compile(&spec).await?;
        let engine = &self.0.engine;
        let pre = self
            .0
            .linker
            .instantiate_pre(&component)
            .map_err(|error| LoadError::Import {
                plugin: plugin.clone(),
                reason: preflight::wrong_import(engine, &component, &error),
            })?;
        let exports = Indices::find(engine, &component, &pre).map_err(|reason| LoadError::Export {
            plugin: plugin.clone(),
            reason,
        })?;
        let limits = Limits {
            memory_bytes: spec.limits.memory_bytes.min(self.0.max_memory_bytes),
            ..spec.limits
        };
        let auditor = Auditor::new(plugin.clone(), self.0.audit.clone(), self.0.audit_dropped.clone());
        let counters = Counters::new(plugin.clone(), limits.bandwidth, auditor);
        let datagrams = f64::from(limits.datagrams);
        let (hearer, name) = (host.clone(), plugin.clone());
        let listener = Box::new(move |line: &LogLine| hearer.hear(&name, line));
        Ok(Plugin(Arc::new(Inner {
            inbound: exports.inbound,
            command: exports.command,
            service: exports.service,
            resolver: exports.resolver,
            answer: exports.answer,
            task: exports.task,
            imports_life: preflight::imports(engine, &component, "life"),
            pre,
            manifest: spec.manifest,
            grants: Arc::new(ArcSwap::from_pointee(spec.grants)),
            pins: ArcSwap::from_pointee(pins),
            settings: ArcSwap::from_pointee(spec.settings),
            instances: Arc::new(Semaphore::new(limits.instances.min(Semaphore::MAX_PERMITS))),
            host,
            engine_instances: self.0.instances.clone(),
            log: GuestLog::new(plugin, limits.log_lines, counters.clone(), Some(listener)),
            cpu: CpuMeter::new(limits.cpu_budget, counters.clone()),
            datagrams: Mutex::new(Bucket::new(datagrams, datagrams)),
            counters,
            limits,
            splices: self.0.splices.clone(),
            tasks: self.0.tasks.clone(),
            ticker: self.0.ticker.clone(),
            peer_pace: Mutex::default(),
            lookup: self.0.lookup.clone(),
            sockets: self.0.sockets.clone(),
            clocks: self.0.clocks,
            observer: self.0.observer.clone(),
            stores: self.0.stores.clone(),
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
            sending: Arc::new(Semaphore::new(MAX_SENDING)),
            store: OnceCell::new(),
            forbidden: self.0.forbidden.clone(),
            settings_changed: watch::Sender::new(()),
            stopping: CancellationToken::new(),
            stopped: self.0.stopped.child_token(),
        })))
    }

    /// Looks at what needs no compiling, and returns where the granted directories lead.
    fn check(&self, spec: &PluginSpec) -> Result<directories::Pins, LoadError> {
        let plugin = spec.manifest.name.clone();
        if !SERVED_VERSIONS.contains(&spec.manifest.contract.as_str()) {
            return Err(LoadError::Contract {
                plugin,
                wanted: spec.manifest.contract.clone(),
                served: CONTRACT_VERSION,
            });
        }
        if !is_json_object(&spec.settings) {
            return Err(LoadError::Settings { plugin });
        }
        directories::check(&spec.grants, &self.0.forbidden.load())
            .map_err(|reason| LoadError::Directory { plugin, reason })
    }

    /// Changes [`EngineConfig::forbidden_paths`]. What is loaded afterwards heeds them, and so does each new instance; whether
    /// a running one has to end, [`Plugin::forbidden_directory`] says.
    pub fn set_forbidden_paths(&self, paths: Vec<PathBuf>) {
        let paths = joined(paths, self.0.data_dir.as_ref());
        self.0.forbidden.store(Arc::new(paths));
    }

    /// How many events found no room in [`EngineConfig::audit`].
    pub fn audit_dropped(&self) -> u64 {
        self.0.audit_dropped.load(Ordering::Relaxed)
    }

    /// The tunnels that the host carries.
    pub fn splices(&self) -> Splices {
        self.0.splices.clone()
    }

    /// Ends every instance, waits for tunnels until `drain` is over, resets the rest, and waits for the
    /// engine's tasks.
    pub async fn shut_down(&self, drain: Duration) {
        self.0.stopped.cancel();
        self.0.splices.drain(drain).await;
        self.0.tasks.close();
        // Tasks end by themselves now; each is bounded by the time it may take to close its stream.
        self.0.tasks.wait().await;
    }

    async fn compile(&self, spec: &PluginSpec) -> Result<Component, LoadError> {
        let inner = self.0.clone();
        let wasm: Cow<'static, [u8]> = spec.wasm.clone();
        let failed = |reason: String| LoadError::Compile {
            plugin: spec.manifest.name.clone(),
            reason,
        };
        let work = move || inner.component(&wasm);
        let compiled = tokio::task::spawn_blocking(work).await;
        compiled
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(format!("{error:#}")))
    }
}

/// The exports of a plugin that this host can call.
struct Indices {
    inbound: Option<inbound::GuestIndices>,
    command: Option<command::GuestIndices>,
    service: Option<service::GuestIndices>,
    resolver: Option<resolver::GuestIndices>,
    answer: Option<answer::GuestIndices>,
    task: Option<task::GuestIndices>,
}

impl Indices {
    /// Finds them, or says in one sentence what is wrong with one.
    fn find(
        engine: &wasmtime::Engine,
        component: &Component,
        pre: &InstancePre<InstanceState>,
    ) -> Result<Self, String> {
        if let Some(reason) = preflight::wrong_export(engine, component) {
            return Err(reason);
        }
        macro_rules! find {
            ($module:ident) => {{
                let name = preflight::export_name(stringify!($module));
                let there = component.get_export_index(None, &name).is_some();
                let found = there.then(|| $module::GuestIndices::new(pre)).transpose();
                found.map_err(|error| {
                    format!(
                        "it exports {name} in another shape than this host knows: {}",
                        error.root_cause()
                    )
                })?
            }};
        }
        let found = Self {
            inbound: find!(inbound),
            command: find!(command),
            service: find!(service),
            resolver: find!(resolver),
            answer: find!(answer),
            task: find!(task),
        };
        let serves = found.inbound.is_some() || found.answer.is_some();
        let runs = found.command.is_some() || found.task.is_some() || found.service.is_some();
        match serves || runs || found.resolver.is_some() {
            true => Ok(found),
            false => Err(preflight::no_export()),
        }
    }
}

fn joined(mut paths: Vec<PathBuf>, more: Option<&PathBuf>) -> Vec<PathBuf> {
    paths.extend(more.cloned());
    paths
}

impl EngineInner {
    fn component(&self, wasm: &[u8]) -> wasmtime::Result<Component> {
        let Some(cache) = &self.cache else {
            return Component::new(&self.engine, wasm);
        };
        let key = Cache::key(&self.engine, wasm);
        if let Some(component) = cache.load(&self.engine, &key) {
            return Ok(component);
        }
        let component = Component::new(&self.engine, wasm)?;
        match component.serialize() {
            Ok(bytes) => cache.store(&key, &bytes),
            Err(error) => tracing::debug!(%error, "a plugin cannot be kept in compiled form"),
        }
        Ok(component)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("splices", &self.0.splices)
            .finish_non_exhaustive()
    }
}

fn runtime_config(config: &EngineConfig) -> Config {
    let instances = config.max_instances;
    let modules = instances.saturating_mul(MODULES_PER_COMPONENT);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(modules)
        .total_memories(instances.saturating_mul(MEMORIES_PER_COMPONENT))
        .total_tables(instances.saturating_mul(2))
        // A call that waits in the guest holds a stack of its own, and a guest may be called back meanwhile.
        .total_stacks(instances.saturating_mul(2))
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_core_instances_per_component(MODULES_PER_COMPONENT)
        .max_memory_size(config.max_memory_bytes)
        .linear_memory_keep_resident(KEPT_BYTES)
        .table_keep_resident(KEPT_BYTES)
        // Asks the kernel which pages an instance wrote to (Linux 6.7) and clears only these. Giving all of a
        // memory back instead takes the lock of the address space for as long as there are pages: a plugin that
        // fills its memory again and again tripled the p99 of the plugins beside it.
        .pagemap_scan(Enabled::Auto);
    let mut runtime = Config::new();
    runtime
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        .wasm_component_model_async(true)
        // Plugins are compiled beside each other. The threads that one would be compiled on stay, with 20 MB of what compiling
        // left in their part of the heap; the one that it is compiled on now ends when it has nothing to do. Half of it goes then.
        .parallel_compilation(false);
    runtime
}

/// Links what every plugin may import: the contract, and of WASI what std needs. No sockets; the filesystem has
/// the granted directories, the environment the granted variables, and there are no arguments.
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<InstanceState>> {
    let mut linker: Linker<InstanceState> = Linker::new(engine);
    link_wasi_p2(&mut linker)?;
    wasmtime_wasi::p3::cli::add_to_linker(&mut linker)?;
    wasmtime_wasi::p3::clocks::add_to_linker(&mut linker)?;
    wasmtime_wasi::p3::random::add_to_linker(&mut linker)?;
    wasmtime_wasi::p3::filesystem::add_to_linker(&mut linker)?;
    contract::types::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::streams::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::tcp::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::names::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::peers::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::settings::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::log::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::output::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::name_list::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::events::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::udp::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::store::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    contract::life::add_to_linker::<_, Capabilities>(&mut linker, |state| state)?;
    Ok(linker)
}

fn link_wasi_p2(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    use wasmtime_wasi::{
        cli::WasiCli,
        filesystem::WasiFilesystem,
        p2::bindings::{cli, filesystem, random},
        random::WasiRandom,
    };
    type State = InstanceState;
    // Clocks, random numbers, standard input, output and error, and the streams beneath them.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    random::insecure::add_to_linker::<State, WasiRandom>(linker, State::random)?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(linker, State::random)?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(linker, State::filesystem)?;
    Ok(())
}
