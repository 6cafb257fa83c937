//! One instance: from the permit to have one, over the call of its export, to its end.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    select,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use wasmtime::{
    Store, Trap,
    component::{self, Accessor, Resource},
};

use crate::{
    access::Access,
    bindings::exports::peerup::plugin::inbound,
    duplex::Duplex,
    ending::{Ending, FailOnDrop},
    error::{HostError, PluginError},
    event::CommandEvent,
    handles::DuplexHandle,
    limits::{Burst, Metered},
    state::{Inner, InstanceState},
    stats::Counters,
    tunnels::{Owner, TunnelGroup},
};

/// Streams and futures that one instance may have in its tables, for each duplex that it may hold: two of
/// each, with both their ends.
const TABLE_ENTRIES_PER_STREAM: usize = 16;
/// Bytes that a plugin may hand to one call of the host, in strings and lists.
const MAX_CALL_BYTES: usize = 4 << 20;

/// What an instance is made for.
pub(crate) struct Purpose {
    pub(crate) access: Access,
    pub(crate) service: Option<String>,
    pub(crate) group: Option<TunnelGroup>,
    pub(crate) output: Option<mpsc::Sender<CommandEvent>>,
}

/// An instance that is about to be called. Dropping it before its end resets what it holds.
pub(crate) struct Instance {
    guest: component::Instance,
    pub(crate) store: Store<InstanceState>,
    plugin: Arc<Inner>,
    burst: Arc<Burst>,
    ending: Arc<Ending>,
    _permits: Permits,
}

/// The right to have an instance, counted while it is held.
pub(crate) struct Permits {
    _of_plugin: OwnedSemaphorePermit,
    _of_engine: OwnedSemaphorePermit,
    counters: Arc<Counters>,
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.counters.instances_live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the right to have an instance, for a bounded time.
pub(crate) async fn admit(plugin: &Inner) -> Result<Permits, PluginError> {
    let name = &plugin.manifest.name;
    let busy = |limit: String| PluginError::Limit(format!("the plugin {name} is busy: {limit}"));
    let of_plugin = permit(&plugin.instances, plugin.limits.instance_wait)
        .await
        .ok_or_else(|| {
            let instances = plugin.limits.instances;
            busy(format!(
                "it has {instances} instances already; its limit is plugins.{name}.limits.instances"
            ))
        })?;
    let of_engine = permit(&plugin.engine_instances, plugin.limits.instance_wait)
        .await
        .ok_or_else(|| busy("the host has as many instances of all plugins as it may".to_owned()))?;
    let counters = plugin.counters.clone();
    counters.instances_live.fetch_add(1, Ordering::Relaxed);
    counters.instances_total.fetch_add(1, Ordering::Relaxed);
    Ok(Permits {
        _of_plugin: of_plugin,
        _of_engine: of_engine,
        counters,
    })
}

async fn permit(semaphore: &Arc<Semaphore>, wait: Duration) -> Option<OwnedSemaphorePermit> {
    timeout(wait, semaphore.clone().acquire_owned()).await.ok()?.ok()
}

impl Instance {
    /// Makes a fresh instance. `waits`: whether what it drops waits for its end.
    pub(crate) async fn start(
        plugin: &Arc<Inner>,
        purpose: Purpose,
        waits: bool,
    ) -> Result<Self, PluginError> {
        let permits = admit(plugin).await?;
        let runtime = tokio::runtime::Handle::current();
        let ending = Ending::new(waits, plugin.tasks.clone(), runtime);
        let owner = Owner {
            counters: plugin.counters.clone(),
            service: purpose.service,
            group: purpose.group,
            limit: plugin.limits.tunnels,
        };
        let state = InstanceState::new(
            plugin.clone(),
            purpose.access,
            ending.clone(),
            owner,
            purpose.output,
        );
        let burst = Burst::new(plugin.limits.cpu);
        let mut store = store(plugin, state, burst.clone());
        let guest = {
            let started = pin!(plugin.pre.instantiate_async(&mut store));
            Metered {
                future: started,
                burst: burst.clone(),
                ticker: plugin.ticker.clone(),
            }
            .await
        };
        let guest = match guest {
            Ok(guest) => guest,
            Err(error) => return Err(failure(plugin, &store, &burst, &error)),
        };
        Ok(Self {
            guest,
            store,
            plugin: plugin.clone(),
            burst,
            ending,
            _permits: permits,
        })
    }

    /// Gives it a duplex.
    pub(crate) fn hold(&mut self, duplex: Duplex) -> Result<Resource<DuplexHandle>, PluginError> {
        let held = self.store.data_mut().hold(duplex);
        held.map_err(|error| PluginError::Limit(error.to_string()))
    }

    /// Calls an export and ends the instance. `deadline`: how long it may take without moving a byte.
    pub(crate) async fn call(mut self, call: Call, deadline: Option<Duration>) -> Result<(), PluginError> {
        let _fail = FailOnDrop(self.ending.clone());
        let outcome = {
            let run = pin!(run(&mut self.store, self.guest, &self.plugin, call));
            let metered = Metered {
                future: run,
                burst: self.burst.clone(),
                ticker: self.plugin.ticker.clone(),
            };
            select! {
                biased;
                outcome = metered => Some(outcome),
                () = stalled(&self.ending, deadline) => None,
            }
        };
        let plugin = &self.plugin;
        let result = match outcome {
            Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(PluginError::Guest(error)),
            Some(Err(error)) => Err(failure(plugin, &self.store, &self.burst, &error)),
            None => Err(PluginError::Deadline {
                plugin: plugin.manifest.name.clone(),
                limit: deadline.unwrap_or_default(),
            }),
        };
        if matches!(result, Err(PluginError::Deadline { .. })) {
            plugin.counters.traps.fetch_add(1, Ordering::Relaxed);
        }
        self.ending.settle(result.is_ok());
        result
    }
}

/// Answers once nothing has moved through the instance for as long as it may.
async fn stalled(ending: &Ending, deadline: Option<Duration>) {
    let Some(deadline) = deadline else {
        return std::future::pending().await;
    };
    let activity = ending.activity();
    let mut seen = activity.load(Ordering::Relaxed);
    loop {
        sleep(deadline).await;
        let now = activity.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

fn store(plugin: &Inner, state: InstanceState, burst: Arc<Burst>) -> Store<InstanceState> {
    let streams = plugin.limits.streams;
    let mut store = Store::new(plugin.pre.engine(), state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(MAX_CALL_BYTES);
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(streams.saturating_mul(TABLE_ENTRIES_PER_STREAM));
    }
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| burst.handle_tick());
    store
}

/// Tells what an error of the runtime was.
fn failure(
    plugin: &Inner,
    store: &Store<InstanceState>,
    burst: &Burst,
    error: &wasmtime::Error,
) -> PluginError {
    let name = plugin.manifest.name.clone();
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return PluginError::Limit(format!(
            "the plugin {name} is busy: the host has as many instances of all plugins as it may"
        ));
    }
    plugin.counters.traps.fetch_add(1, Ordering::Relaxed);
    tracing::debug!(plugin = %name, error = ?error, "a plugin failed");
    if burst.exceeded() {
        return PluginError::Cpu {
            plugin: name,
            limit: plugin.limits.cpu,
        };
    }
    if store.data().memory.met {
        return PluginError::Memory {
            plugin: name,
            limit: plugin.limits.memory_bytes,
        };
    }
    let reason = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    PluginError::Trap { plugin: name, reason }
}

/// One call of an export.
pub(crate) enum Call {
    /// A peer opened a stream.
    Inbound(inbound::Request, Resource<DuplexHandle>),
    /// A command by name, with its arguments as JSON.
    Command(String, String),
}

async fn run(
    store: &mut Store<InstanceState>,
    guest: component::Instance,
    plugin: &Inner,
    call: Call,
) -> wasmtime::Result<Result<(), HostError>> {
    let answer = match call {
        Call::Inbound(request, connection) => {
            let indices = plugin.inbound.as_ref().ok_or_else(not_exported)?;
            let export = indices.load(&mut *store, &guest)?;
            let called = async |accessor: &Accessor<InstanceState>| {
                export.call_handle(accessor, request, connection).await
            };
            store.run_concurrent(called).await??
        }
        Call::Command(name, arguments) => {
            let indices = plugin.command.as_ref().ok_or_else(not_exported)?;
            let export = indices.load(&mut *store, &guest)?;
            let called =
                async |accessor: &Accessor<InstanceState>| export.call_run(accessor, name, arguments).await;
            store.run_concurrent(called).await??
        }
    };
    Ok(answer.map_err(HostError::from))
}

fn not_exported() -> wasmtime::Error {
    wasmtime::Error::msg("the plugin does not export this")
}
