//! The start under the guard: the file, else the config from before, else the last good ones, until one runs.

use std::sync::Arc;

use peerup_config::{Action, ConfigGuard, Vault, boot_id, now};
use peerup_model::{ErrorCode, Failure};

use super::{HeldGuard, blocking, described, tell};

/// Something that starts with the text of a config.
pub trait Attempt {
    /// What a start comes to.
    type Started;

    /// Tries to start; leaves nothing behind where that fails.
    ///
    /// # Errors
    /// What is wrong with the config, or with the machine.
    fn start(&mut self, text: &str) -> impl Future<Output = Result<Self::Started, Failure>> + Send;
}

/// Starts with the first config that does, and does to the files what follows from it. The caller keeps other processes
/// of the same folder away.
///
/// # Errors
/// None does: what the first one failed on.
pub async fn choose_config<A: Attempt>(
    vault: Arc<Vault>,
    attempt: &mut A,
) -> Result<(A::Started, HeldGuard), Failure> {
    let reading = vault.clone();
    let found = blocking(move || {
        // A command that is writing has a moment to end; a folder that cannot be locked cannot be written either.
        let _lock = reading.lock().ok();
        if let Err(why) = reading.pending() {
            tracing::error!(%why, "whether a config waits to be confirmed is unknown");
        }
        reading.sweep();
        Ok(reading.found())
    })
    .await?;
    let mut guard = ConfigGuard::new(boot_id());
    guard.handle_found(found, now());
    let (mut started, mut first_failure) = (None, None);
    while let Some(action) = guard.next_action() {
        let carried_out = match action {
            Action::Enforce(text) => match attempt.start(&text).await {
                Ok(running) => {
                    started = Some((running, text));
                    Ok(())
                }
                Err(failure) => {
                    let why = failure.message.clone();
                    first_failure.get_or_insert(failure);
                    Err(why)
                }
            },
            action => locked(&vault, action).await,
        };
        guard.handle_done(carried_out, now());
    }
    let mut last = None;
    while let Some(event) = guard.next_event() {
        tell(&event);
        last = described(&event).or(last);
    }
    match started {
        Some((running, in_force)) => {
            let held = HeldGuard {
                guard,
                vault,
                last,
                in_force,
            };
            Ok((running, held))
        }
        None => Err(first_failure
            .unwrap_or_else(|| Failure::new(ErrorCode::ConfigInvalid, "there is no config to start with"))),
    }
}

async fn locked(vault: &Arc<Vault>, action: Action) -> Result<(), String> {
    let vault = vault.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _lock = vault.lock().map_err(|error| error.to_string())?;
        vault.carry_out(&action, now().wall_ms)
    })
    .await;
    done.unwrap_or_else(|error| Err(format!("a task ended early: {error}")))
}
