//! A file of lines that is set aside by size: `name`, `name.1`, `name.2` and so on, the last one dropped.
//!
//! Blocks on the disk: a thread of its own drives it. It is for its owner only, whatever mode it had. A line that could
//! not be written whole never has the next one behind it in the same line. What cannot be written is the caller's to
//! count; each line is a new attempt.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The file with those that were set aside.
#[derive(Debug)]
pub struct RotatedFile {
    path: PathBuf,
    max_size: u64,
    /// Files that are kept, the one that is written to among them.
    keep: u32,
    open: Option<(File, u64)>,
    /// The file may end with a part of a line.
    torn: bool,
}

impl RotatedFile {
    /// A file that is opened with its first line. `max_size` is in bytes; `keep` counts the one that is written to.
    pub fn new(path: PathBuf, max_size: u64, keep: u32) -> Self {
        Self {
            path,
            max_size,
            keep: keep.max(1),
            open: None,
            torn: false,
        }
    }

    /// Returns the path of the file that is written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file now, or makes it, so that what is wrong with it is known before there is a line.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            let (file, size) = open(&self.path)?;
            self.torn = ends_within_a_line(&self.path, &file, size).unwrap_or(self.torn && size > 0);
            self.open = Some((file, size));
        }
        Ok(())
    }

    /// Writes a line, which ends with a line feed, and sets the file aside before where it would get too long.
    ///
    /// # Errors
    /// The disk does not take it, or not all of it. The next line is tried from the start.
    pub fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.try_write(line);
        if written.is_err() {
            self.open = None;
        }
        written
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        self.open()?;
        let length = line.len() as u64;
        let size = self.open.as_ref().map_or(0, |(_, size)| *size);
        if size > 0 && size.saturating_add(length) > self.max_size {
            self.open = None;
            self.rotate()?;
            self.open()?;
        }
        let torn = std::mem::replace(&mut self.torn, true);
        let Some((file, size)) = &mut self.open else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if torn {
            file.write_all(b"\n")?;
            *size += 1;
        }
        file.write_all(line)?;
        *size += length;
        self.torn = false;
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        if self.keep == 1 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            let from = match number {
                1 => self.path.clone(),
                _ => numbered(&self.path, number - 1),
            };
            match fs::rename(&from, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    let found = file.metadata()?;
    // A device or a pipe is not this process's alone.
    if found.is_file() && found.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok((file, found.len()))
}

/// Whether the file ends with a part of a line: the disk was full, or whoever wrote it was killed. None where that
/// cannot be read.
fn ends_within_a_line(path: &Path, file: &File, size: u64) -> Option<bool> {
    if size == 0 {
        return Some(false);
    }
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return None;
    }
    let mut last = [0];
    let reading = File::open(path).ok()?;
    reading.read_exact_at(&mut last, size - 1).ok()?;
    Some(last != [b'\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, max_size: u64, keep: u32) -> RotatedFile {
        RotatedFile::new(folder.join("x.log"), max_size, keep)
    }

    #[test]
    fn files_are_set_aside_by_size_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = file(folder.path(), 100, 3);
        for number in 0..40 {
            log.write_line(format!("line number {number:02}\n").as_bytes())
                .unwrap();
        }
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        for name in ["x.log", "x.log.1", "x.log.2"] {
            assert!(text(name).len() <= 100 && !text(name).is_empty(), "{name}");
        }
        assert!(text("x.log").ends_with("line number 39\n"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_that_others_may_read_becomes_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mode = || {
            let found = fs::metadata(folder.path().join("x.log")).unwrap();
            found.permissions().mode() & 0o777
        };
        file(folder.path(), 100, 2).open().unwrap();
        assert_eq!(mode(), 0o600);
        let wide = fs::Permissions::from_mode(0o644);
        fs::set_permissions(folder.path().join("x.log"), wide).unwrap();
        file(folder.path(), 100, 2).open().unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn an_existing_file_is_gone_on_with_and_one_that_is_kept_alone_starts_anew() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), 100, 1).write_line(b"first\n").unwrap();
        let mut log = file(folder.path(), 100, 1);
        log.write_line(b"second\n").unwrap();
        let text = || fs::read_to_string(folder.path().join("x.log")).unwrap();
        assert_eq!(text(), "first\nsecond\n");
        log.write_line(&[b'x'; 95]).unwrap();
        assert_eq!(text(), "x".repeat(95));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_line_that_was_cut_short_has_no_other_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut log = file(folder.path(), 1000, 2);
        log.write_line(b"whole\n").unwrap();
        // What a full disk leaves: a part of a line, and a failure.
        let (open, _) = log.open.as_mut().unwrap();
        open.write_all(b"par").unwrap();
        log.open = None;
        log.write_line(b"next\n").unwrap();
        log.write_line(b"last\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\npar\nnext\nlast\n");
        // And what a process leaves that was killed.
        fs::write(&path, "whole\npar").unwrap();
        file(folder.path(), 1000, 2).write_line(b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\npar\nnext\n");
    }

    #[test]
    fn a_disk_that_takes_nothing_is_tried_again_with_each_line() {
        let mut full = RotatedFile::new(PathBuf::from("/dev/full"), 1000, 2);
        assert!(full.write_line(b"lost\n").is_err());
        assert!(full.open.is_none());
        assert!(full.write_line(b"lost\n").is_err());
        let folder = tempfile::tempdir().unwrap();
        let mut log = RotatedFile::new(folder.path().join("gone/x.log"), 1000, 2);
        assert!(log.write_line(b"lost\n").is_err());
        fs::create_dir(folder.path().join("gone")).unwrap();
        log.write_line(b"there\n").unwrap();
        assert_eq!(fs::read_to_string(log.path()).unwrap(), "there\n");
    }
}
