//! Starts the log of a process: on standard error, in the journal's form where that is where it leads, or in a file. Level
//! and place may change while it runs.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use peerup_config::LogConfig;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt::layer, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::{
    flood::Flood,
    log_file::{LogQueue, LogWriter},
    log_place::{Lines, LogPlace},
    rotated::RotatedFile,
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

impl FileLog {
    /// Returns the file that a config names, if it names one.
    pub fn of(config: &LogConfig) -> Option<Self> {
        Some(Self {
            path: config.file.clone()?,
            max_size: config.max_size,
            keep: config.keep,
        })
    }
}

/// Makes what is logged of the level that the config names, if it names one; what the command line says goes before it.
pub type FilterFor = Box<dyn Fn(Option<&str>) -> EnvFilter + Send + Sync>;

/// How a process logs.
pub struct LogOptions {
    /// The level that the config names.
    pub level: Option<String>,
    /// What is logged then.
    pub filter: FilterFor,
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
            .field("level", &self.level)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// Why the log does not start, or does not change.
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
    control: LogControl,
}

impl LogGuard {
    /// Returns the way to change the log.
    pub fn control(&self) -> LogControl {
        self.control.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let mut held = self.control.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.writer = None;
    }
}

/// The way to change the log of a process while it runs. A clone changes the same log.
#[derive(Clone)]
pub struct LogControl(Arc<Controlled>);

struct Controlled {
    place: LogPlace,
    filter: FilterFor,
    set_filter: Box<dyn Fn(EnvFilter) + Send + Sync>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    level: Option<String>,
    file: Option<FileLog>,
    writer: Option<LogWriter>,
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").finish_non_exhaustive()
    }
}

impl LogControl {
    /// Logs as a config has it from now on; what was logged before is in the old place. Blocks on the disk.
    ///
    /// # Errors
    /// The file cannot be opened: it is all as before then.
    pub fn apply(&self, config: &LogConfig) -> Result<(), LogError> {
        let (level, file) = (&config.level, FileLog::of(config));
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.file != file {
            self.change_place(&mut held, file)?;
        }
        if held.level != *level {
            (self.0.set_filter)((self.0.filter)(level.as_deref()));
            held.level.clone_from(level);
        }
        Ok(())
    }

    fn change_place(&self, held: &mut Held, file: Option<FileLog>) -> Result<(), LogError> {
        match (&file, &held.writer) {
            (Some(file), Some(writer)) => writer.change_file(opened(file)?),
            (Some(file), None) => {
                let (queue, writer) = started(file)?;
                self.0.place.lead_to(Some(queue));
                held.writer = Some(writer);
            }
            (None, _) => {
                self.0.place.lead_to(None);
                held.writer = None;
            }
        }
        held.file = file;
        Ok(())
    }
}

fn opened(file: &FileLog) -> Result<RotatedFile, LogError> {
    let mut rotated = RotatedFile::new(file.path.clone(), file.max_size, file.keep);
    match rotated.open() {
        Ok(()) => Ok(rotated),
        Err(source) => Err(LogError::File {
            path: file.path.clone(),
            source,
        }),
    }
}

fn started(file: &FileLog) -> Result<(LogQueue, LogWriter), LogError> {
    LogQueue::start(opened(file)?).map_err(|source| LogError::File {
        path: file.path.clone(),
        source,
    })
}

/// Starts the log; a second call in one process changes nothing.
///
/// # Errors
/// The file cannot be opened.
pub fn start_log(options: LogOptions) -> Result<LogGuard, LogError> {
    let (queue, writer) = options.file.as_ref().map(started).transpose()?.unzip();
    let place = LogPlace::new(queue);
    let flood = Flood::default();
    let (filter, handle) = reload::Layer::new((options.filter)(options.level.as_deref()));
    let set_filter = Box::new(move |filter| {
        // Fails only where the log is gone, and then there is nothing to filter.
        let _ = handle.reload(filter);
    });
    let lines = Lines::new(place.clone(), options.color, &flood);
    // Fails only where a log was started already.
    let _ = tracing_subscriber::registry()
        .with(options.also)
        .with(filter)
        .with(flood)
        .with(layer().event_format(lines).with_writer(place.clone()))
        .try_init();
    let held = Held {
        level: options.level,
        file: options.file,
        writer,
    };
    Ok(LogGuard {
        control: LogControl(Arc::new(Controlled {
            place,
            filter: options.filter,
            set_filter,
            held: Mutex::new(held),
        })),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use crate::journal::Line;

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

    fn config(level: Option<&str>, file: Option<&PathBuf>) -> LogConfig {
        LogConfig {
            level: level.map(str::to_owned),
            file: file.cloned(),
            ..LogConfig::default()
        }
    }

    /// The one log of this process: what it does from its start to its end.
    #[test]
    fn level_and_place_change_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first.log"), folder.path().join("second.log"));
        let guard = start_log(LogOptions {
            level: None,
            filter: Box::new(|level| EnvFilter::new(level.unwrap_or("info"))),
            // For standard error: a file has none.
            color: true,
            file: FileLog::of(&config(None, Some(&first))),
            also: None,
        })
        .unwrap();
        let control = guard.control();
        tracing::debug!("not asked for");
        tracing::info!("in the first");
        control.apply(&config(Some("debug"), Some(&second))).unwrap();
        tracing::debug!("in the second");

        let gone = folder.path().join("gone/third.log");
        let refused = control.apply(&config(Some("error"), Some(&gone)));
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("gone/third.log"), "{refused}");
        tracing::debug!("as before");
        control.apply(&LogConfig::default()).unwrap();
        tracing::info!("on standard error");
        control.apply(&config(None, Some(&first))).unwrap();
        tracing::info!("in the first again");
        drop(guard);

        let words = |path: &PathBuf| -> Vec<String> {
            let text = std::fs::read_to_string(path).unwrap();
            let after_level = |line: &str| {
                line.split_once("INFO ")
                    .or(line.split_once("DEBUG "))
                    .unwrap()
                    .1
                    .to_owned()
            };
            text.lines().map(after_level).collect()
        };
        assert_eq!(words(&first), ["in the first", "in the first again"]);
        assert_eq!(words(&second), ["in the second", "as before"]);
    }
}
