//! `config`: plans, applies, confirms and rolls back the config. Through the admin socket where the relay runs, so that
//! it is live and its deadline kept at once; else in the files, for the next start.

use std::io::{IsTerminal, stderr, stdin};
use std::path::Path;
use std::time::Duration;

use peerup_api::{ConfigOutcome, ConfigState, ConfigStatus};
use peerup_config::{AtRest, AtRestError, Vault, load_relay, parse_relay, plan_relay, read_relay};
use peerup_model::{ErrorCode, Failure};
use peerup_ops::{
    ConfigOf, config_status_lines, follow_config, last_good, last_good_rows, plan_lines, read_trial,
    state_at_rest, who_asks,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{print, print_json, running::block_on, tell};
use crate::admin::{self, AdminRequest};
use crate::arguments::{ConfigApplyArguments, OutputArguments};
use crate::failure::{PROGRAM, config_failure, edit_failure};
use crate::keeper::check_text;

/// Prints the file.
pub(super) fn show(path: &Path, output: &OutputArguments) -> Result<(), Failure> {
    let text = read_text(path)?;
    match output.json {
        true => print_json(&serde_json::json!({ "config": path, "text": text })),
        false => print(&format!("{}\n", text.trim_end())),
    }
}

/// Prints how the config stands.
pub(super) fn status(path: &Path, output: &OutputArguments) -> Result<(), Failure> {
    block_on(async {
        let status: ConfigStatus = match is_running(path).await? {
            // As it was named here: the relay may have been started in another folder.
            true => named_as(path, ask(path, &AdminRequest::ConfigStatus).await?),
            false => ConfigStatus {
                config: state_at_rest(path, ConfigOf::Relay),
                last_good: last_good(&Vault::new(path)),
            },
        };
        if output.json {
            return print_json(&status);
        }
        let mut text = config_status_lines(&status.config).join("\n");
        for [number, kept, current] in last_good_rows(&status) {
            text.push_str(format!("\nlast good: {number}  {kept}  {current}").trim_end());
        }
        print(&format!("{text}\n"))
    })
}

fn named_as(path: &Path, mut status: ConfigStatus) -> ConfigStatus {
    status.config.file = path.display().to_string();
    status
}

/// Says what a config would change.
pub(super) fn plan(path: &Path, file: Option<&Path>, output: &OutputArguments) -> Result<(), Failure> {
    block_on(async {
        let text = read_proposed(file.unwrap_or(path))?;
        let plan: Value = match is_running(path).await? {
            true => ask(path, &AdminRequest::ConfigPlan { config: text }).await?,
            false => {
                let old = load_relay(path).map_err(|error| config_failure(&error))?.config;
                // Relative paths start at the folder of the config that it would become.
                let new = parse_relay(&text, path)
                    .map_err(|error| config_failure(&error))?
                    .config;
                // Nothing runs: nothing waits for a restart.
                admin::planned(&plan_relay(&old, &new), Vec::new()).map_err(failed)?
            }
        };
        if output.json {
            return print_json(&plan);
        }
        let mut lines = plan_lines(&plan);
        lines.extend(waiting_lines(&plan));
        match lines.is_empty() {
            true => tell("nothing changes"),
            false => print(&format!("{}\n", lines.join("\n")))?,
        }
        Ok(())
    })
}

/// Reads a file that is to become the config, and tells what is wrong with it under its own path.
fn read_proposed(file: &Path) -> Result<String, Failure> {
    let text = read_relay(file).map_err(|error| config_failure(&error))?;
    parse_relay(&text, file).map_err(|error| config_failure(&error))?;
    Ok(text)
}

/// Names the keys that are no change of what the relay has taken over, and wait for its next start.
fn waiting_lines(plan: &Value) -> Vec<String> {
    let list = |key: &str| plan[key].as_array().cloned().unwrap_or_default();
    let changes = list("changes");
    let waiting = list("waits_for_restart");
    let is_change = |key: &Value| changes.iter().any(|change| change["path"] == *key);
    let waiting = waiting
        .iter()
        .filter(|key| !is_change(key))
        .filter_map(Value::as_str);
    waiting
        .map(|key| format!("restart:   {key} is in force after the next start"))
        .collect()
}

/// Puts a config in the place of the one in use.
pub(super) fn apply(path: &Path, arguments: &ConfigApplyArguments) -> Result<(), Failure> {
    let text = read_proposed(&arguments.file)?;
    let trial = read_trial(arguments.confirm_timeout, &[], who_asks())?;
    let json = arguments.output.json;
    block_on(async {
        if !is_running(path).await? {
            check_text(&text, path)?;
            let waits = trial.is_some();
            let changed = at_rest(path, |files| files.apply(text, trial)).await?;
            let status = match (changed, waits) {
                (false, _) => "unchanged",
                (true, true) => "pending",
                (true, false) => "applied",
            };
            report(&outcome_at_rest(path, status), json)?;
            if !json {
                tell("no relay is running; the next start takes it, and keeps the deadline");
            }
            return Ok(());
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let request = AdminRequest::ConfigApply {
            config: text,
            confirm_timeout_ms: trial.map(|trial| millis(trial.timeout)),
            by: Some(who_asks()),
        };
        let outcome: ConfigOutcome = ask(path, &request).await?;
        let a_person_waits = stdin().is_terminal() && stderr().is_terminal() && !json && !arguments.no_wait;
        match outcome.status == "pending" && a_person_waits {
            true => follow(path).await,
            false => report(&outcome, json),
        }
    })
}

/// Waits for Enter, or for the end of the time.
async fn follow(path: &Path) -> Result<(), Failure> {
    tell(&format!(
        "Enter keeps it. Ctrl-C leaves the clock running; then: {PROGRAM} config confirm"
    ));
    let look = async || -> Result<ConfigState, Failure> {
        let status: ConfigStatus = ask(path, &AdminRequest::ConfigStatus).await?;
        Ok(status.config)
    };
    let confirm = async || -> Result<ConfigState, Failure> {
        let outcome: ConfigOutcome = ask(path, &AdminRequest::ConfigConfirm).await?;
        Ok(outcome.config)
    };
    let config = follow_config(PROGRAM, true, look, confirm).await?;
    let status = "confirmed".to_owned();
    tell_outcome(&ConfigOutcome { status, config }, false)
}

fn report(outcome: &ConfigOutcome, json: bool) -> Result<(), Failure> {
    tell_outcome(outcome, json)?;
    if let (Some(pending), false) = (&outcome.config.pending, json) {
        tell(&format!(
            "it goes back at {} unless somebody runs: {PROGRAM} config confirm",
            pending.deadline
        ));
    }
    Ok(())
}

/// Keeps what waits.
pub(super) fn confirm(path: &Path, output: &OutputArguments) -> Result<(), Failure> {
    block_on(async {
        if is_running(path).await? {
            return tell_outcome(&ask(path, &AdminRequest::ConfigConfirm).await?, output.json);
        }
        at_rest(path, |files| files.confirm()).await?;
        tell_at_rest(path, "confirmed", output.json)
    })
}

/// Takes back what waits, else brings a last good config back.
pub(super) fn roll_back(
    path: &Path,
    generation: Option<usize>,
    output: &OutputArguments,
) -> Result<(), Failure> {
    block_on(async {
        if is_running(path).await? {
            let outcome = ask(path, &AdminRequest::ConfigRollback { generation }).await?;
            return tell_outcome(&outcome, output.json);
        }
        let reverted = at_rest(path, |files| {
            if files.pending().is_some() && generation.is_none() {
                return files.revert().map(|()| true);
            }
            let text = files.generation(generation)?.text;
            files.apply(text, None).map(|_| false)
        })
        .await?;
        let status = if reverted { "reverted" } else { "rolled back" };
        tell_at_rest(path, status, output.json)
    })
}

/// Whether the relay with this config answers. One that this user may not ask is an error, not an absent one.
async fn is_running(path: &Path) -> Result<bool, Failure> {
    match admin::knock(path).await {
        Ok(answers) => Ok(answers),
        Err(error) => Err(admin::not_answering(&admin::socket_path(path), &error)),
    }
}

async fn ask<T: DeserializeOwned>(path: &Path, request: &AdminRequest) -> Result<T, Failure> {
    let data = admin::ask(path, request).await?;
    serde_json::from_value(data)
        .map_err(|error| failed(format!("the relay's answer makes no sense: {error}")))
}

/// Works on the files alone. A relay that has started meanwhile has its own word.
async fn at_rest<T>(
    path: &Path,
    work: impl FnOnce(&mut AtRest) -> Result<T, AtRestError>,
) -> Result<T, Failure> {
    let mut files = AtRest::open(Vault::new(path)).map_err(|error| at_rest_failure(&error))?;
    if is_running(path).await? {
        return Err(failed("a relay has started just now").with_hint("run the command again"));
    }
    work(&mut files).map_err(|error| at_rest_failure(&error))
}

fn at_rest_failure(error: &AtRestError) -> Failure {
    match error {
        AtRestError::Edit(error) => edit_failure(error),
        AtRestError::Refused(refused) => peerup_ops::refused_failure(refused, PROGRAM),
        AtRestError::TimeOver => peerup_ops::time_over_failure(error, PROGRAM),
        AtRestError::Invalid(why) => Failure::new(ErrorCode::ConfigInvalid, why.clone()),
        AtRestError::NoGeneration(why) => peerup_ops::no_generation_failure(why, PROGRAM),
        error => failed(error.to_string()).with_hint("check the folder's owner, its mode and the free space"),
    }
}

fn outcome_at_rest(path: &Path, status: &str) -> ConfigOutcome {
    ConfigOutcome {
        status: status.to_owned(),
        config: state_at_rest(path, ConfigOf::Relay),
    }
}

fn tell_at_rest(path: &Path, status: &str, json: bool) -> Result<(), Failure> {
    tell_outcome(&outcome_at_rest(path, status), json)?;
    if !json {
        tell("no relay is running; the next start takes it");
    }
    Ok(())
}

fn tell_outcome(outcome: &ConfigOutcome, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(outcome);
    }
    tell(&outcome.status);
    for key in &outcome.config.needs_restart {
        tell(&format!("{key} is in force after the next start of the relay"));
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        failed(format!("{} cannot be read: {error}", path.display()))
            .with_hint("check that the file is there and that you may read it")
    })
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::Failed, error.to_string())
}
