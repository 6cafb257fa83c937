//! Writes a config file all at once or not at all, one writer at a time.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::{ConfigError, EditError},
    load::NODE_INIT,
};

/// Name of the lock beside the config. It stays there: taking it away would let two writers hold two locks.
const LOCK_FILE: &str = ".config.lock";
/// How long to wait for another writer; an edit takes milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(10);
/// What the names of half-written files begin with.
const TEMPORARY: &str = ".config.";
/// The same for a config that is not there yet: it is written without the lock, so that no edit may take it away.
const TEMPORARY_NEW: &str = ".new-config.";
/// What the names of both end with.
const TEMPORARY_END: &str = ".tmp";

/// Holds off other writers of a config until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock of the folder that holds this file.
    pub(crate) fn take(path: &Path) -> Result<Self, EditError> {
        let lock = folder_of(path).join(LOCK_FILE);
        let failed = |source| EditError::Io {
            doing: "lock",
            path: lock.clone(),
            source,
        };
        let file = open_lock(&lock).map_err(failed)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => wait_a_little(),
                Err(TryLockError::WouldBlock) => return Err(EditError::Locked { path: lock }),
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the system's file lock has no waiting with a time limit"
)]
fn wait_a_little() {
    thread::sleep(LOCK_RETRY);
}

fn open_lock(lock: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let file = options.open(lock)?;
    // A lock made under sudo must not shut the folder's owner out.
    keep_owner(&file, &fs::metadata(folder_of(lock))?);
    Ok(file)
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Puts text in the place of a file: readable by its owner only, on disk before the name points to it. The
/// old file's owner is kept. The caller holds the lock.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), EditError> {
    let failed = |source| EditError::Io {
        doing: "write",
        path: path.to_owned(),
        source,
    };
    let old = fs::metadata(path).map_err(failed)?;
    sweep(folder_of(path));
    let file = prepare(path, TEMPORARY, text).map_err(failed)?;
    keep_owner(file.as_file(), &old);
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(path).map_err(failed)
}

/// Writes a config that is not there yet, readable by its owner only and on disk when this returns.
///
/// # Errors
/// Something of that name is there already, or the folder cannot be written to.
pub fn create_config(path: &Path, text: &str) -> Result<(), EditError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => EditError::Exists {
            path: path.to_owned(),
        },
        _ => EditError::Io {
            doing: "write",
            path: path.to_owned(),
            source,
        },
    };
    let file = prepare(path, TEMPORARY_NEW, text).map_err(failed)?;
    file.persist_noclobber(path)
        .map_err(|error| failed(error.error))?;
    sync_folder(path).map_err(failed)
}

/// Takes away what an edit that was killed left half-written. What stays is tried again at the next edit.
fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(TEMPORARY) && name.ends_with(TEMPORARY_END) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn prepare(path: &Path, prefix: &str, text: &str) -> io::Result<tempfile::NamedTempFile> {
    // Made with mode 0600 and a random name, and removed when dropped.
    let mut file = tempfile::Builder::new()
        .prefix(prefix)
        .suffix(TEMPORARY_END)
        .tempfile_in(folder_of(path))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder_of(path))?.sync_all()?;
    Ok(())
}

/// Gives the file the owner of another where this process may; only root can change it, and only root needs to.
#[cfg(unix)]
pub(crate) fn keep_owner(file: &File, like: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt, fchown};
    let same = file
        .metadata()
        .is_ok_and(|own| (own.uid(), own.gid()) == (like.uid(), like.gid()));
    if !same {
        let _ = fchown(file, Some(like.uid()), Some(like.gid()));
    }
}

#[cfg(not(unix))]
pub(crate) fn keep_owner(_: &File, _: &fs::Metadata) {}

/// Follows symbolic links, so that the file behind the link is replaced and not the link.
pub(crate) fn behind_links(path: &Path) -> Result<PathBuf, EditError> {
    match fs::canonicalize(path) {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ConfigError::Missing {
            path: path.to_owned(),
            init: NODE_INIT,
        }
        .into()),
        Err(source) => Err(EditError::Io {
            doing: "find",
            path: path.to_owned(),
            source,
        }),
    }
}
