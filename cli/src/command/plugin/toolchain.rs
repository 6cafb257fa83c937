//! What builds plugins: cargo with the target for WebAssembly, or a script of the author's own.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use peerup_model::Failure;
use serde::Deserialize;
use tokio::process::Command;

use super::{
    failed,
    project::{self, Crate},
};
use crate::session;

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    Release,
    Debug,
}

/// Builds the plugin in a folder and returns its component.
pub(super) async fn build(folder: &Path, profile: Profile) -> Result<PathBuf, Failure> {
    if folder.join(project::BUILD_SCRIPT).is_file() {
        run_script(folder).await?;
        return project::find_component(folder);
    }
    let Some(found) = Crate::read(folder)? else {
        return Err(failed(format!(
            "{} has neither a Cargo.toml nor a {}",
            folder.display(),
            project::BUILD_SCRIPT
        ))
        .with_hint("make a plugin with: peerup plugin new NAME"));
    };
    check_toolchain(folder).await?;
    let sdk = found.sdk_setting(folder)?;
    run_cargo(folder, profile, sdk).await
}

/// Runs the author's script. Its words are for people, so they go to standard error.
async fn run_script(folder: &Path) -> Result<(), Failure> {
    let mut command = Command::new("sh");
    command
        .arg(project::BUILD_SCRIPT)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .kill_on_drop(true);
    let shown = folder.join(project::BUILD_SCRIPT);
    let status = session::until_interrupted(async {
        command
            .status()
            .await
            .map_err(|error| failed(format!("sh cannot be run: {error}")))
    })
    .await?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(format!("{} failed: {status}", shown.display()))
            .with_hint("what it said stands above; correct it and build again")),
    }
}

/// Fails with the exact command for what is missing.
async fn check_toolchain(folder: &Path) -> Result<(), Failure> {
    for program in ["cargo", "rustc"] {
        if let Err(error) = output(Command::new(program).arg("--version").current_dir(folder)).await {
            return Err(failed(format!("{program} cannot be run: {error}"))
                .with_hint("install Rust with rustup: https://rustup.rs"));
        }
    }
    let mut asked = Command::new("rustc");
    asked
        .args(["--print", "target-libdir", "--target", project::TARGET])
        .current_dir(folder);
    let libraries = output(&mut asked)
        .await
        .ok()
        .map(|text| PathBuf::from(text.trim()));
    match libraries.is_some_and(|folder| folder.is_dir()) {
        true => Ok(()),
        false => Err(failed(format!("this Rust cannot build for {}", project::TARGET))
            .with_hint(format!("rustup target add {}", project::TARGET))),
    }
}

/// Runs a program that has little to say and returns it.
async fn output(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

async fn run_cargo(folder: &Path, profile: Profile, sdk: Option<String>) -> Result<PathBuf, Failure> {
    let mut command = Command::new("cargo");
    command
        .args([
            "build",
            "--target",
            project::TARGET,
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if profile == Profile::Release {
        command.arg("--release");
    }
    if let Some(sdk) = sdk {
        command.arg("--config").arg(sdk);
    }
    let output = session::until_interrupted(async {
        let failed = |error| failed(format!("cargo cannot be run: {error}"));
        // What cargo says to people goes where ours does.
        command
            .spawn()
            .map_err(failed)?
            .wait_with_output()
            .await
            .map_err(failed)
    })
    .await?;
    if !output.status.success() {
        return Err(failed(format!("{} does not build", folder.display()))
            .with_hint("what cargo said stands above; correct it and build again"));
    }
    let manifest = std::path::absolute(folder.join("Cargo.toml")).unwrap_or_default();
    component(&String::from_utf8_lossy(&output.stdout), &manifest).ok_or_else(|| {
        failed(format!("cargo made no component of {}", folder.display()))
            .with_hint("write in its Cargo.toml: [lib] crate-type = [\"cdylib\"]")
    })
}

/// One message of cargo, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Finds the component that cargo says it made of the crate with this manifest.
fn component(said: &str, manifest: &Path) -> Option<PathBuf> {
    let messages = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let artifacts = messages.filter(|message| message.reason == "compiler-artifact");
    let same = |path: &Path| path == manifest || same_file(path, manifest);
    let mut ours = artifacts.filter(|message| same(&message.manifest_path));
    let is_component = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
    ours.find_map(|message| message.filenames.into_iter().find(is_component))
}

/// Whether two paths lead to the same file, over links or not.
fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    real(one).is_some_and(|one| Some(one) == real(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_the_one_of_this_crate() {
        let said = r#"{"reason":"compiler-artifact","manifest_path":"/sdk/Cargo.toml","filenames":["/t/sdk.wasm"]}
not json
{"reason":"build-script-executed"}
{"reason":"compiler-artifact","manifest_path":"/x/Cargo.toml","filenames":["/t/x.rlib","/t/x.wasm"]}
{"reason":"build-finished","success":true}"#;
        let found = |manifest| component(said, Path::new(manifest));
        assert_eq!(found("/x/Cargo.toml"), Some(PathBuf::from("/t/x.wasm")));
        assert_eq!(found("/y/Cargo.toml"), None);
    }
}
