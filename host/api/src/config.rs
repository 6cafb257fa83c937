//! The objects of `/v1/config/...`, and how the config stands in `/v1/status`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the config stands: `config` of `GET /v1/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigState {
    /// Path of the config file.
    pub file: String,
    /// `settled`, `pending` (it waits to be confirmed), `reverting` (the one from before is in force and the disk does
    /// not take it), or `fallback` (the file does not do; the last good one is in force, or where nothing runs the next
    /// start tries it).
    pub state: String,
    /// What is wrong, in `reverting` and `fallback`; in `pending` where nothing runs and the file does not load.
    pub reason: Option<String>,
    /// What waits to be confirmed, in `pending`.
    pub pending: Option<PendingConfig>,
    /// The last thing that happened to the config since the start.
    pub last: Option<ConfigEvent>,
    /// Keys that say something else than what the daemon started with, and are in force after the next start.
    pub needs_restart: Vec<String>,
}

/// A config that waits to be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingConfig {
    /// When it reverts, in RFC 3339.
    pub deadline: String,
    /// Seconds until then.
    pub seconds_left: u64,
    /// When it was applied, in RFC 3339.
    pub applied: String,
    /// Who applied it.
    pub by: String,
    /// What confirms it without anybody's word; empty for nothing.
    pub checks: Vec<ConfigCheck>,
}

/// One check of a config that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigCheck {
    /// `ping:PEER`, `connect:PEER/SERVICE` or `relay`.
    pub check: String,
    /// Whether it was met.
    pub met: bool,
    /// Why not, at the last try.
    pub reason: Option<String>,
}

/// Something that happened to the config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigEvent {
    /// `applied`, `confirmed`, `reverted`, `not_applied`, `not_confirmed`, `fallback`.
    pub outcome: String,
    /// When, in RFC 3339.
    pub at: String,
    /// Why, where there is something to say.
    pub reason: Option<String>,
}

/// `GET /v1/config/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    /// How it stands.
    #[serde(flatten)]
    pub config: ConfigState,
    /// The last good ones, newest first.
    pub last_good: Vec<LastGood>,
}

/// A config that ran, and is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastGood {
    /// What `config rollback` calls it: 1 is the newest.
    pub number: usize,
    /// When it was kept, in RFC 3339.
    pub kept: String,
    /// Where it is.
    pub file: String,
    /// Whether the config file says the same now.
    pub is_current: bool,
}

/// `POST /v1/config/plan`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConfigPlanRequest {
    /// The text of the config to compare with the one in force.
    pub config: String,
}

/// `POST /v1/config/apply`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConfigApplyRequest {
    /// The text of the config.
    pub config: String,
    /// After how many milliseconds it reverts unless somebody confirms it; none applies it for good.
    #[serde(default)]
    pub confirm_timeout_ms: Option<u64>,
    /// What confirms it without anybody's word, once all of it is met.
    #[serde(default)]
    pub confirm_if: Vec<String>,
    /// Who asks, in words.
    #[serde(default)]
    pub by: Option<String>,
}

/// `POST /v1/config/rollback`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConfigRollbackRequest {
    /// Which of the last good ones; none is what waits to be confirmed, else the newest that says something else.
    #[serde(default)]
    pub generation: Option<usize>,
}

/// What `apply`, `confirm` and `rollback` came to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConfigOutcome {
    /// `applied`, `pending`, `unchanged`, `confirmed`, `reverted` or `rolled back`.
    pub status: String,
    /// How the config stands now.
    pub config: ConfigState,
}
