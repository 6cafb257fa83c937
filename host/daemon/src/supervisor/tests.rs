//! The supervisor over the real engine, with a plugin that does what it is told to and a script for the rest.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use libp2p_identity::{Keypair, PeerId};
use peerup_config::{NodeConfig, PluginEntry};
use peerup_engine::{
    Duplex, Engine, EngineConfig, Host, HostError, InboundRequest, PathRef, PeerDetails, PeerRef, Plugin,
    PluginError,
};
use peerup_lifecycle::{LoadFailure, Manner, Policy, ServiceEnd, Stage, Traits};
use peerup_model::{DirectoryAccess, DirectoryGrant, ErrorCode, Grants, PathPolicy, PluginName, Transport};
use peerup_net::ProtocolTable;
use peerup_package::Manifest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    EngineRuntime, Lease, Package, Runtime, Source, Supervisor, SupervisorParts, package::Library,
    runtime::LoadOutcome,
};
use crate::{audit::Audit, own_files::OwnFiles, plugin_logs::PluginLogs, services::ServiceTable};

/// Nothing here takes as long; a test that waits for more hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host without a network.
struct Nowhere;

impl Host for Nowhere {
    fn open<'a>(
        &'a self,
        _: &'a PluginName,
        _: &'a str,
        _: &'a str,
        _: PathPolicy,
    ) -> BoxFuture<'a, Result<Duplex, HostError>> {
        Box::pin(async { Err(HostError::Unreachable("no network".to_owned())) })
    }

    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(PeerId, String), HostError>> {
        Box::pin(async { Err(HostError::NotFound("no names".to_owned())) })
    }

    fn describe<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<PeerDetails, HostError>> {
        Box::pin(async { Err(HostError::NotFound("no peers".to_owned())) })
    }

    fn connected(&self) -> BoxFuture<'_, Result<Vec<PeerDetails>, HostError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn subscribe(&self) -> Result<tokio::sync::broadcast::Receiver<peerup_engine::PeerEvent>, HostError> {
        Err(HostError::Closed("nothing happens here".to_owned()))
    }

    fn find_name(&self, _: &str) -> Result<Option<PeerId>, HostError> {
        Ok(None)
    }

    fn names(&self) -> Result<Vec<(String, PeerId)>, HostError> {
        Ok(Vec::new())
    }
}

/// Every plugin is the hostile one, under the name that was asked for; `needy` cannot do without a grant.
struct Shelf;

fn package(name: &str) -> Arc<Package> {
    let guest = &peerup_bundle::TEST_GUESTS[0];
    let mut text = guest.manifest.replace("hostile", name);
    if name == "needy" {
        text = text.replacen("optional = true", "optional = false", 1);
    }
    if name == "picky" {
        text.push_str("[settings.behaviour]\ntype = \"string\"\ndescription = \"What it does.\"\n");
    }
    Arc::new(Package::new(Manifest::parse(&text).unwrap(), guest.wasm.into()))
}

impl Library for Shelf {
    fn find(&self, name: &PluginName) -> Result<Arc<Package>, String> {
        match name.as_str() {
            "missing" => Err("there is no such plugin".to_owned()),
            name => Ok(package(name)),
        }
    }
}

/// What the tests say about loads and services.
#[derive(Default)]
struct Script {
    load_failure: Mutex<Option<String>>,
    traits: Mutex<Traits>,
    /// How the next runs of the service end; one that finds nothing here runs until it is asked to stop.
    ends: Mutex<VecDeque<ServiceEnd>>,
    /// A service that was asked to stop does not.
    stubborn: AtomicBool,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

struct Scripted {
    engine: EngineRuntime,
    script: Arc<Script>,
    started: mpsc::UnboundedSender<()>,
}

impl Runtime for Scripted {
    fn protect(&self, config: &NodeConfig) -> bool {
        self.engine.protect(config)
    }

    fn load(&self, name: PluginName, entry: PluginEntry, source: Source) -> BoxFuture<'static, LoadOutcome> {
        let load = self.engine.load(name, entry, source);
        let script = self.script.clone();
        Box::pin(async move {
            let mut outcome = load.await;
            if let Some(reason) = script.load_failure.lock().unwrap().clone() {
                outcome.loaded = Err(LoadFailure {
                    reason,
                    lasting: true,
                });
            }
            if let Ok((_, traits)) = &mut outcome.loaded {
                *traits = *script.traits.lock().unwrap();
            }
            outcome
        })
    }

    fn check(&self, plugin: Plugin) -> BoxFuture<'static, Result<(), LoadFailure>> {
        self.engine.check(plugin)
    }

    fn run_service(&self, _: Plugin, stopping: CancellationToken) -> BoxFuture<'static, ServiceEnd> {
        let (script, started) = (self.script.clone(), self.started.clone());
        Box::pin(async move {
            let _running = Running::of(script.clone());
            started.send(()).unwrap();
            let end = script.ends.lock().unwrap().pop_front();
            if let Some(end) = end {
                return end;
            }
            stopping.cancelled().await;
            if script.stubborn.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            ServiceEnd::Returned
        })
    }
}

struct Running(Arc<Script>);

impl Running {
    fn of(script: Arc<Script>) -> Self {
        let now = script.running.fetch_add(1, Ordering::SeqCst) + 1;
        script.most_running.fetch_max(now, Ordering::SeqCst);
        Self(script)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Bench {
    supervisor: Supervisor,
    script: Arc<Script>,
    started: mpsc::UnboundedReceiver<()>,
    services: Arc<ServiceTable>,
    engine: Engine,
    logs: Arc<PluginLogs>,
    config: NodeConfig,
    shutdown: CancellationToken,
    _cache: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn entry() -> PluginEntry {
    PluginEntry::default()
}

fn name(text: &str) -> PluginName {
    text.parse().unwrap()
}

impl Bench {
    /// Nothing is applied yet; the config has one plugin, `hostile`, whose drain time is that of the policy.
    fn new(policy: Policy) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let engine = Engine::new(EngineConfig {
            // Compiled once for each test.
            cache_dir: Some(cache.path().to_owned()),
            max_instances: 256,
            ..EngineConfig::default()
        })
        .unwrap();
        let text = "version: 1\n";
        let mut config = peerup_config::parse_node(text, Path::new("/x/config.yaml"))
            .unwrap()
            .config;
        let mut hostile = entry();
        hostile.limits.drain = policy.drain;
        config.plugins = BTreeMap::from([(name("hostile"), hostile)]);
        let services = Arc::new(ServiceTable::new(ProtocolTable::default(), &config).unwrap());
        let (sender, started) = mpsc::unbounded_channel();
        let script = Arc::new(Script::default());
        let shutdown = CancellationToken::new();
        let logs = Arc::new(PluginLogs::default());
        let supervisor = Supervisor::start(SupervisorParts {
            runtime: Arc::new(Scripted {
                engine: EngineRuntime::new(
                    engine.clone(),
                    Arc::new(Nowhere),
                    Arc::new(Shelf),
                    OwnFiles::new(Path::new("/x/config.yaml"), Path::new("/x"), &config),
                ),
                script: script.clone(),
                started: sender,
            }),
            services: services.clone(),
            splices: engine.splices(),
            audit: Audit::default(),
            logs: logs.clone(),
            policy,
            tasks: TaskTracker::new(),
            shutdown: shutdown.clone(),
        });
        Self {
            supervisor,
            script,
            started,
            services,
            engine,
            logs,
            config,
            shutdown,
            _cache: cache,
        }
    }

    async fn apply(&self) {
        within(self.supervisor.apply(Arc::new(self.config.clone()))).await;
        within(self.supervisor.all_settled()).await;
    }

    fn entry(&mut self, plugin: &str) -> &mut PluginEntry {
        self.config.plugins.get_mut(&name(plugin)).unwrap()
    }

    fn stage(&self, plugin: &str) -> Stage {
        self.supervisor.views()[&name(plugin)].stage
    }

    async fn reaches(&self, plugin: &str, stage: Stage) {
        within(self.supervisor.wait(&name(plugin), |view| view.stage == stage))
            .await
            .unwrap();
    }

    /// Opens a stream to a behaviour of the plugin, if it accepts one.
    fn open(
        &self,
        plugin: &str,
        behaviour: &str,
    ) -> Option<(DuplexStream, JoinHandle<Result<(), PluginError>>)> {
        let lease = self.supervisor.enter(&name(plugin))?;
        Some(handle(lease, plugin, behaviour, self.supervisor.clone()))
    }
}

fn handle(
    lease: Lease,
    plugin: &str,
    behaviour: &str,
    supervisor: Supervisor,
) -> (DuplexStream, JoinHandle<Result<(), PluginError>>) {
    let peer = PeerRef {
        id: Keypair::generate_ed25519().public().to_peer_id(),
        name: None,
    };
    let (far, near) = tokio::io::duplex(64 << 10);
    let (reader, writer) = tokio::io::split(near);
    let path = PathRef::Direct(Transport::Quic);
    let duplex = Duplex::peer(Box::new(reader), Box::new(writer), peer.clone(), path);
    // The guest knows the protocols of its own name only; under another one the service says what to do.
    let service = (plugin != "hostile").then(|| (behaviour.parse().unwrap(), "127.0.0.1:1".to_owned()));
    let request = InboundRequest {
        protocol: format!("/peerup/p/{plugin}/{behaviour}/1.0.0"),
        service,
        peer,
        extra_grants: Grants::default(),
    };
    let task = tokio::spawn(async move {
        let outcome = lease.plugin().handle_inbound(request, duplex).await;
        if let Err(error) = &outcome {
            supervisor.note(&lease, error);
        }
        outcome
    });
    (far, task)
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it does not hang")
}

async fn bounce(far: &mut DuplexStream) {
    within(far.write_all(b"hello")).await.unwrap();
    let mut back = [0; 5];
    within(far.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"hello");
}

async fn finish(far: &mut DuplexStream) {
    within(far.shutdown()).await.unwrap();
    let mut rest = Vec::new();
    within(far.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_cannot_start_leaves_the_others_running_and_says_which_line_helps() {
    let mut bench = Bench::new(Policy::default());
    bench.config.plugins.insert(name("needy"), entry());
    bench.config.plugins.insert(name("missing"), entry());
    bench.apply().await;
    assert_eq!(bench.stage("hostile"), Stage::Active);
    assert_eq!(bench.stage("needy"), Stage::Failed);
    assert_eq!(bench.stage("missing"), Stage::Failed);
    let failure = bench.supervisor.require("needy").unwrap_err();
    assert_eq!(failure.code, ErrorCode::Denied);
    assert!(
        failure.message.contains("plugins.needy.grants.protocols: ["),
        "{failure}"
    );
    let list = bench.supervisor.list();
    let needy = list.iter().find(|plugin| plugin.name == "needy").unwrap();
    assert_eq!(
        (needy.state.as_str(), needy.version.as_str()),
        ("failed", "0.1.0")
    );

    // The line helps, and nobody else is touched.
    let before = bench.supervisor.enter(&name("hostile")).unwrap().generation();
    bench.entry("needy").grants.protocols = vec!["/peerup/x/1.0.0".parse().unwrap()];
    bench.apply().await;
    assert_eq!(bench.stage("needy"), Stage::Active);
    assert_eq!(
        bench.supervisor.enter(&name("hostile")).unwrap().generation(),
        before
    );

    // Taken away again it ends, whatever it was doing.
    bench.entry("needy").grants = Grants::default();
    bench.apply().await;
    assert_eq!(bench.stage("needy"), Stage::Failed);
    assert!(bench.supervisor.enter(&name("needy")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_change_live_and_a_change_of_limits_loads_afresh() {
    let mut bench = Bench::new(Policy::default());
    bench.apply().await;
    let lease = bench.supervisor.enter(&name("hostile")).unwrap();
    bench.entry("hostile").grants.protocols = vec!["/peerup/x/1.0.0".parse().unwrap()];
    bench.apply().await;
    assert!(
        lease
            .plugin()
            .grants()
            .allows_protocol("hostile", "/peerup/x/1.0.0")
    );
    let again = bench.supervisor.enter(&name("hostile")).unwrap();
    assert_eq!(again.generation(), lease.generation());
    bench.entry("hostile").limits.instances = 7;
    bench.apply().await;
    let fresh = bench.supervisor.enter(&name("hostile")).unwrap();
    assert!(fresh.generation() > lease.generation());
    assert_eq!(fresh.plugin().limits().instances, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_could_write_a_list_of_keys_ends_at_once_and_comes_back_with_another_list() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().canonicalize().unwrap();
    let mut bench = Bench::new(Policy {
        drain: Duration::from_secs(3600),
        ..Policy::default()
    });
    bench.entry("hostile").grants.directories =
        vec![DirectoryGrant::new(inside.to_str().unwrap(), None, DirectoryAccess::Write).unwrap()];
    bench.apply().await;
    let (_far, task) = bench.open("hostile", "hold").unwrap();

    let text = "version: 1\nservices: { ssh: { local_address: localhost:22 } }\n";
    let config = peerup_config::parse_node(text, Path::new("/x/config.yaml")).unwrap();
    bench.config.services = config.config.services;
    let list = |bench: &mut Bench, path: &Path| {
        let service = bench.config.services.values_mut().next().unwrap();
        service.keys_file = Some(path.to_owned());
    };
    list(&mut bench, &inside.join("ssh_keys"));
    let effects = within(bench.supervisor.apply(Arc::new(bench.config.clone()))).await;
    assert!(effects.plugins_stopped.contains("hostile"), "{effects:?}");
    assert_eq!(bench.stage("hostile"), Stage::Failed);
    let view = bench.supervisor.views()[&name("hostile")].clone();
    assert!(
        view.failure.as_ref().unwrap().contains("ssh_keys"),
        "{:?}",
        view.failure
    );
    // It has no time left to write in.
    assert_eq!(within(task).await.unwrap(), Err(PluginError::Cancelled));
    bench.apply().await;
    assert_eq!(
        bench.stage("hostile"),
        Stage::Failed,
        "the same config changes nothing"
    );

    list(&mut bench, Path::new("/x/ssh_keys"));
    bench.apply().await;
    assert_eq!(bench.stage("hostile"), Stage::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_the_config_forgets_is_forgotten_and_may_come_back() {
    let mut bench = Bench::new(Policy::default());
    bench.apply().await;
    let kept = bench.config.plugins.remove(&name("hostile")).unwrap();
    bench.apply().await;
    within(bench.supervisor.clone().views.wait_for(|views| views.is_empty()))
        .await
        .unwrap();
    bench.config.plugins.insert(name("hostile"), kept);
    bench.apply().await;
    assert_eq!(bench.stage("hostile"), Stage::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_reload_keeps_the_one_that_runs_and_is_told() {
    let bench = Bench::new(Policy::default());
    bench.apply().await;
    *bench.script.load_failure.lock().unwrap() = Some("the disk is gone".to_owned());
    let failure = within(bench.supervisor.reload(&name("hostile")))
        .await
        .unwrap_err();
    assert!(failure.message.contains("the disk is gone"), "{failure}");
    let (mut far, task) = bench.open("hostile", "echo").unwrap();
    bounce(&mut far).await;
    finish(&mut far).await;
    within(task).await.unwrap().unwrap();
    let info = bench.supervisor.views()[&name("hostile")].describe();
    assert_eq!(info.state, "active");
    assert_eq!(info.reason.as_deref(), Some("the disk is gone"));
    *bench.script.load_failure.lock().unwrap() = None;
    within(bench.supervisor.reload(&name("hostile"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_accepted_goes_on_through_an_upgrade_and_a_disable() {
    let mut bench = Bench::new(Policy::default());
    bench.apply().await;
    let (mut first, first_task) = bench.open("hostile", "echo").unwrap();
    bounce(&mut first).await;
    within(bench.supervisor.upgrade(&name("hostile"), package("hostile")))
        .await
        .unwrap();
    let (mut second, second_task) = bench.open("hostile", "echo").unwrap();
    bounce(&mut second).await;
    bench.entry("hostile").enabled = false;
    bench.apply().await;
    assert!(bench.open("hostile", "echo").is_none());
    assert_eq!(bench.stage("hostile"), Stage::Draining);
    for (far, task) in [(&mut first, first_task), (&mut second, second_task)] {
        bounce(far).await;
        finish(far).await;
        within(task).await.unwrap().unwrap();
    }
    bench.reaches("hostile", Stage::Stopped).await;
    assert!(bench.services.plugin_of("/peerup/p/hostile/echo/1.0.0").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_hears_that_it_is_to_end() {
    let bench = Bench::new(Policy::default());
    bench.apply().await;
    let (_far, task) = bench.open("hostile", "until-stopping").unwrap();
    within(bench.supervisor.disable(&name("hostile"), Manner::Drain))
        .await
        .unwrap();
    within(task).await.unwrap().unwrap();
    bench.reaches("hostile", Stage::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_cancelled_when_the_drain_time_is_over_or_at_once() {
    let short = Policy {
        drain: Duration::from_millis(50),
        ..Policy::default()
    };
    for (policy, manner) in [(short, Manner::Drain), (Policy::default(), Manner::Now)] {
        let bench = Bench::new(policy);
        bench.apply().await;
        let (_far, task) = bench.open("hostile", "hold").unwrap();
        within(bench.supervisor.disable(&name("hostile"), manner))
            .await
            .unwrap();
        assert_eq!(within(task).await.unwrap(), Err(PluginError::Cancelled));
        bench.reaches("hostile", Stage::Stopped).await;
        within(bench.supervisor.enable(&name("hostile"))).await.unwrap();
        within(bench.supervisor.settled(&name("hostile"))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_outlive_an_upgrade_and_end_with_the_plugin() {
    let bench = Bench::new(Policy {
        drain: Duration::from_millis(50),
        ..Policy::default()
    });
    bench.apply().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let lease = bench.supervisor.enter(&name("hostile")).unwrap();
    let (mut far, near) = tokio::io::duplex(64 << 10);
    let (reader, writer) = tokio::io::split(near);
    let peer = PeerRef {
        id: Keypair::generate_ed25519().public().to_peer_id(),
        name: None,
    };
    let path = PathRef::Direct(Transport::Quic);
    let duplex = Duplex::peer(Box::new(reader), Box::new(writer), peer.clone(), path);
    let request = InboundRequest {
        protocol: "/peerup/pass/1.0.0".to_owned(),
        service: Some(("pass".parse().unwrap(), address)),
        peer,
        extra_grants: Grants::default(),
    };
    let (handled, accepted) = tokio::join!(lease.plugin().handle_inbound(request, duplex), listener.accept());
    handled.unwrap();
    drop(lease);
    let (mut local, _) = accepted.unwrap();
    for _ in 0..3 {
        within(bench.supervisor.reload(&name("hostile"))).await.unwrap();
    }
    // Every older generation is gone by now, the tunnel is not.
    within(
        bench
            .supervisor
            .wait(&name("hostile"), |view| view.slots.len() == 1),
    )
    .await
    .unwrap();
    within(far.write_all(b"ping")).await.unwrap();
    let mut back = [0; 4];
    within(local.read_exact(&mut back)).await.unwrap();
    assert_eq!(bench.supervisor.views()[&name("hostile")].describe().tunnels, 1);

    within(bench.supervisor.disable(&name("hostile"), Manner::Drain))
        .await
        .unwrap();
    let mut rest = Vec::new();
    // A reset, or an end: the tunnel is gone either way.
    let _ = within(local.read_to_end(&mut rest)).await;
    bench.reaches("hostile", Stage::Stopped).await;
    // It is out of the list a moment after its reset.
    assert_eq!(bench.engine.splices().drain(Duration::from_secs(20)).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn traps_are_counted_and_told_and_switch_nothing_off() {
    let bench = Bench::new(Policy::default());
    bench.apply().await;
    for _ in 0..10 {
        let (_far, task) = bench.open("hostile", "trap").unwrap();
        within(task).await.unwrap().unwrap_err();
    }
    within(
        bench
            .supervisor
            .wait(&name("hostile"), |view| view.last_error.is_some()),
    )
    .await
    .unwrap();
    let info = bench.supervisor.views()[&name("hostile")].describe();
    assert_eq!((info.state.as_str(), info.traps), ("active", 10));
    let lines = bench.logs.read(&name("hostile"), 100).so_far;
    assert!(
        lines.iter().any(|line| line.text.contains("trapped")),
        "{lines:?}"
    );
}

fn quick() -> Policy {
    Policy {
        restart_first: Duration::from_millis(1),
        restart_cap: Duration::from_millis(2),
        ..Policy::default()
    }
}

fn with_service(bench: &Bench, takes_settings: bool) {
    *bench.script.traits.lock().unwrap() = Traits {
        service: true,
        takes_settings,
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_is_started_again_until_the_circuit_opens_and_the_operator_closes_it() {
    let mut bench = Bench::new(quick());
    with_service(&bench, false);
    bench.script.ends.lock().unwrap().extend([
        ServiceEnd::Failed("one".to_owned()),
        ServiceEnd::Trapped("two".to_owned()),
        ServiceEnd::Failed("three".to_owned()),
        ServiceEnd::Failed("four".to_owned()),
        ServiceEnd::Failed("five".to_owned()),
    ]);
    bench.apply().await;
    for _ in 0..5 {
        within(bench.started.recv()).await.unwrap();
    }
    bench.reaches("hostile", Stage::Failed).await;
    let info = bench.supervisor.views()[&name("hostile")].describe();
    assert!(info.reason.unwrap().contains("five"));
    assert_eq!(info.restarts, 4);
    assert!(bench.open("hostile", "echo").is_none());

    within(bench.supervisor.enable(&name("hostile"))).await.unwrap();
    within(bench.supervisor.settled(&name("hostile"))).await.unwrap();
    within(bench.started.recv()).await.unwrap();
    assert_eq!(bench.stage("hostile"), Stage::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_fit_are_told_and_the_one_that_runs_goes_on() {
    let mut bench = Bench::new(Policy::default());
    bench.config.plugins.insert(name("picky"), entry());
    bench.apply().await;
    bench.entry("picky").settings = serde_json::json!({ "behaviour": 5 }).as_object().unwrap().clone();
    bench.apply().await;
    within(
        bench
            .supervisor
            .wait(&name("picky"), |view| view.swap_failure.is_some()),
    )
    .await
    .unwrap();
    let reason = bench.supervisor.views()[&name("picky")]
        .swap_failure
        .clone()
        .unwrap()
        .1;
    assert!(reason.contains("behaviour"), "{reason}");
    assert_eq!(bench.stage("picky"), Stage::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_settings_restart_the_service_unless_it_hears_of_them() {
    for takes_settings in [false, true] {
        let mut bench = Bench::new(Policy::default());
        with_service(&bench, takes_settings);
        bench.apply().await;
        within(bench.started.recv()).await.unwrap();
        let settings = serde_json::json!({ "behaviour": "echo" });
        bench.entry("hostile").settings = settings.as_object().unwrap().clone();
        bench.apply().await;
        if takes_settings {
            assert!(bench.started.try_recv().is_err());
        } else {
            within(bench.started.recv()).await.unwrap();
        }
        assert_eq!(bench.script.most_running.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_of_one_plugin_never_run_at_once_even_if_one_does_not_stop() {
    let mut bench = Bench::new(Policy {
        drain: Duration::from_millis(20),
        ..Policy::default()
    });
    with_service(&bench, false);
    bench.script.stubborn.store(true, Ordering::SeqCst);
    bench.apply().await;
    within(bench.started.recv()).await.unwrap();
    for _ in 0..5 {
        within(bench.supervisor.reload(&name("hostile"))).await.unwrap();
        within(bench.started.recv()).await.unwrap();
    }
    within(bench.supervisor.disable(&name("hostile"), Manner::Drain))
        .await
        .unwrap();
    bench.reaches("hostile", Stage::Stopped).await;
    assert_eq!(bench.script.most_running.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_ends_at_once_when_all_are_disabled() {
    let mut bench = Bench::new(Policy::default());
    for number in 0..5 {
        bench.config.plugins.insert(name(&format!("p{number}")), entry());
    }
    bench.apply().await;
    let held: Vec<_> = (0..5)
        .map(|number| bench.open(&format!("p{number}"), "hold").unwrap())
        .collect();
    within(bench.supervisor.disable_all(Manner::Now)).await;
    for (_far, task) in held {
        assert_eq!(within(task).await.unwrap(), Err(PluginError::Cancelled));
    }
    let views = bench.supervisor.views();
    assert!(views.values().all(|view| view.stage == Stage::Stopped));
}

/// Operators who do not know of each other, while peers open streams: nothing hangs, no stream that was accepted is
/// lost, and in the end the plugin is as it was asked to be last.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn enabling_disabling_reloading_and_upgrading_at_once_loses_no_stream() {
    for last_word in [true, false] {
        let bench = Bench::new(Policy::default());
        with_service(&bench, false);
        bench.apply().await;
        let stop = CancellationToken::new();
        let served = Arc::new(AtomicUsize::new(0));
        let mut peers = Vec::new();
        for _ in 0..6 {
            let (supervisor, stop, served) = (bench.supervisor.clone(), stop.clone(), served.clone());
            peers.push(tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let Some(lease) = supervisor.enter(&name("hostile")) else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    let (mut far, task) = handle(lease, "hostile", "echo", supervisor.clone());
                    bounce(&mut far).await;
                    finish(&mut far).await;
                    within(task)
                        .await
                        .unwrap()
                        .expect("an accepted stream is not lost");
                    served.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
        let mut operators = Vec::new();
        for operator in 0..8_usize {
            let supervisor = bench.supervisor.clone();
            operators.push(tokio::spawn(async move {
                let hostile = name("hostile");
                for round in 0..25 {
                    // Being overtaken by another operator is no failure of the test.
                    let _ = match (operator + round) % 5 {
                        0 => within(supervisor.disable(&hostile, Manner::Drain)).await,
                        1 | 2 => within(supervisor.enable(&hostile)).await,
                        3 => within(supervisor.reload(&hostile)).await,
                        _ => within(supervisor.upgrade(&hostile, package("hostile"))).await,
                    };
                }
            }));
        }
        for operator in operators {
            within(operator).await.unwrap();
        }
        let hostile = name("hostile");
        if last_word {
            within(bench.supervisor.enable(&hostile)).await.unwrap();
            within(bench.supervisor.settled(&hostile)).await.unwrap();
            let (mut far, task) = bench.open("hostile", "echo").unwrap();
            bounce(&mut far).await;
            finish(&mut far).await;
            within(task).await.unwrap().unwrap();
        } else {
            within(bench.supervisor.disable(&hostile, Manner::Drain))
                .await
                .unwrap();
            bench.reaches("hostile", Stage::Stopped).await;
            assert!(bench.open("hostile", "echo").is_none());
        }
        stop.cancel();
        for peer in peers {
            within(peer).await.unwrap();
        }
        assert!(served.load(Ordering::SeqCst) > 0);
        assert_eq!(bench.script.most_running.load(Ordering::SeqCst), 1);
    }
}
