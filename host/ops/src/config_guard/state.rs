//! How a config stands, as commands and the API tell it.

use std::sync::Arc;

use jiff::Timestamp;
use peerup_api::{ConfigCheck, ConfigState, ConfigStatus, LastGood, PendingConfig};
use peerup_config::{GuardState, Vault, Waiting, now};
use peerup_model::Failure;

use super::{Guarded, blocking};

/// Writes a wall clock's milliseconds in RFC 3339.
pub fn rfc3339(wall_ms: u64) -> String {
    let millis = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    at.to_string()
}

/// Returns how the config stands. Waits for nothing.
pub fn config_state<G: Guarded>(app: &G) -> ConfigState {
    let seen = app.guard().seen();
    let (word, reason, pending) = match &seen.state {
        GuardState::Off | GuardState::Settled => ("settled", None, None),
        GuardState::Fallback { why, .. } => ("fallback", Some(why.clone()), None),
        GuardState::Pending(waiting) => ("pending", None, Some(pending(waiting))),
        GuardState::Reverting { why, problem } => ("reverting", Some(format!("{why}; {problem}")), None),
    };
    ConfigState {
        file: app.config_file().display().to_string(),
        state: word.to_owned(),
        reason,
        pending,
        last: seen.last.clone(),
        needs_restart: app.needs_restart(),
    }
}

fn pending(waiting: &Waiting) -> PendingConfig {
    let now = now();
    let left_ms = waiting.due_ms.saturating_sub(now.steady_ms);
    let checks = waiting.pending.checks.iter().zip(&waiting.unmet);
    PendingConfig {
        // From the clock that decides: one that was set meanwhile moves it.
        deadline: rfc3339(now.wall_ms.saturating_add(left_ms)),
        seconds_left: left_ms.div_ceil(1000),
        applied: rfc3339(waiting.pending.applied_ms),
        by: waiting.pending.by.clone(),
        checks: checks
            .map(|(check, unmet)| ConfigCheck {
                check: check.to_string(),
                met: unmet.is_none(),
                reason: unmet.clone(),
            })
            .collect(),
    }
}

/// Returns how the config stands with the last good ones.
///
/// # Errors
/// A task ended early.
pub async fn config_status<G: Guarded>(app: &Arc<G>) -> Result<ConfigStatus, Failure> {
    let vault = app.guard().lock().await.as_ref().map(|held| held.vault.clone());
    let last_good = blocking(move || {
        let Some(vault) = vault else { return Ok(Vec::new()) };
        Ok(last_good(&vault))
    })
    .await?;
    Ok(ConfigStatus {
        config: config_state(&**app),
        last_good,
    })
}

/// Returns what stands in the way, in a sentence, if anything does.
pub fn config_problem<G: Guarded>(app: &G) -> Option<String> {
    let state = config_state(app);
    let reason = state.reason.unwrap_or_default();
    match (state.state.as_str(), state.pending) {
        ("pending", Some(pending)) => Some(format!(
            "the config waits to be confirmed and goes back at {}; keep it with: {} config confirm",
            pending.deadline,
            G::PROGRAM
        )),
        ("fallback", _) => Some(format!(
            "the last good config is in force, not {}: {reason}",
            state.file
        )),
        ("reverting", _) => Some(format!(
            "the config from before is in force, but {} cannot be written: {reason}",
            state.file
        )),
        _ => None,
    }
}

/// Returns the last good configs as the API tells them. Blocks on the disk.
pub fn last_good(vault: &Vault) -> Vec<LastGood> {
    let file = vault.text().ok();
    let generations = vault.generations().into_iter().enumerate();
    generations
        .map(|(index, generation)| LastGood {
            number: index + 1,
            kept: rfc3339(generation.kept_ms),
            file: generation.path.display().to_string(),
            is_current: file.as_ref() == Some(&generation.text),
        })
        .collect()
}
