//! Reading and writing the small private files of this crate: bounded reads, atomic writes, a lock.
//!
//! Blocking; an async caller goes through its blocking pool. Everything is written with mode 0600.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// How long an edit waits for another one, which takes milliseconds as a rule.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks again.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Reads a regular file of at most `max` bytes. A longer one gives `InvalidData`, anything that is no
/// regular file `InvalidInput`; the latter is looked at first, because opening a pipe would wait.
pub(crate) fn read_bounded(path: &Path, max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let reason = format!("it is larger than {max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(bytes)
}

/// Writes a file that must not exist yet: whole or not at all, on disk when this returns.
/// `AlreadyExists` where something has that name, a dangling link included.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let temporary = filled_temporary(path, &folder, bytes)?;
    temporary
        .persist_noclobber(path)
        .map_err(|failure| failure.error)?;
    sync_folder(&folder)
}

/// Replaces a file: whole or not at all, on disk when this returns. A link is followed, so that the link
/// stays one. The old file is untouched by every error before the rename.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = folder_of(&target);
    let temporary = filled_temporary(&target, &folder, bytes)?;
    temporary.persist(&target).map_err(|failure| failure.error)?;
    sync_folder(&folder)
}

/// Held by whoever edits a file; ends when dropped.
#[derive(Debug)]
pub(crate) struct EditLock {
    _file: File,
}

impl EditLock {
    /// Waits for the lock on `.<name>.lock` beside the file. The sidecar stays: removing it would let two
    /// editors hold locks on two files of the same name.
    ///
    /// # Errors
    /// The sidecar cannot be opened, or another process held the lock for all of [`LOCK_PATIENCE`]: one that
    /// was stopped while it edited must not hold the daemon up for ever.
    pub(crate) fn acquire(path: &Path) -> io::Result<Self> {
        Self::acquire_within(path, LOCK_PATIENCE)
    }

    fn acquire_within(path: &Path, patience: Duration) -> io::Result<Self> {
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = folder_of(&target);
        let lock_path = folder.join(format!(".{}.lock", name_of(&target)));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let file = options.open(&lock_path)?;
        keep_owner(&file, &lock_path, &folder);
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => wait_a_little(),
                Err(TryLockError::WouldBlock) => {
                    let text = "another process has been editing it for too long; is one of them stopped?";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the system's file lock has no waiting with a time limit"
)]
fn wait_a_little() {
    std::thread::sleep(LOCK_RETRY);
}

fn filled_temporary(target: &Path, folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let prefix = format!(".{}.", name_of(target));
    // The builder opens with O_EXCL and mode 0600 under a random name; dropping it removes the file.
    let mut temporary = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".tmp")
        .rand_bytes(12)
        .tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    keep_owner(temporary.as_file(), target, folder);
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

/// Gives a file that root writes to the owner of the one it replaces, or else of the folder: a daemon
/// that runs as its own user must still be able to read it. Anybody else may not give files away, and
/// there is nothing to mend then, so a refusal is no error.
fn keep_owner(file: &File, target: &Path, folder: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, fchown};
        let wanted = fs::metadata(target).or_else(|_| fs::metadata(folder));
        if let (Ok(wanted), Ok(current)) = (wanted, file.metadata())
            && current.uid() != wanted.uid()
        {
            let _ = fchown(file, Some(wanted.uid()), Some(wanted.gid()));
        }
    }
    #[cfg(not(unix))]
    let _ = (file, target, folder);
}

/// Makes a rename survive a power cut. Windows has no handle for this and needs none.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| "file".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_that_never_ends_does_not_hold_the_others_up_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authorized_keys");
        let held = EditLock::acquire(&path).unwrap();
        let refused = EditLock::acquire_within(&path, LOCK_RETRY).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        drop(held);
        EditLock::acquire_within(&path, LOCK_RETRY).unwrap();
    }
}
