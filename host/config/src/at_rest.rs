//! Applying, confirming and rolling back beside no running daemon: the same machine, with the files alone. What is
//! written here is tried, and its deadline enforced, by the next start.

use std::time::Duration;

use peerup_model::Now;

use crate::{
    atomic::Lock,
    clock::{boot_id, now},
    error::EditError,
    guard::{Application, ConfigGuard, Event, Refused},
    pending::{ConfirmCheck, Pending},
    vault::{Generation, Vault, carry_out_all},
};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AtRestError {
    /// The config cannot be read or locked.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The machine does not take it.
    #[error("{}", refusal(.0))]
    Refused(Refused),
    /// The text is no config.
    #[error("{0}")]
    Invalid(String),
    /// The disk did not take it.
    #[error("{0}")]
    Failed(String),
    /// What waited had no time left, and the config from before was brought back.
    #[error("its time was over; the config from before is back")]
    TimeOver,
    /// There is no such generation.
    #[error("{0}")]
    NoGeneration(String),
}

/// What is to wait for a confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Who asks, in words.
    pub by: String,
    /// How long it has.
    pub timeout: Duration,
    /// What confirms it without anybody's word.
    pub checks: Vec<ConfirmCheck>,
}

/// Says why the machine did not take an order.
pub fn refusal(refused: &Refused) -> String {
    match refused {
        Refused::Pending(pending) => format!(
            "another config waits to be confirmed: applied by {} {} ago",
            pending.by,
            humantime::format_duration(Duration::from_secs(
                now().wall_ms.saturating_sub(pending.applied_ms) / 1000
            ))
        ),
        Refused::Busy => "another change of the config is under way".to_owned(),
        Refused::NothingPending => "no config waits to be confirmed".to_owned(),
    }
}

/// The files of a config that no daemon has in force, locked.
#[derive(Debug)]
pub struct AtRest {
    vault: Vault,
    guard: ConfigGuard,
    boot: Option<String>,
    _lock: Lock,
}

impl AtRest {
    /// Takes the lock and reads what is there. Blocks, at most 10 s on another writer.
    ///
    /// # Errors
    /// The folder cannot be locked.
    pub fn open(vault: Vault) -> Result<Self, AtRestError> {
        let lock = vault.lock()?;
        let boot = boot_id();
        let mut guard = ConfigGuard::new(boot.clone());
        guard.handle_found_at_rest(&vault.found(), now());
        Ok(Self {
            vault,
            guard,
            boot,
            _lock: lock,
        })
    }

    /// Returns what waits to be confirmed.
    pub fn pending(&self) -> Option<Pending> {
        match self.guard.state() {
            crate::guard::GuardState::Pending(waiting) => Some(waiting.pending.clone()),
            _ => None,
        }
    }

    /// Puts a text, which the caller has checked, in the place of the config. Returns false where it was there already.
    ///
    /// # Errors
    /// Another one waits, or the disk does not take it.
    pub fn apply(&mut self, text: String, trial: Option<Trial>) -> Result<bool, AtRestError> {
        // A file that is gone or is no text leaves nothing to go back to.
        let file = self.vault.text();
        if file.as_ref().is_ok_and(|file| *file == text) && self.pending().is_none() {
            return Ok(false);
        }
        let file = match (file, &trial) {
            (Ok(file), _) => file,
            (Err(_), None) => String::new(),
            (Err(error), Some(_)) => {
                return Err(AtRestError::Failed(format!(
                    "the config file {} cannot be read, so there would be no way back: {error}",
                    self.vault.config().display()
                )));
            }
        };
        let pending = trial.map(|trial| {
            let clock = (now(), self.boot.as_deref());
            Pending::new(file.clone(), trial.by, trial.timeout, trial.checks, clock)
        });
        let application = Application {
            text,
            before: file,
            set_aside: None,
            is_proven: false,
            pending,
        };
        self.guard
            .handle_apply(application)
            .map_err(AtRestError::Refused)?;
        self.carry_out().map(|()| true)
    }

    /// Takes what waits for good. What has no time left goes back instead: the deadline holds beside no daemon too.
    ///
    /// # Errors
    /// Nothing waits, its time was over, or the disk does not take it.
    pub fn confirm(&mut self) -> Result<(), AtRestError> {
        self.confirm_at(now())
    }

    fn confirm_at(&mut self, now: Now) -> Result<(), AtRestError> {
        if self.guard.poll_timeout().is_some_and(|due| now.steady_ms >= due) {
            let file = self.vault.text().ok();
            self.guard.handle_timeout(file, now);
            self.carry_out()?;
            return Err(AtRestError::TimeOver);
        }
        // Nothing runs with it yet, so it is not archived.
        self.guard.handle_confirm(None).map_err(AtRestError::Refused)?;
        self.carry_out()
    }

    /// Brings the config from before back.
    ///
    /// # Errors
    /// Nothing waits, or the disk does not take it.
    pub fn revert(&mut self) -> Result<(), AtRestError> {
        let file = self.vault.text().ok();
        self.guard.handle_revert(file).map_err(AtRestError::Refused)?;
        self.carry_out()
    }

    /// Returns the generation to roll back to: this one, counted from 1, else the newest that is not in the file.
    ///
    /// # Errors
    /// There is none.
    pub fn generation(&self, number: Option<usize>) -> Result<Generation, AtRestError> {
        pick_generation(&self.vault, number).map_err(AtRestError::NoGeneration)
    }

    fn carry_out(&mut self) -> Result<(), AtRestError> {
        carry_out_all(&mut self.guard, &self.vault, now, |_| Ok(()));
        let mut outcome = Ok(());
        while let Some(event) = self.guard.next_event() {
            if let Event::NotApplied(why) | Event::NotConfirmed(why) | Event::RevertStuck(why) = event {
                outcome = Err(AtRestError::Failed(why));
            }
        }
        outcome
    }
}

/// Returns a last good config by its number, counted from 1, else the newest that the file does not say.
///
/// # Errors
/// There is none; the text says which there are.
pub fn pick_generation(vault: &Vault, number: Option<usize>) -> Result<Generation, String> {
    let generations = vault.generations();
    let kept = generations.len();
    let file = vault.text().ok();
    let found = match number {
        Some(number) => generations.into_iter().nth(number.wrapping_sub(1)),
        None => generations
            .into_iter()
            .find(|one| Some(&one.text) != file.as_ref()),
    };
    found.ok_or_else(|| match number {
        Some(number) => format!("there is no last good config {number}; {kept} are kept"),
        None => "there is no last good config that says something else".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn later(seconds: u64) -> Now {
        let now = now();
        Now {
            wall_ms: now.wall_ms + seconds * 1000,
            steady_ms: now.steady_ms + seconds * 1000,
        }
    }

    #[test]
    fn a_confirmation_after_the_deadline_brings_the_config_from_before_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        let [before, after] = ["version: 1\n", "version: 1\nname: home\n"];
        fs::write(&path, before).unwrap();
        let mut files = AtRest::open(Vault::new(&path)).unwrap();
        let trial = |seconds| {
            Some(Trial {
                by: "me".to_owned(),
                timeout: Duration::from_secs(seconds),
                checks: Vec::new(),
            })
        };
        files.apply(after.to_owned(), trial(60)).unwrap();

        let confirmed = files.confirm_at(later(61));

        assert!(matches!(confirmed, Err(AtRestError::TimeOver)), "{confirmed:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert!(files.vault.pending().unwrap().is_none() && files.pending().is_none());
        assert_eq!(fs::read_to_string(files.vault.rejected()).unwrap(), after);
        let again = files.confirm_at(later(62));
        assert!(matches!(
            again,
            Err(AtRestError::Refused(Refused::NothingPending))
        ));

        files.apply(after.to_owned(), trial(60)).unwrap();
        files.confirm_at(later(1)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), after);
        assert!(files.vault.pending().unwrap().is_none());
    }
}
