//! An upgrade that waits to be confirmed: which package holds at a given time, and what becomes of it.
//!
//! Pure: time comes in as an argument. The marker is part of the plugin's entry in the lock file, so that it begins and
//! ends in the same write as the change itself; there is no state with one and without the other.

use std::time::Duration;

use peerup_model::{Deadline, Now, PluginName};
use serde::{Deserialize, Serialize};

use super::{LockFile, LockedPackage, LockedPlugin};

/// The longest text of who upgraded.
const MAX_BY: usize = 200;

/// The marker of an upgrade that goes back unless somebody confirms it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Who upgraded, in words.
    pub by: String,
    /// What confirms it without anybody's word, once all of it is met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// When it goes back.
    pub deadline: Deadline,
}

/// How a plugin stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// What the lock file names as current holds.
    Settled,
    /// It holds for so long still, and then the one before does unless it is confirmed.
    Waits(Duration),
    /// Its time is over: the one before holds, whatever the disk still says.
    Over,
}

/// Why there is nothing to confirm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfirmError {
    /// No such plugin is installed.
    #[error("the plugin {0} is not installed")]
    NotInstalled(PluginName),
    /// It does not wait.
    #[error("no upgrade of {0} waits to be confirmed")]
    NotWaiting(PluginName),
}

/// An upgrade whose time was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Which plugin.
    pub name: PluginName,
    /// What it was upgraded to.
    pub upgraded: LockedPackage,
    /// When the upgrade was made, in milliseconds since 1970.
    pub applied_ms: u64,
    /// Why the version before could not come back, so that this one stays; none where it did.
    pub kept: Option<String>,
}

/// What is found where a package should come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayBack {
    /// The package, whole.
    Whole,
    /// None that could ever come back, and why.
    Broken(String),
    /// The disk does not say at this moment.
    Unknown,
}

impl Trial {
    /// An upgrade that is made now and has this long.
    pub fn new(by: &str, checks: Vec<String>, deadline: Deadline) -> Self {
        Self {
            by: by.chars().filter(|one| !one.is_control()).take(MAX_BY).collect(),
            checks,
            deadline,
        }
    }
}

impl LockedPlugin {
    /// Returns how it stands at this moment. `boot` names this boot of the machine, where the system tells.
    pub fn standing(&self, now: Now, boot: Option<&str>) -> Standing {
        // Without a version before there is nothing to go back to.
        let (Some(trial), Some(_)) = (&self.trial, &self.previous) else {
            return Standing::Settled;
        };
        match trial.deadline.left(now, boot) {
            Duration::ZERO => Standing::Over,
            left => Standing::Waits(left),
        }
    }

    /// Returns the package that holds at this moment.
    pub fn in_force(&self, now: Now, boot: Option<&str>) -> &LockedPackage {
        match (self.standing(now, boot), &self.previous) {
            (Standing::Over, Some(previous)) => previous,
            _ => &self.current,
        }
    }
}

impl LockFile {
    /// Has an upgrade that was just made wait to be confirmed; nothing where there is no version before.
    pub fn begin_trial(&mut self, name: &PluginName, trial: Trial) {
        if let Some(plugin) = self
            .plugins
            .get_mut(name)
            .filter(|plugin| plugin.previous.is_some())
        {
            plugin.trial = Some(trial);
        }
    }

    /// Takes an upgrade for good. Returns what is there to stay.
    ///
    /// # Errors
    /// Nothing waits.
    pub fn confirm(&mut self, name: &PluginName) -> Result<&LockedPackage, ConfirmError> {
        let plugin = self
            .plugins
            .get_mut(name)
            .ok_or_else(|| ConfirmError::NotInstalled(name.clone()))?;
        match plugin.trial.take() {
            Some(_) => Ok(&plugin.current),
            None => Err(ConfirmError::NotWaiting(name.clone())),
        }
    }

    /// Brings the version before back wherever an upgrade was not confirmed in time. `look` says whether its package can
    /// come back: where it never can the upgrade stays, and where that is not known nothing changes yet.
    pub fn expire(
        &mut self,
        now: Now,
        boot: Option<&str>,
        mut look: impl FnMut(&PluginName, &LockedPackage) -> WayBack,
    ) -> Vec<Expired> {
        let mut expired = Vec::new();
        for plugin in self.plugins.values_mut() {
            let (Standing::Over, Some(previous)) = (plugin.standing(now, boot), &mut plugin.previous) else {
                continue;
            };
            let kept = match look(&plugin.name, previous) {
                WayBack::Whole => None,
                WayBack::Broken(why) => Some(why),
                WayBack::Unknown => continue,
            };
            let trial = plugin.trial.take();
            expired.push(Expired {
                name: plugin.name.clone(),
                upgraded: plugin.current.clone(),
                applied_ms: trial.map(|trial| trial.deadline.applied_ms).unwrap_or_default(),
                kept: kept.clone(),
            });
            if kept.is_none() {
                std::mem::swap(previous, &mut plugin.current);
            }
        }
        expired
    }
}

#[cfg(test)]
mod tests;
