//! `config apply`: with a time to confirm it counts down on a terminal, and says the deadline anywhere else.

use std::{path::Path, time::Duration};

use peerup_api::{Client, ClientError, ConfigApplyRequest, ConfigOutcome, ConfigStatus};
use peerup_model::Failure;
use peerup_ops::{ConfigOf, follow_config, read_trial, state_at_rest, who_asks};

use super::{ask, at_rest, read_proposed, tell};
use crate::{
    arguments::ConfigApply,
    context::Context,
    session::{self, until_interrupted},
};

pub(super) async fn run(context: &Context, arguments: ConfigApply) -> Result<(), Failure> {
    let path = context.config_path()?;
    let text = read_proposed(&arguments.file)?;
    let Some(client) = session::running(&path).await else {
        return apply_at_rest(context, &path, text, arguments).await;
    };
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let request = ConfigApplyRequest {
        config: text,
        confirm_timeout_ms: arguments.confirm_timeout.map(millis),
        confirm_if: arguments.confirm_if.clone(),
        by: Some(who_asks()),
    };
    let outcome = ask(&client, "/v1/config/apply", &request).await?;
    let waits = outcome.status == "pending" && !arguments.no_wait;
    if waits && !arguments.confirm_if.is_empty() {
        return follow(context, &client, false).await;
    }
    if waits && context.may_ask() && !context.json {
        return follow(context, &client, true).await;
    }
    report(context, &outcome)
}

fn report(context: &Context, outcome: &ConfigOutcome) -> Result<(), Failure> {
    tell(context, outcome)?;
    if let (Some(pending), false) = (&outcome.config.pending, context.json) {
        context.note(&format!(
            "it goes back at {} unless somebody runs: peerup config confirm",
            peerup_api::whole_seconds(&pending.deadline)
        ));
    }
    Ok(())
}

async fn apply_at_rest(
    context: &Context,
    path: &Path,
    text: String,
    arguments: ConfigApply,
) -> Result<(), Failure> {
    let trial = read_trial(arguments.confirm_timeout, &arguments.confirm_if, who_asks())?;
    let changed = at_rest(path, |files| files.apply(text, trial.clone())).await?;
    let status = match (changed, &trial) {
        (false, _) => "unchanged",
        (true, Some(_)) => "pending",
        (true, None) => "applied",
    };
    let outcome = ConfigOutcome {
        status: status.to_owned(),
        config: state_at_rest(path, ConfigOf::Node),
    };
    report(context, &outcome)?;
    if !context.json {
        context.note("no daemon is running; the next start takes it, and keeps the deadline");
    }
    Ok(())
}

/// Waits until what was applied is confirmed or gone.
async fn follow(context: &Context, client: &Client, waits_for_person: bool) -> Result<(), Failure> {
    if waits_for_person {
        context.note("Enter keeps it. Ctrl-C leaves the clock running; then: peerup config confirm");
    }
    let look = async || {
        let status: ConfigStatus = client
            .get("/v1/config/status")
            .await
            .map_err(ClientError::into_failure)?;
        Ok(status.config)
    };
    let confirm = async || {
        let outcome = ask(client, "/v1/config/confirm", &serde_json::json!({})).await?;
        Ok(outcome.config)
    };
    let followed = follow_config("peerup", waits_for_person, look, confirm);
    let config = until_interrupted(followed).await?;
    let status = "confirmed".to_owned();
    tell(context, &ConfigOutcome { status, config })
}
