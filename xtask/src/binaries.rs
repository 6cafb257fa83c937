//! The two binaries that demo, lab and bench drive from the outside: building them, where they lie.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{tools, workspace};

/// Where the binaries lie.
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
    /// Returns them from a folder, or builds both where none is given.
    ///
    /// # Errors
    /// Where the wasm target cannot be installed, the build fails, or the folder lacks one of them.
    pub(crate) fn obtain(profile: Profile, folder: Option<&Path>) -> Result<Self> {
        let folder = match folder {
            Some(folder) => std::path::absolute(folder)?,
            None => build(profile)?,
        };
        let binaries = Self {
            peerup: folder.join("peerup"),
            relay: folder.join("relay-server"),
        };
        for binary in [&binaries.peerup, &binaries.relay] {
            ensure!(binary.is_file(), "{} is missing", binary.display());
        }
        Ok(binaries)
    }
}

fn build(profile: Profile) -> Result<PathBuf> {
    tools::ensure_wasm_target()?;
    let mut build = workspace::cargo(&["build", "--package", "peerup", "--package", "relay-server"]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    workspace::execute(build)?;
    Ok(workspace::target_folder().join(match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    }))
}
