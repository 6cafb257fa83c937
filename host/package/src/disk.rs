//! The calls that change the file system, one after the other. Blocking.
//!
//! A process can be killed between any two of them. What is written in several calls must therefore be whole after
//! each of them: tests put a fault here that lets so many calls happen and none after them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use crate::file::{folder_of, keep_owner};

/// What the names of half-written packages and lock files begin with.
pub(crate) const TEMPORARY: &str = ".package.";
/// What the names of half-written keys begin with: they lie in folders of people, where nobody collects them.
const TEMPORARY_KEY: &str = ".key.";

/// Changes the file system.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    fault: Option<std::sync::Arc<Fault>>,
}

impl Disk {
    /// Writes a file that must not exist yet: whole or not at all, on disk when this returns, mode 0600.
    pub(crate) fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = folder_of(path);
        let file = self.filled(folder, TEMPORARY_KEY, bytes)?;
        self.call()?;
        file.persist_noclobber(path).map_err(|failure| failure.error)?;
        self.sync(folder)
    }

    /// Puts a file in place of what was there: whole or not at all, on disk when this returns, mode 0600.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = folder_of(path);
        let file = self.filled(folder, TEMPORARY, bytes)?;
        self.call()?;
        file.persist(path).map_err(|failure| failure.error)?;
        self.sync(folder)
    }

    fn filled(&self, folder: &Path, prefix: &str, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
        self.call()?;
        // Made with mode 0600 under a random name, and removed when dropped.
        let mut file = tempfile::Builder::new()
            .prefix(prefix)
            .suffix(".tmp")
            .tempfile_in(folder)?;
        #[cfg(test)]
        file.disable_cleanup(self.fault.is_some());
        self.write(&mut file, bytes)?;
        keep_owner(file.as_file(), folder);
        self.call()?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    fn write(&self, file: &mut tempfile::NamedTempFile, bytes: &[u8]) -> io::Result<()> {
        if let Err(ended) = self.call() {
            // One that is killed while it writes leaves a part.
            file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            return Err(ended);
        }
        file.write_all(bytes)
    }

    /// Opens a file that nothing is written into, and makes it with mode 0600 where it is missing.
    pub(crate) fn open_lock(&self, path: &Path) -> io::Result<File> {
        self.call()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let file = options.open(path)?;
        keep_owner(&file, folder_of(path));
        Ok(file)
    }

    /// Makes a folder and those above it, below `root`, whose owner they get. They are on disk when this returns.
    pub(crate) fn make_folders(&self, folder: &Path, root: &Path) -> io::Result<()> {
        let mut missing: Vec<&Path> = folder.ancestors().take_while(|path| *path != root).collect();
        missing.retain(|path| !path.is_dir());
        while let Some(path) = missing.pop() {
            self.call()?;
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => keep_owner(&File::open(path)?, root),
            }
            self.sync(folder_of(path))?;
        }
        Ok(())
    }

    /// Takes a file away.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        fs::remove_file(path)
    }

    fn sync(&self, folder: &Path) -> io::Result<()> {
        self.call()?;
        if cfg!(unix) {
            File::open(folder)?.sync_all()
        } else {
            Ok(())
        }
    }

    /// Stands before each call; fails where a test ends the process there.
    #[cfg(test)]
    fn call(&self) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| fault.call())
    }

    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "it fails in tests only"
    )]
    fn call(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets so many calls happen, and none after them.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Fault {
    left: std::sync::atomic::AtomicUsize,
    met: std::sync::atomic::AtomicBool,
}

#[cfg(test)]
impl Fault {
    /// A disk that ends after so many calls, and the fault to ask afterwards.
    pub(crate) fn after(calls: usize) -> (Disk, std::sync::Arc<Self>) {
        let fault = std::sync::Arc::new(Self {
            left: calls.into(),
            met: false.into(),
        });
        let disk = Disk {
            fault: Some(fault.clone()),
        };
        (disk, fault)
    }

    /// Whether a call did not happen.
    pub(crate) fn met(&self) -> bool {
        self.met.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn call(&self) -> io::Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        let left = self.left.load(Relaxed);
        if left == 0 {
            self.met.store(true, Relaxed);
            return Err(io::Error::other("killed"));
        }
        self.left.store(left - 1, Relaxed);
        Ok(())
    }
}
