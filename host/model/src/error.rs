//! What a failure is called in the API and which exit code it has on the command line.

use serde::{Deserialize, Serialize};

/// The kind of a failure: stable in the API's `error.code` and in exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// Anything that has no code of its own. HTTP 500, exit 1.
    Failed,
    /// The request makes no sense as written. HTTP 400, exit 2.
    Invalid,
    /// No daemon answers on the socket. Exit 3; never sent by a daemon.
    NoDaemon,
    /// The cookie is wrong or missing. HTTP 401, exit 4.
    Unauthorized,
    /// A gate, a service list or a grant says no. HTTP 403, exit 4.
    Denied,
    /// No such peer, name, service or plugin. HTTP 404, exit 1.
    NotFound,
    /// It exists already, or somebody else holds it (a port, a name, a socket). HTTP 409, exit 1.
    Conflict,
    /// The peer, its service or a relay cannot be reached. HTTP 502, exit 5.
    Unreachable,
    /// The config does not hold. HTTP 422, exit 6.
    ConfigInvalid,
    /// A check that was asked for was not met. HTTP 422, exit 7.
    CheckFailed,
    /// It took longer than allowed. HTTP 504, exit 124.
    TimedOut,
    /// The person or the caller ended it. Exit 130.
    Interrupted,
}

impl ErrorCode {
    /// Every kind that a daemon can answer with.
    pub const ANSWERED: [Self; 11] = [
        Self::Failed,
        Self::Invalid,
        Self::Unauthorized,
        Self::Denied,
        Self::NotFound,
        Self::Conflict,
        Self::Unreachable,
        Self::ConfigInvalid,
        Self::CheckFailed,
        Self::TimedOut,
        Self::Interrupted,
    ];

    /// Returns the exit code that CLI.md promises for this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed | Self::NotFound | Self::Conflict => 1,
            Self::Invalid => 2,
            Self::NoDaemon => 3,
            Self::Unauthorized | Self::Denied => 4,
            Self::Unreachable => 5,
            Self::ConfigInvalid => 6,
            Self::CheckFailed => 7,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
        }
    }

    /// Returns the HTTP status that the daemon API answers with.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthorized => 401,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::ConfigInvalid | Self::CheckFailed => 422,
            Self::Unreachable => 502,
            Self::TimedOut => 504,
            Self::Failed | Self::NoDaemon | Self::Interrupted => 500,
        }
    }
}

/// A failure as people and programs meet it: what failed on which object, and the next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its kind.
    pub code: ErrorCode,
    /// What failed, on which object.
    pub message: String,
    /// What to do now, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// Creates a failure without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds the next step.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
