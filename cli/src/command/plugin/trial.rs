//! An upgrade that waits to be confirmed: `plugin confirm`, and what `plugin upgrade` tells and waits for.

use std::{path::Path, time::Duration};

use peerup_api::{Client, ClientError, ConfigCheck, PluginInfo, PluginTrialInfo};
use peerup_config::{Trial as Wanted, boot_id, now};
use peerup_model::{Deadline, ErrorCode, Failure, PluginName};
use peerup_package::{Digest, LockedPlugin, Trial};

use super::{Refusal, folder_of, read_name};
use crate::{
    context::Context,
    output,
    session::{self, until_interrupted},
};

/// How often the daemon is asked while an upgrade waits.
const LOOK: Duration = Duration::from_millis(250);

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
    let unmet: Vec<&str> = trial
        .checks
        .iter()
        .filter(|check| !check.met)
        .map(|check| check.check.as_str())
        .collect();
    let unmet = match unmet.is_empty() {
        true => String::new(),
        false => format!("; not met yet: {}", unmet.join(", ")),
    };
    format!(
        "{} waits to be confirmed until {} ({} s left), else {} comes back; upgraded by {} at {}{unmet}",
        trial.version, trial.deadline, trial.seconds_left, trial.previous, trial.by, trial.applied
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
    upgraded: Digest,
) -> Result<(), Failure> {
    let Some(client) = session::running(config).await else {
        context.note("no daemon is running; the next start tries the checks, and the time runs on");
        return Ok(());
    };
    let reason = until_interrupted(wait(&client, name)).await?;
    let lock = folder_of(config).read().map_err(Refusal::from)?;
    let is_kept = lock
        .get(name)
        .is_some_and(|plugin| plugin.current.digest == upgraded);
    match is_kept {
        true => {
            context.note("confirmed: every check was met");
            Ok(())
        }
        false => Err(Failure::new(
            ErrorCode::CheckFailed,
            format!("the version of {name} before runs again; not met: {reason}"),
        )
        .with_hint(format!("see how it stands with: peerup plugin inspect {name}"))),
    }
}

/// Returns what was not met when last looked, once nothing waits any more.
async fn wait(client: &Client, name: &PluginName) -> Result<String, Failure> {
    let mut reason = String::new();
    loop {
        let plugin: PluginInfo = client
            .get(&format!("/v1/plugins/{name}"))
            .await
            .map_err(ClientError::into_failure)?;
        let Some(trial) = plugin.trial else {
            return Ok(reason);
        };
        let unmet = trial.checks.into_iter().filter(|check| !check.met);
        let unmet: Vec<String> = unmet
            .map(|check| format!("{}: {}", check.check, check.reason.unwrap_or_default()))
            .collect();
        reason = unmet.join("; ");
        tokio::time::sleep(LOOK).await;
    }
}
