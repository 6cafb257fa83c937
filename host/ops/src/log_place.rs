//! Where lines of the log go, and how they look there: standard error or a file, changed while the process runs.

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    registry::LookupSpan,
};

use crate::{
    flood::Flood,
    journal::{Line, is_journal},
    log_file::{LogQueue, QueuedLine},
};

/// The place. A clone is the same one.
#[derive(Debug, Clone)]
pub(crate) struct LogPlace(Arc<ArcSwapOption<LogQueue>>);

impl LogPlace {
    /// A place that leads to this file, or to standard error.
    pub(crate) fn new(queue: Option<LogQueue>) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(queue)))
    }

    /// Leads to this file from now on, or to standard error.
    pub(crate) fn lead_to(&self, queue: Option<LogQueue>) {
        self.0.store(queue.map(Arc::new));
    }

    fn is_file(&self) -> bool {
        self.0.load().is_some()
    }
}

impl<'a> MakeWriter<'a> for LogPlace {
    type Writer = PlaceWriter;

    fn make_writer(&'a self) -> PlaceWriter {
        match &*self.0.load() {
            Some(queue) => PlaceWriter::File(queue.line()),
            None => PlaceWriter::Stderr(io::stderr()),
        }
    }
}

/// Takes one line for the place.
#[derive(Debug)]
pub(crate) enum PlaceWriter {
    /// For standard error.
    Stderr(io::Stderr),
    /// For the file.
    File(QueuedLine),
}

impl Write for PlaceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr(stderr) => stderr.write(bytes),
            Self::File(line) => line.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stderr(stderr) => stderr.flush(),
            Self::File(line) => line.flush(),
        }
    }
}

/// How a line looks in the place that there is.
#[derive(Debug)]
pub(crate) struct Lines {
    place: LogPlace,
    stderr: Line,
    file: Line,
}

impl Lines {
    pub(crate) fn new(place: LogPlace, color: bool, flood: &Flood) -> Self {
        Self {
            place,
            stderr: Line::new(is_journal(), color, flood.clone()),
            file: Line::new(false, false, flood.clone()),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = if self.place.is_file() {
            &self.file
        } else {
            &self.stderr
        };
        line.format_event(context, writer, event)
    }
}
