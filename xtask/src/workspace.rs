//! Where things lie in the repository, and how cargo is called.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// The target that plugins are compiled for.
pub(crate) const WASM_TARGET: &str = "wasm32-wasip2";

/// Returns the root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Returns a command that runs in the root of the repository.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Returns `cargo` with these arguments, free of what the cargo that runs this set for it.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(&env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    for (key, _) in env::vars_os() {
        let key = key.to_string_lossy().into_owned();
        if key.starts_with("CARGO_PKG_") || key == "CARGO_MANIFEST_DIR" || key == "CARGO_MANIFEST_PATH" {
            cargo.env_remove(key);
        }
    }
    cargo.args(arguments);
    cargo
}

/// Runs a command with the terminal's own input and output.
///
/// # Errors
/// Where it cannot start or does not end with 0.
pub(crate) fn execute(mut command: Command) -> Result<()> {
    let shown = show(&command);
    let status = command
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    ensure!(status.success(), "`{shown}` ended with {status}");
    Ok(())
}

/// Returns the command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let mut line = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// The two binaries that everything here drives from the outside.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    /// `peerup`.
    pub(crate) peerup: PathBuf,
    /// `relay-server`.
    pub(crate) relay: PathBuf,
}

/// How the binaries are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What tests and the demo use: quick to build.
    Dev,
    /// What is shipped and measured.
    Release,
}

impl Binaries {
    /// Builds both and returns where they lie.
    ///
    /// # Errors
    /// Where the wasm target cannot be installed or the build fails.
    pub(crate) fn build(profile: Profile) -> Result<Self> {
        crate::tools::ensure_wasm_target()?;
        let mut build = cargo(&["build", "--package", "peerup", "--package", "relay-server"]);
        if profile == Profile::Release {
            build.arg("--release");
        }
        execute(build)?;
        let folder = target_folder().join(match profile {
            Profile::Dev => "debug",
            Profile::Release => "release",
        });
        Ok(Self {
            peerup: folder.join("peerup"),
            relay: folder.join("relay-server"),
        })
    }
}

fn target_folder() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}
