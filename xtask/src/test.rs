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
    let guests = guest_workspaces()?;
    for guest in &guests {
        guest.check_format(&mut steps)?;
    }
    steps.run("clippy", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
    })?;
    for guest in &guests {
        guest.lint(&mut steps)?;
    }
    steps.run("tests", || cargo(&["test", "--workspace"]))?;
    for guest in &guests {
        guest.test(&mut steps)?;
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

/// A workspace of what is compiled for the sandbox.
struct GuestWorkspace {
    folder: &'static str,
    manifest: String,
}

/// Finds them. A crate that is a member of another workspace is checked with that one.
fn guest_workspaces() -> Result<Vec<GuestWorkspace>> {
    let mut found = Vec::new();
    for folder in ["plugins", "plugin-sdk"] {
        let manifest = workspace::root().join(folder).join("Cargo.toml");
        if is_workspace(&manifest)? {
            let manifest = manifest.to_string_lossy().into_owned();
            found.push(GuestWorkspace { folder, manifest });
        }
    }
    Ok(found)
}

impl GuestWorkspace {
    fn check_format(&self, steps: &mut Steps) -> Result<()> {
        steps.run(&format!("{}: format", self.folder), || {
            cargo(&["fmt", "--all", "--check", "--manifest-path", &self.manifest])
        })
    }

    fn lint(&self, steps: &mut Steps) -> Result<()> {
        steps.run(&format!("{}: clippy for {WASM_TARGET}", self.folder), || {
            cargo(&[
                "clippy",
                "--workspace",
                "--manifest-path",
                &self.manifest,
                "--target",
                WASM_TARGET,
                "--",
                "-D",
                "warnings",
            ])
        })
    }

    fn test(&self, steps: &mut Steps) -> Result<()> {
        let target = workspace::target_folder().join("plugins");
        steps.run(&format!("{}: tests", self.folder), || {
            cargo(&[
                "test",
                "--manifest-path",
                &self.manifest,
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
