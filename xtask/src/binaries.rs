//! The two binaries that demo, lab and bench drive from the outside: building them, where they lie.

use std::path::PathBuf;

use anyhow::Result;

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
    /// Builds both and returns where they lie.
    ///
    /// # Errors
    /// Where the wasm target cannot be installed or the build fails.
    pub(crate) fn build(profile: Profile) -> Result<Self> {
        tools::ensure_wasm_target()?;
        let mut build = workspace::cargo(&["build", "--package", "peerup", "--package", "relay-server"]);
        if profile == Profile::Release {
            build.arg("--release");
        }
        workspace::execute(build)?;
        Ok(Self::as_they_are(profile))
    }

    /// Returns where they lie, without building.
    pub(crate) fn as_they_are(profile: Profile) -> Self {
        let folder = workspace::target_folder().join(match profile {
            Profile::Dev => "debug",
            Profile::Release => "release",
        });
        Self {
            peerup: folder.join("peerup"),
            relay: folder.join("relay-server"),
        }
    }
}
