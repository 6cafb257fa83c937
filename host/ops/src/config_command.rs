//! What the `config` commands of both programs share: who asks, how a config stands beside no running process, the
//! words for it, and waiting for a confirmation.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::Duration,
};

use peerup_api::{ConfigCheck, ConfigState, ConfigStatus, PendingConfig, whole_seconds};
use peerup_config::{ConfigError, Pending, Vault, boot_id, now, parse_node, parse_relay};
use peerup_model::{ErrorCode, Failure, Now};
use serde_json::Value;

use crate::config_guard::rfc3339;

/// How often is asked how a config stands that waits.
const LOOK: Duration = Duration::from_millis(250);

/// Whose config it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigOf {
    /// A node's.
    Node,
    /// A relay server's.
    Relay,
}

impl ConfigOf {
    fn program(self) -> &'static str {
        match self {
            Self::Node => "peerup",
            Self::Relay => "relay-server",
        }
    }

    fn check(self, text: &str, path: &Path) -> Result<(), ConfigError> {
        match self {
            Self::Node => parse_node(text, path).map(drop),
            Self::Relay => parse_relay(text, path).map(drop),
        }
    }
}

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
pub fn state_at_rest(path: &Path, of: ConfigOf) -> ConfigState {
    stands_at_rest(path, of, now())
}

fn stands_at_rest(path: &Path, of: ConfigOf, now: Now) -> ConfigState {
    let vault = Vault::new(path);
    let text = vault.text();
    let waits = vault.pending().ok().flatten();
    let waits = waits.filter(|pending| text.as_ref().ok() != Some(&pending.before));
    let wrong = match &text {
        Ok(text) => of
            .check(text, path)
            .err()
            .map(|error| format!("the file does not load: {}", first_problem(&error))),
        Err(error) => Some(format!(
            "the file {} cannot be read: {error}",
            vault.config().display()
        )),
    };
    let reason = wrong.map(|wrong| {
        let next = next_start(&vault, of, text.ok().as_deref(), waits.as_ref());
        format!(
            "{wrong}; {next}; see what is wrong with: {} config validate",
            of.program()
        )
    });
    let state = match (&waits, &reason) {
        (Some(_), _) => "pending",
        (None, Some(_)) => "fallback",
        (None, None) => "settled",
    };
    ConfigState {
        file: path.display().to_string(),
        state: state.to_owned(),
        reason,
        pending: waits.as_ref().map(|pending| pending_at_rest(pending, now)),
        ..ConfigState::default()
    }
}

/// Says what a start does with a file that does not load, as [`peerup_config::ConfigGuard`] does it.
fn next_start(vault: &Vault, of: ConfigOf, file: Option<&str>, waits: Option<&Pending>) -> &'static str {
    let loads = |text: &str| of.check(text, vault.config()).is_ok();
    if waits.is_some_and(|pending| loads(&pending.before)) {
        return "the next start takes the config from before back";
    }
    let generations = vault.generations();
    let newest = generations.first().map(|newest| newest.text.as_str());
    // A file that ran last is not the reason why it does not do now, and no older one is tried.
    match (newest == file, generations.iter().any(|kept| loads(&kept.text))) {
        (false, true) => "the next start runs the last good config instead",
        _ => "there is no last good config to run instead, so the next start fails",
    }
}

/// Says the first thing that is wrong with its place, and how many more there are.
fn first_problem(error: &ConfigError) -> String {
    let ConfigError::Invalid { path, problems } = error else {
        return error.to_string().lines().next().unwrap_or_default().to_owned();
    };
    let Some(first) = problems.first() else {
        return path.display().to_string();
    };
    let key = match first.key.as_str() {
        "" => String::new(),
        key => format!("{key}: "),
    };
    let more = match problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("{}:{}: {key}{}{more}", path.display(), first.line, first.message)
}

fn pending_at_rest(pending: &Pending, now: Now) -> PendingConfig {
    let left = pending.left(now, boot_id().as_deref());
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
    // To what runs something has happened: it was started with it, or fell back.
    let is_at_rest = state.last.is_none();
    match (&state.pending, state.state.as_str()) {
        (Some(pending), _) => {
            let why = match reason {
                "" => String::new(),
                reason => format!("; {reason}"),
            };
            format!("{}{why}", pending_in_words(pending, is_at_rest))
        }
        (None, "fallback") if is_at_rest => reason.to_owned(),
        (None, "fallback") => format!("NOT in force, the last good one is: {reason}"),
        (None, "reverting") => format!("the one from before is in force and cannot be written: {reason}"),
        (None, state) => state.to_owned(),
    }
}

fn pending_in_words(pending: &PendingConfig, is_at_rest: bool) -> String {
    let stands = match pending.seconds_left {
        0 if is_at_rest => format!(
            "was to be confirmed until {}; its time is over; the next start takes it back",
            whole_seconds(&pending.deadline)
        ),
        left => format!(
            "waits to be confirmed until {} ({left} s left)",
            whole_seconds(&pending.deadline)
        ),
    };
    format!(
        "{stands}; applied by {} at {}",
        pending.by,
        whole_seconds(&pending.applied)
    )
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

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use peerup_config::{Action, AtRest, Trial};

    use super::*;

    const BROKEN: &str = "version: 1\nnmae: x\nzz: 1\n";

    fn config(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn keep(path: &Path, text: &str) {
        Vault::new(path)
            .carry_out(&Action::Archive(text.to_owned()), 1)
            .unwrap();
    }

    #[test]
    fn a_file_that_does_not_load_is_told_with_what_the_next_start_does() {
        for (of, program) in [(ConfigOf::Node, "peerup"), (ConfigOf::Relay, "relay-server")] {
            let (_folder, path) = config(BROKEN);
            let state = state_at_rest(&path, of);
            assert_eq!(state.state, "fallback");
            let reason = state.reason.clone().unwrap();
            let first = format!("{}:2: nmae: there is no such key", path.display());
            for part in [&first, "(and 1 more)", "the next start fails"] {
                assert!(reason.contains(part), "{part}: {reason}");
            }
            assert!(
                reason.ends_with(&format!("with: {program} config validate")),
                "{reason}"
            );
            assert_eq!(config_in_words(&state), reason);

            keep(&path, "version: 1\n");
            let reason = state_at_rest(&path, of).reason.unwrap();
            assert!(reason.contains("runs the last good config instead"), "{reason}");

            // The start tries no older one where the file is the newest that ran.
            keep(&path, BROKEN);
            let reason = state_at_rest(&path, of).reason.unwrap();
            assert!(reason.contains("the next start fails"), "{reason}");

            fs::remove_file(&path).unwrap();
            let state = state_at_rest(&path, of);
            let reason = state.reason.unwrap();
            assert_eq!(state.state, "fallback");
            assert!(
                reason.contains("cannot be read") && reason.contains("last good"),
                "{reason}"
            );
        }
    }

    #[test]
    fn a_file_that_loads_is_settled_without_a_reason() {
        let (_folder, path) = config("version: 1\n");
        let state = state_at_rest(&path, ConfigOf::Node);
        assert_eq!((state.state.as_str(), state.reason), ("settled", None));
    }

    #[test]
    fn what_waits_says_when_its_time_is_over_and_when_it_does_not_load() {
        let (_folder, path) = config("version: 1\n");
        let trial = Trial {
            by: "me".to_owned(),
            timeout: Duration::from_secs(60),
            checks: Vec::new(),
        };
        let mut files = AtRest::open(Vault::new(&path)).unwrap();
        files
            .apply("version: 1\nname: home\n".to_owned(), Some(trial))
            .unwrap();
        let words = |seconds: u64| {
            let now = now();
            let later = Now {
                wall_ms: now.wall_ms + seconds * 1000,
                steady_ms: now.steady_ms + seconds * 1000,
            };
            config_in_words(&stands_at_rest(&path, ConfigOf::Node, later))
        };
        assert!(
            words(0).contains("(60 s left)") && !words(0).contains("over"),
            "{}",
            words(0)
        );
        let over = words(61);
        assert!(
            over.contains("its time is over; the next start takes it back") && !over.contains("left"),
            "{over}"
        );

        fs::write(&path, BROKEN).unwrap();
        let state = state_at_rest(&path, ConfigOf::Node);
        assert_eq!(state.state, "pending");
        assert!(
            words(0).contains("the next start takes the config from before back"),
            "{}",
            words(0)
        );
    }
}
