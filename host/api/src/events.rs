//! The lines of `GET /v1/events`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The first connection to a peer stands.
    PeerConnected,
    /// The last connection to a peer ended.
    PeerDisconnected,
    /// New streams to a peer take another path.
    PathChanged,
    /// A relay holds a reservation for this node.
    RelayReserved,
    /// A reservation was lost; it is being renewed.
    RelayLost,
    /// The network of this machine changed.
    NetworkChanged,
    /// The gate let a connection through.
    AuthAllowed,
    /// The gate refused a peer that is in no list, or whose entry has expired.
    AuthDenied,
    /// The gate refused a connection because there were too many.
    AuthRateLimited,
    /// A peer lost its right, and its connections are closed.
    AuthExpelled,
    /// Something happened to a plugin: `detail.event` is the word of `audit.jsonl`.
    Plugin,
    /// A changed config is in force.
    ConfigChanged,
    /// A rule of the alerts told its targets something.
    Alert,
    /// Events came faster than they were read, or than they are told; `detail.events` says how many are left out.
    Missed,
}

impl EventKind {
    /// Returns the word that stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PeerConnected => "peer-connected",
            Self::PeerDisconnected => "peer-disconnected",
            Self::PathChanged => "path-changed",
            Self::RelayReserved => "relay-reserved",
            Self::RelayLost => "relay-lost",
            Self::NetworkChanged => "network-changed",
            Self::AuthAllowed => "auth-allowed",
            Self::AuthDenied => "auth-denied",
            Self::AuthRateLimited => "auth-rate-limited",
            Self::AuthExpelled => "auth-expelled",
            Self::Plugin => "plugin",
            Self::ConfigChanged => "config-changed",
            Self::Alert => "alert",
            Self::Missed => "missed",
        }
    }
}

/// One line of `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When, RFC 3339.
    pub time: String,
    /// What happened.
    pub event: EventKind,
    /// Which peer or relay, by its id.
    pub peer_id: Option<String>,
    /// Its name in the config, if it has one.
    pub name: Option<String>,
    /// Which plugin.
    pub plugin: Option<String>,
    /// The rest, by event: `path` {`path`, `transport`, `via`}, `reason`, `address`, `event`; of `alert` the
    /// fields of its message.
    pub detail: Value,
}

impl Event {
    /// Returns the name of the peer it is about, else its id.
    pub fn name_or_id(&self) -> &Option<String> {
        match self.name {
            Some(_) => &self.name,
            None => &self.peer_id,
        }
    }
}
