//! How a line of the log looks: on a terminal or in a file with the time, in the journal with its priority instead.

use std::{fmt, os::unix::fs::MetadataExt};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

use crate::flood::Flood;

/// Returns whether standard error leads straight into systemd's journal, which writes the time itself.
pub(crate) fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let stat = std::fs::metadata("/proc/self/fd/2");
    match (named.split_once(':'), stat) {
        (Some((device, inode)), Ok(stat)) => {
            device.parse() == Ok(stat.dev()) && inode.parse() == Ok(stat.ino())
        }
        _ => false,
    }
}

/// The number that `syslog(3)` gives a level, for the journal's `<N>` in front of a line.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Writes the line, with the priority in front where the journal reads it, and what a flood cost behind.
#[derive(Debug)]
pub(crate) enum Line {
    /// With the time.
    Timed(Format<Full>, Flood),
    /// For the journal.
    Journal(Format<Full, ()>, Flood),
}

impl Line {
    pub(crate) fn new(journal: bool, color: bool, flood: Flood) -> Self {
        let format = Format::default().with_target(false).with_ansi(color && !journal);
        match journal {
            true => Self::Journal(format.without_time().with_level(false), flood),
            false => Self::Timed(format, flood),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (Self::Timed(_, flood) | Self::Journal(_, flood)) = self;
        let left_out = flood.take_left_out(event.metadata());
        let mut text = String::new();
        let line = Writer::new(&mut text);
        match self {
            Self::Timed(format, _) => format.format_event(context, line, event)?,
            Self::Journal(format, _) => {
                write!(writer, "<{}>", priority(*event.metadata().level()))?;
                format.format_event(context, line, event)?;
            }
        }
        // One event is one line, whatever a peer put into a field.
        let text = text.trim_end_matches('\n').replace(['\n', '\r'], " ");
        match left_out {
            0 => writeln!(writer, "{text}"),
            left_out => writeln!(writer, "{text} ({left_out} more like it were left out)"),
        }
    }
}
