//! What the guard tells.

use std::fmt;

/// Something that happened, for the log, the status and whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The config of the file is in force.
    Started,
    /// A last good config is in force, because that of the file does not do.
    FellBack(String),
    /// No config does; nothing runs.
    CannotStart(String),
    /// A config is in force; it waits to be confirmed where that was asked for.
    Applied,
    /// A config was not applied, and all is as before.
    NotApplied(String),
    /// What waited is there to stay.
    Confirmed(Confirmer),
    /// What waits could not be confirmed, and waits on.
    NotConfirmed(String),
    /// The config from before is back.
    Reverted(RevertReason),
    /// The config from before is in force, and the disk does not take it; it is tried again.
    RevertStuck(String),
    /// The config from before was not taken over by what runs, as a whole.
    RevertIncomplete(String),
    /// What runs could not be added to the last good ones.
    NotArchived(String),
}

/// Who confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmer {
    /// A person, or a script, with a command.
    Person,
    /// Every check was met.
    Checks,
}

/// Why a config went back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevertReason {
    /// Nobody confirmed it in time.
    Deadline,
    /// These checks were not met in time.
    Checks(Vec<String>),
    /// Nothing starts with it.
    CannotStart(String),
    /// What runs did not take it.
    NotEnforced(String),
    /// The disk did not take it.
    NotWritten(String),
    /// Somebody asked for it.
    Asked,
}

impl fmt::Display for RevertReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("nobody confirmed it in time"),
            Self::Checks(unmet) => write!(f, "not met in time: {}", unmet.join("; ")),
            Self::CannotStart(why) => write!(f, "nothing starts with it: {why}"),
            Self::NotEnforced(why) => write!(f, "it could not be put in force: {why}"),
            Self::NotWritten(why) => write!(f, "it could not be written: {why}"),
            Self::Asked => f.write_str("a rollback was asked for"),
        }
    }
}
