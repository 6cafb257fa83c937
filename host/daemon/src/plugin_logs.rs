//! The last log lines of each plugin, kept in memory for `peerup plugin logs`, and the way to follow them.
//!
//! Filled by the engine with what plugins write and by the supervisor with what happens to them; read by the API.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use peerup_api::PluginLogLine;
use peerup_engine::{LogLevel, LogLine};
use peerup_model::PluginName;

use crate::log_ring::{Reading, Ring};

/// The lines of all plugins. One ring for each name that has written something, and names come from the config.
#[derive(Debug, Default)]
pub(crate) struct PluginLogs {
    rings: Mutex<BTreeMap<PluginName, Ring>>,
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
        self.lock().entry(plugin.clone()).or_default().read(lines)
    }

    /// Forgets a plugin that is gone.
    pub(crate) fn forget(&self, plugin: &PluginName) {
        self.lock().remove(plugin);
    }

    fn push(&self, plugin: &PluginName, line: PluginLogLine) {
        self.lock().entry(plugin.clone()).or_default().push(line);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PluginName, Ring>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_ring::{KEPT_BYTES, KEPT_LINES};

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
