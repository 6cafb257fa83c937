//! The last log lines of each plugin, kept in memory for `peerup plugin logs`, and the way to follow them.
//!
//! Filled by the engine with what plugins write and by the supervisor with what happens to them; read by the API.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use peerup_api::PluginLogLine;
use peerup_engine::{LogLevel, LogLine};
use peerup_model::PluginName;
use tokio::sync::broadcast;

/// Lines kept for each plugin. The engine bounds their length and their rate.
const KEPT_LINES: usize = 500;
/// Bytes of text kept for each plugin.
const KEPT_BYTES: usize = 256 << 10;
/// Lines that a slow follower may be behind before it misses some.
const FOLLOWED_LINES: usize = 256;

/// The lines of all plugins. One ring for each name that has written something, and names come from the config.
#[derive(Debug, Default)]
pub(crate) struct PluginLogs {
    rings: Mutex<BTreeMap<PluginName, Ring>>,
}

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Arc<PluginLogLine>>,
    bytes: usize,
    news: broadcast::Sender<Arc<PluginLogLine>>,
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

/// What was written so far, and what is written from then on.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Oldest first.
    pub(crate) so_far: Vec<Arc<PluginLogLine>>,
    /// Lags where the reader is slow.
    pub(crate) news: broadcast::Receiver<Arc<PluginLogLine>>,
}

impl PluginLogs {
    /// Takes a line that the plugin wrote.
    pub(crate) fn hear(&self, plugin: &PluginName, line: &LogLine) {
        let level = match line.level {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        };
        let time = Timestamp::try_from(line.at).unwrap_or_else(|_| Timestamp::now());
        self.push(
            plugin,
            PluginLogLine {
                time: time.to_string(),
                level: level.to_owned(),
                source: "plugin".to_owned(),
                text: line.text.clone(),
            },
        );
    }

    /// Takes a line about the plugin.
    pub(crate) fn tell(&self, plugin: &PluginName, level: &str, text: String) {
        self.push(
            plugin,
            PluginLogLine {
                time: Timestamp::now().to_string(),
                level: level.to_owned(),
                source: "host".to_owned(),
                text,
            },
        );
    }

    /// Returns the last `lines` lines and the way to those that come.
    pub(crate) fn read(&self, plugin: &PluginName, lines: usize) -> Reading {
        let mut rings = self.lock();
        let ring = rings.entry(plugin.clone()).or_default();
        let skipped = ring.kept.len().saturating_sub(lines);
        Reading {
            so_far: ring.kept.iter().skip(skipped).cloned().collect(),
            news: ring.news.subscribe(),
        }
    }

    /// Forgets a plugin that is gone.
    pub(crate) fn forget(&self, plugin: &PluginName) {
        self.lock().remove(plugin);
    }

    fn push(&self, plugin: &PluginName, line: PluginLogLine) {
        let line = Arc::new(line);
        let mut rings = self.lock();
        let ring = rings.entry(plugin.clone()).or_default();
        ring.bytes += line.text.len();
        ring.kept.push_back(line.clone());
        while ring.kept.len() > KEPT_LINES || ring.bytes > KEPT_BYTES {
            let Some(oldest) = ring.kept.pop_front() else {
                break;
            };
            ring.bytes -= oldest.text.len();
        }
        // Nobody need follow.
        let _ = ring.news.send(line);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PluginName, Ring>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chess() -> PluginName {
        "chess".parse().unwrap()
    }

    #[test]
    fn the_last_lines_are_kept_within_bounds() {
        let logs = PluginLogs::default();
        for number in 0..2000 {
            logs.tell(&chess(), "info", format!("{number} {}", "x".repeat(number)));
        }
        let kept = logs.read(&chess(), usize::MAX).so_far;
        let bytes: usize = kept.iter().map(|line| line.text.len()).sum();
        assert!(kept.len() <= KEPT_LINES && bytes <= KEPT_BYTES);
        assert!(kept.last().unwrap().text.starts_with("1999 "));
        let few = logs.read(&chess(), 2).so_far;
        assert_eq!(few.len(), 2);
        assert!(few[0].text.starts_with("1998 "));
        assert!(logs.read(&"other".parse().unwrap(), 10).so_far.is_empty());
    }

    #[tokio::test]
    async fn a_follower_misses_nothing_between_what_was_and_what_comes() {
        let logs = PluginLogs::default();
        logs.tell(&chess(), "info", "before".to_owned());
        let mut reading = logs.read(&chess(), 10);
        logs.tell(&chess(), "warn", "after".to_owned());
        assert_eq!(reading.so_far[0].text, "before");
        let next = reading.news.recv().await.unwrap();
        assert_eq!((next.text.as_str(), next.source.as_str()), ("after", "host"));
    }
}
