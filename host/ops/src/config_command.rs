//! What the `config` commands of both programs share: who asks, how a config stands beside no running process, the
//! words for it, and waiting for a confirmation.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::Duration,
};

use peerup_api::{ConfigCheck, ConfigState, ConfigStatus, PendingConfig, whole_seconds};
use peerup_config::{Pending, Vault, boot_id, now};
use peerup_model::{ErrorCode, Failure};
use serde_json::Value;

use crate::config_guard::rfc3339;

/// How often is asked how a config stands that waits.
const LOOK: Duration = Duration::from_millis(250);
/// Returns who runs this command, for whoever finds a config that waits.
pub fn who_asks() -> String {
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

/// Returns how the config stands beside no running process. Blocks on the disk.
pub fn state_at_rest(path: &Path) -> ConfigState {
    let vault = Vault::new(path);
    let waits = vault.pending().ok().flatten();
    let waits = waits.filter(|pending| vault.text().ok().as_ref() != Some(&pending.before));
    ConfigState {
        file: path.display().to_string(),
        state: if waits.is_some() { "pending" } else { "settled" }.to_owned(),
        pending: waits.as_ref().map(pending_at_rest),
        ..ConfigState::default()
    }
}

fn pending_at_rest(pending: &Pending) -> PendingConfig {
    let left = pending.left(now(), boot_id().as_deref());
    PendingConfig {
        deadline: rfc3339(pending.deadline_ms),
        // Nothing is left only once it is over.
        seconds_left: u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
        applied: rfc3339(pending.applied_ms),
        by: pending.by.clone(),
        checks: Vec::new(),
    }
}

/// Says how the config stands, in a line.
pub fn config_in_words(state: &ConfigState) -> String {
    let reason = state.reason.as_deref().unwrap_or_default();
    match (&state.pending, state.state.as_str()) {
        (Some(pending), _) => format!(
            "waits to be confirmed until {} ({} s left); applied by {} at {}",
            whole_seconds(&pending.deadline),
            pending.seconds_left,
            pending.by,
            whole_seconds(&pending.applied)
        ),
        (None, "fallback") => format!("NOT in force, the last good one is: {reason}"),
        (None, "reverting") => format!("the one from before is in force and cannot be written: {reason}"),
        (None, state) => state.to_owned(),
    }
}

/// Says how the config stands, in all: what `config status` prints above the table of the last good ones.
pub fn config_status_lines(state: &ConfigState) -> Vec<String> {
    let because = |why: &Option<String>| why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let mut lines = vec![
        format!("config:    {}", state.file),
        format!("state:     {}", config_in_words(state)),
    ];
    for check in state.pending.iter().flat_map(|pending| &pending.checks) {
        let met = if check.met { "met" } else { "not met yet" };
        lines.push(format!(
            "check:     {} {met}{}",
            check.check,
            because(&check.reason)
        ));
    }
    if let Some(last) = &state.last {
        let why = because(&last.reason);
        lines.push(format!(
            "last:      {} at {}{why}",
            last.outcome,
            whole_seconds(&last.at)
        ));
    }
    let restart = state.needs_restart.iter();
    lines.extend(restart.map(|key| format!("restart:   {key} is in force after the next start")));
    lines
}

/// Returns the rows of the table of the last good ones: number, when, and whether it is in the file.
pub fn last_good_rows(status: &ConfigStatus) -> Vec<[String; 3]> {
    let row = |good: &peerup_api::LastGood| {
        let current = if good.is_current { "in the file" } else { "" };
        [
            good.number.to_string(),
            whole_seconds(&good.kept),
            current.to_owned(),
        ]
    };
    status.last_good.iter().map(row).collect()
}

/// Says what a plan has, line by line; no line where nothing changes.
pub fn plan_lines(plan: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let changes = plan["changes"].as_array().cloned().unwrap_or_default();
    if changes.is_empty() {
        return Vec::new();
    }
    let mut lines = Vec::new();
    for change in &changes {
        lines.push(format!(
            "{}: {} -> {}",
            text(&change["path"]),
            text(&change["from"]),
            text(&change["to"])
        ));
        lines.push(format!("    {}", text(&change["effect"])));
    }
    match drops(&plan["drops"]) {
        drops if drops.is_empty() => lines.push("no stream ends".to_owned()),
        drops => lines.extend(drops.iter().map(|line| format!("ends: {line}"))),
    }
    lines
}

fn drops(drops: &Value) -> Vec<String> {
    let names = |key: &str| {
        let list = drops[key].as_array().cloned().unwrap_or_default();
        list.into_iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
    };
    let mut lines: Vec<String> = Vec::new();
    for (service, lost) in drops["services"].as_object().into_iter().flatten() {
        let who = match (lost["peers"].as_array(), lost.as_str()) {
            (Some(peers), _) => {
                let peers: Vec<&str> = peers.iter().filter_map(Value::as_str).collect();
                peers.join(", ")
            }
            (None, Some("not_in_keys")) => "peers that are not in its list of keys".to_owned(),
            (None, _) => "peers that are not in its list".to_owned(),
        };
        lines.push(format!("streams to the service {service} of {who}"));
    }
    lines
        .extend(names("plugins").map(|name| format!("what runs of the plugin {name}, after its drain time")));
    lines.extend(names("relays").map(|id| format!("connections over the relay {id}")));
    lines.extend(names("paths").map(|line| format!("streams on a path that {line} forbids")));
    if drops["strangers"].as_bool() == Some(true) {
        lines.push("connections of everybody who is not in authorized_keys".to_owned());
    }
    lines
}

/// Waits until what was applied is confirmed or gone, with what is left on one line of a terminal. `enter` has Enter
/// confirm it. Returns how the config stands then. Cancel safe: the clock runs on.
///
/// # Errors
/// Nobody answers, or the config went back: exit code 7.
pub async fn follow_config(
    program: &str,
    enter: bool,
    look: impl AsyncFn() -> Result<ConfigState, Failure>,
    confirm: impl AsyncFn() -> Result<ConfigState, Failure>,
) -> Result<ConfigState, Failure> {
    let mut enter = enter.then(|| {
        tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)
        })
    });
    let _line = CountDown;
    loop {
        let state = look().await?;
        if state.pending.is_none() {
            return concluded(program, state);
        }
        count_down(&state);
        tokio::select! {
            biased;
            read = async { match &mut enter { Some(task) => task.await, None => std::future::pending().await } } => {
                enter = None;
                // An end of the input, as when the connection is gone, confirms nothing.
                if matches!(read, Ok(Ok(1..))) {
                    return concluded(program, confirm().await?);
                }
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn concluded(program: &str, state: ConfigState) -> Result<ConfigState, Failure> {
    let last = state.last.clone();
    let outcome = last.as_ref().map_or("", |last| last.outcome.as_str());
    if outcome == "confirmed" {
        return Ok(state);
    }
    let reason = last.as_ref().and_then(|last| last.reason.clone());
    Err(Failure::new(
        ErrorCode::CheckFailed,
        format!(
            "the config from before is in force again: {}",
            reason.unwrap_or_default()
        ),
    )
    .with_hint(format!("see how it stands with: {program} config status")))
}

/// Names the checks that are still to be met, as the end of a sentence; nothing where there are none.
pub fn unmet_in_words(checks: &[ConfigCheck]) -> String {
    let unmet: Vec<&str> = checks
        .iter()
        .filter(|check| !check.met)
        .map(|check| check.check.as_str())
        .collect();
    match unmet.is_empty() {
        true => String::new(),
        false => format!("; not met yet: {}", unmet.join(", ")),
    }
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
            let unmet = unmet_in_words(&pending.checks);
            format!("goes back in {}{unmet}", humantime::format_duration(left))
        }
        None => config_in_words(state),
    };
    // A terminal that is gone shows nothing, and that is no reason to stop.
    let _ = write!(err, "\r\x1b[K{shown}").and_then(|()| err.flush());
}

/// The line of a terminal that counts down; it goes when the waiting ends.
struct CountDown;

impl Drop for CountDown {
    fn drop(&mut self) {
        let mut err = std::io::stderr();
        if err.is_terminal() {
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        }
    }
}
