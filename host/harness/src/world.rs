//! The two peers with their engines, and the world around them.

use std::{
    borrow::Cow,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use peerup_engine::{
    CommandRun, Engine, EngineConfig, GuestClock, Limits, PeerEventKind, Plugin, PluginError, PluginSpec,
};
use peerup_model::Grants;
use peerup_package::{Rights, SettingProblem};
use serde_json::{Map, Value};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    peer::{Between, Peer},
    scenario::{GrantChoice, Network, Scenario, Who},
    sockets::MemorySockets,
    subject::Subject,
    trace::Trace,
};

/// Instances of one peer at once.
const MAX_INSTANCES: u32 = 64;
/// Days between 1970 and the beginning of every scenario, 2026-01-01.
const FIRST_DAY: u64 = 20_454;

/// A running world.
pub(crate) struct World {
    pub(crate) trace: Trace,
    pub(crate) background: Vec<CommandRun>,
    nodes: [Node; 2],
    between: Arc<Mutex<Between>>,
    subject: Subject,
    settings: Map<String, Value>,
    grants: Grants,
    /// Cancelled at the end.
    over: CancellationToken,
}

/// One peer with its engine.
pub(crate) struct Node {
    pub(crate) peer: Arc<Peer>,
    pub(crate) sockets: MemorySockets,
    engine: Engine,
    service: Option<JoinHandle<Result<(), PluginError>>>,
    stop: CancellationToken,
}

impl World {
    /// Makes the world and starts the plugin at both peers.
    pub(crate) async fn new(scenario: &Scenario, subject: &Subject, data: &Path) -> Result<Self, String> {
        let over = CancellationToken::new();
        let between = Arc::new(Mutex::new(Between {
            delay: scenario.network.delay.unwrap_or_default(),
            cut: Some(over.child_token()),
        }));
        let trace = Trace::default();
        let node = |who: Who| -> Result<Node, String> {
            let services = match who {
                Who::Home => scenario.services.clone(),
                Who::Laptop => Default::default(),
            };
            let sockets = MemorySockets::new(&scenario.servers, scenario.seed, over.child_token());
            let engine = Engine::new(EngineConfig {
                cache_dir: subject.cache.clone(),
                max_instances: MAX_INSTANCES,
                data_dir: Some(data.join(who.name())),
                lookup: sockets.lookup(),
                sockets: Arc::new(sockets.clone()),
                clock: GuestClock::Runtime(SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST_DAY * 86_400)),
                observer: Some(trace.observer(who)),
                ..EngineConfig::default()
            });
            Ok(Node {
                peer: Peer::new(who, scenario.names.clone(), services, between.clone()),
                sockets,
                engine: engine.map_err(|error| error.to_string())?,
                service: None,
                stop: CancellationToken::new(),
            })
        };
        let nodes = [node(Who::Laptop)?, node(Who::Home)?];
        Peer::introduce(&nodes[0].peer, &nodes[1].peer);
        let mut world = Self {
            trace,
            background: Vec::new(),
            grants: granted(subject, &scenario.grants)?,
            settings: scenario.settings.clone(),
            nodes,
            between,
            subject: subject.clone(),
            over,
        };
        world.set_network(&scenario.network);
        world.trace.begin();
        for who in Who::BOTH {
            world.start(who).await?;
        }
        Ok(world)
    }

    pub(crate) fn node(&self, who: Who) -> &Node {
        match who {
            Who::Laptop => &self.nodes[0],
            Who::Home => &self.nodes[1],
        }
    }

    fn node_mut(&mut self, who: Who) -> &mut Node {
        match who {
            Who::Laptop => &mut self.nodes[0],
            Who::Home => &mut self.nodes[1],
        }
    }

    /// The plugin of one peer.
    pub(crate) fn plugin(&self, who: Who) -> Result<Plugin, String> {
        let plugin = self.node(who).peer.plugin();
        plugin.ok_or_else(|| format!("the plugin does not run at {}", who.name()))
    }

    /// Starts the plugin at a peer, its service too.
    async fn start(&mut self, who: Who) -> Result<(), String> {
        let spec = PluginSpec {
            manifest: self.subject.manifest.clone(),
            wasm: Cow::Owned(self.subject.wasm.to_vec()),
            grants: self.grants.clone(),
            settings: self.checked_settings()?,
            limits: Limits::default(),
        };
        let missing = peerup_package::missing(&self.subject.manifest, &Rights::granted(&self.grants));
        if let Some(capability) = missing.first() {
            return Err(format!(
                "{} is not granted, and plugin.toml calls for it: {}; grant it in the scenario, or mark it optional",
                capability.name, capability.reason
            ));
        }
        let node = self.node_mut(who);
        let host = node.peer.clone();
        let plugin = node
            .engine
            .load(spec, host)
            .await
            .map_err(|error| error.to_string())?;
        plugin.check().await.map_err(|error| error.to_string())?;
        *node.peer.plugin.lock().unwrap_or_else(PoisonError::into_inner) = Some(plugin.clone());
        node.stop = CancellationToken::new();
        if plugin.exports().service {
            let stop = node.stop.clone();
            node.service = Some(tokio::spawn(async move { plugin.run_service(stop).await }));
        }
        Ok(())
    }

    /// Ends the plugin at a peer as an operator would, and tells how its service ended.
    async fn stop(&mut self, who: Who) -> Result<(), String> {
        let node = self.node_mut(who);
        let plugin = node
            .peer
            .plugin
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        node.stop.cancel();
        let ended = match node.service.take() {
            Some(service) => service.await.unwrap_or(Err(PluginError::Cancelled)),
            None => Ok(()),
        };
        if let Some(plugin) = plugin {
            plugin.stop();
        }
        ended.map_err(|error| match error {
            PluginError::Cancelled => format!(
                "the service at {} did not return within {:?} after it was asked to end",
                who.name(),
                Limits::default().drain
            ),
            error => format!("the service at {} failed: {error}", who.name()),
        })
    }

    /// Ends the plugin at a peer and starts it again; what it has stored stays.
    pub(crate) async fn reload(&mut self, who: Who) -> Result<(), String> {
        self.stop(who).await?;
        self.start(who).await
    }

    /// The service that failed, if one has.
    pub(crate) async fn failed_service(&mut self) -> Option<String> {
        for node in &mut self.nodes {
            let over = node.service.as_ref().is_some_and(JoinHandle::is_finished);
            let Some(service) = node.service.take_if(|_| over) else {
                continue;
            };
            if let Ok(Err(error)) = service.await {
                return Some(format!("the service at {} failed: {error}", node.peer.who.name()));
            }
        }
        None
    }

    pub(crate) fn set_network(&mut self, network: &Network) {
        let mut between = self.between.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(delay) = network.delay {
            between.delay = delay;
        }
        let told = match (network.cut, &between.cut) {
            (Some(true), Some(cut)) => {
                cut.cancel();
                between.cut = None;
                Some(PeerEventKind::Disconnected)
            }
            (Some(false), None) => {
                between.cut = Some(self.over.child_token());
                Some(PeerEventKind::Connected)
            }
            _ => None,
        };
        drop(between);
        for node in &self.nodes {
            if let Some(kind) = told {
                node.peer.tell(kind);
            }
            if let Some(loss) = network.loss {
                node.sockets.set_loss(loss);
            }
        }
    }

    /// Changes the settings, as a reload of the config does.
    pub(crate) async fn set_settings(
        &mut self,
        who: Option<Who>,
        settings: Map<String, Value>,
    ) -> Result<(), String> {
        self.settings = settings;
        let text = self.checked_settings()?;
        for who in chosen(who) {
            let plugin = self.plugin(who)?;
            plugin.set_settings(text.clone());
            let restart = plugin.exports().service && !plugin.takes_settings_live();
            if restart {
                self.reload(who).await?;
            }
        }
        Ok(())
    }

    /// Changes what is granted, for running instances too.
    pub(crate) fn set_grants(&mut self, who: Option<Who>, choice: &GrantChoice) -> Result<(), String> {
        self.grants = granted(&self.subject, choice)?;
        for who in chosen(who) {
            self.plugin(who)?.set_grants(self.grants.clone());
        }
        Ok(())
    }

    fn checked_settings(&self) -> Result<String, String> {
        let schema = &self.subject.manifest.settings;
        let problems = schema.check(&self.settings);
        if !problems.is_empty() {
            let told: Vec<String> = problems.iter().map(SettingProblem::to_string).collect();
            return Err(format!(
                "the settings do not fit plugin.toml: {}",
                told.join("; ")
            ));
        }
        Ok(Value::Object(schema.with_defaults(&self.settings)).to_string())
    }

    /// Ends everything, in the order in which a daemon does.
    pub(crate) async fn end(mut self) -> Result<(), String> {
        self.background.clear();
        let mut ended = Ok(());
        for who in Who::BOTH {
            ended = ended.and(self.stop(who).await);
        }
        self.over.cancel();
        for node in &self.nodes {
            node.engine.shut_down(Duration::ZERO).await;
        }
        ended
    }
}

fn chosen(who: Option<Who>) -> Vec<Who> {
    match who {
        Some(who) => vec![who],
        None => Who::BOTH.to_vec(),
    }
}

fn granted(subject: &Subject, choice: &GrantChoice) -> Result<Grants, String> {
    match choice {
        GrantChoice::These(grants) => Ok(Grants::clone(grants)),
        GrantChoice::AsDeclared => {
            let rights = Rights::wanted(&subject.manifest).decided();
            rights.to_grants().map_err(|error| error.to_string())
        }
    }
}
