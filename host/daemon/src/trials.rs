//! Upgrades of plugins that wait to be confirmed: keeps their time, tries their checks, brings the version before back,
//! and tells what became of each.
//!
//! The lock file is the one truth, which commands change beside the daemon too. Each look compares it with the look
//! before. Which package is loaded follows from the lock file and the time alone, so that a disk that takes nothing keeps
//! no version in force that is over.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use peerup_api::PluginTrialEnd;
use peerup_config::{ConfirmCheck, boot_id, now};
use peerup_lifecycle::Stage;
use peerup_model::{ErrorCode, Failure, PluginName};
use peerup_package::{ConfirmError, Expired, FolderError, LockFile, LockedPackage, PluginFolder, Standing};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    app::{self, App},
    audit::AuditEvent,
    config_guard,
    supervisor::PluginView,
    trial_cell::{Known, News, Stands, State, TrialsTold, Waiting, known, news},
};

/// How often the lock file is looked at while nothing waits: a command tells the daemon of a change, if it can.
const LOOK: Duration = Duration::from_secs(5);
/// The longest sleep while something waits. The timer stands still while the machine sleeps; the deadline does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Between two tries of checks.
const CHECK_PAUSE: Duration = Duration::from_millis(500);

/// What a task that tried the checks of an upgrade comes back with.
type Tried = (PluginName, u64, Vec<Option<String>>);

/// Keeps the time of what waits, until the node ends.
pub(crate) async fn watch(app: Arc<App>) {
    let mut tries: JoinSet<Tried> = JoinSet::new();
    loop {
        let pause = look(&app).await;
        if tries.is_empty() {
            for (name, known) in with_checks(&app) {
                let app = app.clone();
                tries.spawn(async move { try_all(&app, name, &known).await });
            }
        }
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            Some(tried) = tries.join_next(), if !tries.is_empty() => {
                if let Ok(tried) = tried {
                    take_tries(&app, tried).await;
                }
                // What is met is met; what is not gets a moment.
                tokio::time::sleep(CHECK_PAUSE).await;
            }
            () = app.trials.looked() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Looks at the lock file, does what is due and tells what became of what waited. Returns how long there is nothing to
/// do.
pub(crate) async fn look(app: &Arc<App>) -> Duration {
    let mut state = app.trials.state.lock().await;
    let folder = folder_of(app);
    let read = app::blocking(move || {
        let expired = folder.expire(now(), boot_id().as_deref());
        Ok((expired, folder.read()))
    })
    .await;
    let (expired, lock) = match read {
        Ok((expired, Ok(lock))) => (expired, lock),
        Ok((_, Err(error))) => {
            tell_once(&mut state, &error.to_string());
            return LOOK;
        }
        Err(failure) => {
            tell_once(&mut state, &failure.message);
            return LOOK;
        }
    };
    let (expired, is_stuck) = match expired {
        Ok(expired) => (expired, false),
        Err(error) => {
            tell_once(&mut state, &error.to_string());
            (Vec::new(), true)
        }
    };
    state.told = is_stuck;
    for one in expired.iter().filter(|one| one.kept.is_none()) {
        swap(app, &mut state, &one.name);
    }
    if is_stuck {
        force(app, &mut state, &lock);
    }
    catch_up(app, &mut state, &lock);
    tell_all(app, &mut state, &lock, &expired);
    publish(app, &state, &lock)
}

/// Takes what is over out of force although the lock file still says otherwise.
fn force(app: &Arc<App>, state: &mut State, lock: &LockFile) {
    for (name, known) in known(lock) {
        let is_over = lock
            .get(&name)
            .is_some_and(|plugin| plugin.standing(now(), boot_id().as_deref()) == Standing::Over);
        if is_over
            && state
                .forced
                .insert((name.clone(), known.trial.deadline.applied_ms))
        {
            swap(app, state, &name);
        }
    }
}

/// Loads the version that holds now.
fn swap(app: &Arc<App>, state: &mut State, name: &PluginName) {
    state.behind.tried(name, Instant::now());
    load(app, name);
}

/// Loads the version that holds. Whoever waits for it has the supervisor's own time.
fn load(app: &Arc<App>, name: &PluginName) {
    let (app, name) = (app.clone(), name.clone());
    app.tasks.clone().spawn(async move {
        if let Err(failure) = app.plugins.reload(&name).await {
            tracing::warn!(plugin = %name, "the version that holds was not loaded: {}", failure.message);
        }
        // Tells what runs now.
        app.trials.wake();
    });
}

/// Loads again what runs in another version than the one that holds, since a load may fail for a moment.
fn catch_up(app: &Arc<App>, state: &mut State, lock: &LockFile) {
    let (views, at, boot) = (app.plugins.views(), Instant::now(), boot_id());
    for plugin in lock.plugins() {
        let holds = plugin.in_force(now(), boot.as_deref());
        let stands = views.get(&plugin.name).map_or(Stands::Right, |view| {
            stands(view, holds, state.behind.knows(&plugin.name))
        });
        if state.behind.take(&plugin.name, stands, at) {
            load(app, &plugin.name);
        }
    }
    let installed = lock.plugins().map(|plugin| plugin.name.clone()).collect();
    state.behind.retain(&installed);
    state.ended.retain(|name, _| installed.contains(name));
}

fn stands(view: &PluginView, holds: &LockedPackage, is_known: bool) -> Stands {
    match view.runs() {
        _ if !view.is_wanted => Stands::Right,
        _ if view.is_changing => Stands::Changing,
        Some(runs) if runs == holds.digest => Stands::Right,
        Some(_) => {
            let why = view.problem().map(|why| format!(": {why}")).unwrap_or_default();
            Stands::Behind(Some(format!(
                "the plugin {name} runs {} in the place of {}, which was not loaded{why}; it is tried again; see: peerup plugin inspect {name}",
                view.version().unwrap_or_default(),
                holds.version,
                name = view.name,
            )))
        }
        // Otherwise the supervisor tells and decides alone.
        None if is_known && view.stage == Stage::Failed => Stands::Behind(None),
        None => Stands::Right,
    }
}

fn tell_all(app: &App, state: &mut State, lock: &LockFile, expired: &[Expired]) {
    let found = known(lock);
    for (name, what) in news(&state.known, &found, lock, expired) {
        let unmet = state.unmet.remove(&name).unwrap_or_default();
        let (word, detail) = what.in_words(&unmet);
        if let Some((outcome, version)) = what.end() {
            let is_met = !unmet.is_empty() && unmet.iter().all(Option::is_none);
            let reason = match (outcome, is_met) {
                ("confirmed", true) => Some("every check was met"),
                _ => detail.get("reason").and_then(serde_json::Value::as_str),
            };
            let applied_ms = match expired.iter().find(|one| one.name == name) {
                Some(expired) => expired.applied_ms,
                None => applied_ms(state, &name).unwrap_or_default(),
            };
            let end = PluginTrialEnd {
                outcome: outcome.to_owned(),
                version: version.to_owned(),
                applied: peerup_ops::rfc3339(applied_ms),
                reason: reason.map(str::to_owned),
            };
            state.ended.insert(name.clone(), end);
        }
        match what {
            News::Reverted { .. } | News::Stayed { .. } => {
                tracing::error!(plugin = %name, %detail, "an upgrade was not confirmed");
            }
            _ => tracing::info!(plugin = %name, %detail, word),
        }
        app.audit
            .record(AuditEvent::new(Some(name.as_str()), word, detail));
    }
    state.forced.retain(|(name, _)| found.contains_key(name));
    state.unmet.retain(|name, _| found.contains_key(name));
    state.known = found;
}

/// Returns when the upgrade was made that waited at the last look.
fn applied_ms(state: &State, name: &PluginName) -> Option<u64> {
    Some(state.known.get(name)?.trial.deadline.applied_ms)
}

fn publish(app: &App, state: &State, lock: &LockFile) -> Duration {
    let (now, boot) = (now(), boot_id());
    let mut pause = LOOK;
    let mut seen = BTreeMap::new();
    for (name, known) in &state.known {
        let standing = lock.get(name).map(|plugin| plugin.standing(now, boot.as_deref()));
        let left = match standing {
            Some(Standing::Waits(left)) => left,
            _ => Duration::ZERO,
        };
        let most = match known.trial.checks.is_empty() {
            true => LONGEST_SLEEP,
            false => CHECK_PAUSE,
        };
        // One that the disk does not take is not asked about without a pause.
        pause = pause.min(if left.is_zero() {
            LONGEST_SLEEP
        } else {
            left.min(most)
        });
        let unmet = state.unmet.get(name).cloned().unwrap_or_default();
        seen.insert(
            name.clone(),
            Waiting {
                known: known.clone(),
                left,
                unmet,
            },
        );
    }
    if let Some(left) = state.behind.next(Instant::now()) {
        // One that is still being loaded is due for longer.
        pause = pause.min(left.max(CHECK_PAUSE));
    }
    app.trials.told.store(Arc::new(TrialsTold {
        ended: state.ended.clone(),
        behind: state.behind.problems(),
    }));
    app.trials.seen.store(Arc::new(seen));
    pause.max(Duration::from_millis(1))
}

fn tell_once(state: &mut State, why: &str) {
    if !std::mem::replace(&mut state.told, true) {
        tracing::error!(%why, "what is installed cannot be looked at or changed; it is tried again");
    }
}

fn with_checks(app: &App) -> Vec<(PluginName, Known)> {
    let seen = app.trials.seen.load();
    let waiting = seen
        .iter()
        .filter(|(_, waiting)| !waiting.known.trial.checks.is_empty());
    waiting
        .map(|(name, waiting)| (name.clone(), waiting.known.clone()))
        .collect()
}

/// Says why the version that waits does not run, if it does not: then no check says anything about it.
fn lacks(app: &App, name: &PluginName, known: &Known) -> Option<String> {
    match app.plugins.views().get(name) {
        Some(view) => view.lacks(known.current.digest),
        None => Some("it does not run yet".to_owned()),
    }
}

async fn try_all(app: &App, name: PluginName, known: &Known) -> Tried {
    let mut unmet = Vec::new();
    if let Some(why) = lacks(app, &name, known) {
        unmet.resize(known.trial.checks.len(), Some(why));
        return (name, known.trial.deadline.applied_ms, unmet);
    }
    for check in &known.trial.checks {
        let tried = match check.parse::<ConfirmCheck>() {
            Ok(check) => config_guard::try_check(app, &check).await,
            Err(error) => Err(error.to_string()),
        };
        unmet.push(tried.err());
    }
    (name, known.trial.deadline.applied_ms, unmet)
}

async fn take_tries(app: &Arc<App>, (name, applied_ms, mut unmet): Tried) {
    let mut state = app.trials.state.lock().await;
    let known = state.known.get(&name);
    let Some(known) = known.filter(|known| known.trial.deadline.applied_ms == applied_ms) else {
        return;
    };
    // It may have ended while the checks were tried.
    if let Some(why) = lacks(app, &name, known) {
        unmet.fill(Some(why));
    }
    let is_met = unmet.iter().all(Option::is_none);
    state.unmet.insert(name.clone(), unmet);
    drop(state);
    if !is_met {
        return;
    }
    let folder = folder_of(app);
    let confirmed = app::blocking(move || {
        folder
            .edit(|lock, _| {
                let is_same = lock
                    .get(&name)
                    .and_then(|plugin| plugin.trial.as_ref())
                    .is_some_and(|trial| trial.deadline.applied_ms == applied_ms);
                if is_same {
                    let _ = lock.confirm(&name);
                }
                Ok::<_, FolderError>(())
            })
            .map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))
    });
    if let Err(failure) = confirmed.await {
        tracing::warn!("an upgrade could not be confirmed: {}", failure.message);
    }
}

/// Takes an upgrade for good.
pub(crate) async fn confirm(app: &Arc<App>, name: PluginName) -> Result<(), Failure> {
    let folder = folder_of(app);
    app::blocking(move || confirm_in(&folder, &name)).await?;
    look(app).await;
    Ok(())
}

/// Takes an upgrade for good, in the files. Blocks.
///
/// # Errors
/// Nothing waits, or the lock file cannot be written.
pub fn confirm_in(folder: &PluginFolder, name: &PluginName) -> Result<(), Failure> {
    let confirmed = folder.edit(|lock, _| Ok::<_, FolderError>(lock.confirm(name).map(drop)));
    let confirmed = confirmed.map_err(|error| Failure::new(ErrorCode::Failed, error.to_string()))?;
    confirmed.map_err(|error: ConfirmError| {
        Failure::new(ErrorCode::NotFound, error.to_string())
            .with_hint(format!("see how it stands with: peerup plugin inspect {name}"))
    })
}

fn folder_of(app: &App) -> PluginFolder {
    PluginFolder::new(app.config_path().parent().unwrap_or(Path::new(".")))
}
