//! The engine's own figures: `host/engine/benches/engine`, which prints them as Markdown.

use anyhow::{Context, Result, ensure};

use crate::{procfs, tools, workspace};

/// Runs it and returns its tables with what they were measured on.
///
/// # Errors
/// Where it does not build or does not end well.
pub(super) fn measure(dev: bool) -> Result<String> {
    tools::ensure_wasm_target()?;
    let profile = if dev { "dev" } else { "release" };
    // With the features of the whole workspace, as everything else is built.
    let mut bench = workspace::cargo(&["bench", "--workspace", "--bench", "engine", "--profile", profile]);
    let shown = workspace::show(&bench);
    let told = bench
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {shown}"))?;
    ensure!(told.status.success(), "`{shown}` ended with {}", told.status);
    let tables = String::from_utf8(told.stdout).context("the figures are no text")?;
    let build = super::table::build(dev);
    Ok(format!(
        "{}; {build}; {}.\n\n{}",
        procfs::machine(),
        procfs::today()?,
        tables.trim()
    ))
}
