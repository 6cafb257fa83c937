//! Log lines under the plugin's name.

use std::fmt::Write;

use crate::{
    bindings::peerup::plugin::log,
    guest_log::{LogLevel, MAX_LINE_BYTES},
    state::InstanceState,
};

impl log::Host for InstanceState {
    fn emit(
        &mut self,
        level: log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Error => LogLevel::Error,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Info => LogLevel::Info,
            log::Level::Debug => LogLevel::Debug,
            log::Level::Trace => LogLevel::Trace,
        };
        let mut line = message;
        for (key, value) in fields {
            if line.len() > MAX_LINE_BYTES {
                break;
            }
            write!(line, " {key}={value:?}")?;
        }
        self.told("log.emit", || line.clone());
        self.plugin.log.write(level, &line);
        Ok(())
    }
}
