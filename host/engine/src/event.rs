//! What a running command tells its caller.

/// One fact that a running command tells its caller, for a person and for a program.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandEvent {
    /// One line, or a few.
    pub text: String,
    /// The same as a JSON object.
    pub json: serde_json::Value,
}
