//! An upgrade that waits to be confirmed: `plugin confirm`, and what `plugin upgrade` tells and waits for.

use std::{path::Path, time::Duration};

use peerup_api::{
    Client, ClientError, ConfigCheck, PluginInfo, PluginTrialEnd, PluginTrialInfo, whole_seconds,
};
use peerup_config::{Trial as Wanted, boot_id, now};
use peerup_model::{Deadline, ErrorCode, Failure, PluginName};
use peerup_package::{LockedPlugin, Trial};
use tokio::time::Instant;

use super::{Refusal, folder_of, read_name};
use crate::{
    context::Context,
    output,
    session::{self, until_interrupted},
};

/// How often the daemon is asked while an upgrade waits.
const LOOK: Duration = Duration::from_millis(250);
/// How long the daemon has to tell what became of an upgrade that does not wait any more; it looks every few seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// Returns the marker of an upgrade that is made now.
pub(super) fn begin(wanted: &Wanted) -> Trial {
    let checks = wanted.checks.iter().map(ToString::to_string).collect();
    let deadline = Deadline::new(wanted.timeout, now(), boot_id().as_deref());
    Trial::new(&wanted.by, checks, deadline)
}

/// Returns what waits, as the daemon tells it.
pub(super) fn describe(plugin: &LockedPlugin) -> Option<PluginTrialInfo> {
    let (trial, previous) = (plugin.trial.as_ref()?, plugin.previous.as_ref()?);
    let left = trial.deadline.left(now(), boot_id().as_deref());
    let check = |check: &String| ConfigCheck {
        check: check.clone(),
        met: false,
        reason: None,
    };
    Some(PluginTrialInfo {
        version: plugin.current.version.clone(),
        previous: previous.version.clone(),
        deadline: peerup_ops::rfc3339(trial.deadline.deadline_ms),
        seconds_left: u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
        applied: peerup_ops::rfc3339(trial.deadline.applied_ms),
        by: trial.by.clone(),
        checks: trial.checks.iter().map(check).collect(),
    })
}

/// Says how an upgrade waits, in a line.
pub(super) fn in_words(trial: &PluginTrialInfo) -> String {
    let unmet = peerup_ops::unmet_in_words(&trial.checks);
    format!(
        "{} waits to be confirmed until {} ({} s left), else {} comes back; upgraded by {} at {}{unmet}",
        trial.version,
        whole_seconds(&trial.deadline),
        trial.seconds_left,
        trial.previous,
        trial.by,
        whole_seconds(&trial.applied)
    )
}

/// Keeps an upgrade.
pub(super) async fn confirm(context: &Context, name: &str) -> Result<(), Failure> {
    let name = read_name(name)?;
    let config = context.config_path()?;
    match session::running(&config).await {
        Some(client) => {
            let path = format!("/v1/plugins/{name}/confirm");
            let _: serde_json::Value = client
                .post(&path, &serde_json::json!({}))
                .await
                .map_err(ClientError::into_failure)?;
        }
        None => peerup_daemon::confirm_in(&folder_of(&config), &name)?,
    }
    if context.json {
        return output::json(&serde_json::json!({ "status": "confirmed", "name": name }));
    }
    output::line(format!("confirmed {name}"))
}

/// Waits until the checks of an upgrade have confirmed it, or the version before is back.
pub(super) async fn follow(
    context: &Context,
    config: &Path,
    name: &PluginName,
    made: &PluginTrialInfo,
) -> Result<(), Failure> {
    let Some(client) = session::running(config).await else {
        context.note("no daemon is running; the next start tries the checks, and the time runs on");
        return Ok(());
    };
    let waiting = wait(&client, (config, name), &made.applied);
    let Some(end) = until_interrupted(waiting).await? else {
        return Err(Failure::new(
            ErrorCode::Failed,
            format!("the upgrade of {name} waits no more, and the daemon does not know what became of it"),
        )
        .with_hint(format!("see what runs with: peerup plugin inspect {name}")));
    };
    let reason = end.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let (version, hint) = (
        end.version,
        format!("see how it stands with: peerup plugin inspect {name}"),
    );
    let message = match end.outcome.as_str() {
        "confirmed" => {
            context.note(&format!("confirmed{reason}"));
            return Ok(());
        }
        "reverted" => format!("the version of {name} before runs again{reason}"),
        _ => format!("{version} of {name} stays, although it was not confirmed{reason}"),
    };
    Err(Failure::new(ErrorCode::CheckFailed, message).with_hint(hint))
}

/// Returns what became of the upgrade that was made at this moment; none where the daemon does not tell.
async fn wait(
    client: &Client,
    (config, name): (&Path, &PluginName),
    applied: &str,
) -> Result<Option<PluginTrialEnd>, Failure> {
    let folder = folder_of(config);
    let waits = |plugin: &LockedPlugin| {
        let trial = plugin.trial.as_ref();
        trial.is_some_and(|trial| peerup_ops::rfc3339(trial.deadline.applied_ms) == applied)
    };
    let mut over = None;
    loop {
        let plugin: PluginInfo = client
            .get(&format!("/v1/plugins/{name}"))
            .await
            .map_err(ClientError::into_failure)?;
        if let Some(end) = plugin.last_trial.filter(|end| end.applied == applied) {
            return Ok(Some(end));
        }
        // The daemon may see what the lock file says only a moment later.
        if !folder.read().map_err(Refusal::from)?.get(name).is_some_and(waits) {
            let since = *over.get_or_insert_with(Instant::now);
            if since.elapsed() >= PATIENCE {
                return Ok(None);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}
