//! `plugins.lock`: which package of each installed plugin holds, where it came from, and who signed it.
//!
//! Pure: text in, text out. `folder` reads and writes the file.

mod trial;

use std::collections::BTreeMap;

use peerup_model::PluginName;
use serde::{Deserialize, Serialize};

pub use self::trial::{ConfirmError, Expired, Standing, Trial, WayBack};
use crate::{author::AuthorId, digest::Digest, package::Package};

/// The longest lock file that is read.
pub const MAX_LOCK_BYTES: u64 = 1 << 20;
/// The latest version of the file that this release reads.
pub const LOCK_VERSION: u64 = 1;
/// The most plugins in it.
const MAX_PLUGINS: usize = 256;
const HEAD: &str = "# Which plugins are installed. Written by `peerup plugin`; keep it with the config, change nothing by hand.\n";

/// Why a lock file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It was written by a later release.
    #[error("it has version {0}, and this peerup reads version {LOCK_VERSION}; upgrade peerup")]
    Version(u64),
    /// Its text does not hold.
    #[error("it does not hold: {0}")]
    Form(#[from] Box<toml::de::Error>),
    /// Two entries of one name, or too many.
    #[error("it does not hold: {0}")]
    Entries(String),
}

/// Why a package may not take the place of the one before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// Another key signed it.
    #[error(
        "{name} was signed by {pinned} until now, and this file is signed by {found}; ask its author over another way whether the key changed. If it did: peerup plugin remove {name}, then install it anew"
    )]
    Changed {
        /// The plugin.
        name: PluginName,
        /// Who signed before.
        pinned: AuthorId,
        /// Who signed this one.
        found: AuthorId,
    },
    /// Nobody signed it.
    #[error(
        "{name} was signed by {pinned} until now, and this file is not signed; get the signed file from its author. If there is none any more: peerup plugin remove {name}, then install it anew"
    )]
    Unsigned {
        /// The plugin.
        name: PluginName,
        /// Who signed before.
        pinned: AuthorId,
    },
    /// An upgrade waits to be confirmed.
    #[error(
        "{name} {version} waits to be confirmed; keep it with: peerup plugin confirm {name}, or go back with: peerup plugin rollback {name}"
    )]
    Waits {
        /// The plugin.
        name: PluginName,
        /// What it was upgraded to.
        version: String,
    },
}

/// One package of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// The plugin's version.
    pub version: String,
    /// The contract that it was built for.
    pub contract: String,
    /// The package by its bytes.
    pub digest: Digest,
    /// Where it came from: a file, or an OCI reference with its digest.
    pub source: String,
    /// When it was installed, as RFC 3339.
    pub installed: String,
}

impl LockedPackage {
    /// Returns whether this version is newer than another one, as semantic versions go.
    pub fn is_newer_than(&self, other: &str) -> bool {
        match (
            semver::Version::parse(&self.version),
            semver::Version::parse(other),
        ) {
            (Ok(own), Ok(other)) => own > other,
            _ => false,
        }
    }
}

/// What the lock file says of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPlugin {
    /// Its name.
    pub name: PluginName,
    /// Who signed it when it was first installed signed; every later version must be by the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<AuthorId>,
    /// The package that runs.
    pub current: LockedPackage,
    /// The one before, for `plugin rollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<LockedPackage>,
    /// The current one waits to be confirmed, and else goes back to the previous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// All that is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockFile {
    plugins: BTreeMap<PluginName, LockedPlugin>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u64,
    #[serde(default, rename = "plugin")]
    plugins: Vec<LockedPlugin>,
}

impl LockedPackage {
    /// Describes a package that comes from a source at a time.
    pub fn of(package: &Package, source: impl Into<String>, installed: impl Into<String>) -> Self {
        Self {
            version: package.manifest().version.clone(),
            contract: package.manifest().contract.clone(),
            digest: package.digest(),
            source: source.into(),
            installed: installed.into(),
        }
    }
}

impl LockFile {
    /// Reads the text of a lock file.
    ///
    /// # Errors
    /// A later version, or a text that does not hold.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        // A file of a later version may have keys that mean nothing here: its version is told first.
        let version = text
            .parse::<toml::Table>()
            .map_err(Box::new)?
            .get("version")
            .and_then(toml::Value::as_integer)
            .and_then(|version| u64::try_from(version).ok());
        if let Some(version) = version.filter(|version| *version != LOCK_VERSION) {
            return Err(LockError::Version(version));
        }
        let raw: Raw = toml::from_str(text).map_err(Box::new)?;
        if raw.plugins.len() > MAX_PLUGINS {
            return Err(LockError::Entries(format!("more than {MAX_PLUGINS} plugins")));
        }
        let mut plugins = BTreeMap::new();
        for plugin in raw.plugins {
            let name = plugin.name.clone();
            if plugins.insert(name.clone(), plugin).is_some() {
                return Err(LockError::Entries(format!("{name} is there twice")));
            }
        }
        Ok(Self { plugins })
    }

    /// Returns the text of the file.
    pub fn to_text(&self) -> String {
        let raw = Raw {
            version: LOCK_VERSION,
            plugins: self.plugins.values().cloned().collect(),
        };
        let body = toml::to_string(&raw).expect("texts and lists of tables of texts are always TOML");
        format!("{HEAD}{body}")
    }

    /// Returns what is said of a plugin.
    pub fn get(&self, name: &PluginName) -> Option<&LockedPlugin> {
        self.plugins.get(name)
    }

    /// Returns every plugin in the order of the names.
    pub fn plugins(&self) -> impl Iterator<Item = &LockedPlugin> {
        self.plugins.values()
    }

    /// Returns the packages that must be kept.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.plugins
            .values()
            .flat_map(|plugin| [Some(&plugin.current), plugin.previous.as_ref()])
            .flatten()
            .map(|package| package.digest)
    }

    /// Checks whether a package may stand under its name: by the key that was pinned first.
    ///
    /// # Errors
    /// Another key, or none where there was one.
    pub fn check_author(&self, package: &Package) -> Result<(), PinError> {
        let name = &package.manifest().name;
        let Some(pinned) = self.get(name).and_then(|plugin| plugin.author) else {
            return Ok(());
        };
        match package.author() {
            Some(found) if found == pinned => Ok(()),
            Some(found) => Err(PinError::Changed {
                name: name.clone(),
                pinned,
                found,
            }),
            None => Err(PinError::Unsigned {
                name: name.clone(),
                pinned,
            }),
        }
    }

    /// Checks that no upgrade of a plugin waits to be confirmed.
    ///
    /// # Errors
    /// One does.
    pub fn check_settled(&self, name: &PluginName) -> Result<(), PinError> {
        match self.get(name).filter(|plugin| plugin.trial.is_some()) {
            Some(plugin) => Err(PinError::Waits {
                name: name.clone(),
                version: plugin.current.version.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Makes a package the one that runs; the one before stays as the previous, and a first author is pinned.
    ///
    /// # Errors
    /// As [`LockFile::check_author`] and [`LockFile::check_settled`]; nothing is changed then.
    pub fn set(&mut self, package: &Package, locked: LockedPackage) -> Result<(), PinError> {
        self.check_author(package)?;
        self.check_settled(&package.manifest().name)?;
        let name = package.manifest().name.clone();
        match self.plugins.get_mut(&name) {
            None => {
                let plugin = LockedPlugin {
                    name: name.clone(),
                    author: package.author(),
                    current: locked,
                    previous: None,
                    trial: None,
                };
                self.plugins.insert(name, plugin);
            }
            Some(plugin) => {
                plugin.author = plugin.author.or(package.author());
                if plugin.current.digest == locked.digest {
                    plugin.current = locked;
                } else {
                    plugin.previous = Some(std::mem::replace(&mut plugin.current, locked));
                }
            }
        }
        Ok(())
    }

    /// Swaps the package that runs with the one before, and returns the one that runs now. Nothing waits then.
    pub fn roll_back(&mut self, name: &PluginName) -> Option<&LockedPackage> {
        let plugin = self.plugins.get_mut(name)?;
        let previous = plugin.previous.as_mut()?;
        std::mem::swap(previous, &mut plugin.current);
        plugin.trial = None;
        Some(&plugin.current)
    }

    /// Forgets a plugin and its pinned author. Returns what was said of it.
    pub fn remove(&mut self, name: &PluginName) -> Option<LockedPlugin> {
        self.plugins.remove(name)
    }
}

#[cfg(test)]
mod tests;
