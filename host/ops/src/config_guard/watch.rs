//! Keeps the time of a config that waits, and tries its checks, until the process ends.

use std::{sync::Arc, time::Duration};

use peerup_config::{ConfirmCheck, GuardState, now};
use tokio::{task::JoinSet, time::Instant};

use super::{Guarded, drive, file_text, proven};

/// The longest sleep. The timer stands still while the machine sleeps; the deadline does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Between two tries of one check.
const CHECK_PAUSE: Duration = Duration::from_millis(500);

/// Reverts what is over, confirms what is met.
pub async fn watch_config<G: Guarded>(app: Arc<G>) {
    let mut running: JoinSet<(usize, u64, Result<(), String>)> = JoinSet::new();
    let mut tried = Instant::now();
    loop {
        let pause = pause(&*app).await;
        tokio::select! {
            biased;
            () = app.ending().cancelled() => return,
            Some(ended) = running.join_next(), if !running.is_empty() => {
                if let Ok((index, applied_ms, outcome)) = ended {
                    take_check(&app, index, applied_ms, outcome).await;
                }
            }
            () = app.guard().changed.notified() => {}
            () = sleep(pause) => {}
        }
        take_time(&app).await;
        if running.is_empty() && tried.elapsed() >= CHECK_PAUSE {
            for (index, applied_ms, check) in unmet(&*app) {
                let app = app.clone();
                running.spawn(async move { (index, applied_ms, app.try_check(&check).await) });
            }
            tried = Instant::now();
        }
    }
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// Returns how long there is nothing to do; none while nothing waits.
async fn pause<G: Guarded>(app: &G) -> Option<Duration> {
    let due_ms = app.guard().lock().await.as_ref()?.guard.poll_timeout()?;
    let left = Duration::from_millis(due_ms.saturating_sub(now().steady_ms));
    let most = match unmet(app).is_empty() {
        true => LONGEST_SLEEP,
        false => CHECK_PAUSE,
    };
    // One millisecond more than none: a timer that is due is not asked about without a pause.
    Some(left.min(most).max(Duration::from_millis(1)))
}

/// Returns the checks that were not met yet, with when their config was applied.
fn unmet<G: Guarded>(app: &G) -> Vec<(usize, u64, ConfirmCheck)> {
    let seen = app.guard().seen();
    let GuardState::Pending(waiting) = &seen.state else {
        return Vec::new();
    };
    let checks = waiting.pending.checks.iter().zip(&waiting.unmet).enumerate();
    checks
        .filter(|(_, (_, unmet))| unmet.is_some())
        .map(|(index, (check, _))| (index, waiting.pending.applied_ms, check.clone()))
        .collect()
}

async fn take_time<G: Guarded>(app: &Arc<G>) {
    let is_due = |due_ms: u64| now().steady_ms >= due_ms;
    let _edits = app.edits().lock().await;
    let mut held = app.guard().lock().await;
    let Some(held) = held.as_mut() else { return };
    if !held.guard.poll_timeout().is_some_and(is_due) {
        return;
    }
    // The way back waits for no other writer for long, and goes on without the lock where there is none.
    let lock = super::lock::<G>(&held.vault).await;
    let file = file_text(&held.vault).await;
    held.guard.handle_timeout(file, now());
    drive(app, held).await;
    drop(lock);
}

async fn take_check<G: Guarded>(app: &Arc<G>, index: usize, applied_ms: u64, outcome: Result<(), String>) {
    let _edits = app.edits().lock().await;
    let mut held = app.guard().lock().await;
    let Some(held) = held.as_mut() else { return };
    let is_same = |state: &GuardState| matches!(state, GuardState::Pending(waiting) if waiting.pending.applied_ms == applied_ms);
    if !is_same(held.guard.state()) {
        return;
    }
    let lock = super::lock::<G>(&held.vault).await;
    let proven = proven(&**app, held);
    held.guard.handle_check(index, outcome, proven);
    drive(app, held).await;
    drop(lock);
}
