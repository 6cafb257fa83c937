//! What is installed, beside the config: `plugins.lock`, and `plugins/sha256/<hex>.peerup` for each package that
//! is current or previous. Blocking.
//!
//! Every package is checked against its digest whenever it is read. Writers wait for each other.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use peerup_model::{Now, PluginName};

use crate::{
    digest::Digest,
    disk::{Disk, TEMPORARY},
    file::{self, Lock},
    lock::{Expired, LockError, LockFile, LockedPackage, LockedPlugin, MAX_LOCK_BYTES, Standing, WayBack},
    package::{EXTENSION, MAX_PACKAGE_BYTES, Package, PackageError},
};

const LOCK_NAME: &str = "plugins.lock";
const EDIT_LOCK_NAME: &str = ".plugins.lock.lock";

/// Why what is installed cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The lock file does not hold.
    #[error("{}: {source}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What is wrong with it.
        source: LockError,
    },
    /// A package that is installed is not there.
    #[error("the package of {name} {version} is not at {}; install it again with: peerup plugin install {origin}", path.display())]
    Missing {
        /// The plugin.
        name: PluginName,
        /// Its version.
        version: String,
        /// Where it came from.
        origin: String,
        /// Where it should lie.
        path: PathBuf,
    },
    /// A package that is installed has other bytes than when it was.
    #[error("the package of {name} {version} at {} is damaged: {reason}; install it again with: peerup plugin install {origin}", path.display())]
    Damaged {
        /// The plugin.
        name: PluginName,
        /// Its version.
        version: String,
        /// Where it came from.
        origin: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Reading, locking or writing failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The installed plugins of one config. Cheap to make; nothing is kept open.
#[derive(Debug, Clone)]
pub struct PluginFolder {
    config_folder: PathBuf,
    disk: Disk,
}

impl PluginFolder {
    /// Names the folder that the config lies in. Nothing is touched.
    pub fn new(config_folder: impl Into<PathBuf>) -> Self {
        Self {
            config_folder: config_folder.into(),
            disk: Disk::default(),
        }
    }

    /// Returns where the lock file lies.
    pub fn lock_path(&self) -> PathBuf {
        self.config_folder.join(LOCK_NAME)
    }

    /// Returns where a package lies.
    pub fn package_path(&self, digest: &Digest) -> PathBuf {
        self.store().join(format!("{}.{EXTENSION}", digest.hex()))
    }

    fn store(&self) -> PathBuf {
        self.config_folder.join("plugins").join("sha256")
    }

    /// Reads the lock file; one that does not exist names no plugin.
    ///
    /// # Errors
    /// `Lock` or `Io`.
    pub fn read(&self) -> Result<LockFile, FolderError> {
        let path = self.lock_path();
        let bytes = match file::read_bounded(&path, MAX_LOCK_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LockFile::default()),
            Err(source) => return Err(failed("read", path, source)),
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            failed(
                "read",
                path.clone(),
                io::Error::new(io::ErrorKind::InvalidData, error),
            )
        })?;
        LockFile::parse(&text).map_err(|source| FolderError::Lock { path, source })
    }

    /// Reads the package that a plugin runs, and checks it.
    ///
    /// # Errors
    /// `Missing`, `Damaged` or `Io`.
    pub fn load(&self, name: &PluginName, locked: &LockedPackage) -> Result<Package, FolderError> {
        let path = self.package_path(&locked.digest);
        let damaged = |reason: String| FolderError::Damaged {
            name: name.clone(),
            version: locked.version.clone(),
            origin: locked.source.clone(),
            path: path.clone(),
            reason,
        };
        let bytes =
            file::read_bounded(&path, MAX_PACKAGE_BYTES as u64).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => FolderError::Missing {
                    name: name.clone(),
                    version: locked.version.clone(),
                    origin: locked.source.clone(),
                    path: path.clone(),
                },
                io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput => damaged(source.to_string()),
                _ => failed("read", path.clone(), source),
            })?;
        let found = Digest::of(&bytes);
        if found != locked.digest {
            return Err(damaged(format!("its digest is {found}")));
        }
        let package = Package::read(bytes).map_err(|error| damaged(error.to_string()))?;
        match package.manifest().name == *name {
            true => Ok(package),
            false => Err(damaged(format!("it is the plugin {}", package.manifest().name))),
        }
    }

    /// Reads the lock file, lets `change` work on it and on the store, and writes it. Other writers wait
    /// meanwhile. Packages that are neither current nor previous afterwards are removed.
    ///
    /// # Errors
    /// `Lock` or `Io`, and those of `change`; the lock file is as it was then.
    pub fn edit<T, E: From<FolderError>>(
        &self,
        change: impl FnOnce(&mut LockFile, &Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let edit_lock = self.config_folder.join(EDIT_LOCK_NAME);
        let opened = self.disk.open_lock(&edit_lock);
        let _lock = opened
            .and_then(Lock::take)
            .map_err(|source| failed("lock", edit_lock, source))?;
        let before = self.read()?;
        let mut lock = before.clone();
        let value = change(&mut lock, self)?;
        if lock != before {
            let path = self.lock_path();
            self.disk
                .replace(&path, lock.to_text().as_bytes())
                .map_err(|source| failed("write", path, source))?;
        }
        self.collect_garbage(&lock);
        Ok(value)
    }

    /// Brings the version before back wherever an upgrade was not confirmed in time, each in one write of the lock file,
    /// and returns which those were. Nothing is written where there are none. One whose package cannot be read at this
    /// moment stays as it is, for the next call.
    ///
    /// # Errors
    /// `Lock` or `Io`; nothing has changed then.
    pub fn expire(&self, now: Now, boot: Option<&str>) -> Result<Vec<Expired>, FolderError> {
        let is_over = |plugin: &LockedPlugin| plugin.standing(now, boot) == Standing::Over;
        if !self.read()?.plugins().any(is_over) {
            return Ok(Vec::new());
        }
        self.edit(|lock, store| {
            let mut unread = None;
            let look = |name: &PluginName, package: &LockedPackage| match store.load(name, package) {
                Ok(_) => WayBack::Whole,
                Err(error @ (FolderError::Missing { .. } | FolderError::Damaged { .. })) => {
                    WayBack::Broken(error.to_string())
                }
                Err(error) => {
                    unread = Some(error);
                    WayBack::Unknown
                }
            };
            let expired = lock.expire(now, boot, look);
            match unread.filter(|_| expired.is_empty()) {
                Some(error) => Err(error),
                None => Ok(expired),
            }
        })
    }

    /// Puts a package into the store. Called inside of [`PluginFolder::edit`], so that nobody takes it for
    /// garbage before the lock file names it.
    ///
    /// # Errors
    /// `Io`.
    pub fn put(&self, package: &Package) -> Result<(), FolderError> {
        let store = self.store();
        self.disk
            .make_folders(&store, &self.config_folder)
            .map_err(|source| failed("make", store, source))?;
        let path = self.package_path(&package.digest());
        let same =
            file::read_bounded(&path, MAX_PACKAGE_BYTES as u64).is_ok_and(|old| old == package.bytes());
        if same {
            return Ok(());
        }
        self.disk
            .replace(&path, package.bytes())
            .map_err(|source| failed("write", path, source))
    }

    /// Removes what the lock file does not name, and what an edit that was killed left half-written. What cannot be
    /// removed is tried again at the next edit.
    fn collect_garbage(&self, lock: &LockFile) {
        let kept: Vec<PathBuf> = lock.digests().map(|digest| self.package_path(&digest)).collect();
        let stale = |path: &PathBuf| is_temporary(path) || (is_package(path) && !kept.contains(path));
        let in_store = entries(&self.store()).filter(stale);
        let beside_lock = entries(&self.config_folder).filter(|path| is_temporary(path));
        for path in in_store.chain(beside_lock) {
            let _ = self.disk.remove(&path);
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}

/// Whether the name is that of a package: nothing else of the store is touched.
fn is_package(path: &Path) -> bool {
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name_of(path).strip_suffix(".peerup").is_some_and(hex)
}

/// Whether the name is that of a file that was being written. Whoever holds the lock is the only writer.
fn is_temporary(path: &Path) -> bool {
    name_of(path).starts_with(TEMPORARY) && name_of(path).ends_with(".tmp")
}

fn name_of(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

/// Reads a package from any file.
///
/// # Errors
/// It cannot be read, is too large, or is no package.
pub fn read_package(path: &Path) -> Result<Package, ReadError> {
    let bytes = file::read_bounded(path, MAX_PACKAGE_BYTES as u64).map_err(|source| ReadError::Io {
        path: path.to_owned(),
        source,
    })?;
    Package::read(bytes).map_err(|source| ReadError::Package {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// Why a file was not read as a package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no package.
    #[error("{} is no plugin package: {source}", path.display())]
    Package {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<PackageError>,
    },
}

fn failed(doing: &'static str, path: PathBuf, source: io::Error) -> FolderError {
    FolderError::Io { doing, path, source }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
