//! Log lines under the plugin's name. The host bounds their length and rate.

use crate::bindings::peerup::plugin::log as raw;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Broken.
    Error,
    /// Someone should look.
    Warn,
    /// A change of state.
    Info,
    /// A deviation.
    Debug,
    /// Anything, down to single packets.
    Trace,
}

/// Writes a line with fields.
///
/// ```no_run
/// use peerup_plugin_sdk::log::{self, Level};
///
/// log::emit(Level::Info, "file sent", &[("file", "a.txt"), ("bytes", "512")]);
/// ```
pub fn emit(level: Level, message: &str, fields: &[(&str, &str)]) {
    let level = match level {
        Level::Error => raw::Level::Error,
        Level::Warn => raw::Level::Warn,
        Level::Info => raw::Level::Info,
        Level::Debug => raw::Level::Debug,
        Level::Trace => raw::Level::Trace,
    };
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    raw::emit(level, message, &fields);
}

macro_rules! levels {
    ($($function:ident $level:ident $when:literal),*) => {
        $(
            #[doc = concat!("Writes a line without fields: ", $when, ".")]
            ///
            /// ```no_run
            #[doc = concat!("peerup_plugin_sdk::log::", stringify!($function), "(\"the printer is gone\");")]
            /// ```
            pub fn $function(message: impl AsRef<str>) {
                emit(Level::$level, message.as_ref(), &[]);
            }
        )*
    };
}
levels!(
    error Error "something is broken",
    warn Warn "someone should look",
    info Info "a change of state",
    debug Debug "a deviation",
    trace Trace "anything"
);
