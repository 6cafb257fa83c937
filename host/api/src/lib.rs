//! Types of the daemon API and the client that speaks it over the daemon's Unix socket.
//!
//! `GET /v1/...` and friends answer `{"data": ...}` or `{"error": {"code", "message", "hint"}}`; long
//! answers are NDJSON, one object a line. The shapes here are the ones that `--json` prints.

mod alerts;
mod client;
mod config;
mod endpoints;
mod events;
mod openapi;
mod socket;
mod time;
mod types;

pub use alerts::{AlertInfo, AlertMessage, AlertNode, AlertTargetInfo, AlertTestResult};
pub use client::{Client, ClientError, EventLines, InProcess};
pub use config::{
    ConfigApplyRequest, ConfigCheck, ConfigEvent, ConfigOutcome, ConfigPlanRequest, ConfigRollbackRequest,
    ConfigState, ConfigStatus, LastGood, PendingConfig,
};
pub use endpoints::{COMMON_ERRORS, ENDPOINTS, Endpoint, Produces, QueryParameter, SchemaOf, Verb};
pub use events::{Event, EventKind};
pub use openapi::{MAX_BODY, openapi};
pub use socket::{COOKIE_FILE, SOCKET_FILE, connect as connect_socket, reachable_path};
pub use time::whole_seconds;
pub use types::{
    Answer, AuthEntry, AuthRequest, BudgetInfo, ConnectInfo, ConnectRequest, ConnectionInfo, DoneInfo,
    ErrorBody, ExposeRequest, InviteInfo, InviteOutcome, InviteRequest, JoinOutcome, JoinRequest, LimitInfo,
    NatInfo, PathInfo, PeerInfo, PingRequest, PluginCall, PluginCommandInfo, PluginFlagInfo, PluginInfo,
    PluginLimitsInfo, PluginLogLine, PluginTrialEnd, PluginTrialInfo, ProxyRequest, ProxyUpdate, RelayInfo,
    RelayRequest, ResolveAnswer, ResolveRequest, ServiceInfo, ServiceUpdate, StatusInfo, TracerouteRequest,
    WhoInfo, WhyAdvice, WhyAttempt, WhyCandidate, WhyInfo, WhyPeer, WhySide,
};
