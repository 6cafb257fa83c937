//! `config apply`: with a time to confirm it counts down on a terminal, and says the deadline anywhere else.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::Duration,
};

use peerup_api::{Client, ClientError, ConfigApplyRequest, ConfigOutcome, ConfigState, ConfigStatus};
use peerup_config::{ConfirmCheck, MAX_CHECKS, Trial};
use peerup_model::{ErrorCode, Failure};

use super::{ask, at_rest, in_words, read_text, state_at_rest, tell};
use crate::{
    arguments::ConfigApply,
    command::usage,
    context::Context,
    output,
    session::{self, until_interrupted},
};

/// How often the daemon is asked while a config waits.
const LOOK: Duration = Duration::from_millis(250);
/// Without a daemon checks wait for the next start; they have this long then where nobody says.
const DEFAULT_CHECK_TIME: Duration = Duration::from_secs(60);

pub(super) async fn run(context: &Context, arguments: ConfigApply) -> Result<(), Failure> {
    let path = context.config_path()?;
    let text = read_text(&arguments.file)?;
    let Some(client) = session::running(&path).await else {
        return apply_at_rest(context, &path, text, arguments).await;
    };
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let request = ConfigApplyRequest {
        config: text,
        confirm_timeout_ms: arguments.confirm_timeout.map(millis),
        confirm_if: arguments.confirm_if.clone(),
        by: Some(who()),
    };
    let outcome = ask(&client, "/v1/config/apply", &request).await?;
    let waits = outcome.status == "pending" && !arguments.no_wait;
    if waits && !arguments.confirm_if.is_empty() {
        return follow(context, &client, Waiting::ForChecks).await;
    }
    if waits && context.may_ask() && !context.json {
        return follow(context, &client, Waiting::ForAPerson).await;
    }
    report(context, &outcome)
}

fn report(context: &Context, outcome: &ConfigOutcome) -> Result<(), Failure> {
    tell(context, outcome)?;
    if let (Some(pending), false) = (&outcome.config.pending, context.json) {
        context.note(&format!(
            "it goes back at {} unless somebody runs: peerup config confirm",
            pending.deadline
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
    peerup_config::parse_node(&text, path).map_err(|error| peerup_daemon::config_failure(&error))?;
    let trial = read_trial(&arguments)?;
    let changed = at_rest(path, |files| files.apply(text, trial.clone())).await?;
    let status = match (changed, &trial) {
        (false, _) => "unchanged",
        (true, Some(_)) => "pending",
        (true, None) => "applied",
    };
    let outcome = ConfigOutcome {
        status: status.to_owned(),
        config: state_at_rest(path),
    };
    report(context, &outcome)?;
    if !context.json {
        context.note("no daemon is running; the next start takes it, and keeps the deadline");
    }
    Ok(())
}

fn read_trial(arguments: &ConfigApply) -> Result<Option<Trial>, Failure> {
    let checks = arguments
        .confirm_if
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error: peerup_config::ConfirmCheckError| usage(error.to_string()))
        })
        .collect::<Result<Vec<ConfirmCheck>, Failure>>()?;
    if checks.len() > MAX_CHECKS {
        return Err(usage(format!("at most {MAX_CHECKS} checks")));
    }
    let timeout = match arguments.confirm_timeout {
        Some(time) => time,
        None if checks.is_empty() => return Ok(None),
        None => DEFAULT_CHECK_TIME,
    };
    if timeout < Duration::from_secs(1) {
        return Err(usage("the time to confirm is at least 1s"));
    }
    Ok(Some(Trial {
        by: who(),
        timeout,
        checks,
    }))
}

/// Who runs this command, for whoever finds a config that waits.
fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
    let pid = std::process::id();
    match std::env::var("SSH_CONNECTION") {
        Ok(connection) => {
            let from = connection.split(' ').next().unwrap_or_default();
            format!("{user} from {from} (pid {pid})")
        }
        Err(_) => format!("{user} (pid {pid})"),
    }
}

/// What ends the waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    ForChecks,
    ForAPerson,
}

/// Waits until what was applied is confirmed or gone.
async fn follow(context: &Context, client: &Client, waiting: Waiting) -> Result<(), Failure> {
    let mut enter = None;
    if waiting == Waiting::ForAPerson {
        context.note("Enter keeps it. Ctrl-C leaves the clock running; then: peerup config confirm");
        enter = Some(tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)
        }));
    }
    let ended = until_interrupted(async {
        loop {
            let status: ConfigStatus = client
                .get("/v1/config/status")
                .await
                .map_err(ClientError::into_failure)?;
            let state = status.config;
            if state.pending.is_none() {
                return Ok(state);
            }
            count_down(&state);
            tokio::select! {
                biased;
                read = async { match &mut enter { Some(task) => task.await, None => std::future::pending().await } } => {
                    enter = None;
                    // An end of the input, as when the connection is gone, confirms nothing.
                    if matches!(read, Ok(Ok(1..))) {
                        let outcome = ask(client, "/v1/config/confirm", &serde_json::json!({})).await?;
                        return Ok(outcome.config);
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    })
    .await;
    clear();
    conclude(context, &ended?)
}

fn conclude(context: &Context, state: &ConfigState) -> Result<(), Failure> {
    let outcome = state.last.as_ref().map_or("", |last| last.outcome.as_str());
    let reason = state
        .last
        .as_ref()
        .and_then(|last| last.reason.clone())
        .unwrap_or_default();
    if outcome != "confirmed" {
        return Err(Failure::new(
            ErrorCode::CheckFailed,
            format!("the config from before is in force again: {reason}"),
        )
        .with_hint("see how it stands with: peerup config status"));
    }
    if context.json {
        return output::json(&ConfigOutcome {
            status: "confirmed".to_owned(),
            config: state.clone(),
        });
    }
    context.note("confirmed");
    for key in &state.needs_restart {
        context.note(&format!("{key} is in force after the next start of the daemon"));
    }
    Ok(())
}

/// Shows what is left on one line of a terminal.
fn count_down(state: &ConfigState) {
    let mut err = std::io::stderr();
    if !err.is_terminal() {
        return;
    }
    let shown = match &state.pending {
        Some(pending) => {
            let left = Duration::from_secs(pending.seconds_left);
            let unmet: Vec<&str> = pending
                .checks
                .iter()
                .filter(|check| !check.met)
                .map(|check| check.check.as_str())
                .collect();
            let unmet = match unmet.is_empty() {
                true => String::new(),
                false => format!("; not met yet: {}", unmet.join(", ")),
            };
            format!("goes back in {}{unmet}", humantime::format_duration(left))
        }
        None => in_words(state),
    };
    // A terminal that is gone shows nothing, and that is no reason to stop.
    let _ = write!(err, "\r\x1b[K{shown}").and_then(|()| err.flush());
}

fn clear() {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
    }
}
