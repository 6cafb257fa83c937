//! Files as they are read, locked and owned. What changes them is `disk`. Blocking.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::Path,
    time::{Duration, Instant},
};

/// How long an edit waits for another one, which takes a fraction of a second as a rule.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks again.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Reads a regular file of at most `most` bytes. A longer one gives `FileTooLarge`, anything that is no regular
/// file `InvalidInput`; the latter is looked at first, because opening a pipe would wait.
pub(crate) fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let reason = format!("it is larger than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// Held by whoever edits; ends when dropped. The file stays: taking it away would let two hold two locks.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock. Fails with `TimedOut` where another process held it all the time.
    pub(crate) fn take(file: File) -> io::Result<Self> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => wait_a_little(),
                Err(TryLockError::WouldBlock) => {
                    let text = "another peerup has been changing it for too long; is one of them stopped?";
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

/// Gives what root writes to the owner of the folder: a daemon that runs as its own user must be able to read
/// it. Anybody else may not give files away, and there is nothing to mend then.
pub(crate) fn keep_owner(file: &File, folder: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, fchown};
        if let (Ok(wanted), Ok(current)) = (fs::metadata(folder), file.metadata())
            && current.uid() != wanted.uid()
        {
            let _ = fchown(file, Some(wanted.uid()), Some(wanted.gid()));
        }
    }
    #[cfg(not(unix))]
    let _ = (file, folder);
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
