//! The files of the guard beside a config: the marker of one that waits, the last good ones, and the one that went.
//!
//! For `config.yaml` these are `.config.pending`, `.config.history/`, `.config.last-good.yaml` with the newest of these, and
//! `.config.rejected`. Whoever changes them holds the [`Lock`] of the folder, as every writer of the config does.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    atomic::{self, Lock, folder_of},
    disk::{Disk, RealDisk, is_half_written},
    error::EditError,
    guard::{Action, Found},
    load::MAX_CONFIG_BYTES,
    pending::Pending,
};

/// Last good configs that are kept.
pub const GENERATIONS_KEPT: usize = 5;
/// The longest marker: a config, every byte of it escaped, and a little more.
const MAX_MARKER_BYTES: u64 = 6 * MAX_CONFIG_BYTES + (64 << 10);

/// A config that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// When it was kept, in milliseconds since 1970.
    pub kept_ms: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    sequence: u64,
}

/// The files of one config.
#[derive(Debug)]
pub struct Vault<D = RealDisk> {
    disk: D,
    config: PathBuf,
}

impl Vault {
    /// Names the files of this config; a symbolic link is followed. Nothing is changed yet.
    pub fn new(config: &Path) -> Self {
        let config = atomic::behind_links(config).unwrap_or_else(|_| config.to_owned());
        Self::on(RealDisk, config)
    }

    /// Waits for the lock that every writer of the config holds, for at most 10 s. Blocks.
    ///
    /// # Errors
    /// Another writer has it, or the folder cannot be written to.
    pub fn lock(&self) -> Result<Lock, EditError> {
        Lock::take(&self.config)
    }
}

impl<D: Disk> Vault<D> {
    /// The same on a disk of one's own.
    pub fn on(disk: D, config: PathBuf) -> Self {
        Self { disk, config }
    }

    /// Returns the file behind all links.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Returns where a config goes that was reverted.
    pub fn rejected(&self) -> PathBuf {
        self.beside("rejected")
    }

    /// Reads all that a start needs to know. Blocks on the disk.
    pub fn found(&self) -> Found {
        Found {
            config: self.read_text(&self.config).map_err(|error| {
                format!(
                    "the config file {} cannot be read: {error}",
                    self.config.display()
                )
            }),
            pending: self.pending().ok().flatten(),
            generations: self.generations().into_iter().map(|one| one.text).collect(),
        }
    }

    /// Reads the text of the config. Blocks on the disk.
    ///
    /// # Errors
    /// It cannot be read, is too long or no text.
    pub fn text(&self) -> io::Result<String> {
        self.read_text(&self.config)
    }

    /// Reads the marker; none where nothing waits. Blocks on the disk.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn pending(&self) -> Result<Option<Pending>, String> {
        let marker = self.marker();
        match self.disk.read(&marker, MAX_MARKER_BYTES) {
            Ok(bytes) => Pending::read(&bytes)
                .map(Some)
                .map_err(|why| format!("{} cannot be understood: {why}", marker.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} cannot be read: {error}", marker.display())),
        }
    }

    /// Reads the last good configs, newest first. One that cannot be read is left out. Blocks on the disk.
    pub fn generations(&self) -> Vec<Generation> {
        let folder = self.history();
        let names = self.disk.list(&folder).unwrap_or_default();
        let mut found: Vec<Generation> = names
            .iter()
            .filter_map(|name| {
                let (sequence, kept_ms) = name.strip_suffix(".yaml")?.split_once('-')?;
                let path = folder.join(name);
                Some(Generation {
                    sequence: sequence.parse().ok()?,
                    kept_ms: kept_ms.parse().ok()?,
                    text: self.read_text(&path).ok()?,
                    path,
                })
            })
            .collect();
        if found.is_empty() {
            // Its folder is gone, or was never there.
            let path = self.last_good();
            found.extend(self.read_text(&path).ok().map(|text| Generation {
                sequence: 0,
                kept_ms: 0,
                text,
                path,
            }));
        }
        found.sort_by_key(|one| std::cmp::Reverse(one.sequence));
        found
    }

    /// Carries out what the guard wants of the disk; [`Action::Enforce`] is not for here and does nothing. Blocks.
    ///
    /// # Errors
    /// What failed, on which file. What was there before is whole then, or what was to be there is.
    pub fn carry_out(&self, action: &Action, wall_ms: u64) -> Result<(), String> {
        match action {
            Action::SetAside(text) => self.put(&self.rejected(), text.as_bytes()),
            Action::Replace(text) => self.put(&self.config, text.as_bytes()),
            Action::Mark(pending) => {
                let bytes = serde_json::to_vec(pending).map_err(|error| error.to_string())?;
                self.put(&self.marker(), &bytes)
            }
            Action::Unmark => self.remove_marker(),
            Action::Archive(text) => self.archive(text, wall_ms),
            Action::Enforce(_) => Ok(()),
        }
    }

    /// Removes what a writer left that was stopped half-way. Blocks; what cannot be removed stays.
    pub fn sweep(&self) {
        for folder in [folder_of(&self.config).to_owned(), self.history()] {
            for name in self.disk.list(&folder).unwrap_or_default() {
                if is_half_written(&name) {
                    let _ = self.disk.remove(&folder.join(name));
                }
            }
        }
    }

    fn marker(&self) -> PathBuf {
        self.beside("pending")
    }

    fn history(&self) -> PathBuf {
        self.beside("history")
    }

    fn last_good(&self) -> PathBuf {
        self.beside("last-good.yaml")
    }

    fn beside(&self, what: &str) -> PathBuf {
        let name = self.config.file_stem().unwrap_or_default().to_string_lossy();
        folder_of(&self.config).join(format!(".{name}.{what}"))
    }

    fn read_text(&self, path: &Path) -> io::Result<String> {
        let bytes = self.disk.read(path, MAX_CONFIG_BYTES)?;
        String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
    }

    /// Puts bytes in the place of a file, on the disk for good when this returns.
    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), String> {
        let written = || {
            let folder = folder_of(path);
            let new = self.disk.write_new(folder, &self.config, bytes)?;
            let placed = self
                .disk
                .sync(&new)
                .and_then(|()| self.disk.rename(&new, path))
                .inspect_err(|_| {
                    // What cannot be removed now is swept at the next start.
                    let _ = self.disk.remove(&new);
                });
            placed?;
            self.disk.sync(folder)
        };
        written().map_err(|error: io::Error| format!("cannot write {}: {error}", path.display()))
    }

    fn remove_marker(&self) -> Result<(), String> {
        let marker = self.marker();
        let removed = match self.disk.remove(&marker) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        removed
            .and_then(|()| self.disk.sync(folder_of(&marker)))
            .map_err(|error| format!("cannot remove {}: {error}", marker.display()))
    }

    /// Keeps a text as the newest generation, each text once, and drops the oldest past the number that is kept.
    fn archive(&self, text: &str, wall_ms: u64) -> Result<(), String> {
        let last_good = self.last_good();
        let mut kept = self.generations();
        if kept.first().is_some_and(|one| one.path == last_good) {
            // The only one, and its file is about to hold another.
            let orphan = kept.remove(0);
            if orphan.text != text {
                kept.push(self.add(orphan.text, 1, wall_ms)?);
            }
        }
        if kept.first().is_none_or(|newest| newest.text != text) {
            let sequence = kept.first().map_or(1, |newest| newest.sequence.saturating_add(1));
            self.add(text.to_owned(), sequence, wall_ms)?;
            let (same, others): (Vec<_>, Vec<_>) = kept.into_iter().partition(|one| one.text == text);
            for gone in same.iter().chain(others.iter().skip(GENERATIONS_KEPT - 1)) {
                // One too many does no harm.
                let _ = self.disk.remove(&gone.path);
            }
        }
        self.keep_last_good(text)
    }

    fn add(&self, text: String, sequence: u64, wall_ms: u64) -> Result<Generation, String> {
        let folder = self.history();
        self.disk
            .create_folder(&folder)
            .and_then(|()| self.disk.sync(folder_of(&folder)))
            .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
        let path = folder.join(format!("{sequence:06}-{wall_ms}.yaml"));
        self.put(&path, text.as_bytes())?;
        Ok(Generation {
            kept_ms: wall_ms,
            path,
            text,
            sequence,
        })
    }

    fn keep_last_good(&self, text: &str) -> Result<(), String> {
        let path = self.last_good();
        match self.read_text(&path) {
            Ok(kept) if kept == text => Ok(()),
            _ => self.put(&path, text.as_bytes()),
        }
    }
}

/// Carries out everything that a guard wants, with `enforce` for what is to run. Blocks: for commands beside no
/// daemon, and for servers whose own changes do not wait.
pub fn carry_out_all<D: Disk>(
    guard: &mut crate::guard::ConfigGuard,
    vault: &Vault<D>,
    mut now: impl FnMut() -> peerup_model::Now,
    mut enforce: impl FnMut(&str) -> Result<(), String>,
) {
    while let Some(action) = guard.next_action() {
        let outcome = match &action {
            Action::Enforce(text) => enforce(text),
            action => vault.carry_out(action, now().wall_ms),
        };
        guard.handle_done(outcome, now());
    }
}
