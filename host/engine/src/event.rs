//! What is told while it happens: by a running command to its caller, by the host of its peers.

use std::time::SystemTime;

use crate::duplex::{PathRef, PeerRef};

/// One fact that a running command tells its caller, for a person and for a program.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandEvent {
    /// One line, or a few.
    pub text: String,
    /// The same as a JSON object.
    pub json: serde_json::Value,
}

/// Something that happened to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEvent {
    /// What.
    pub kind: PeerEventKind,
    /// Who it is about; nobody where events were missed.
    pub peer: Option<PeerRef>,
    /// The way that new streams take from now on, where there is one.
    pub path: Option<PathRef>,
    /// When.
    pub at: SystemTime,
}

/// What can happen to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerEventKind {
    /// The first connection to it was made.
    Connected,
    /// The last connection to it ended.
    Disconnected,
    /// New streams to it take another way.
    PathChanged,
    /// The host itself missed events: whoever has to know how things stand asks for it.
    Missed,
}
