//! What the machine reports, in words for people and in fields for the audit log.

use peerup_lifecycle::Event;

/// How loud it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// An event in words, for the log, and in fields, for the audit log.
pub(super) struct Told {
    pub(super) level: Level,
    pub(super) word: &'static str,
    pub(super) text: String,
    pub(super) detail: serde_json::Value,
}

impl Told {
    fn new(level: Level, word: &'static str, text: impl Into<String>, detail: serde_json::Value) -> Self {
        Self {
            level,
            word,
            text: text.into(),
            detail,
        }
    }

    /// Puts an event into words.
    pub(super) fn of(event: &Event) -> Self {
        use serde_json::{Value::Null, json};
        match event {
            Event::Enabled => Self::new(Level::Info, "enabled", "enabled", Null),
            Event::Disabled => Self::new(Level::Info, "disabled", "disabled: no new streams", Null),
            Event::Removed => Self::new(Level::Info, "removed", "removed", Null),
            Event::Stopped => Self::new(Level::Info, "stopped", "stopped", Null),
            Event::Activated { generation, replaced } => Self::new(
                Level::Info,
                "activated",
                match replaced {
                    Some(_) => "a new generation is active, the one before drains",
                    None => "active",
                },
                json!({ "generation": generation.to_string(), "replaced": replaced.map(|one| one.to_string()) }),
            ),
            Event::SwapFailed { generation, reason } => Self::new(
                Level::Error,
                "swap-failed",
                format!("the new generation does not run, the one before goes on: {reason}"),
                json!({ "generation": generation.to_string(), "reason": reason }),
            ),
            Event::Failed { reason, retry_in } => Self::new(
                Level::Error,
                "failed",
                format!("the plugin does not run, the others do: {reason}"),
                json!({ "reason": reason, "retry_s": retry_in.map(|time| time.as_secs()) }),
            ),
            Event::Trapped { generation, reason } => Self::new(
                Level::Debug,
                "trap",
                format!("an instance trapped: {reason}"),
                json!({ "generation": generation.to_string(), "reason": reason }),
            ),
            Event::DrainOver { generation } => Self::new(
                Level::Warn,
                "drain-over",
                "what still ran at the end of the drain time was cancelled",
                json!({ "generation": generation.to_string() }),
            ),
            service => Self::of_service(service),
        }
    }

    fn of_service(event: &Event) -> Self {
        use serde_json::{Value::Null, json};
        match event {
            Event::ServiceFailed {
                reason, restart_in, ..
            } => Self::new(
                Level::Warn,
                "service-failed",
                format!("the service failed and is started again in {restart_in:.1?}: {reason}"),
                json!({ "reason": reason, "restart_s": restart_in.as_secs_f64() }),
            ),
            Event::ServiceRestarted { .. } => {
                Self::new(Level::Info, "restarted", "the service was started again", Null)
            }
            Event::ServiceReturned { .. } => Self::new(
                Level::Info,
                "service-returned",
                "the service has nothing more to do",
                Null,
            ),
            Event::CircuitOpened { reason, retry_in } => Self::new(
                Level::Error,
                "circuit-opened",
                format!("the service failed too often and the plugin is off for {retry_in:?}: {reason}"),
                json!({ "reason": reason, "retry_s": retry_in.as_secs() }),
            ),
            Event::CircuitTrial => Self::new(
                Level::Info,
                "circuit-trial",
                "the plugin is tried once more",
                Null,
            ),
            Event::CircuitClosed => {
                Self::new(Level::Info, "circuit-closed", "the plugin runs well again", Null)
            }
            other => Self::new(Level::Debug, "other", format!("{other:?}"), Null),
        }
    }
}
