//! Drives the guard of a config: applies, confirms and reverts live, at the start, when a deadline is over and when
//! checks are met. The machine in `peerup-config` decides; here is what it has carried out, for whatever runs.
//!
//! Locks are taken in one order: edits of the config, the machine, the folder's file lock.

mod cell;
mod failures;
mod start;
mod state;
mod trial;
mod watch;

use std::{path::Path, sync::Arc, time::Duration};

use peerup_api::{ConfigApplyRequest, ConfigEvent, ConfigOutcome};
use peerup_config::{
    Action, Application, ConfirmCheck, EditError, Event, GuardState, Pending, Vault, boot_id, now,
    pick_generation,
};
use peerup_model::{ErrorCode, Failure};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    cell::{GuardCell, HeldGuard},
    failures::{no_generation_failure, refused_failure, time_over_failure},
    start::{Attempt, choose_config},
    state::{config_problem, config_state, config_status, last_good, rfc3339},
    trial::read_trial,
    watch::watch_config,
};

/// Longest text of who asks.
const MAX_BY: usize = 200;

/// Something that runs with a config and takes another one over while it runs.
pub trait Guarded: std::fmt::Debug + Send + Sync + 'static {
    /// What a person types before `config confirm`.
    const PROGRAM: &'static str;

    /// What a person types to have it run for good.
    const START: &'static str;

    /// The guard of its config.
    fn guard(&self) -> &GuardCell;
    /// Held by whoever changes the config.
    fn edits(&self) -> &tokio::sync::Mutex<()>;
    /// Its tasks: a change runs to its end there, whether or not the caller stays.
    fn tasks(&self) -> &TaskTracker;
    /// Cancelled when it ends.
    fn ending(&self) -> &CancellationToken;
    /// Its config file.
    fn config_file(&self) -> &Path;
    /// Checks a text as far as what runs can: it is a config, and could be taken over. Blocks on the disk.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check_text(&self, text: &str) -> Result<(), Failure>;
    /// Takes a text over.
    ///
    /// # Errors
    /// Why not; the caller goes back to the one before.
    fn enforce(self: &Arc<Self>, text: &str) -> impl Future<Output = Result<(), String>> + Send;
    /// Whether it runs with all that a text says: keys that wait for the next start are not tried yet.
    fn runs_all_of(&self, text: &str) -> bool;
    /// Returns the keys that are in force only after the next start.
    fn needs_restart(&self) -> Vec<String>;
    /// Tries a check once.
    ///
    /// # Errors
    /// Why it is not met.
    fn try_check(self: &Arc<Self>, check: &ConfirmCheck) -> impl Future<Output = Result<(), String>> + Send;
    /// Says why the files of the config could not be locked.
    fn lock_failure(error: &EditError) -> Failure;
}

/// Applies a config live; with a time or checks it goes back unless it is confirmed. Goes on if the caller leaves.
///
/// # Errors
/// It is no config, another one waits, or it could not be written or put in force: all is as before then.
pub async fn apply_config<G: Guarded>(
    app: &Arc<G>,
    request: ConfigApplyRequest,
) -> Result<ConfigOutcome, Failure> {
    let timeout = request.confirm_timeout_ms.map(Duration::from_millis);
    let by = request.by.as_deref().unwrap_or("somebody through the API");
    let trial = read_trial(timeout, &request.confirm_if, shown_by(by))?;
    let text = request.config;
    detached(app, move |app| async move {
        let _edits = app.edits().lock().await;
        let mut held = app.guard().lock().await;
        let held = held.as_mut().ok_or_else(no_guard::<G>)?;
        let (checking, checked) = (app.clone(), text.clone());
        blocking(move || checking.check_text(&checked)).await?;
        let lock = lock::<G>(&held.vault).await?;
        let file = file_text(&held.vault).await;
        let before = held.in_force.clone();
        let is_there = before == text && file.as_ref() == Some(&text);
        if is_there && matches!(held.guard.state(), GuardState::Settled) {
            return Ok(outcome(&*app, "unchanged"));
        }
        let pending = trial.map(|trial| {
            let clock = (now(), boot_id());
            let clock = (clock.0, clock.1.as_deref());
            Pending::new(before.clone(), trial.by, trial.timeout, trial.checks, clock)
        });
        let status = if pending.is_some() { "pending" } else { "applied" };
        let application = Application {
            is_proven: app.runs_all_of(&before),
            set_aside: file.filter(|file| *file != before && *file != text),
            text,
            before,
            pending,
        };
        held.guard
            .handle_apply(application)
            .map_err(|refused| refused_failure(&refused, G::PROGRAM))?;
        let events = drive(&app, held).await;
        drop(lock);
        settled(&*app, status, &events)
    })
    .await
}

/// Takes a person's word for what waits.
///
/// # Errors
/// Nothing waits, or the disk does not take it.
pub async fn confirm_config<G: Guarded>(app: &Arc<G>) -> Result<ConfigOutcome, Failure> {
    detached(app, |app| async move {
        let _edits = app.edits().lock().await;
        let mut held = app.guard().lock().await;
        let held = held.as_mut().ok_or_else(no_guard::<G>)?;
        let lock = lock::<G>(&held.vault).await?;
        let proven = proven(&*app, held);
        held.guard
            .handle_confirm(proven)
            .map_err(|refused| refused_failure(&refused, G::PROGRAM))?;
        let events = drive(&app, held).await;
        drop(lock);
        settled(&*app, "confirmed", &events)
    })
    .await
}

/// Takes back what waits; where nothing does, applies a last good config for good.
///
/// # Errors
/// There is no such config, or it could not be applied.
pub async fn roll_back_config<G: Guarded>(
    app: &Arc<G>,
    number: Option<usize>,
) -> Result<ConfigOutcome, Failure> {
    let waits = matches!(app.guard().seen().state, GuardState::Pending(_));
    if waits && number.is_none() {
        return take_back(app).await;
    }
    let vault = match app.guard().lock().await.as_ref() {
        Some(held) => held.vault.clone(),
        None => return Err(no_guard::<G>()),
    };
    let text = blocking(move || {
        let generation =
            pick_generation(&vault, number).map_err(|why| no_generation_failure(&why, G::PROGRAM))?;
        Ok(generation.text)
    })
    .await?;
    let request = ConfigApplyRequest {
        config: text,
        confirm_timeout_ms: None,
        confirm_if: Vec::new(),
        by: None,
    };
    let mut outcome = apply_config(app, request).await?;
    if outcome.status == "applied" {
        outcome.status = "rolled back".to_owned();
    }
    Ok(outcome)
}

async fn take_back<G: Guarded>(app: &Arc<G>) -> Result<ConfigOutcome, Failure> {
    detached(app, |app| async move {
        let _edits = app.edits().lock().await;
        let mut held = app.guard().lock().await;
        let held = held.as_mut().ok_or_else(no_guard::<G>)?;
        let lock = lock::<G>(&held.vault).await?;
        let file = file_text(&held.vault).await;
        held.guard
            .handle_revert(file)
            .map_err(|refused| refused_failure(&refused, G::PROGRAM))?;
        let events = drive(&app, held).await;
        drop(lock);
        settled(&*app, "reverted", &events)
    })
    .await
}

/// Carries out everything that the machine wants. The caller holds the locks.
async fn drive<G: Guarded>(app: &Arc<G>, held: &mut HeldGuard) -> Vec<Event> {
    while let Some(action) = held.guard.next_action() {
        let carried_out = match action {
            Action::Enforce(text) => {
                let enforced = app.enforce(&text).await;
                if enforced.is_ok() {
                    held.in_force = text;
                }
                enforced
            }
            action => carry_out(&held.vault, action).await,
        };
        held.guard.handle_done(carried_out, now());
    }
    let mut events = Vec::new();
    while let Some(event) = held.guard.next_event() {
        tell(&event);
        held.last = described(&event).or(held.last.take());
        events.push(event);
    }
    app.guard().publish(held);
    events
}

async fn carry_out(vault: &Arc<Vault>, action: Action) -> Result<(), String> {
    let vault = vault.clone();
    let done = tokio::task::spawn_blocking(move || vault.carry_out(&action, now().wall_ms)).await;
    done.unwrap_or_else(|error| Err(format!("a task ended early: {error}")))
}

/// Runs something to its end, whether or not the caller stays.
async fn detached<G: Guarded, F: Future<Output = Result<ConfigOutcome, Failure>> + Send + 'static>(
    app: &Arc<G>,
    work: impl FnOnce(Arc<G>) -> F,
) -> Result<ConfigOutcome, Failure> {
    let task = app.tasks().spawn(work(app.clone()));
    task.await.unwrap_or_else(|error| {
        Err(Failure::new(
            ErrorCode::Failed,
            format!("a change of the config ended early: {error}"),
        ))
    })
}

async fn lock<G: Guarded>(vault: &Arc<Vault>) -> Result<peerup_config::Lock, Failure> {
    let vault = vault.clone();
    blocking(move || vault.lock().map_err(|error| G::lock_failure(&error))).await
}

/// Runs work that blocks on the disk away from the event loop.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Failure::new(
            ErrorCode::Failed,
            format!("a task ended early: {error}"),
        ))
    })
}

/// Reads the file; none where it cannot be read.
async fn file_text(vault: &Arc<Vault>) -> Option<String> {
    let vault = vault.clone();
    let read = tokio::task::spawn_blocking(move || vault.text().ok()).await;
    read.ok().flatten()
}

/// Returns the text in force where all of it is what runs.
fn proven<G: Guarded>(app: &G, held: &HeldGuard) -> Option<String> {
    app.runs_all_of(&held.in_force).then(|| held.in_force.clone())
}

fn outcome<G: Guarded>(app: &G, status: &str) -> ConfigOutcome {
    ConfigOutcome {
        status: status.to_owned(),
        config: config_state(app),
    }
}

fn settled<G: Guarded>(app: &G, status: &str, events: &[Event]) -> Result<ConfigOutcome, Failure> {
    let failed = events.iter().find_map(|event| match event {
        Event::NotApplied(why) => Some(format!("the config was not applied, all is as before: {why}")),
        Event::NotConfirmed(why) => Some(format!("the config could not be confirmed: {why}")),
        Event::RevertStuck(why) => Some(format!(
            "the config from before is in force, but the file cannot be written; it is tried again: {why}"
        )),
        _ => None,
    });
    match failed {
        Some(message) => Err(Failure::new(ErrorCode::Failed, message).with_hint(format!(
            "check the folder's owner, its mode and the free space; see: {} config status",
            G::PROGRAM
        ))),
        None => Ok(outcome(app, status)),
    }
}

fn shown_by(by: &str) -> String {
    by.chars().filter(|one| !one.is_control()).take(MAX_BY).collect()
}

fn no_guard<G: Guarded>() -> Failure {
    Failure::new(
        ErrorCode::NoDaemon,
        "what runs for one command only applies no config",
    )
    .with_hint(format!("start it for good with: {}", G::START))
}

/// Writes what happened into the log.
fn tell(event: &Event) {
    match event {
        Event::Started => {}
        Event::Applied => tracing::info!("another config is in force"),
        Event::Confirmed(by) => tracing::info!(?by, "the config is confirmed"),
        Event::Reverted(why) => tracing::error!(%why, "the config from before is in force again"),
        Event::FellBack(why) => {
            tracing::error!(%why, "the config file does not do; the last good config is in force");
        }
        Event::CannotStart(why) => tracing::error!(%why, "there is no config to start with"),
        Event::NotApplied(why) => tracing::error!(%why, "a config was not applied"),
        Event::NotConfirmed(why) => tracing::error!(%why, "the config could not be confirmed"),
        Event::RevertStuck(why) => {
            tracing::error!(%why, "the config from before is in force, but not in the file");
        }
        Event::RevertIncomplete(why) => {
            tracing::error!(%why, "not all of the config from before could be put in force");
        }
        Event::NotArchived(why) => tracing::warn!(%why, "the config that runs was not kept as a good one"),
    }
}

fn described(event: &Event) -> Option<ConfigEvent> {
    let (outcome, reason) = match event {
        Event::Applied => ("applied", None),
        Event::Confirmed(by) => (
            "confirmed",
            (*by == peerup_config::Confirmer::Checks).then(|| "every check was met".to_owned()),
        ),
        Event::Reverted(why) => ("reverted", Some(why.to_string())),
        Event::FellBack(why) => ("fallback", Some(why.clone())),
        Event::NotApplied(why) => ("not_applied", Some(why.clone())),
        Event::NotConfirmed(why) => ("not_confirmed", Some(why.clone())),
        _ => return None,
    };
    Some(ConfigEvent {
        outcome: outcome.to_owned(),
        at: rfc3339(now().wall_ms),
        reason,
    })
}
