//! A log file that is set aside by size: `name`, `name.1`, `name.2` and so on, the last one dropped.
//!
//! A thread owns the file, so that a slow disk holds up nobody who logs; lines that it cannot keep up with are counted
//! and told. A file that cannot be written is tried again with each line.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for the disk; more are counted and dropped.
const QUEUE: usize = 4096;
/// The longest line, in bytes; what is longer is cut.
const MAX_LINE: usize = 16 << 10;

/// The file with those that were set aside.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    max_size: u64,
    /// Files that are kept, the one that is written to among them.
    keep: u32,
    open: Option<(File, u64)>,
}

impl LogFile {
    /// Opens the file, or makes it for its owner only.
    pub(crate) fn open(path: PathBuf, max_size: u64, keep: u32) -> io::Result<Self> {
        let open = Some(open(&path)?);
        Ok(Self {
            path,
            max_size,
            keep: keep.max(1),
            open,
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if let Some((_, size)) = &self.open
            && *size > 0
            && size.saturating_add(length) > self.max_size
        {
            self.open = None;
            self.rotate()?;
        }
        let (file, size) = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(open(&self.path)?),
        };
        let written = file.write_all(line);
        *size += length;
        if written.is_err() {
            self.open = None;
        }
        written
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
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// Hands lines to the thread that writes them. Never waits.
#[derive(Debug, Clone)]
pub(crate) struct LogQueue {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// Ends the thread once every [`LogQueue`] that is left has been told that the process ends.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: LogQueue,
    thread: Option<JoinHandle<()>>,
}

impl LogQueue {
    /// Starts the thread that owns the file.
    pub(crate) fn start(file: LogFile) -> io::Result<(Self, LogWriter)> {
        let (lines, waiting) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Self { lines, dropped };
        let counted = queue.dropped.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        let thread = thread.spawn(move || write_all(&waiting, file, &counted))?;
        let writer = LogWriter {
            queue: queue.clone(),
            thread: Some(thread),
        };
        Ok((queue, writer))
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // The subscriber lives as long as the process and holds a queue: an empty line says that this is the end.
        let told = self.queue.lines.send(Vec::new()).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| told) {
            let _ = thread.join();
        }
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, mut file: LogFile, dropped: &AtomicU64) {
    for line in lines {
        if line.is_empty() {
            return;
        }
        let missing = dropped.swap(0, Ordering::Relaxed);
        if missing > 0
            && file
                .write(format!("({missing} lines were lost here)\n").as_bytes())
                .is_err()
        {
            dropped.fetch_add(missing, Ordering::Relaxed);
        }
        if file.write(&line).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One line on its way.
#[derive(Debug)]
pub(crate) struct QueuedLine<'a> {
    queue: &'a LogQueue,
    line: Vec<u8>,
}

impl Write for QueuedLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for QueuedLine<'_> {
    fn drop(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return;
        }
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        if self.queue.lines.try_send(line).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = QueuedLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        QueuedLine {
            queue: self,
            line: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(folder: &Path, max_size: u64, keep: u32) -> LogFile {
        LogFile::open(folder.join("x.log"), max_size, keep).unwrap()
    }

    #[test]
    fn files_are_set_aside_by_size_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = file(folder.path(), 100, 3);
        for number in 0..40 {
            log.write(format!("line number {number:02}\n").as_bytes())
                .unwrap();
        }
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        for name in ["x.log", "x.log.1", "x.log.2"] {
            assert!(text(name).len() <= 100 && !text(name).is_empty(), "{name}");
        }
        assert!(text("x.log").ends_with("line number 39\n"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        let mode = fs::metadata(folder.path().join("x.log"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn one_file_alone_is_bounded_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = file(folder.path(), 100, 1);
        for _ in 0..40 {
            log.write(b"0123456789\n").unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(fs::metadata(folder.path().join("x.log")).unwrap().len() <= 100);
    }

    #[test]
    fn a_line_longer_than_a_file_is_cut_and_goes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, writer) = LogQueue::start(file(folder.path(), 100, 2)).unwrap();
        queue.make_writer().write_all(&[b'x'; 1 << 20]).unwrap();
        drop(writer);
        let written = fs::read(folder.path().join("x.log")).unwrap();
        assert_eq!(written.len(), MAX_LINE + 1);
        assert_eq!(written.last(), Some(&b'\n'));
    }

    #[test]
    fn lines_that_the_disk_does_not_take_are_counted_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut log = file(folder.path(), 1 << 20, 2);
        assert!(log.write(b"lost\n").is_err());
        fs::remove_file(&path).unwrap();
        let (sender, lines) = sync_channel(4);
        let dropped = AtomicU64::new(1);
        sender.send(b"kept\n".to_vec()).unwrap();
        drop(sender);
        write_all(&lines, log, &dropped);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "(1 lines were lost here)\nkept\n"
        );
    }
}
