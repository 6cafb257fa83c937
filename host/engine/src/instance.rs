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
use tokio_util::sync::CancellationToken;
use wasmtime::{
    Store, Trap,
    component::{self, Accessor, Resource},
};

use crate::{
    access::Access,
    audit::RunKind,
    bindings::exports::peerup::plugin::{answer, inbound, resolver, task},
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
    /// Cancelled when this instance is asked to end; none is when the plugin is.
    pub(crate) stopping: Option<CancellationToken>,
}

impl Purpose {
    /// A run without a service, a group of tunnels or anybody who listens.
    pub(crate) fn plain(access: Access) -> Self {
        Self {
            access,
            service: None,
            group: None,
            output: None,
            stopping: None,
        }
    }
}

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// As long as it likes.
    Endless,
    /// So long without moving a byte.
    Moving(Duration),
    /// So long altogether.
    Within(Duration),
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
    _of_plugin: Option<OwnedSemaphorePermit>,
    _of_engine: OwnedSemaphorePermit,
    counters: Arc<Counters>,
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.counters.instances_live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the right to have an instance, for a bounded time. The service's one instance is none of those that
/// the plugin's limit counts: it must not wait for them, nor they for it.
pub(crate) async fn admit(plugin: &Inner, run: RunKind) -> Result<Permits, PluginError> {
    let name = &plugin.manifest.name;
    let busy = |limit: String| {
        plugin.counters.auditor.limit("instances");
        PluginError::Limit(format!("the plugin {name} is busy: {limit}"))
    };
    let of_plugin = match run {
        RunKind::Service => None,
        _ => Some(
            permit(&plugin.instances, plugin.limits.instance_wait)
                .await
                .ok_or_else(|| {
                    if plugin.stopped.is_cancelled() {
                        return PluginError::Cancelled;
                    }
                    let instances = plugin.limits.instances;
                    busy(format!(
                        "it has {instances} instances already; its limit is plugins.{name}.limits.instances"
                    ))
                })?,
        ),
    };
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
        let permits = admit(plugin, purpose.access.run()).await?;
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
        let mut state = state.map_err(|reason| PluginError::Unready {
            plugin: plugin.manifest.name.clone(),
            reason,
        })?;
        if let Some(stopping) = purpose.stopping {
            state.stopping = stopping;
        }
        let burst = Burst::new(plugin.limits.cpu);
        let mut store = store(plugin, state, burst.clone());
        let guest = {
            let started = pin!(plugin.pre.instantiate_async(&mut store));
            Metered::new(started, burst.clone(), plugin.ticker.clone(), plugin.cpu.clone()).await
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

    /// Calls an export and ends the instance.
    pub(crate) async fn call(mut self, call: Call, patience: Patience) -> Result<Reply, PluginError> {
        let _fail = FailOnDrop(self.ending.clone());
        let plugin = self.plugin.clone();
        plugin.counters.calls.fetch_add(1, Ordering::Relaxed);
        let outcome = {
            let run = pin!(run(&mut self.store, self.guest, &plugin, call));
            let metered = Metered::new(run, self.burst.clone(), plugin.ticker.clone(), plugin.cpu.clone());
            select! {
                biased;
                outcome = metered => Some(outcome),
                () = impatient(&self.ending, patience) => None,
            }
        };
        let result = match outcome {
            Some(Ok(Ok(reply))) => Ok(reply),
            Some(Ok(Err(error))) => Err(PluginError::Guest(error)),
            Some(Err(error)) => Err(failure(&plugin, &self.store, &self.burst, &error)),
            None => Err(too_slow(&plugin, patience)),
        };
        self.ending.settle(result.is_ok());
        result
    }
}

fn too_slow(plugin: &Inner, patience: Patience) -> PluginError {
    let name = plugin.manifest.name.clone();
    let error = match patience {
        Patience::Within(limit) => PluginError::Slow { plugin: name, limit },
        Patience::Moving(limit) => PluginError::Deadline { plugin: name, limit },
        Patience::Endless => PluginError::Cancelled,
    };
    plugin.counters.traps.fetch_add(1, Ordering::Relaxed);
    plugin.counters.auditor.trapped(&error.to_string());
    error
}

/// Answers once patience is over.
async fn impatient(ending: &Ending, patience: Patience) {
    let deadline = match patience {
        Patience::Endless => return std::future::pending().await,
        Patience::Within(limit) => return sleep(limit).await,
        Patience::Moving(deadline) => deadline,
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
    let told = if burst.exceeded() {
        plugin.counters.auditor.limit("cpu");
        PluginError::Cpu {
            plugin: name,
            limit: plugin.limits.cpu,
        }
    } else if store.data().memory.met {
        PluginError::Memory {
            plugin: name,
            limit: plugin.limits.memory_bytes,
        }
    } else {
        let reason = match error.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string(),
            None => error.root_cause().to_string(),
        };
        PluginError::Trap { plugin: name, reason }
    };
    plugin.counters.auditor.trapped(&told.to_string());
    told
}

/// One call of an export.
pub(crate) enum Call {
    /// A peer opened a stream.
    Inbound(inbound::Request, Resource<DuplexHandle>),
    /// A peer's whole request.
    Answer(answer::Request, Vec<u8>),
    /// A command by name, with its arguments as JSON.
    Command(String, String),
    /// The same, told at its end.
    Task(String, String),
    /// The long-lived run.
    Service,
    /// Who a name stands for.
    Resolve(String),
}

/// What a call came to.
pub(crate) enum Reply {
    Done,
    Bytes(Vec<u8>),
    Events(Vec<task::Event>),
    Resolved(Option<resolver::Answer>),
}

impl Reply {
    /// Whatever it was, it is done.
    pub(crate) fn done(self) {}
}

/// Loads an export and calls it within the instance's event loop.
macro_rules! call {
    ($store:ident, $guest:ident, $indices:expr, |$export:ident, $accessor:ident| $called:expr) => {{
        let $export = $indices
            .as_ref()
            .ok_or_else(not_exported)?
            .load(&mut *$store, &$guest)?;
        let called = async |$accessor: &Accessor<InstanceState>| $called.await;
        $store.run_concurrent(called).await??
    }};
}

async fn run(
    store: &mut Store<InstanceState>,
    guest: component::Instance,
    plugin: &Inner,
    call: Call,
) -> wasmtime::Result<Result<Reply, HostError>> {
    let reply = match call {
        Call::Inbound(request, connection) => {
            let done = call!(store, guest, plugin.inbound, |export, accessor| export
                .call_handle(accessor, request, connection));
            done.map(|()| Reply::Done)
        }
        Call::Answer(request, body) => {
            let answered = call!(store, guest, plugin.answer, |export, accessor| export
                .call_answer(accessor, request, body));
            answered.map(Reply::Bytes)
        }
        Call::Command(name, arguments) => {
            let done = call!(store, guest, plugin.command, |export, accessor| export
                .call_run(accessor, name, arguments));
            done.map(|()| Reply::Done)
        }
        Call::Task(name, arguments) => {
            let told = call!(store, guest, plugin.task, |export, accessor| export
                .call_run(accessor, name, arguments));
            told.map(Reply::Events)
        }
        Call::Service => {
            let done = call!(store, guest, plugin.service, |export, accessor| export
                .call_run(accessor));
            done.map(|()| Reply::Done)
        }
        Call::Resolve(name) => {
            let found = call!(store, guest, plugin.resolver, |export, accessor| export
                .call_resolve(accessor, name));
            found.map(Reply::Resolved)
        }
    };
    Ok(reply.map_err(HostError::from))
}

fn not_exported() -> wasmtime::Error {
    wasmtime::Error::msg("the plugin does not export this")
}
