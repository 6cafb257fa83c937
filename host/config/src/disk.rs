//! What the guard does to the disk, one small step a call, so that tests can stop it after any of them.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::atomic::{folder_of, keep_owner};

/// Steps on a disk. What is written is on the disk for good only after [`Disk::sync`] of the file and of the folder
/// that names it.
pub trait Disk: std::fmt::Debug + Send + Sync {
    /// Reads a file, up to this many bytes; a longer one is an error.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;
    /// Returns the names in a folder; none where it is not there.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes a folder for its owner only; one that is there stays.
    ///
    /// # Errors
    /// What the system says.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Writes a new file of a name that nobody has, readable by its owner only, in this folder. `like` is the file
    /// whose owner it gets.
    ///
    /// # Errors
    /// What the system says; nothing is left of it then.
    fn write_new(&self, folder: &Path, like: &Path, bytes: &[u8]) -> io::Result<PathBuf>;
    /// Brings a file or a folder to the disk for good.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, in the place of what has it.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > most {
            true => Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the file is too long",
            )),
            false => Ok(bytes),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        #[cfg_attr(not(unix), expect(unused_mut, reason = "modes are of Unix"))]
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => {
                made?;
                keep_owner(&File::open(folder)?, &fs::metadata(folder_of(folder))?);
                Ok(())
            }
        }
    }

    fn write_new(&self, folder: &Path, like: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
        let mut file = tempfile::Builder::new()
            .prefix(TEMP_PREFIX)
            .suffix(TEMP_SUFFIX)
            .tempfile_in(folder)?;
        file.write_all(bytes)?;
        // Where the config is gone, its folder has an owner still.
        let like = fs::metadata(like).or_else(|_| fs::metadata(folder))?;
        keep_owner(file.as_file(), &like);
        let (_, path) = file.keep().map_err(|error| error.error)?;
        Ok(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        if cfg!(not(unix)) && path.is_dir() {
            return Ok(());
        }
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// How the names of half-written files begin and end.
const TEMP_PREFIX: &str = ".config.";
const TEMP_SUFFIX: &str = ".tmp";

/// Returns whether a name is that of a half-written file.
pub(crate) fn is_half_written(name: &str) -> bool {
    name.starts_with(TEMP_PREFIX) && name.ends_with(TEMP_SUFFIX)
}
