//! The way from whoever logs to a log file.
//!
//! A thread owns the [`RotatedFile`], so that a slow disk holds up nobody who logs; lines that it cannot keep up with are
//! counted and told. Another file may take its place while it runs.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use crate::rotated::RotatedFile;

/// Lines that wait for the disk; more are counted and dropped.
const QUEUE: usize = 4096;
/// The longest line, in bytes; what is longer is cut.
const MAX_LINE: usize = 16 << 10;

/// What the thread is told.
#[derive(Debug)]
enum Told {
    /// Write this.
    Line(Vec<u8>),
    /// From here on write to this file.
    File(RotatedFile),
    /// Write what waits, and end.
    End,
}

/// Hands lines to the thread that writes them. Never waits.
#[derive(Debug, Clone)]
pub(crate) struct LogQueue {
    told: SyncSender<Told>,
    dropped: Arc<AtomicU64>,
}

/// Ends the thread when it is dropped, once what waits is on the disk.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: LogQueue,
    thread: Option<JoinHandle<()>>,
}

impl LogQueue {
    /// Starts the thread that owns the file.
    pub(crate) fn start(file: RotatedFile) -> io::Result<(Self, LogWriter)> {
        let (told, waiting) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Self { told, dropped };
        let counted = queue.dropped.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        let thread = thread.spawn(move || write_all(&waiting, file, &counted))?;
        let writer = LogWriter {
            queue: queue.clone(),
            thread: Some(thread),
        };
        Ok((queue, writer))
    }

    /// Returns what takes one line.
    pub(crate) fn line(&self) -> QueuedLine {
        QueuedLine {
            queue: self.clone(),
            line: Vec::new(),
        }
    }
}

impl LogWriter {
    /// Writes to another file from the next line on. Waits while the queue is full.
    pub(crate) fn change_file(&self, file: RotatedFile) {
        // Fails only where the thread has ended, and then there is nothing to write.
        let _ = self.queue.told.send(Told::File(file));
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // Others may hold the queue for as long as the process lives.
        let told = self.queue.told.send(Told::End).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| told) {
            let _ = thread.join();
        }
    }
}

fn write_all(told: &Receiver<Told>, mut file: RotatedFile, dropped: &AtomicU64) {
    for told in told {
        match told {
            Told::Line(line) => write(&mut file, &line, dropped),
            Told::File(other) => file = other,
            Told::End => break,
        }
    }
    // Lines of those who had the queue in their hands when it ended.
    while let Ok(Told::Line(line)) = told.try_recv() {
        write(&mut file, &line, dropped);
    }
}

fn write(file: &mut RotatedFile, line: &[u8], dropped: &AtomicU64) {
    let missing = dropped.swap(0, Ordering::Relaxed);
    if missing > 0
        && file
            .write_line(format!("({missing} lines were lost here)\n").as_bytes())
            .is_err()
    {
        dropped.fetch_add(missing, Ordering::Relaxed);
    }
    if file.write_line(line).is_err() {
        dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// One line on its way.
#[derive(Debug)]
pub(crate) struct QueuedLine {
    queue: LogQueue,
    line: Vec<u8>,
}

impl Write for QueuedLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for QueuedLine {
    fn drop(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return;
        }
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        if self.queue.told.try_send(Told::Line(line)).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn file(folder: &Path, name: &str) -> RotatedFile {
        RotatedFile::new(folder.join(name), 1 << 20, 2)
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, writer) = LogQueue::start(file(folder.path(), "x.log")).unwrap();
        queue.line().write_all(&[b'x'; 1 << 20]).unwrap();
        drop(writer);
        let written = fs::read(folder.path().join("x.log")).unwrap();
        assert_eq!(written.len(), MAX_LINE + 1);
        assert_eq!(written.last(), Some(&b'\n'));
    }

    #[test]
    fn another_file_takes_over_between_two_lines() {
        let folder = tempfile::tempdir().unwrap();
        let (queue, writer) = LogQueue::start(file(folder.path(), "old.log")).unwrap();
        queue.line().write_all(b"one").unwrap();
        writer.change_file(file(folder.path(), "new.log"));
        queue.line().write_all(b"two").unwrap();
        drop(writer);
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            (text("old.log"), text("new.log")),
            ("one\n".to_owned(), "two\n".to_owned())
        );
    }

    #[test]
    fn lines_that_the_disk_does_not_take_are_counted_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut log = file(folder.path(), "x.log");
        assert!(log.write_line(b"lost\n").is_err());
        fs::remove_file(&path).unwrap();
        let (sender, lines) = sync_channel(4);
        let dropped = AtomicU64::new(1);
        sender.send(Told::Line(b"kept\n".to_vec())).unwrap();
        drop(sender);
        write_all(&lines, log, &dropped);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "(1 lines were lost here)\nkept\n"
        );
    }
}
