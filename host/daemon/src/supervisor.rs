//! The supervisor of the plugins: one actor that owns the life of each, and the handle that everybody else has.
//!
//! Whoever has a stream or a command for a plugin enters it through [`Supervisor::enter`], which never waits for the
//! actor. Everything that changes a plugin goes through the actor's inbox, one at a time, so that enabling, disabling,
//! reloading and upgrading cannot race.

mod actor;
mod grants;
mod managed;
mod package;
mod routing;
mod runtime;
mod told;
mod view;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use peerup_api::PluginInfo;
use peerup_config::{Effects, NodeConfig};
use peerup_engine::{PluginError, Splices};
use peerup_lifecycle::{Manner, Policy, Stage};
use peerup_model::{ErrorCode, Failure, PluginName};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    actor::{Parts, SupervisorActor, SupervisorCommand, Trap},
    view::Views,
};
pub(crate) use self::{
    package::{Installed, Package, Source},
    routing::{Lease, Routing},
    runtime::{EngineRuntime, Runtime},
    view::{PluginView, View},
};
use crate::{audit::Audit, plugin_logs::PluginLogs, services::ServiceTable};

/// Commands that wait for the actor; who sends more waits.
const INBOX: usize = 64;
/// Traps that wait for the actor; more are counted by the engine and told no further.
const TRAPS: usize = 256;

/// What a supervisor works with.
pub(crate) struct SupervisorParts {
    /// Loads, checks and runs.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Tells peers which protocols are served.
    pub(crate) services: Arc<ServiceTable>,
    /// The tunnels, to end those of a plugin that is gone.
    pub(crate) splices: Splices,
    /// Where what happens is written.
    pub(crate) audit: Audit,
    /// Where what happens is told for `plugin logs`.
    pub(crate) logs: Arc<PluginLogs>,
    /// Times and counts.
    pub(crate) policy: Policy,
    /// Owns the actor and its tasks.
    pub(crate) tasks: TaskTracker,
    /// Ends the actor.
    pub(crate) shutdown: CancellationToken,
}

/// The handle to the supervisor. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor {
    inbox: mpsc::Sender<SupervisorCommand>,
    traps: mpsc::Sender<Trap>,
    routing: Arc<Routing>,
    views: watch::Receiver<Views>,
}

impl Supervisor {
    /// Starts the actor. No plugin is loaded before [`Supervisor::apply`].
    pub(crate) fn start(parts: SupervisorParts) -> Self {
        let (inbox, commands) = mpsc::channel(INBOX);
        let (traps, trapped) = mpsc::channel(TRAPS);
        let (publisher, views) = watch::channel(Views::default());
        let routing = Arc::new(Routing::default());
        let actor = SupervisorActor::new(Parts {
            commands,
            trapped,
            publisher,
            routing: routing.clone(),
            runtime: parts.runtime,
            services: parts.services,
            splices: parts.splices,
            audit: parts.audit,
            logs: parts.logs,
            policy: parts.policy,
            tasks: parts.tasks.clone(),
            shutdown: parts.shutdown,
        });
        parts.tasks.spawn(actor.run());
        Self {
            inbox,
            traps,
            routing,
            views,
        }
    }

    /// Enters the active generation of a plugin with a stream or a command; none where it accepts none. While the
    /// lease is held that generation is not over, unless the drain time is.
    pub(crate) fn enter(&self, name: &PluginName) -> Option<Lease> {
        self.routing.enter(name)
    }

    /// Enters a plugin, or says why it cannot be entered.
    pub(crate) fn require(&self, name: &str) -> Result<Lease, Failure> {
        let parsed: Option<PluginName> = name.parse().ok();
        if let Some(lease) = parsed.as_ref().and_then(|name| self.enter(name)) {
            return Ok(lease);
        }
        let views = self.views.borrow().clone();
        let view = parsed.as_ref().and_then(|name| views.get(name));
        Err(match view {
            Some(view) if view.is_wanted => view.failure_to_run(),
            _ => not_enabled(name),
        })
    }

    /// Puts a config in force: what changed about each plugin, and nothing else. What is disabled gets no stream any
    /// more when this returns; what is enabled is being loaded. Returns what that does to which plugin.
    pub(crate) async fn apply(&self, config: Arc<NodeConfig>) -> Effects {
        let (done, answer) = oneshot::channel();
        self.send(SupervisorCommand::Apply { config, done }).await;
        answer.await.unwrap_or_default()
    }

    /// Tries a plugin again that the config enables and that failed; nothing for one that runs.
    pub(crate) async fn enable(&self, name: &PluginName) -> Result<(), Failure> {
        self.act(name, |name, done| SupervisorCommand::Enable { name, done })
            .await
            .map(drop)
    }

    /// Ends a plugin, until it is enabled again.
    pub(crate) async fn disable(&self, name: &PluginName, manner: Manner) -> Result<(), Failure> {
        self.act(name, |name, done| SupervisorCommand::Disable {
            name,
            manner,
            done,
        })
        .await
        .map(drop)
    }

    /// Ends every plugin.
    pub(crate) async fn disable_all(&self, manner: Manner) {
        let (done, answer) = oneshot::channel();
        self.send(SupervisorCommand::DisableAll { manner, done }).await;
        let _ = answer.await;
    }

    /// Loads a plugin afresh and waits until the new generation has the streams, or the old one keeps them.
    pub(crate) async fn reload(&self, name: &PluginName) -> Result<(), Failure> {
        let asked = self
            .act(name, |name, done| SupervisorCommand::Reload { name, done })
            .await?;
        self.outcome(name, asked).await
    }

    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "nothing installs a version by itself yet")
    )]
    /// Loads another version of a plugin and waits until it has the streams, or the old one keeps them.
    pub(crate) async fn upgrade(&self, name: &PluginName, package: Arc<Package>) -> Result<(), Failure> {
        let source = Source::Given(package);
        let asked = self
            .act(name, |name, done| SupervisorCommand::Upgrade {
                name,
                source,
                done,
            })
            .await?;
        self.outcome(name, asked).await
    }

    /// Waits until a plugin is neither being loaded nor checked, and says why it does not run if it should.
    pub(crate) async fn settled(&self, name: &PluginName) -> Result<(), Failure> {
        let view = self.wait(name, |view| !view.is_changing).await?;
        match view.is_wanted && view.stage != Stage::Active {
            true => Err(view.failure_to_run()),
            false => Ok(()),
        }
    }

    /// Waits until no plugin is being loaded or checked.
    pub(crate) async fn all_settled(&self) {
        let mut views = self.views.clone();
        // The actor is gone when the node ends; then there is nothing to wait for.
        let _ = views
            .wait_for(|views| views.values().all(|view| !view.is_changing))
            .await;
    }

    /// Takes what a run of a plugin failed with: traps are counted against it. Denials are the engine's to tell.
    pub(crate) fn note(&self, lease: &Lease, error: &PluginError) {
        let is_trap = matches!(
            error,
            PluginError::Trap { .. }
                | PluginError::Cpu { .. }
                | PluginError::Memory { .. }
                | PluginError::Deadline { .. }
                | PluginError::Slow { .. }
        );
        if is_trap {
            // A full queue loses a line of the log; the engine has counted the trap.
            let _ = self.traps.try_send(Trap {
                name: lease.plugin().name().clone(),
                generation: lease.generation(),
                reason: error.to_string(),
            });
        }
    }

    /// Returns what is known of every plugin.
    pub(crate) fn views(&self) -> Arc<BTreeMap<PluginName, View>> {
        self.views.borrow().clone()
    }

    /// Returns what `plugin list` shows.
    pub(crate) fn list(&self) -> Vec<PluginInfo> {
        let views = self.views();
        views.values().map(|view| view.describe()).collect()
    }

    async fn send(&self, command: SupervisorCommand) {
        // Fails only when the node is ending; the dropped answer says so.
        let _ = self.inbox.send(command).await;
    }

    async fn act(
        &self,
        name: &PluginName,
        command: impl FnOnce(
            PluginName,
            oneshot::Sender<Option<peerup_lifecycle::Generation>>,
        ) -> SupervisorCommand,
    ) -> Result<peerup_lifecycle::Generation, Failure> {
        let (done, answer) = oneshot::channel();
        self.send(command(name.clone(), done)).await;
        match answer.await {
            Ok(Some(generation)) => Ok(generation),
            Ok(None) => Err(no_such_plugin(name.as_str())),
            Err(_) => Err(ending()),
        }
    }

    async fn outcome(&self, name: &PluginName, asked: peerup_lifecycle::Generation) -> Result<(), Failure> {
        let view = self
            .wait(name, |view| {
                !view.is_changing
                    || view
                        .active
                        .as_ref()
                        .is_some_and(|slot| slot.generation() >= asked)
            })
            .await?;
        if !view.is_wanted {
            return Err(not_enabled(name.as_str()));
        }
        match &view.swap_failure {
            Some((failed, reason)) if *failed >= asked => Err(Failure::new(
                view.failure_code(),
                format!("the plugin {name} was not replaced: {reason}"),
            )
            .with_hint("the one that ran before goes on; see: peerup plugin inspect, peerup plugin logs")),
            _ if view.stage == Stage::Active => Ok(()),
            _ => Err(view.failure_to_run()),
        }
    }

    async fn wait(
        &self,
        name: &PluginName,
        mut until: impl FnMut(&PluginView) -> bool,
    ) -> Result<View, Failure> {
        let mut views = self.views.clone();
        let reached = views
            .wait_for(|views| views.get(name).is_none_or(|view| until(view)))
            .await
            .map_err(|_| ending())?;
        reached
            .get(name)
            .cloned()
            .ok_or_else(|| no_such_plugin(name.as_str()))
    }
}

fn ending() -> Failure {
    Failure::new(ErrorCode::Interrupted, "the node is ending")
}

pub(crate) fn no_such_plugin(name: &str) -> Failure {
    Failure::new(ErrorCode::NotFound, format!("there is no plugin {name}"))
        .with_hint("see them with: peerup plugin list")
}

fn not_enabled(name: &str) -> Failure {
    Failure::new(ErrorCode::NotFound, format!("the plugin {name} is not enabled"))
        .with_hint(format!("enable it with: peerup plugin enable {name}"))
}
