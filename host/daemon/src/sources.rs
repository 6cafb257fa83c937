//! Where each plugin comes from: from the binary, or from the store of what was installed. Nothing is fetched.
//!
//! The lock file says what is installed; a package that is missing or damaged keeps that one plugin from
//! starting, with the command that mends it.

use std::{borrow::Cow, path::Path};

use peerup_bundle::Bundled;
use peerup_config::{PluginEntry, PluginLimits, boot_id, now};
use peerup_engine::{Limits, PluginSpec};
use peerup_model::PluginName;
use peerup_package::{Digest, FolderError, LockedPackage, Manifest, PluginFolder, SettingProblem};

/// Every plugin that this node has, by where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    plugins: Vec<PluginSource>,
    /// Why what is installed is not known, where the lock file cannot be read.
    problem: Option<String>,
}

/// A plugin that can be loaded.
#[derive(Debug, Clone)]
pub(crate) struct PluginSource {
    /// Its name.
    pub(crate) name: PluginName,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// Where a plugin comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// It travels with the binary.
    Bundled(&'static Bundled),
    /// It was installed.
    Installed {
        /// Where packages lie.
        folder: PluginFolder,
        /// Which package runs.
        package: LockedPackage,
    },
}

/// Why a plugin cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct SourceError {
    pub(crate) reason: String,
}

/// Returns the plugins of the binary and those that are installed beside this config. Reads the lock file;
/// blocks on the disk.
pub(crate) fn sources(config_folder: &Path) -> Sources {
    let mut plugins: Vec<PluginSource> = peerup_bundle::BUNDLED
        .iter()
        .filter_map(|bundled| {
            Some(PluginSource {
                name: bundled.name.parse().ok()?,
                origin: Origin::Bundled(bundled),
            })
        })
        .collect();
    let folder = PluginFolder::new(config_folder);
    let (lock, problem) = match folder.read() {
        Ok(lock) => (lock, None),
        Err(error) => (Default::default(), Some(error.to_string())),
    };
    let (now, boot) = (now(), boot_id());
    for locked in lock.plugins() {
        // One that comes with the binary cannot be replaced by a file.
        if plugins.iter().all(|known| known.name != locked.name) {
            plugins.push(PluginSource {
                name: locked.name.clone(),
                origin: Origin::Installed {
                    folder: folder.clone(),
                    package: locked.in_force(now, boot.as_deref()).clone(),
                },
            });
        }
    }
    Sources { plugins, problem }
}

/// Returns what the plugins of the binary say about themselves.
pub fn bundled_manifests() -> Vec<Manifest> {
    peerup_bundle::BUNDLED
        .iter()
        .filter_map(|bundled| Manifest::parse(bundled.manifest).ok())
        .collect()
}

/// Returns whether a plugin of this name travels with the binary, so that none can be installed under it.
pub fn is_bundled(name: &PluginName) -> bool {
    peerup_bundle::BUNDLED
        .iter()
        .any(|bundled| bundled.name == name.as_str())
}

impl Sources {
    /// Returns a plugin by its name, or why there is none.
    pub(crate) fn find(&self, name: &PluginName) -> Result<&PluginSource, SourceError> {
        self.plugins
            .iter()
            .find(|source| source.name == *name)
            .ok_or_else(|| self.not_found(name))
    }

    fn not_found(&self, name: &PluginName) -> SourceError {
        let reason = match &self.problem {
            Some(problem) => format!("what is installed cannot be read: {problem}"),
            None => {
                let known: Vec<&str> = self.plugins.iter().map(|source| source.name.as_str()).collect();
                format!(
                    "there is no such plugin; there are: {}; install it with: peerup plugin install FILE, or take plugins.{name} out of the config",
                    known.join(", ")
                )
            }
        };
        refused(reason)
    }
}

impl PluginSource {
    /// Returns the digest of the package; none for one that travels with the binary.
    pub(crate) fn installed(&self) -> Option<Digest> {
        match &self.origin {
            Origin::Bundled(_) => None,
            Origin::Installed { package, .. } => Some(package.digest),
        }
    }

    /// Reads what the plugin says about itself and its component, and checks the bytes. Blocks on the disk.
    pub(crate) fn read(&self) -> Result<(Manifest, Cow<'static, [u8]>), SourceError> {
        match &self.origin {
            Origin::Bundled(bundled) => {
                let manifest =
                    Manifest::parse(bundled.manifest).map_err(|error| refused(error.to_string()))?;
                Ok((manifest, bundled.wasm.into()))
            }
            Origin::Installed { folder, package } => {
                let package = folder
                    .load(&self.name, package)
                    .map_err(|error: FolderError| refused(error.to_string()))?;
                let manifest = package.manifest().clone();
                Ok((manifest, package.into_bytes().into()))
            }
        }
    }
}

/// Puts a plugin together with what the config says of it.
///
/// # Errors
/// Settings that its own schema does not allow.
pub(crate) fn spec(
    manifest: &Manifest,
    wasm: Cow<'static, [u8]>,
    entry: &PluginEntry,
) -> Result<PluginSpec, SourceError> {
    let problems = manifest.settings.check(&entry.settings);
    if !problems.is_empty() {
        let told: Vec<String> = problems.iter().map(SettingProblem::to_string).collect();
        let name = &manifest.name;
        let told = told.join(&format!("; plugins.{name}."));
        return Err(refused(format!("plugins.{name}.{told}; correct the config")));
    }
    Ok(PluginSpec {
        manifest: manifest.clone(),
        wasm,
        grants: entry.grants.clone(),
        settings: settings(manifest, entry),
        limits: limits(&entry.limits),
    })
}

/// Returns a plugin's section of the config as it gets it, with the defaults of its schema.
pub(crate) fn settings(manifest: &Manifest, entry: &PluginEntry) -> String {
    serde_json::Value::Object(manifest.settings.with_defaults(&entry.settings)).to_string()
}

/// Returns the limits of the config as the engine takes them.
fn limits(config: &PluginLimits) -> Limits {
    let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    Limits {
        memory_bytes: size(config.memory),
        cpu: config.cpu,
        cpu_budget: config.cpu_budget,
        bandwidth: config.bandwidth,
        datagrams: config.datagrams,
        log_lines: config.log_lines,
        drain: config.drain,
        instances: size(config.instances.into()),
        streams: size(config.streams.into()),
        tunnels: size(config.tunnels.into()),
        ..Limits::default()
    }
}

fn refused(reason: String) -> SourceError {
    SourceError { reason }
}

#[cfg(test)]
mod tests;
