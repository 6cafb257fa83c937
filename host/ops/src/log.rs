//! Starts the log of a process: on standard error, in the journal's form where that is where it leads, or in a file.

use std::{io, path::PathBuf};

use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

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
#[derive(Debug)]
pub struct LogOptions {
    /// What is logged.
    pub filter: EnvFilter,
    /// Whether standard error takes colours.
    pub color: bool,
    /// A file instead of standard error.
    pub file: Option<FileLog>,
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
    let layer = fmt::layer();
    let mut writer = None;
    // Fails only where a log was started already.
    let _ = match options.file {
        None => {
            let journal = is_journal();
            let layer = layer
                .event_format(Line::new(journal, options.color, flood.clone()))
                .with_writer(io::stderr)
                .with_filter(flood);
            tracing_subscriber::registry()
                .with(options.filter)
                .with(layer)
                .try_init()
        }
        Some(FileLog { path, max_size, keep }) => {
            let started = LogFile::open(path.clone(), max_size, keep).and_then(LogQueue::start);
            let (queue, guard) = started.map_err(|source| LogError::File { path, source })?;
            writer = Some(guard);
            let layer = layer
                .event_format(Line::new(false, false, flood.clone()))
                .with_writer(queue)
                .with_filter(flood);
            tracing_subscriber::registry()
                .with(options.filter)
                .with(layer)
                .try_init()
        }
    };
    Ok(LogGuard { _writer: writer })
}
