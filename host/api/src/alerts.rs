//! The objects of `/v1/alerts`, and the message that targets are sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a target is sent: the body of a webhook, and the standard input of a command. Later versions only add fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertMessage {
    /// The version of this form: 1.
    pub version: u32,
    /// The rule's name in the config.
    pub rule: String,
    /// Its `when`.
    pub when: String,
    /// `firing`, `resolved`, or `test`.
    pub state: String,
    /// Whether it was told before, and lasts.
    pub repeated: bool,
    /// Since when the condition holds, RFC 3339.
    pub since: String,
    /// When this message was made, RFC 3339.
    pub at: String,
    /// Which node says it.
    pub node: AlertNode,
    /// What it is about: a peer, a plugin, a service.
    pub subject: String,
    /// What is the matter, in a sentence.
    pub message: String,
    /// What to do.
    pub next_step: String,
}

/// The node that sends a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertNode {
    /// What it calls itself, if the config says so.
    pub name: Option<String>,
    /// Its peer id.
    pub peer_id: String,
}

/// `GET /v1/alerts`: how a rule stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertInfo {
    /// The rule's name in the config.
    pub rule: String,
    /// Its `when`.
    pub when: String,
    /// `inactive`, `pending` (it holds, and not for long enough yet), or `firing`.
    pub state: String,
    /// Since when the condition holds, RFC 3339.
    pub since: Option<String>,
    /// When its targets were last told something, RFC 3339.
    pub told: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// What the last look showed.
    pub message: Option<String>,
    /// What to do; none while nothing is the matter.
    pub next_step: Option<String>,
    /// Who is told.
    pub targets: Vec<AlertTargetInfo>,
}

/// Who is told, and what came of that since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertTargetInfo {
    /// Its name in the config.
    pub target: String,
    /// The command, or the server of the webhook. The rest of its address may be a secret.
    pub goes_to: String,
    /// Messages that got there.
    pub delivered: u64,
    /// Messages that were given up, or found no room.
    pub failed: u64,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
}

/// What a test message came to at one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertTestResult {
    /// The target's name in the config.
    pub target: String,
    /// The command, or the server of the webhook.
    pub goes_to: String,
    /// Whether it got there.
    pub delivered: bool,
    /// What came back: a status of HTTP, how a command ended, or why it failed.
    pub answer: String,
}
