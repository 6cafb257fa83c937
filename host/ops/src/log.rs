//! Starts the log of a process: on standard error, in the journal's form where that is where it leads, or in a file.

use std::{fmt, io, path::PathBuf};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt::layer, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{
    flood::Flood,
    journal::{Line, is_journal},
    log_file::{LogFile, LogQueue, LogWriter},
};

/// Where a log goes instead of standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLog {
    /// The file.
    pub path: PathBuf,
    /// The size at which it is set aside, in bytes.
    pub max_size: u64,
    /// Files that are kept, the one that is written to among them.
    pub keep: u32,
}

/// How a process logs.
pub struct LogOptions {
    /// What is logged.
    pub filter: EnvFilter,
    /// Whether standard error takes colours.
    pub color: bool,
    /// A file instead of standard error.
    pub file: Option<FileLog>,
    /// What also gets what is logged.
    pub also: Option<AlsoLog>,
}

/// Something besides the log itself that gets what is logged.
pub type AlsoLog = Box<dyn Layer<Registry> + Send + Sync>;

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// Why the log does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file cannot be opened.
    #[error("the log file {} cannot be written: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Keeps the log file's thread. What was logged is on the disk once this is dropped.
#[derive(Debug)]
#[must_use = "lines that wait for the disk are lost when the process ends without dropping this"]
pub struct LogGuard {
    _writer: Option<LogWriter>,
}

/// Starts the log; a second call in one process changes nothing.
///
/// # Errors
/// The file cannot be opened.
pub fn start_log(options: LogOptions) -> Result<LogGuard, LogError> {
    let flood = Flood::default();
    let layer = layer();
    let mut writer = None;
    // Fails only where a log was started already.
    let _ = match options.file {
        None => {
            let journal = is_journal();
            let layer = layer
                .event_format(Line::new(journal, options.color, flood.clone()))
                .with_writer(io::stderr);
            tracing_subscriber::registry()
                .with(options.also)
                .with(options.filter)
                .with(flood)
                .with(layer)
                .try_init()
        }
        Some(FileLog { path, max_size, keep }) => {
            let started = LogFile::open(path.clone(), max_size, keep).and_then(LogQueue::start);
            let (queue, guard) = started.map_err(|source| LogError::File { path, source })?;
            writer = Some(guard);
            let layer = layer
                .event_format(Line::new(false, false, flood.clone()))
                .with_writer(queue);
            tracing_subscriber::registry()
                .with(options.also)
                .with(options.filter)
                .with(flood)
                .with(layer)
                .try_init()
        }
    };
    Ok(LogGuard { _writer: writer })
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Logs as a process does, and returns the lines.
    fn logged(journal: bool, log: impl FnOnce()) -> Vec<String> {
        let (written, flood) = (Written::default(), Flood::default());
        let writer = written.clone();
        let layer = layer()
            .event_format(Line::new(journal, false, flood.clone()))
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry()
            .with(EnvFilter::new("debug"))
            .with(flood)
            .with(layer);
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn one_place_that_is_flooded_drowns_no_other() {
        let before = crate::lines_left_out();
        let lines = logged(false, || {
            for number in 0..1000 {
                tracing::warn!(number, "a hostile peer was refused");
            }
            tracing::warn!("the disk is full");
            for number in 0..200 {
                tracing::debug!(number, "asked for");
            }
        });
        let of = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        assert!(
            (100..=102).contains(&of("a hostile peer")),
            "{}",
            of("a hostile peer")
        );
        assert_eq!(of("the disk is full"), 1);
        assert_eq!(of("asked for"), 200);
        assert!(crate::lines_left_out() >= before + 898);
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time_and_one_line_for_each_event() {
        let lines = logged(true, || {
            tracing::error!(peer = %"x\n<0>forged", "broken");
            tracing::info!("well");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[0].starts_with("<3>") && lines[0].contains("broken"),
            "{lines:?}"
        );
        assert_eq!(lines[1].trim_start_matches("<6>").trim(), "well");
        let timed = logged(false, || tracing::info!("well"));
        assert!(
            timed[0].starts_with("20") && timed[0].contains("INFO"),
            "{timed:?}"
        );
    }
}
