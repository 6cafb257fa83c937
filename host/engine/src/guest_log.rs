//! Lines that a plugin writes: through the contract's `log`, and to its standard output and error.
//!
//! Each line is bounded in length and each plugin in lines a second; the last lines are kept for
//! `plugin logs`.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    task::{Context, Poll},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use peerup_model::PluginName;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::{budget::Bucket, stats::Counters};

/// The longest line, in bytes; the rest is cut off.
pub(crate) const MAX_LINE_BYTES: usize = 4096;
/// Seconds' worth of lines that a plugin may write at once.
const BURST_SECONDS: f64 = 5.0;
/// Lines that are kept.
const KEPT_LINES: usize = 200;

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Someone should look.
    Warn,
    /// A change of state.
    Info,
    /// For who looks for a fault.
    Debug,
    /// For each packet.
    Trace,
}

/// One line that a plugin wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: SystemTime,
    /// How grave it is.
    pub level: LogLevel,
    /// The text, without control characters, at most 4 KiB.
    pub text: String,
}

/// What takes each line that was written. Must not block.
pub(crate) type Listener = Box<dyn Fn(&LogLine) + Send + Sync>;

/// The log of one plugin.
pub(crate) struct GuestLog {
    plugin: PluginName,
    counters: Arc<Counters>,
    /// Who keeps the lines for longer than the plugin is loaded.
    listener: Option<Listener>,
    state: Mutex<State>,
}

struct State {
    kept: VecDeque<LogLine>,
    allowance: Bucket,
    dropped: u64,
}

impl GuestLog {
    /// `lines`: how many it may write each second; five times as many at once.
    pub(crate) fn new(
        plugin: PluginName,
        lines: u32,
        counters: Arc<Counters>,
        listener: Option<Listener>,
    ) -> Arc<Self> {
        let rate = f64::from(lines);
        Arc::new(Self {
            plugin,
            counters,
            listener,
            state: Mutex::new(State {
                kept: VecDeque::new(),
                allowance: Bucket::new(rate, (rate * BURST_SECONDS).max(1.0)),
                dropped: 0,
            }),
        })
    }

    /// Writes a line, unless the plugin has written too many.
    pub(crate) fn write(&self, level: LogLevel, text: &str) {
        let Some(dropped) = self.lock().admit(crate::clock::now()) else {
            if self.counters.log_lines_dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                self.counters.auditor.limit("log_lines");
            }
            return;
        };
        if dropped > 0 {
            tracing::warn!(target: "peerup::plugin", plugin = %self.plugin, dropped, "lines were left out: too many");
        }
        let text = tame(text);
        let plugin = &self.plugin;
        match level {
            LogLevel::Error => tracing::error!(target: "peerup::plugin", %plugin, "{text}"),
            LogLevel::Warn => tracing::warn!(target: "peerup::plugin", %plugin, "{text}"),
            LogLevel::Info => tracing::info!(target: "peerup::plugin", %plugin, "{text}"),
            LogLevel::Debug => tracing::debug!(target: "peerup::plugin", %plugin, "{text}"),
            LogLevel::Trace => tracing::trace!(target: "peerup::plugin", %plugin, "{text}"),
        }
        let line = LogLine {
            at: SystemTime::now(),
            level,
            text,
        };
        if let Some(listener) = &self.listener {
            listener(&line);
        }
        let mut state = self.lock();
        if state.kept.len() >= KEPT_LINES {
            state.kept.pop_front();
        }
        state.kept.push_back(line);
    }

    pub(crate) fn lines(&self) -> Vec<LogLine> {
        self.lock().kept.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Answers how many lines were left out before this one, or nothing where this one is left out too.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if !self.allowance.try_take(now, 1.0) {
            self.dropped += 1;
            return None;
        }
        Some(std::mem::take(&mut self.dropped))
    }
}

/// Cuts a text to the longest line and takes out what could move a terminal's cursor or forge a line.
pub(crate) fn tame(text: &str) -> String {
    let mut end = text.len().min(MAX_LINE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = text.get(..end).unwrap_or_default();
    let cut = end < text.len();
    let mut tamed: String = kept
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    if cut {
        tamed.push('…');
    }
    tamed
}

/// A plugin's standard output or error, which become log lines.
#[derive(Clone)]
pub(crate) struct LineWriter {
    log: Arc<GuestLog>,
    level: LogLevel,
    partial: Arc<Mutex<Vec<u8>>>,
}

impl LineWriter {
    pub(crate) fn new(log: Arc<GuestLog>, level: LogLevel) -> Self {
        Self {
            log,
            level,
            partial: Arc::default(),
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE_BYTES.saturating_sub(partial.len());
            partial.extend_from_slice(piece.get(..piece.len().min(room)).unwrap_or_default());
            if piece.ends_with(b"\n") {
                self.emit(&partial);
                partial.clear();
            }
        }
    }

    fn emit(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if !text.is_empty() {
            self.log.write(self.level, text);
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if Arc::strong_count(&self.partial) == 1 {
            let rest = std::mem::take(&mut *self.partial.lock().unwrap_or_else(PoisonError::into_inner));
            self.emit(&rest);
        }
    }
}

impl IsTerminal for LineWriter {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineWriter {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LineWriter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Arc<GuestLog> {
        let plugin: PluginName = "chess".parse().unwrap();
        GuestLog::new(plugin.clone(), 20, Counters::plain(plugin), None)
    }

    #[test]
    fn a_flood_is_cut_to_its_burst() {
        let log = log();
        for _ in 0..10_000 {
            log.write(LogLevel::Info, "again");
        }
        let kept = log.lines().len();
        assert!((100..=120).contains(&kept), "{kept}");
    }

    #[test]
    fn a_line_is_bounded_and_holds_no_control_characters() {
        let log = log();
        log.write(LogLevel::Info, &"ä".repeat(5000));
        log.write(LogLevel::Info, "one\x1b[2J\ntwo");
        let lines = log.lines();
        assert!(lines[0].text.len() <= MAX_LINE_BYTES + '…'.len_utf8());
        assert_eq!(lines[1].text, "one [2J two");
    }

    #[test]
    fn standard_output_becomes_lines_and_keeps_an_unfinished_one() {
        let log = log();
        let writer = LineWriter::new(log.clone(), LogLevel::Warn);
        writer.push(b"one\ntw");
        writer.push(b"o\n\nrest");
        drop(writer);
        let texts: Vec<_> = log.lines().into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["one", "two", "rest"]);
    }
}
