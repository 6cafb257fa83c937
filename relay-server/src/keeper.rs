//! The relay under the guard of its config: what the driver in `peerup-ops` needs to apply, revert and keep it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Router;
use peerup_config::{ConfirmCheck, EditError, GuardState, RelayConfig, parse_relay, plan_relay, read_relay};
use peerup_model::{ErrorCode, Failure};
use peerup_ops::{GuardCell, Guarded, LogControl, ScrapePlace, config_problem};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::RelayControl;
use crate::failure::{PROGRAM, config_failure, edit_failure, list_failure, list_problem, start_failure};
use crate::reload::Reloaded;
use crate::server::check;
use crate::snapshot::RelaySnapshot;

/// The config of a running relay: what is in force, and who decides what becomes of another one.
#[derive(Debug)]
pub(crate) struct ConfigKeeper {
    control: RelayControl,
    path: PathBuf,
    started_with: RelayConfig,
    in_force: ArcSwap<RelayConfig>,
    /// Why the file was not read again; none once it was, or another one took its place.
    not_reloaded: ArcSwapOption<String>,
    guard: GuardCell,
    edits: Mutex<()>,
    tasks: TaskTracker,
    ending: CancellationToken,
    health: ScrapePlace,
    /// Makes what answers health checks and scrapes.
    answers: Answers,
    /// None where the log is somebody else's.
    log: Option<LogControl>,
}

/// Makes what answers health checks and scrapes.
type Answers = fn(Arc<ConfigKeeper>) -> Router;

impl ConfigKeeper {
    /// The keeper of a relay that was started with this config, which is that of the file at `path` or was in the place of it.
    pub(crate) fn new(
        control: RelayControl,
        (path, config): (PathBuf, RelayConfig),
        tasks: TaskTracker,
        ending: CancellationToken,
        (log, answers): (Option<LogControl>, Answers),
    ) -> Self {
        Self {
            control,
            path,
            in_force: ArcSwap::from_pointee(config.clone()),
            started_with: config,
            not_reloaded: ArcSwapOption::empty(),
            guard: GuardCell::default(),
            edits: Mutex::default(),
            tasks,
            ending,
            health: ScrapePlace::default(),
            answers,
            log,
        }
    }

    /// Returns the way to ask the relay.
    pub(crate) fn control(&self) -> &RelayControl {
        &self.control
    }

    /// Returns the keys of the config that would differ from the start's, and so wait for the next one, with this config.
    pub(crate) fn would_wait(&self, config: &RelayConfig) -> Vec<String> {
        let plan = plan_relay(&self.started_with, config);
        plan.effects.needs_restart.into_iter().collect()
    }

    /// Returns the config in force.
    pub(crate) fn in_force(&self) -> Arc<RelayConfig> {
        self.in_force.load_full()
    }

    /// Returns what of the relay's files does not load or is not in force, a sentence each. A config that waits to be
    /// confirmed is none: that is in order.
    pub(crate) fn problems(&self, relay: &RelaySnapshot) -> Vec<String> {
        let waits = matches!(self.guard.known().0, GuardState::Pending(_));
        let stands = config_problem(self).filter(|_| !waits);
        let failed = self.not_reloaded.load_full();
        let failed = failed.map(|why| format!("the config was not read again: {why}"));
        let list = relay.list_problem.as_deref().map(list_problem);
        [stands, failed, list].into_iter().flatten().collect()
    }

    /// Reads config and list again and puts what can be live in force. Goes on to its end if the caller leaves.
    ///
    /// # Errors
    /// Another config waits to be confirmed or is being taken back, or this one does not hold; nothing has changed then.
    /// Or the list does not hold: the config is in force then, and the list of before.
    pub(crate) async fn reload(self: &Arc<Self>) -> Result<Reloaded, Failure> {
        let keeper = self.clone();
        let task = self.tasks.spawn(async move {
            let reloaded = keeper.try_reload().await;
            keeper.control.count_reload(reloaded.is_ok());
            reloaded
        });
        task.await
            .unwrap_or_else(|error| Err(failed(format!("a reload ended early: {error}"))))
    }

    async fn try_reload(self: &Arc<Self>) -> Result<Reloaded, Failure> {
        let _edits = self.edits.lock().await;
        may_reload(&self.guard.known().0)?;
        let reloaded = self.read_config().await.inspect_err(|failure| {
            self.not_reloaded.store(Some(Arc::new(failure.message.clone())));
        })?;
        let relay = self.control.snapshot().await.map_err(failed)?;
        match relay.list_problem {
            Some(error) => Err(list_failure(&error, &reloaded.live)),
            None => Ok(reloaded),
        }
    }

    async fn read_config(self: &Arc<Self>) -> Result<Reloaded, Failure> {
        let path = self.path.clone();
        // Read once: what is in force and what is kept of it must be one text.
        let read = tokio::task::spawn_blocking(move || {
            let text = read_relay(&path)?;
            parse_relay(&text, &path).map(|loaded| (text, loaded))
        });
        let unchanged = "the config before stays in force; mend the file and reload again";
        let (text, loaded) = read.await.map_err(failed)?.map_err(|error| {
            Failure::new(ErrorCode::ConfigInvalid, error.to_string()).with_hint(unchanged)
        })?;
        for warning in &loaded.warnings {
            tracing::warn!("{}: {warning}", self.path.display());
        }
        let reloaded = self
            .take_over(loaded.config)
            .await
            .map_err(|why| Failure::new(ErrorCode::ConfigInvalid, why).with_hint(unchanged))?;
        self.guard.reloaded(text).await;
        Ok(reloaded)
    }

    /// Answers health checks and logs where a config has it. Where a new place cannot be had the old one stays, and why is
    /// returned; it is tried again with each call.
    pub(crate) async fn take_places(self: &Arc<Self>, config: &RelayConfig) -> Vec<String> {
        let router = (self.answers)(self.clone());
        let served = self
            .health
            .serve_at(config.health, router, &self.tasks, &self.ending);
        let mut unmet = Vec::new();
        if let (Err(error), Some(address)) = (served.await, config.health) {
            unmet.push(format!(
                "health.listen_address: {address} cannot be listened on: {error}; see who has it with: ss -ltnp"
            ));
        }
        let (log, wanted) = (self.log.clone(), config.log.clone());
        let applied = tokio::task::spawn_blocking(move || log.map_or(Ok(()), |log| log.apply(&wanted))).await;
        match applied {
            Ok(Ok(())) => {}
            Ok(Err(error)) => unmet.push(format!("log.file: {error}")),
            Err(error) => unmet.push(format!("log: a task ended early: {error}")),
        }
        unmet
    }

    /// Takes a config over, or leaves all as it is and says why.
    async fn take_over(self: &Arc<Self>, config: RelayConfig) -> Result<Reloaded, String> {
        let before = self.in_force();
        let unmet = self.take_places(&config).await;
        let is_new = (before.health, &before.log) != (config.health, &config.log);
        let reloaded = match unmet.is_empty() || !is_new {
            true => self
                .control
                .reload(config.clone())
                .await
                .map_err(|error| error.to_string()),
            false => Err(unmet.join("; ")),
        };
        if reloaded.is_ok() {
            unmet.iter().for_each(|unmet| tracing::error!("{unmet}"));
        }
        match &reloaded {
            Ok(_) => {
                self.in_force.store(Arc::new(config));
                self.not_reloaded.store(None);
            }
            Err(_) => drop(self.take_places(&before).await),
        }
        reloaded
    }
}

impl Guarded for ConfigKeeper {
    const PROGRAM: &'static str = PROGRAM;
    const START: &'static str = "relay-server";

    fn guard(&self) -> &GuardCell {
        &self.guard
    }

    fn edits(&self) -> &Mutex<()> {
        &self.edits
    }

    fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    fn config_file(&self) -> &Path {
        &self.path
    }

    fn check_text(&self, text: &str) -> Result<(), Failure> {
        check_text(text, &self.path).map(drop)
    }

    async fn enforce(self: &Arc<Self>, text: &str) -> Result<(), String> {
        let loaded = parse_relay(text, &self.path).map_err(|error| error.to_string())?;
        self.take_over(loaded.config).await.map(drop)
    }

    fn runs_all_of(&self, text: &str) -> bool {
        let Ok(loaded) = parse_relay(text, &self.path) else {
            return false;
        };
        loaded.config == *self.in_force() && self.needs_restart().is_empty()
    }

    fn needs_restart(&self) -> Vec<String> {
        self.would_wait(&self.in_force())
    }

    /// There are none: what peers a relay has does not follow from its config within a minute.
    async fn try_check(self: &Arc<Self>, check: &ConfirmCheck) -> Result<(), String> {
        Err(format!("a relay does not know the check {check}"))
    }

    fn lock_failure(error: &EditError) -> Failure {
        edit_failure(error)
    }
}

/// Whether the file may be read again: while a config waits or is taken back, it is not what should be in force.
fn may_reload(state: &GuardState) -> Result<(), Failure> {
    let conflict = |message: String| Failure::new(ErrorCode::Conflict, message);
    match state {
        GuardState::Off | GuardState::Settled | GuardState::Fallback { .. } => Ok(()),
        GuardState::Pending(_) => Err(conflict(
            "a config waits to be confirmed, so the file is not read again".to_owned(),
        )
        .with_hint(format!(
            "keep it with: {PROGRAM} config confirm; or take it back with: {PROGRAM} config rollback"
        ))),
        GuardState::Reverting { problem, .. } => Err(conflict(format!(
            "a config is being taken back and the disk does not take that yet, so the file is not read again: {problem}"
        ))
        .with_hint(format!(
            "check the folder's owner, its mode and the free space; it is tried again by itself, see: {PROGRAM} config status"
        ))),
    }
}

/// Checks a text as far as that goes without listening: it is a config, and key, list and table can be read.
///
/// # Errors
/// What is wrong, and the next step.
pub(crate) fn check_text(text: &str, path: &Path) -> Result<RelayConfig, Failure> {
    let config = parse_relay(text, path)
        .map_err(|error| config_failure(&error))?
        .config;
    check(&config).map_err(|error| start_failure(&error, path))?;
    Ok(config)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::Failed, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Relay;

    #[tokio::test]
    async fn a_reload_goes_on_where_whoever_asked_for_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay-server.yaml");
        let text = |count: u32| {
            format!(
                "version: 1\nnetwork: {{listen_addresses: [/ip4/127.0.0.1/tcp/0]}}\nresources: {{max_reservations: {count}}}\n"
            )
        };
        let config = parse_relay(&text(5), &path).unwrap().config;
        peerup_trust::create_identity(&config.key_file).unwrap();
        std::fs::write(&config.security.authorized_keys_file, "").unwrap();
        let relay = Relay::start(config.clone()).await.unwrap();
        let tasks = TaskTracker::new();
        let place = (path.clone(), config);
        let ways = (None, (|_| Router::new()) as Answers);
        let keeper = ConfigKeeper::new(
            relay.control(),
            place,
            tasks.clone(),
            CancellationToken::new(),
            ways,
        );
        let keeper = Arc::new(keeper);
        std::fs::write(&path, text(7)).unwrap();

        let edits = keeper.edits.lock().await;
        tokio::select! {
            biased;
            _ = keeper.reload() => panic!("somebody edits"),
            () = std::future::ready(()) => {}
        }
        drop(edits);
        tasks.close();
        tasks.wait().await;
        assert_eq!(keeper.in_force().resources.max_reservations, 7);
        relay.shutdown().await;
    }
}
