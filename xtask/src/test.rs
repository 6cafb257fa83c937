//! `cargo xtask test`: everything that CI runs, in the order in which failures are cheapest to find.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use peerup_testkit::Lab;

use crate::{
    demo, lab, tidy, tools,
    workspace::{self, WASM_TARGET},
};

/// Runs all steps and prints how long each took.
///
/// # Errors
/// The first step that fails, by name.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    steps.run("toolchain", tools::ensure_wasm_target)?;
    steps.run("system tools", tools::ensure_system_tools)?;
    steps.run("format", || cargo(&["fmt", "--all", "--check"]))?;
    steps.run("tidy", tidy::run)?;
    steps.run("clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
    })?;
    steps.run("tests", || cargo(&["test", "--workspace"]))?;
    for folder in ["plugins", "plugin-sdk"] {
        check_guest_workspace(&mut steps, folder)?;
    }
    // The tests have built both binaries, with the features that the whole workspace asks for. Building them
    // alone asks for fewer, and would build most dependencies once more.
    let built = workspace::target_folder().join("debug");
    if let Err(reason) = Lab::check() {
        steps.skip("lab", &format!("{reason:#}"));
        steps.skip("soak", &format!("{reason:#}"));
    } else {
        steps.run("lab", || lab::run(&lab::LabArguments::built(&built)))?;
        steps.run("soak", || lab::soak(&lab::SoakArguments::short(&built)))?;
    }
    steps.run("demo", || demo::run(&demo::DemoArguments::built(&built)))?;
    steps.summary();
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    workspace::execute(workspace::cargo(arguments))
}

/// Formats and lints what is compiled for the sandbox. A crate that is a member of another workspace is
/// checked with that one.
fn check_guest_workspace(steps: &mut Steps, folder: &str) -> Result<()> {
    let manifest = workspace::root().join(folder).join("Cargo.toml");
    if !is_workspace(&manifest)? {
        return Ok(());
    }
    let manifest = manifest.to_string_lossy().into_owned();
    steps.run(&format!("{folder}: format"), || {
        cargo(&["fmt", "--all", "--check", "--manifest-path", &manifest])
    })?;
    steps.run(&format!("{folder}: clippy for {WASM_TARGET}"), || {
        cargo(&[
            "clippy",
            "--workspace",
            "--manifest-path",
            &manifest,
            "--target",
            WASM_TARGET,
            "--",
            "-D",
            "warnings",
        ])
    })?;
    let target = workspace::target_folder().join("plugins");
    steps.run(&format!("{folder}: tests"), || {
        cargo(&[
            "test",
            "--manifest-path",
            &manifest,
            "--package",
            "peerup-plugin-sdk",
            "--package",
            "peerup-plugin-ping",
            "--package",
            "peerup-plugin-traceroute",
            "--package",
            "peerup-plugin-names-dns",
            "--target-dir",
            &target.to_string_lossy(),
        ])
    })
}

fn is_workspace(manifest: &Path) -> Result<bool> {
    if !manifest.is_file() {
        return Ok(false);
    }
    let text = std::fs::read_to_string(manifest)?;
    let parsed: toml::Table = text
        .parse()
        .with_context(|| format!("{} does not parse", manifest.display()))?;
    Ok(parsed.contains_key("workspace"))
}

#[derive(Default)]
struct Steps {
    done: Vec<(String, Result<Duration, String>)>,
}

impl Steps {
    fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = step();
        let took = start.elapsed();
        if let Err(error) = outcome {
            self.summary();
            return Err(error.context(format!("step \"{name}\", after {:.1} s", took.as_secs_f32())));
        }
        self.done.push((name.to_owned(), Ok(took)));
        Ok(())
    }

    fn skip(&mut self, name: &str, reason: &str) {
        let line = "!".repeat(78);
        println!("\n{line}\n!! {name} DID NOT RUN: {reason}\n{line}");
        self.done.push((name.to_owned(), Err(reason.to_owned())));
    }

    fn summary(&self) {
        println!("\n=== summary");
        let mut total = Duration::ZERO;
        for (name, outcome) in &self.done {
            match outcome {
                Ok(took) => {
                    total += *took;
                    println!("{:>8.1} s  {name}", took.as_secs_f32());
                }
                Err(reason) => println!("  NOT RUN   {name}: {reason}"),
            }
        }
        println!("{:>8.1} s  in all", total.as_secs_f32());
    }
}
