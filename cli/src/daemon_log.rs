//! Passes the log of a daemon's process on to where its API reads it.

use std::fmt::Write as _;

use peerup_daemon::DaemonLog;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// Writes each event into the ring as one line of text.
#[derive(Debug)]
pub(crate) struct DaemonLogLayer(DaemonLog);

impl DaemonLogLayer {
    pub(crate) fn new(log: DaemonLog) -> Self {
        Self(log)
    }
}

impl<S: Subscriber> Layer<S> for DaemonLogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        self.0.push(&level, event.metadata().target(), &line.text());
    }
}

/// The message with the fields behind it.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn text(&self) -> String {
        format!("{}{}", self.message, self.fields).replace(['\n', '\r'], " ")
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
