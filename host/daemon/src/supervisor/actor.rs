//! The actor: carries out what each plugin's machine says, and feeds it with what comes back.
//!
//! Inboxes, in the order in which they are heeded: the end of the node, answers of its own tasks, timers, traps told by
//! those who run plugins, commands of the handle. It waits for none of the work: loads, checks, services and drains are
//! tasks that answer with the number of their generation, and a late answer changes nothing.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use peerup_config::{Effects, NodeConfig};
use peerup_engine::{Plugin, PluginStats, Splices};
use peerup_lifecycle::{Command, Event, Generation, LoadFailure, Manner, Policy, Run, ServiceEnd};
use peerup_model::PluginName;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    managed::{Managed, ServiceRun, Taken},
    package::Source,
    routing::{Routing, Slot},
    runtime::{LoadOutcome, Runtime},
    told::{Level, Told},
    view::{View, Views, add},
};
use crate::{
    audit::{Audit, AuditEvent},
    plugin_logs::PluginLogs,
    services::ServiceTable,
    sources,
};

/// Loads at once, of all plugins: each compiles on every core.
const MAX_LOADS: usize = 2;
/// Answers that wait for the actor; the tasks wait then.
const ANSWERS: usize = 256;
/// How long the actor sleeps where no timer runs; anything else wakes it earlier.
const IDLE: Duration = Duration::from_secs(3600);

/// What the handle asks of the actor. Those with a name are answered with the last generation that was asked for, or
/// none where there is no such plugin.
#[derive(Debug)]
pub(super) enum SupervisorCommand {
    Apply {
        config: Arc<NodeConfig>,
        done: oneshot::Sender<Effects>,
    },
    Enable {
        name: PluginName,
        done: oneshot::Sender<Option<Generation>>,
    },
    Disable {
        name: PluginName,
        manner: Manner,
        done: oneshot::Sender<Option<Generation>>,
    },
    DisableAll {
        manner: Manner,
        done: oneshot::Sender<()>,
    },
    Reload {
        name: PluginName,
        done: oneshot::Sender<Option<Generation>>,
    },
    Upgrade {
        name: PluginName,
        source: Source,
        done: oneshot::Sender<Option<Generation>>,
    },
}

/// An instance that trapped.
#[derive(Debug)]
pub(super) struct Trap {
    pub(super) name: PluginName,
    pub(super) generation: Generation,
    pub(super) reason: String,
}

/// What the actor's own tasks come back with.
#[derive(Debug)]
enum Answer {
    Loaded(Generation, LoadOutcome),
    Checked(Generation, Result<(), LoadFailure>),
    Ended(Generation, Run, ServiceEnd),
    Drained(Generation),
}

/// What an actor is made of.
pub(super) struct Parts {
    pub(super) commands: mpsc::Receiver<SupervisorCommand>,
    pub(super) trapped: mpsc::Receiver<Trap>,
    pub(super) publisher: watch::Sender<Views>,
    pub(super) routing: Arc<Routing>,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) services: Arc<ServiceTable>,
    pub(super) splices: Splices,
    pub(super) audit: Audit,
    pub(super) logs: Arc<PluginLogs>,
    pub(super) policy: Policy,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
}

pub(super) struct SupervisorActor {
    parts: Parts,
    plugins: BTreeMap<PluginName, Managed>,
    answers: mpsc::Receiver<(PluginName, Answer)>,
    answer: mpsc::Sender<(PluginName, Answer)>,
    loads: Arc<Semaphore>,
}

impl SupervisorActor {
    pub(super) fn new(parts: Parts) -> Self {
        let (answer, answers) = mpsc::channel(ANSWERS);
        Self {
            parts,
            plugins: BTreeMap::new(),
            answers,
            answer,
            loads: Arc::new(Semaphore::new(MAX_LOADS)),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let timer = self.next_timer();
            tokio::select! {
                biased;
                () = self.parts.shutdown.cancelled() => break,
                Some((name, answer)) = self.answers.recv() => self.handle_answer(&name, answer),
                () = tokio::time::sleep_until(timer) => self.handle_timers(),
                Some(trap) = self.parts.trapped.recv() => self.handle_trap(&trap),
                command = self.parts.commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => break,
                },
            }
        }
        for run in self
            .plugins
            .values()
            .flat_map(|managed| managed.services.values())
        {
            run.stopping.cancel();
        }
    }

    fn next_timer(&self) -> tokio::time::Instant {
        let timers = self
            .plugins
            .values()
            .filter_map(|managed| managed.machine.poll_timeout());
        timers
            .min()
            .map_or_else(|| tokio::time::Instant::now() + IDLE, Into::into)
    }

    fn handle_timers(&mut self) {
        let now = now();
        for name in self.names() {
            self.change(&name, |managed| managed.machine.handle_timeout(now));
        }
    }

    fn handle_trap(&mut self, trap: &Trap) {
        let now = now();
        self.change(&trap.name, |managed| {
            managed.machine.handle_trapped(trap.generation, &trap.reason, now);
        });
    }

    fn handle_command(&mut self, command: SupervisorCommand) {
        let now = now();
        // Who asked may have gone; then nobody wants the answer.
        match command {
            SupervisorCommand::Apply { config, done } => {
                let effects = self.apply(&config);
                let _ = done.send(effects);
            }
            SupervisorCommand::DisableAll { manner, done } => {
                self.audit(
                    None,
                    "disable-all",
                    serde_json::json!({ "now": manner == Manner::Now }),
                );
                for name in self.names() {
                    self.change(&name, |managed| managed.machine.handle_disable(manner, now));
                }
                let _ = done.send(());
            }
            SupervisorCommand::Enable { name, done } => {
                let _ = done.send(self.act(&name, |managed| managed.machine.handle_enable(now)));
            }
            SupervisorCommand::Disable { name, manner, done } => {
                let _ = done.send(self.act(&name, |managed| managed.machine.handle_disable(manner, now)));
            }
            SupervisorCommand::Reload { name, done } => {
                self.audit(Some(&name), "reload", serde_json::Value::Null);
                let _ = done.send(self.act(&name, |managed| managed.machine.handle_reload(now)));
            }
            SupervisorCommand::Upgrade { name, source, done } => {
                if let Source::Given(package) = &source {
                    let detail = serde_json::json!({
                        "version": package.manifest.version, "digest": package.digest,
                    });
                    self.audit(Some(&name), "upgrade", detail);
                }
                let _ = done.send(self.act(&name, |managed| managed.machine.handle_upgrade(source, now)));
            }
        }
    }

    fn names(&self) -> Vec<PluginName> {
        self.plugins.keys().cloned().collect()
    }

    fn act(&mut self, name: &PluginName, change: impl FnOnce(&mut Managed)) -> Option<Generation> {
        self.change(name, change);
        self.plugins.get(name).map(|managed| managed.machine.latest())
    }

    /// Puts what a config says of each plugin in force, and returns what that does to which.
    fn apply(&mut self, config: &NodeConfig) -> Effects {
        let now = now();
        let mut effects = Effects::default();
        let is_protection_new = self.parts.runtime.protect(config);
        for (name, entry) in &config.plugins {
            match self.plugins.get(name) {
                None => {
                    let seed = random_seed();
                    let mut managed = Managed::new(entry.clone(), self.parts.policy, seed, now);
                    if entry.enabled {
                        managed.machine.handle_enable(now);
                        effects.plugins_started.insert(name.to_string());
                    }
                    self.plugins.insert(name.clone(), managed);
                    self.pump(name);
                }
                Some(managed) if is_protection_new || managed.entry != *entry || managed.is_forgotten => {
                    let mut taken = Taken::Noted;
                    self.change(name, |managed| {
                        taken = managed.take(entry, is_protection_new, now)
                    });
                    self.serve_granted(name);
                    let set = match taken {
                        Taken::Started => &mut effects.plugins_started,
                        Taken::Stopped => &mut effects.plugins_stopped,
                        Taken::Reloaded => &mut effects.plugins_reloaded,
                        Taken::Changed => &mut effects.plugins_changed,
                        Taken::Noted => continue,
                    };
                    set.insert(name.to_string());
                }
                Some(_) => {}
            }
        }
        for name in self.names() {
            if !config.plugins.contains_key(&name) {
                self.change(&name, |managed| {
                    if managed.entry.enabled && !managed.is_forgotten {
                        effects.plugins_stopped.insert(name.to_string());
                    }
                    managed.is_forgotten = true;
                    managed.machine.handle_disable(Manner::Drain, now);
                });
            }
        }
        effects
    }

    /// Serves the protocols that the grants of the active generation cover now.
    fn serve_granted(&self, name: &PluginName) {
        let active = self
            .plugins
            .get(name)
            .and_then(|managed| managed.machine.active());
        let Some(plugin) = active.and_then(|generation| self.plugin(name, generation)) else {
            return;
        };
        if let Err(failure) = self.parts.services.set_plugin(name, &protocols(&plugin)) {
            tracing::error!(plugin = %name, %failure, "not every protocol of the plugin is served");
        }
    }

    fn handle_answer(&mut self, name: &PluginName, answer: Answer) {
        let now = now();
        self.change(name, |managed| match answer {
            Answer::Loaded(generation, outcome) => managed.take_load(generation, outcome, now),
            Answer::Checked(generation, Ok(())) => managed.machine.handle_checked(generation, now),
            Answer::Checked(generation, Err(failure)) => {
                managed.machine.handle_check_failed(generation, failure, now);
            }
            Answer::Ended(generation, run, end) => {
                managed.services.remove(&run);
                managed.machine.handle_service_ended(generation, run, end, now);
            }
            Answer::Drained(generation) => managed.machine.handle_drained(generation, now),
        });
    }

    fn change(&mut self, name: &PluginName, change: impl FnOnce(&mut Managed)) {
        if let Some(managed) = self.plugins.get_mut(name) {
            change(managed);
            self.pump(name);
        }
    }

    /// Carries out what a plugin's machine wants, then tells how the plugin is.
    fn pump(&mut self, name: &PluginName) {
        while let Some(command) = self
            .plugins
            .get_mut(name)
            .and_then(|managed| managed.machine.next_command())
        {
            self.carry_out(name, command);
        }
        let is_over = |managed: &Managed| {
            managed.is_forgotten && managed.machine.stage() == peerup_lifecycle::Stage::Stopped
        };
        if self.plugins.get(name).is_some_and(is_over) {
            self.plugins.remove(name);
            self.parts.logs.forget(name);
        }
        self.publish(name);
    }

    fn carry_out(&mut self, name: &PluginName, command: Command<Source>) {
        match command {
            Command::Load { generation, source } => self.load(name, generation, source),
            Command::Check { generation } => self.check(name, generation),
            Command::Route { generation } => self.route(name, generation),
            Command::Unroute => self.unroute(name),
            Command::StartService { generation, run } => self.start_service(name, generation, run),
            Command::StopService { run, .. } => {
                if let Some(service) = self.service(name, run) {
                    service.stopping.cancel();
                }
            }
            Command::CancelService { run, .. } => {
                if let Some(service) = self.service(name, run) {
                    service.cancelled.cancel();
                }
            }
            Command::ApplySettings { generation } => self.apply_settings(name, generation),
            Command::Drain { generation, .. } => self.drain(name, generation),
            Command::Cancel { generation } => self.cancel(name, generation),
            Command::Report(event) => self.report(name, &event),
        }
    }

    fn service(&self, name: &PluginName, run: Run) -> Option<&ServiceRun> {
        self.plugins.get(name)?.services.get(&run)
    }

    fn load(&mut self, name: &PluginName, generation: Generation, source: Source) {
        let Some(managed) = self.plugins.get_mut(name) else {
            return;
        };
        let cancelled = CancellationToken::new();
        managed.loading.insert(generation, cancelled.clone());
        let load = self
            .parts
            .runtime
            .load(name.clone(), managed.entry.clone(), source);
        let (turns, answer, name) = (self.loads.clone(), self.answer.clone(), name.clone());
        let shutdown = self.parts.shutdown.clone();
        self.parts.tasks.spawn(async move {
            let loaded = async {
                // Never closed. A load that begins goes to its end, so that no more than these compile at once.
                let _turn = tokio::select! {
                    biased;
                    () = cancelled.cancelled() => return,
                    turn = turns.acquire() => turn,
                };
                let outcome = load.await;
                let _ = answer.send((name, Answer::Loaded(generation, outcome))).await;
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = loaded => {}
            }
        });
    }

    fn check(&mut self, name: &PluginName, generation: Generation) {
        let Some(plugin) = self.plugin(name, generation) else {
            return;
        };
        let room = self.parts.services.check_plugin(name, &protocols(&plugin));
        let check = self.parts.runtime.check(plugin);
        self.spawn(name, async move {
            let checked = match room {
                Ok(()) => check.await,
                Err(failure) => Err(LoadFailure {
                    reason: failure.to_string(),
                    lasting: true,
                }),
            };
            Answer::Checked(generation, checked)
        });
    }

    fn route(&mut self, name: &PluginName, generation: Generation) {
        let Some(loaded) = self
            .plugins
            .get(name)
            .and_then(|managed| managed.loaded.get(&generation))
        else {
            return;
        };
        let (slot, package) = (loaded.slot.clone(), loaded.package.clone());
        let served = protocols(slot.plugin());
        let before = self.parts.routing.set(name, Some(slot));
        if let Err(failure) = self.parts.services.set_plugin(name, &served) {
            // Somebody else took the last place since the check; services have routes of their own.
            tracing::error!(plugin = %name, %failure, "not every protocol of the plugin is served");
        }
        let Some(managed) = self.plugins.get_mut(name) else {
            return;
        };
        managed.package = package;
        if let Some(replaced) = before.and_then(|slot| managed.loaded.get_mut(&slot.generation())) {
            replaced.is_replaced = true;
            let inherited = std::mem::take(&mut replaced.inherited);
            if let Some(loaded) = managed.loaded.get_mut(&generation) {
                loaded.inherited.extend(inherited);
            }
        }
    }

    fn unroute(&mut self, name: &PluginName) {
        self.parts.services.remove_plugin(name);
        let before = self.parts.routing.set(name, None);
        let Some(managed) = self.plugins.get_mut(name) else {
            return;
        };
        // What older generations still carry ends with the last one.
        let carried: Vec<u64> = managed
            .loaded
            .values()
            .filter(|loaded| loaded.is_replaced)
            .flat_map(|loaded| loaded.slot.plugin().tunnels())
            .collect();
        if let Some(last) = before.and_then(|slot| managed.loaded.get_mut(&slot.generation())) {
            last.inherited.extend(carried);
        }
    }

    fn start_service(&mut self, name: &PluginName, generation: Generation, run: Run) {
        let Some(plugin) = self.plugin(name, generation) else {
            return;
        };
        let service = ServiceRun {
            generation,
            stopping: CancellationToken::new(),
            cancelled: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let work = self.parts.runtime.run_service(plugin, service.stopping.clone());
        let (cancelled, ended) = (service.cancelled.clone(), service.ended.clone());
        let Some(managed) = self.plugins.get_mut(name) else {
            return;
        };
        // A run that was cancelled a moment ago may still hold what this one wants, a port for one.
        let before: Vec<CancellationToken> = managed.services.values().map(|run| run.ended.clone()).collect();
        managed.services.insert(run, service);
        self.spawn(name, async move {
            let _ended = ended.drop_guard();
            let alone = async {
                for one in before {
                    one.cancelled().await;
                }
                work.await
            };
            let end = tokio::select! {
                biased;
                () = cancelled.cancelled() => ServiceEnd::Returned,
                end = alone => end,
            };
            Answer::Ended(generation, run, end)
        });
    }

    fn apply_settings(&mut self, name: &PluginName, generation: Generation) {
        let Some(managed) = self.plugins.get(name) else {
            return;
        };
        if let Some(loaded) = managed.loaded.get(&generation) {
            let plugin = loaded.slot.plugin();
            // This tells a running service, too.
            plugin.set_settings(sources::settings(plugin.manifest(), &managed.entry));
        }
    }

    /// Waits in a task for the last stream, and where nothing took its place for the last tunnel.
    fn drain(&mut self, name: &PluginName, generation: Generation) {
        let Some(loaded) = self
            .plugins
            .get(name)
            .and_then(|managed| managed.loaded.get(&generation))
        else {
            return;
        };
        let (slot, over) = (loaded.slot.clone(), loaded.over.clone());
        // Commands and handlers that ask for it hear that they are to end.
        slot.plugin().begin_stopping();
        let is_last = !loaded.is_replaced;
        let inherited = loaded.inherited.clone();
        let older: Vec<Arc<Slot>> = self
            .plugins
            .get(name)
            .into_iter()
            .flat_map(|managed| managed.loaded.values())
            .filter(|loaded| is_last && loaded.is_replaced)
            .map(|loaded| loaded.slot.clone())
            .collect();
        let splices = self.parts.splices.clone();
        self.spawn(name, async move {
            let drained = async {
                slot.emptied().await;
                if is_last {
                    // What older generations still hand over has the same time as what this one does.
                    let mut ids = inherited;
                    for other in std::iter::once(&slot).chain(&older) {
                        other.emptied().await;
                        ids.extend(other.plugin().tunnels());
                    }
                    splices.ended(&ids).await;
                }
            };
            tokio::select! {
                biased;
                () = over.cancelled() => {}
                () = drained => {}
            }
            Answer::Drained(generation)
        });
    }

    /// Ends whatever there is of a generation. Its tunnels go on where another generation took its place.
    fn cancel(&mut self, name: &PluginName, generation: Generation) {
        let Some(managed) = self.plugins.get_mut(name) else {
            return;
        };
        if let Some(load) = managed.loading.remove(&generation) {
            load.cancel();
        }
        for service in managed.services.values() {
            if service.generation == generation {
                service.cancelled.cancel();
            }
        }
        let Some(loaded) = managed.loaded.remove(&generation) else {
            return;
        };
        let plugin = loaded.slot.plugin();
        plugin.stop();
        loaded.over.cancel();
        let counted = PluginStats {
            instances_live: 0,
            spliced_live: 0,
            ..plugin.stats()
        };
        add(&mut managed.past, &counted);
        let mut tunnels = plugin.tunnels();
        tunnels.extend(loaded.inherited);
        // One that is only being checked may fail, and would take them along.
        let candidate = managed.machine.candidate();
        let heir = managed
            .loaded
            .iter_mut()
            .rfind(|(number, other)| !other.is_replaced && candidate != Some(**number))
            .map(|(_, other)| other);
        match heir {
            Some(heir) if loaded.is_replaced => {
                // Those that have ended need no heir.
                let live = self.parts.splices.list();
                heir.inherited
                    .retain(|id| live.iter().any(|tunnel| tunnel.id == *id));
                heir.inherited.extend(tunnels);
            }
            _ => {
                for id in tunnels {
                    self.parts.splices.close(id);
                }
            }
        }
    }

    fn plugin(&self, name: &PluginName, generation: Generation) -> Option<Plugin> {
        let loaded = self.plugins.get(name)?.loaded.get(&generation)?;
        Some(loaded.slot.plugin().clone())
    }

    fn spawn(&self, name: &PluginName, work: impl Future<Output = Answer> + Send + 'static) {
        let (answer, name) = (self.answer.clone(), name.clone());
        let shutdown = self.parts.shutdown.clone();
        self.parts.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                done = work => {
                    // Fails only where the actor has ended.
                    let _ = answer.send((name, done)).await;
                }
            }
        });
    }

    fn publish(&self, name: &PluginName) {
        let view = self
            .plugins
            .get(name)
            .map(|managed| managed.view(name, &self.parts.splices));
        self.parts.publisher.send_modify(|views| {
            let mut changed: BTreeMap<PluginName, View> = BTreeMap::clone(views);
            match view {
                Some(view) => changed.insert(name.clone(), Arc::new(view)),
                None => changed.remove(name),
            };
            *views = Arc::new(changed);
        });
    }

    fn audit(&self, name: Option<&PluginName>, event: &'static str, detail: serde_json::Value) {
        let name = name.map(PluginName::as_str);
        self.parts.audit.record(AuditEvent::new(name, event, detail));
    }

    fn report(&self, name: &PluginName, event: &Event) {
        let told = Told::of(event);
        match told.level {
            Level::Error => tracing::error!(plugin = %name, "{}", told.text),
            Level::Warn => tracing::warn!(plugin = %name, "{}", told.text),
            Level::Info => tracing::info!(plugin = %name, "{}", told.text),
            Level::Debug => tracing::debug!(plugin = %name, "{}", told.text),
        }
        self.audit(Some(name), told.word, told.detail);
        self.parts.logs.tell(name, told.level.as_str(), told.text);
    }
}

/// The protocols that a plugin serves besides services: what its manifest names and its grants cover. A pattern stands
/// for services, which have routes of their own.
fn protocols(plugin: &Plugin) -> Vec<String> {
    let (manifest, grants) = (plugin.manifest(), plugin.grants());
    if !plugin.exports().serves() {
        return Vec::new();
    }
    let named = manifest
        .protocols
        .iter()
        .filter(|protocol| !protocol.contains('*'));
    named
        .filter(|protocol| grants.names_protocol(manifest.name.as_str(), protocol))
        .cloned()
        .collect()
}

/// Tokio's clock, which tests can move.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn random_seed() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the restarts of one machine's plugins are in step; nothing else depends on it.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
