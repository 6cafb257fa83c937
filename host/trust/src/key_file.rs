//! The `authorized_keys` file on disk: loads it, adds to it and removes from it under a lock, atomically.
//!
//! Blocking. Several processes may edit at once: the daemon, the command line, a relay.

use std::{
    io,
    path::{Path, PathBuf},
};

use libp2p_identity::PeerId;

use crate::{
    authorized_keys::{AuthorizedKeys, AuthorizedKeysError, Entry, MAX_KEYS_BYTES},
    file::{self, EditLock},
};

/// Why the file was not loaded or not changed. After every error the old file is as it was, but for
/// [`KeyFileError::Write`] from the last flush of the folder, when the new content may stand already.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is no such file.
    #[error("there is no file {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line is not UTF-8.
    #[error("{}: line {line}: it is not UTF-8 text", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// What it holds, or would hold, is refused.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line and the reason. Boxed: peer ids are large, and every result would carry the room for one.
        source: Box<AuthorizedKeysError>,
    },
    /// The lock beside it cannot be had.
    #[error("{} cannot be locked for the edit: {source}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be written, for example because the disk is full.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl KeyFileError {
    /// Returns whether the peer to add was there already.
    pub fn is_already_authorized(&self) -> bool {
        let Self::Content { source, .. } = self else {
            return false;
        };
        let source: &AuthorizedKeysError = source;
        matches!(source, AuthorizedKeysError::AlreadyPresent(_))
    }
}

/// An `authorized_keys` file by its path. Cheap to clone; nothing is kept open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// Names a file. Nothing is touched.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the file.
    ///
    /// # Errors
    /// `Missing`, `Read`, `NotUtf8` or `Content`.
    pub fn load(&self) -> Result<AuthorizedKeys, KeyFileError> {
        let bytes = file::read_bounded(&self.path, MAX_KEYS_BYTES as u64).map_err(|source| {
            let path = self.path.clone();
            match source.kind() {
                io::ErrorKind::NotFound => KeyFileError::Missing { path },
                _ => KeyFileError::Read { path, source },
            }
        })?;
        let text = std::str::from_utf8(&bytes).map_err(|failure| KeyFileError::NotUtf8 {
            path: self.path.clone(),
            line: 1 + bytes
                .iter()
                .take(failure.valid_up_to())
                .filter(|byte| **byte == b'\n')
                .count(),
        })?;
        AuthorizedKeys::parse(text).map_err(|source| self.content_error(source))
    }

    /// Loads the file; one that does not exist is an empty set.
    ///
    /// # Errors
    /// As [`KeyFile::load`], without `Missing`.
    pub fn load_or_empty(&self) -> Result<AuthorizedKeys, KeyFileError> {
        match self.load() {
            Err(KeyFileError::Missing { .. }) => Ok(AuthorizedKeys::default()),
            other => other,
        }
    }

    /// Adds an entry, creating the file where it does not exist.
    ///
    /// # Errors
    /// `Content` where the peer is there already, a line is bad or the file is full; else `Read`, `Lock` or
    /// `Write`.
    pub fn add(&self, entry: Entry) -> Result<(), KeyFileError> {
        self.edit(|keys| keys.add(entry).map(|()| ((), true)))
    }

    /// Puts an entry in the place of the peer's old one, or adds it. Returns the old one.
    ///
    /// # Errors
    /// As [`KeyFile::add`].
    pub fn set(&self, entry: Entry) -> Result<Option<Entry>, KeyFileError> {
        self.edit(|keys| keys.set(entry).map(|old| (old, true)))
    }

    /// Removes the entry of a peer and returns it. Writes nothing where there is none.
    ///
    /// # Errors
    /// As [`KeyFile::add`].
    pub fn remove(&self, peer: &PeerId) -> Result<Option<Entry>, KeyFileError> {
        self.edit(|keys| {
            let old = keys.get(peer).cloned();
            let removed = keys.remove(peer);
            Ok((old, removed))
        })
    }

    /// Loads, changes and writes under the lock. The change says whether there is something to write.
    fn edit<T>(
        &self,
        change: impl FnOnce(&mut AuthorizedKeys) -> Result<(T, bool), AuthorizedKeysError>,
    ) -> Result<T, KeyFileError> {
        let _lock = EditLock::acquire(&self.path).map_err(|source| KeyFileError::Lock {
            path: self.path.clone(),
            source,
        })?;
        let mut keys = self.load_or_empty()?;
        let (result, changed) = change(&mut keys).map_err(|source| self.content_error(source))?;
        if changed {
            file::replace(&self.path, keys.to_string().as_bytes()).map_err(|source| KeyFileError::Write {
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(result)
    }

    fn content_error(&self, source: AuthorizedKeysError) -> KeyFileError {
        KeyFileError::Content {
            path: self.path.clone(),
            source: Box::new(source),
        }
    }
}
