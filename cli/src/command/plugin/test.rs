//! `plugin test`: the scenarios of a plugin, each run by two peers in this process.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use peerup_harness::{Outcome, Scenario, Subject, TraceLine};
use peerup_model::Failure;
use serde_json::{Value, json};

use super::{
    failed, pack,
    toolchain::{self, Profile},
    trace::paint,
    usage,
};
use crate::{arguments::PluginTest, context::Context, output};

/// The folder of a plugin's scenarios.
const SCENARIOS: &str = "tests";
/// Calls that are shown where a scenario failed.
const SHOWN_CALLS: usize = 30;

pub(super) async fn run(context: &Context, arguments: &PluginTest) -> Result<(), Failure> {
    let scenarios = find(&arguments.dir, &arguments.scenarios)?;
    if !arguments.no_build {
        toolchain::build(&arguments.dir, Profile::Release).await?;
    }
    let subject = subject(&arguments.dir)?;
    let mut broken = 0;
    for path in &scenarios {
        if !play(context, path, &subject, arguments.calls).await? {
            broken += 1;
        }
    }
    match broken {
        0 => Ok(()),
        _ => Err(
            failed(format!("{broken} of {} scenarios failed", scenarios.len()))
                .with_hint("see every call of one with: peerup plugin test --calls SCENARIO"),
        ),
    }
}

/// What is tested: the component that was built, with its manifest.
fn subject(folder: &Path) -> Result<Subject, Failure> {
    let package = pack::pack_folder(folder, None)?;
    Ok(Subject {
        manifest: package.manifest().clone(),
        wasm: package.into_bytes().into(),
        cache: cache(),
    })
}

/// Where compiled plugins are kept: the user's cache folder.
fn cache() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("peerup").join("plugins"))
}

/// The scenario files: those that were named, by path or by name, or all of the folder.
fn find(folder: &Path, named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let tests = folder.join(SCENARIOS);
    if !named.is_empty() {
        return named.iter().map(|name| find_one(&tests, name)).collect();
    }
    let none = || {
        failed(format!("{} has no scenarios", folder.display())).with_hint(format!(
            "write one: {}; docs/PLUGINS.md says how",
            tests.join("NAME.yaml").display()
        ))
    };
    let entries = std::fs::read_dir(&tests).map_err(|_| none())?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    found.sort();
    match found.is_empty() {
        true => Err(none()),
        false => Ok(found),
    }
}

fn find_one(tests: &Path, name: &Path) -> Result<PathBuf, Failure> {
    let places = [
        name.to_owned(),
        tests.join(name),
        tests.join(name).with_extension("yaml"),
    ];
    let found = places.iter().find(|path| path.is_file());
    found
        .cloned()
        .ok_or_else(|| usage(format!("there is no scenario {}", name.display())))
}

/// Runs one scenario and says what came of it; answers whether it held.
async fn play(context: &Context, path: &Path, subject: &Subject, calls: bool) -> Result<bool, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(format!("{} cannot be read: {error}", path.display())))?;
    let scenario = Scenario::parse(&text).map_err(|error| {
        usage(format!("{}: {error}", path.display())).with_hint("docs/PLUGINS.md has every key")
    })?;
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let summary = scenario.summary.clone();
    let (subject, start) = (subject.clone(), Instant::now());
    let work = tokio::task::spawn_blocking(move || peerup_harness::run(&scenario, &subject));
    let outcome = work
        .await
        .map_err(|error| failed(format!("{name} ended early: {error}")))?;
    if context.json {
        output::json(&object(&name, &summary, &outcome))?;
    } else {
        show(context, &name, &summary, &outcome, start.elapsed().as_millis())?;
        if calls || !outcome.passed {
            show_calls(context, &outcome, if calls { usize::MAX } else { SHOWN_CALLS })?;
        }
    }
    Ok(outcome.passed)
}

fn object(name: &str, summary: &str, outcome: &Outcome) -> Value {
    let mut object = json!({ "scenario": name, "summary": summary });
    if let (Some(object), Ok(Value::Object(rest))) = (object.as_object_mut(), serde_json::to_value(outcome)) {
        object.extend(rest);
    }
    object
}

fn show(
    context: &Context,
    name: &str,
    summary: &str,
    outcome: &Outcome,
    took_ms: u128,
) -> Result<(), Failure> {
    let steps = outcome.steps.len();
    if outcome.passed {
        let word = paint(context, "32", "ok");
        return output::line(format!(
            "{word}      {name}: {steps} steps, {} ms of its clock in {took_ms} ms{}",
            outcome.passed_ms,
            if summary.is_empty() {
                String::new()
            } else {
                format!("; {summary}")
            }
        ));
    }
    output::line(format!("{}  {name}", paint(context, "1;31", "FAILED")))?;
    for (number, step) in outcome.steps.iter().enumerate() {
        if let Some(failure) = &step.failure {
            output::line(format!("  step {}, {}: {failure}", number + 1, step.title))?;
        }
    }
    match &outcome.failure {
        Some(failure) => output::line(format!("  {failure}")),
        None => Ok(()),
    }
}

fn show_calls(context: &Context, outcome: &Outcome, most: usize) -> Result<(), Failure> {
    let hidden = outcome.calls.len().saturating_sub(most);
    if hidden > 0 {
        output::line(format!("  ... {hidden} calls before"))?;
    }
    for call in outcome.calls.iter().skip(hidden) {
        output::line(line(context, call))?;
    }
    match outcome.calls_left_out {
        0 => Ok(()),
        more => output::line(format!("  ... {more} calls more")),
    }
}

fn line(context: &Context, call: &TraceLine) -> String {
    let outcome = match &call.error {
        None => String::new(),
        Some(error) if call.denied => paint(context, "31", &format!(" DENIED: {error}")),
        Some(error) => paint(context, "33", &format!(" failed: {error}")),
    };
    format!(
        "  {:>8} ms {:<6} {:<8} {} {}{outcome}",
        call.at_ms, call.peer, call.run, call.call, call.on
    )
}
