//! Reading and writing files: bounded reads, atomic writes, a lock between processes. Blocking.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
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

/// Writes a file that must not exist yet: whole or not at all, on disk when this returns, mode 0600.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    filled(folder, bytes)?
        .persist_noclobber(path)
        .map_err(|failure| failure.error)?;
    sync(folder)
}

/// Puts a file in place of what was there: whole or not at all, on disk when this returns, mode 0600.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    filled(folder, bytes)?
        .persist(path)
        .map_err(|failure| failure.error)?;
    sync(folder)
}

fn filled(folder: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    // Made with mode 0600 under a random name, and removed when dropped.
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .suffix(".tmp")
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    keep_owner(file.as_file(), folder);
    file.as_file().sync_all()?;
    Ok(file)
}

/// What the names of half-written files begin with.
pub(crate) const TEMPORARY: &str = ".package.";

/// Held by whoever edits; ends when dropped. The file stays: taking it away would let two hold two locks.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock. Fails with `TimedOut` where another process held it all the time.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let file = options.open(path)?;
        keep_owner(&file, folder_of(path));
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

/// Makes a folder and those above it, up to `root`, whose owner they get.
pub(crate) fn make_folders(folder: &Path, root: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for made in folder.ancestors().take_while(|path| *path != root) {
        keep_owner(&File::open(made)?, root);
    }
    Ok(())
}

/// Gives what root writes to the owner of the folder: a daemon that runs as its own user must be able to read
/// it. Anybody else may not give files away, and there is nothing to mend then.
fn keep_owner(file: &File, folder: &Path) {
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

fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
