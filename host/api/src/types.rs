//! The objects of the API, in the order of its endpoints.

use peerup_model::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigCheck, ConfigState};

/// A successful answer: `{"data": ...}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Answer<T> {
    /// What was asked for.
    pub data: T,
}

/// A failed answer: `{"error": {"code", "message", "hint"}}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What failed and what to do.
    #[schemars(with = "crate::openapi::ErrorObject")]
    pub error: Failure,
}

/// The answer of what is simply done.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DoneInfo {
    /// What was done, in a word or two.
    pub status: String,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StatusInfo {
    /// The node's peer id in base58.
    pub peer_id: String,
    /// The node's own name, if the config gives one.
    pub name: Option<String>,
    /// Version of the daemon.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Asynchronous tasks that are alive in the daemon: with nothing to do, a few for each connection.
    pub tasks: usize,
    /// Peers with at least one connection that answered lately, relays included.
    pub connected_peers: usize,
    /// Addresses the node listens on.
    pub listen_addresses: Vec<String>,
    /// Addresses under which relays make the node reachable.
    pub relay_addresses: Vec<String>,
    /// Enabled services.
    pub services_count: usize,
    /// What is known of the NAT; `unknown` until it is determined.
    pub nat: String,
    /// The same for programs.
    pub nat_details: NatInfo,
    /// The configured relays and their reservations.
    pub relays: Vec<RelayInfo>,
    /// The config file, and how it stands.
    pub config: ConfigState,
    /// What stands in the way of being fully up, a sentence each; empty when all is well.
    pub problems: Vec<String>,
}

/// A configured relay.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RelayInfo {
    /// Its peer id.
    pub peer_id: String,
    /// Its name in the config, if it has one.
    pub name: Option<String>,
    /// Its addresses as configured.
    pub addresses: Vec<String>,
    /// Whether it holds a reservation for this node now.
    pub reserved: bool,
    /// The state in words: `reserved`, `connecting`, `waiting to retry`, ...
    pub state: String,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
    /// Whether the node keeps a reservation on it; the others are in reserve.
    pub held: bool,
    /// Smoothed round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// What it allows one circuit.
    pub limit: Option<LimitInfo>,
}

/// What a relay allows one circuit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct LimitInfo {
    /// Bytes, both directions together; none for no limit.
    pub bytes: Option<u64>,
    /// Seconds; none for no limit.
    pub duration_s: Option<u64>,
}

/// What is left of a circuit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct BudgetInfo {
    /// Bytes, both directions together; none for no limit.
    pub bytes_left: Option<u64>,
    /// Seconds; none for no limit.
    pub seconds_left: Option<u64>,
}

/// What is known of a NAT.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NatInfo {
    /// `none`, `endpoint-independent`, `symmetric` or `unknown`.
    pub kind: String,
    /// Whether it keeps the port; none if that is not known.
    pub port_preserving: Option<bool>,
    /// Whether the provider translates once more; none if that is not known.
    pub cgnat: Option<bool>,
    /// `ok`, `blocked` or `unknown`.
    pub udp: String,
}

impl Default for NatInfo {
    fn default() -> Self {
        Self {
            kind: "unknown".to_owned(),
            port_preserving: None,
            cgnat: None,
            udp: "unknown".to_owned(),
        }
    }
}

/// `GET /v1/why/{peer}`: why the path to a peer is what it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhyInfo {
    /// Which peer.
    pub peer: WhyPeer,
    /// The path new streams would take: `DIRECT` or `RELAYED`; none without a connection that answers.
    pub path: Option<String>,
    /// The relay of a relayed path.
    pub via: Option<String>,
    /// The transport of a direct path.
    pub transport: Option<String>,
    /// Why, in one sentence.
    pub reason: String,
    /// The one change most likely to help.
    pub advice: Option<WhyAdvice>,
    /// The path policy for this peer.
    pub policy: String,
    /// This side.
    pub local: WhySide,
    /// The other side, as it told.
    pub remote: WhySide,
    /// Live connections, the one that a new stream takes first.
    pub connections: Vec<ConnectionInfo>,
    /// What was tried, the latest last.
    pub attempts: Vec<WhyAttempt>,
    /// The configured relays.
    pub relays: Vec<RelayInfo>,
    /// Seconds until the next attempt to get a direct path; none while none is due.
    pub next_try_s: Option<f64>,
}

/// Which peer a report is about.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhyPeer {
    /// Its id.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
}

/// One thing to do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhyAdvice {
    /// What, and on which machine.
    pub text: String,
    /// The command that does it, if one does.
    pub command: Option<String>,
}

/// One side of a path.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhySide {
    /// The NAT in front of it; none if it did not tell.
    pub nat: Option<NatInfo>,
    /// Where it can or may be reached.
    pub candidates: Vec<WhyCandidate>,
    /// How old the other side's word is, in seconds; none for this side, or where there is none.
    pub age_s: Option<u64>,
}

/// One address.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhyCandidate {
    /// The multiaddr.
    pub address: String,
    /// Who knows it.
    pub source: String,
    /// Seconds since it was last seen; none where that means nothing.
    pub age_s: Option<u64>,
}

/// One thing that was tried.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhyAttempt {
    /// `dial`, `punch` or `circuit`.
    pub kind: String,
    /// The address or relay.
    pub target: String,
    /// What it ended in.
    pub outcome: String,
    /// Seconds ago.
    pub ago_s: u64,
}

/// `GET /v1/services`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ServiceInfo {
    /// Its name.
    pub name: String,
    /// The protocol peers open.
    pub protocol: String,
    /// Where it is served from, `host:port`.
    pub local_address: String,
    /// Whether peers may open it now.
    pub enabled: bool,
    /// The plugin that serves it.
    pub plugin: String,
}

/// `POST /v1/expose`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExposeRequest {
    /// A service name.
    pub name: String,
    /// `host:port` as this machine reaches it.
    pub local_address: String,
}

/// `PUT /v1/services/{name}`: switches a service on or off.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceUpdate {
    /// Whether peers may open it.
    pub enabled: bool,
}

/// `GET /v1/peers`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PeerInfo {
    /// Peer id in base58.
    pub id: String,
    /// Its name in the config, if it has one.
    pub name: Option<String>,
    /// `member`, `infra` (a relay) or `pairing`.
    pub role: String,
    /// Remote addresses of its connections.
    pub addresses: Vec<String>,
    /// What it says it runs.
    pub agent_version: Option<String>,
    /// The path new streams would take: `DIRECT` or `RELAYED`; none without a connection.
    pub path: Option<String>,
    /// The transport of a direct path.
    pub transport: Option<String>,
    /// The relay of a relayed path.
    pub via: Option<String>,
    /// Last measured round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Seconds since it last answered; of one that is not connected any more, since its last connection ended.
    pub last_seen_s: Option<u64>,
    /// Open streams.
    pub streams: usize,
    /// Bytes received on tunnels and other streams of live connections.
    pub bytes_in: u64,
    /// Bytes sent likewise.
    pub bytes_out: u64,
    /// Its live connections.
    pub connections: Vec<ConnectionInfo>,
}

/// One live connection to a peer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionInfo {
    /// `DIRECT` or `RELAYED`.
    pub path: String,
    /// The transport of a direct path.
    pub transport: Option<String>,
    /// The relay of a relayed path.
    pub via: Option<String>,
    /// Seconds since it was established.
    pub age_s: u64,
    /// Whether an answer is overdue, so that new streams avoid it.
    pub suspect: bool,
    /// What is left of the circuit; none without a limit.
    pub budget: Option<BudgetInfo>,
    /// The remote address.
    pub address: String,
    /// Last measured round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Seconds since it last answered.
    pub last_seen_s: Option<u64>,
    /// Open streams.
    pub streams: usize,
}

/// `GET /v1/paths`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PathInfo {
    /// The connection.
    #[serde(flatten)]
    pub connection: ConnectionInfo,
    /// Whose it is.
    pub peer_id: String,
    /// That peer's name in the config, if it has one.
    pub name: Option<String>,
}

/// `GET /v1/auth`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AuthEntry {
    /// Peer id in base58.
    pub peer_id: String,
    /// Its name in the config, if it has one.
    pub name: Option<String>,
    /// The line's comment.
    pub comment: Option<String>,
    /// `member` or `admin`.
    pub role: String,
    /// The only services it may open; none for all.
    pub services: Option<Vec<String>>,
    /// When the entry ends, RFC 3339.
    pub expires: Option<String>,
    /// Whether that moment has passed.
    pub expired: bool,
}

/// `POST /v1/auth`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthRequest {
    /// Peer id.
    pub peer_id: String,
    /// A comment for the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// A name to write into the config too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The only services it may open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// When the entry ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// `POST /v1/ping`; the answer is NDJSON of the ping plugin's events.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PingRequest {
    /// A name, a peer id or a unique prefix of one.
    pub peer: String,
    /// How many; 0 for no end.
    #[serde(default = "default_count")]
    pub count: u64,
    /// Milliseconds between two.
    #[serde(default = "default_interval")]
    pub interval_ms: u64,
    /// Milliseconds to wait for each.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
    /// Stop at the first answer over a direct path.
    #[serde(default)]
    pub until_direct: bool,
}

/// `POST /v1/traceroute`; the answer is NDJSON of the traceroute plugin's events.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TracerouteRequest {
    /// A name, a peer id or a unique prefix of one.
    pub peer: String,
    /// Milliseconds to wait for the peer's answer.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
}

fn default_count() -> u64 {
    4
}
fn default_interval() -> u64 {
    1000
}
fn default_timeout() -> u64 {
    5000
}

/// `POST /v1/resolve`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// A name, a peer id or a unique prefix of one.
    pub name: String,
}

/// Who a name stands for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ResolveAnswer {
    /// What was asked.
    pub name: String,
    /// Peer id in base58.
    pub peer_id: String,
    /// The tier that knew it: `peer-id`, or the name of a resolver plugin such as `names-local`.
    pub source: String,
}

/// `POST /v1/connect`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectRequest {
    /// A name, a peer id or a unique prefix of one.
    pub peer: String,
    /// The service at that peer.
    pub service: String,
    /// `address:port` to listen on; port 0 for a free one.
    pub listen: String,
}

/// A running proxy.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConnectInfo {
    /// What `DELETE /v1/connect/{id}` takes; of a proxy of the config its name.
    pub id: String,
    /// The name of a proxy of the config; none for one that ends with the daemon.
    pub name: Option<String>,
    /// The peer as the operator wrote it.
    pub peer: String,
    /// Peer id; none while nobody knows whom the name stands for.
    pub peer_id: Option<String>,
    /// The service at that peer.
    pub service: String,
    /// The address bound, or to be bound.
    pub listen_address: String,
    /// `starting`, `listening`, `failed` or `disabled`; `stopped` where no daemon runs.
    pub state: String,
    /// Why it does not listen.
    pub reason: Option<String>,
    /// Seconds until the next try, where it failed.
    pub retry_in_s: Option<u64>,
}

/// `POST /v1/proxies`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyRequest {
    /// What to call the proxy.
    pub name: String,
    /// A name or a peer id.
    pub peer: String,
    /// The service at that peer.
    pub service: String,
    /// `address:port` to listen on, or a port on 127.0.0.1.
    pub listen: String,
}

/// `PUT /v1/proxies/{name}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyUpdate {
    /// Whether it runs.
    pub enabled: bool,
}

/// `POST /v1/invite`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// What the joiner calls this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long the code is good for, as in `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// The only services the joiner may open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
}

/// An open invite.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InviteInfo {
    /// What `GET /v1/invite/{id}` takes.
    pub id: String,
    /// The code to hand over.
    pub code: String,
    /// When it ends, RFC 3339.
    pub expires: String,
    /// What the inviter should know, a sentence each: a relay that could not be told, for one.
    pub notes: Vec<String>,
}

/// `GET /v1/invite/{id}`, once the peer has joined.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InviteOutcome {
    /// The peer that joined.
    pub peer_id: String,
    /// What it is called here.
    pub name: String,
    /// What is left to do, a sentence each: a relay that would not admit the peer, for one.
    pub notes: Vec<String>,
}

/// `POST /v1/join`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The invite code.
    pub code: String,
    /// What the inviter calls this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What joining led to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinOutcome {
    /// The inviter.
    pub peer_id: String,
    /// What it is called here.
    pub name: String,
    /// Relays written into the config.
    pub relays: Vec<String>,
}

/// `POST /v1/relays` and `DELETE /v1/relays`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RelayRequest {
    /// Full multiaddr with `/p2p/`.
    pub address: String,
}

/// `GET /v1/plugins`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it says it is.
    pub summary: String,
    /// `loading`, `ready`, `active`, `draining`, `stopped` or `failed`.
    pub state: String,
    /// Why it does not run, or why the last reload or upgrade did not take its place.
    pub reason: Option<String>,
    /// Whether the config wants it to run.
    pub enabled: bool,
    /// The version of the contract that it was built for.
    pub contract: String,
    /// SHA-256 of the component, in hex; none before it was loaded.
    pub digest: Option<String>,
    /// The upgrade to this version waits to be confirmed, and else goes back.
    #[serde(default)]
    pub trial: Option<PluginTrialInfo>,
    /// What became of the last upgrade that waited, since the daemon started.
    #[serde(default)]
    pub last_trial: Option<PluginTrialEnd>,
    /// Since when it is in this state, RFC 3339.
    pub since: String,
    /// How often its service was started again after a failure.
    pub restarts: u64,
    /// The last failure of any kind: of a load, a run, a service, or a denial.
    pub last_error: Option<String>,
    /// Instances alive now.
    pub instances: usize,
    /// Instances made since the start.
    pub instances_total: u64,
    /// Tunnels that run spliced in the host now, with no instance.
    pub tunnels: usize,
    /// Tunnels since the start.
    pub tunnels_total: u64,
    /// Instances that trapped.
    pub traps: u64,
    /// Calls that were not granted.
    pub denials: u64,
    /// Bytes that tunnels of this plugin received from peers and local connections.
    pub bytes: u64,
    /// What the operator grants, in words of the config.
    pub grants: serde_json::Value,
    /// What it may use up.
    pub limits: PluginLimitsInfo,
    /// Its commands.
    pub commands: Vec<PluginCommandInfo>,
}

/// An upgrade that waits to be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginTrialInfo {
    /// The version that waits.
    pub version: String,
    /// The version that comes back.
    pub previous: String,
    /// When it does, RFC 3339.
    pub deadline: String,
    /// Seconds until then.
    pub seconds_left: u64,
    /// When the upgrade was made, RFC 3339.
    pub applied: String,
    /// Who made it.
    pub by: String,
    /// What confirms it without anybody's word; empty for nothing.
    pub checks: Vec<ConfigCheck>,
}

/// What became of an upgrade that waited to be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginTrialEnd {
    /// `confirmed`, `reverted`, or `stayed`: it was not confirmed, and the version before cannot come back.
    pub outcome: String,
    /// The version that waited.
    pub version: String,
    /// When the upgrade was made, RFC 3339.
    pub applied: String,
    /// Why it ended so; none for the word of a person.
    pub reason: Option<String>,
}

/// What a plugin may use up.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct PluginLimitsInfo {
    /// Bytes of memory of one instance.
    pub memory: u64,
    /// Processor time between two waits, in milliseconds.
    pub cpu_ms: u64,
    /// Instances alive at once.
    pub instances: u64,
}

/// One line of `GET /v1/plugins/{name}/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginLogLine {
    /// When, RFC 3339.
    pub time: String,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// `plugin` for what it wrote, `host` for what happened to it.
    pub source: String,
    /// The line.
    pub text: String,
}

/// One line of `GET /v1/plugins/{name}/calls`: a call that the plugin made of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginCall {
    /// When it was answered, RFC 3339.
    pub time: String,
    /// What made it: `inbound`, `answer`, `command`, `task`, `service` or `resolver`.
    pub run: String,
    /// Interface and function of the contract, such as `tcp.connect`.
    pub call: String,
    /// What it was about; empty where there is nothing to say.
    pub on: String,
    /// What it failed with.
    pub error: Option<String>,
    /// Whether it was not granted. The error names the line of the config that would grant it.
    pub denied: bool,
}

/// A word that a plugin adds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PluginCommandInfo {
    /// The word.
    pub name: String,
    /// What it does.
    pub summary: String,
    /// What can be said with it.
    #[serde(default)]
    pub flags: Vec<PluginFlagInfo>,
}

/// A flag or an argument of a word.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PluginFlagInfo {
    /// `--name`, and the key in the command's arguments.
    pub name: String,
    /// `string`, `integer`, `boolean` or `duration`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is for.
    pub summary: String,
    /// Whether the command makes no sense without.
    pub required: bool,
    /// What holds where it is left out.
    pub default: Option<serde_json::Value>,
    /// Whether it is an argument by its place instead of a flag.
    pub positional: bool,
}

/// `whoami --json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhoInfo {
    /// Peer id in base58.
    pub peer_id: String,
}
