//! Building the plugin of a folder before it is tested or run.

use std::path::{Path, PathBuf};

use peerup_model::Failure;

use super::{failed, pack};

/// Builds, and returns the component.
pub(super) async fn build(folder: &Path) -> Result<PathBuf, Failure> {
    let mut command = tokio::process::Command::new("cargo");
    command
        .args(["build", "--release", "--target", "wasm32-wasip2"])
        .current_dir(folder);
    let status = command.status().await;
    let status = status.map_err(|error| failed(format!("cargo does not start: {error}")))?;
    match status.success() {
        true => pack::find_component(folder),
        false => Err(failed("the plugin does not build").with_hint("correct what cargo says above")),
    }
}
