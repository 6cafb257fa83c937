//! The last lines of a log, kept in memory within bounds, and the way to follow those that come.
//!
//! One ring is the daemon's own log, filled by whoever set up logging in this process; each plugin has one besides.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use peerup_api::PluginLogLine;
use peerup_ops::LogControl;
use tokio::sync::broadcast;

/// Lines kept.
pub(crate) const KEPT_LINES: usize = 500;
/// Bytes of text kept.
pub(crate) const KEPT_BYTES: usize = 256 << 10;
/// Lines that a slow follower may be behind before it misses some.
const FOLLOWED_LINES: usize = 256;
/// Bytes of one line of the daemon's own log; the rest is cut.
const MAX_LINE: usize = 4 << 10;

/// Some lines and those who follow.
#[derive(Debug)]
pub(crate) struct Ring {
    kept: VecDeque<Arc<PluginLogLine>>,
    bytes: usize,
    news: broadcast::Sender<Arc<PluginLogLine>>,
}

/// What was written so far, and what is written from then on.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Oldest first.
    pub(crate) so_far: Vec<Arc<PluginLogLine>>,
    /// Lags where the reader is slow.
    pub(crate) news: broadcast::Receiver<Arc<PluginLogLine>>,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            news: broadcast::channel(FOLLOWED_LINES).0,
        }
    }
}

impl Ring {
    /// Takes a line; the oldest ones go where it gets too much.
    pub(crate) fn push(&mut self, line: PluginLogLine) {
        let line = Arc::new(line);
        self.bytes += line.text.len();
        self.kept.push_back(line.clone());
        while self.kept.len() > KEPT_LINES || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.bytes -= oldest.text.len();
        }
        // Nobody need follow.
        let _ = self.news.send(line);
    }

    /// Returns the last `lines` lines and the way to those that come.
    pub(crate) fn read(&self, lines: usize) -> Reading {
        let skipped = self.kept.len().saturating_sub(lines);
        Reading {
            so_far: self.kept.iter().skip(skipped).cloned().collect(),
            news: self.news.subscribe(),
        }
    }
}

/// The daemon's own log. A clone is the same log.
#[derive(Debug, Clone, Default)]
pub struct DaemonLog(Arc<Own>);

#[derive(Debug, Default)]
struct Own {
    ring: Mutex<Ring>,
    control: OnceLock<LogControl>,
}

impl DaemonLog {
    /// Takes a line. `source` is the part of the program that wrote it. May be called from within a logger: nothing is
    /// logged here.
    pub fn push(&self, level: &str, source: &str, text: &str) {
        let end = text.floor_char_boundary(MAX_LINE);
        self.lock().push(PluginLogLine {
            time: jiff::Timestamp::now().to_string(),
            level: level.to_owned(),
            source: source.to_owned(),
            text: text.get(..end).unwrap_or_default().to_owned(),
        });
    }

    /// Takes the way to change the log of this process: its level and file follow the config from then on. Called once.
    pub fn controlled_by(&self, control: LogControl) {
        let _ = self.0.control.set(control);
    }

    /// Returns the way to change the log, where the process leaves it to the daemon.
    pub(crate) fn control(&self) -> Option<LogControl> {
        self.0.control.get().cloned()
    }

    /// Returns the last `lines` lines and the way to those that come.
    pub(crate) fn read(&self, lines: usize) -> Reading {
        self.lock().read(lines)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let log = DaemonLog::default();
        log.push("info", "peerup", &"ü".repeat(MAX_LINE));
        log.push("warn", "peerup", "short");
        let kept = log.read(10).so_far;
        assert_eq!(kept[0].text.len(), MAX_LINE);
        assert_eq!((kept[1].level.as_str(), kept[1].text.as_str()), ("warn", "short"));
        assert_eq!(log.read(1).so_far.len(), 1);
    }
}
