//! The table of endpoints: what each one takes and answers. The OpenAPI document is made from it, and tests hold
//! the daemon's router against it.

use peerup_model::ErrorCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{
    alerts::{AlertInfo, AlertTestResult},
    config::{ConfigApplyRequest, ConfigOutcome, ConfigPlanRequest, ConfigRollbackRequest, ConfigStatus},
    events::Event,
    types::{
        AuthEntry, AuthRequest, ConnectInfo, ConnectRequest, DoneInfo, ExposeRequest, InviteInfo,
        InviteOutcome, InviteRequest, JoinOutcome, JoinRequest, PathInfo, PeerInfo, PingRequest, PluginCall,
        PluginInfo, PluginLogLine, ProxyRequest, ProxyUpdate, RelayInfo, RelayRequest, ResolveAnswer,
        ResolveRequest, ServiceInfo, ServiceUpdate, StatusInfo, TracerouteRequest, WhyInfo,
    },
};

/// Makes the schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Reads.
    Get,
    /// Does something, or makes something.
    Post,
    /// Replaces something.
    Put,
    /// Removes something.
    Delete,
}

impl Verb {
    /// Returns the method of HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// A parameter of the query.
#[derive(Debug, Clone, Copy)]
pub struct QueryParameter {
    /// Its name.
    pub name: &'static str,
    /// What may stand there.
    pub schema: SchemaOf,
    /// What it does.
    pub summary: &'static str,
}

/// What an endpoint answers when it succeeds.
#[derive(Debug, Clone, Copy)]
pub enum Produces {
    /// `{"data": ...}`, or text for people.
    Data(SchemaOf),
    /// NDJSON: one of these a line, and at the end `{"error": ...}` where it failed half-way.
    Lines(SchemaOf),
    /// JSON as it is, without an envelope.
    Document,
    /// Text of this media type.
    Text(&'static str),
}

/// One endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// The method.
    pub verb: Verb,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What may stand in the query beside `format`.
    pub query: &'static [QueryParameter],
    /// The JSON body, where it takes one. It is required then.
    pub body: Option<SchemaOf>,
    /// The answer.
    pub produces: Produces,
    /// What it can fail with, beside [`COMMON_ERRORS`].
    pub errors: &'static [ErrorCode],
}

/// What every endpoint can fail with.
pub const COMMON_ERRORS: [ErrorCode; 4] = [
    ErrorCode::Invalid,
    ErrorCode::Unauthorized,
    ErrorCode::Failed,
    ErrorCode::Interrupted,
];

/// Changes of the config: it may not hold, or somebody else may be writing it.
const EDITS: &[ErrorCode] = &[ErrorCode::NotFound, ErrorCode::Conflict, ErrorCode::ConfigInvalid];
/// What is done at another peer.
const REMOTE: &[ErrorCode] = &[
    ErrorCode::Denied,
    ErrorCode::NotFound,
    ErrorCode::Conflict,
    ErrorCode::Unreachable,
    ErrorCode::TimedOut,
];
/// Changes of what plugins do: a grant may be missing, and a start may take too long.
const SWITCHES: &[ErrorCode] = &[
    ErrorCode::Denied,
    ErrorCode::NotFound,
    ErrorCode::Conflict,
    ErrorCode::ConfigInvalid,
    ErrorCode::TimedOut,
];
/// The config with a way back.
const CONFIGS: &[ErrorCode] = &[
    ErrorCode::Denied,
    ErrorCode::NotFound,
    ErrorCode::Conflict,
    ErrorCode::ConfigInvalid,
    ErrorCode::CheckFailed,
    ErrorCode::TimedOut,
];
const LOOKS: &[ErrorCode] = &[ErrorCode::NotFound];
const NOTHING_ELSE: &[ErrorCode] = &[];

const ALL_PEERS: &[QueryParameter] = &[QueryParameter {
    name: "all",
    schema: of::<bool>,
    summary: "Peers without a connection too.",
}];
const FOLLOW_PROXY: &[QueryParameter] = &[QueryParameter {
    name: "follow",
    schema: of::<bool>,
    summary: "Answer with lines, and end the tunnel when the caller goes.",
}];
const NOW: &[QueryParameter] = &[QueryParameter {
    name: "now",
    schema: of::<bool>,
    summary: "Cancel what runs, instead of giving it `limits.drain`.",
}];
const LOG: &[QueryParameter] = &[
    QueryParameter {
        name: "lines",
        schema: of::<usize>,
        summary: "How many of the lines so far.",
    },
    QueryParameter {
        name: "follow",
        schema: of::<bool>,
        summary: "Go on with those that come.",
    },
];

/// A JSON object whose keys are a plugin's to choose.
fn object(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "object" })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn row(verb: Verb, path: &'static str, summary: &'static str, produces: Produces) -> Endpoint {
    Endpoint {
        verb,
        path,
        summary,
        query: &[],
        body: None,
        produces,
        errors: NOTHING_ELSE,
    }
}

const fn get(path: &'static str, summary: &'static str, produces: Produces) -> Endpoint {
    row(Verb::Get, path, summary, produces)
}

const fn post(path: &'static str, summary: &'static str, produces: Produces) -> Endpoint {
    row(Verb::Post, path, summary, produces)
}

const fn put(path: &'static str, summary: &'static str, produces: Produces) -> Endpoint {
    row(Verb::Put, path, summary, produces)
}

const fn delete(path: &'static str, summary: &'static str, produces: Produces) -> Endpoint {
    row(Verb::Delete, path, summary, produces)
}

impl Endpoint {
    const fn query(mut self, query: &'static [QueryParameter]) -> Self {
        self.query = query;
        self
    }

    const fn takes(mut self, body: SchemaOf) -> Self {
        self.body = Some(body);
        self
    }

    const fn fails(mut self, errors: &'static [ErrorCode]) -> Self {
        self.errors = errors;
        self
    }

    /// Returns the names in braces of the path, in their order.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

use Produces::{Data, Document, Lines, Text};

/// Every endpoint of the daemon.
pub const ENDPOINTS: &[Endpoint] = &[
    get(
        "/v1/status",
        "The node, its addresses, its relays, and what stands in the way of being fully up.",
        Data(of::<StatusInfo>),
    ),
    get(
        "/v1/services",
        "What peers may reach here.",
        Data(of::<Vec<ServiceInfo>>),
    ),
    put(
        "/v1/services/{name}",
        "Switches a service on or off.",
        Data(of::<DoneInfo>),
    )
    .takes(of::<ServiceUpdate>)
    .fails(EDITS),
    post("/v1/expose", "Adds a service.", Data(of::<DoneInfo>))
        .takes(of::<ExposeRequest>)
        .fails(EDITS),
    delete("/v1/expose/{name}", "Removes a service.", Data(of::<DoneInfo>)).fails(EDITS),
    get(
        "/v1/peers",
        "Peers with path, round trip, age of the last answer, streams and bytes.",
        Data(of::<Vec<PeerInfo>>),
    )
    .query(ALL_PEERS),
    get(
        "/v1/paths",
        "Every live connection of every peer.",
        Data(of::<Vec<PathInfo>>),
    ),
    get(
        "/v1/why/{peer}",
        "Why the path to a peer is what it is, and what would help.",
        Data(of::<WhyInfo>),
    )
    .fails(REMOTE),
    get(
        "/v1/alerts",
        "How each rule of the alerts stands, and what came of its messages.",
        Data(of::<Vec<AlertInfo>>),
    ),
    post(
        "/v1/alerts/{name}/test",
        "Sends a test message to the targets of a rule, and says what came back.",
        Data(of::<Vec<AlertTestResult>>),
    )
    .fails(&[ErrorCode::NotFound, ErrorCode::Conflict]),
    post(
        "/v1/reconnect",
        "Forgets every waiting time: relays, addresses and hole punching are tried again now.",
        Data(of::<DoneInfo>),
    ),
    get("/v1/auth", "Who may connect.", Data(of::<Vec<AuthEntry>>)),
    post(
        "/v1/auth",
        "Lets a peer in. Live when this answers.",
        Data(of::<DoneInfo>),
    )
    .takes(of::<AuthRequest>)
    .fails(EDITS),
    delete(
        "/v1/auth/{peer}",
        "Takes a peer's right away and closes its connections.",
        Data(of::<DoneInfo>),
    )
    .fails(EDITS),
    get(
        "/v1/relays",
        "The configured relays and their reservations.",
        Data(of::<Vec<RelayInfo>>),
    ),
    post("/v1/relays", "Adds a relay.", Data(of::<DoneInfo>))
        .takes(of::<RelayRequest>)
        .fails(EDITS),
    delete("/v1/relays", "Removes a relay.", Data(of::<DoneInfo>))
        .takes(of::<RelayRequest>)
        .fails(EDITS),
    post(
        "/v1/ping",
        "Measures the round trip; a line for each answer, then the statistics.",
        Lines(object),
    )
    .takes(of::<PingRequest>)
    .fails(REMOTE),
    post(
        "/v1/traceroute",
        "The way to a peer; a line for each hop.",
        Lines(object),
    )
    .takes(of::<TracerouteRequest>)
    .fails(REMOTE),
    post(
        "/v1/resolve",
        "Who a name stands for, and who knew it.",
        Data(of::<ResolveAnswer>),
    )
    .takes(of::<ResolveRequest>)
    .fails(REMOTE),
    get(
        "/v1/connect",
        "The tunnels that the daemon keeps.",
        Data(of::<Vec<ConnectInfo>>),
    ),
    post(
        "/v1/connect",
        "Opens a tunnel that the daemon keeps until it is removed.",
        Data(of::<ConnectInfo>),
    )
    .query(FOLLOW_PROXY)
    .takes(of::<ConnectRequest>)
    .fails(REMOTE),
    delete("/v1/connect/{id}", "Ends a tunnel.", Data(of::<DoneInfo>)).fails(LOOKS),
    post(
        "/v1/invite",
        "Makes a one-time code to pair with.",
        Data(of::<InviteInfo>),
    )
    .takes(of::<InviteRequest>)
    .fails(REMOTE),
    get(
        "/v1/invite/{id}",
        "Waits until somebody has joined with the code, or it is over.",
        Data(of::<InviteOutcome>),
    )
    .fails(&[ErrorCode::NotFound, ErrorCode::Conflict, ErrorCode::TimedOut]),
    delete("/v1/invite/{id}", "Makes a code worthless.", Data(of::<DoneInfo>))
        .fails(&[ErrorCode::NotFound, ErrorCode::Conflict]),
    post(
        "/v1/join",
        "Pairs with whoever made the code.",
        Data(of::<JoinOutcome>),
    )
    .takes(of::<JoinRequest>)
    .fails(&[
        ErrorCode::Denied,
        ErrorCode::NotFound,
        ErrorCode::Conflict,
        ErrorCode::ConfigInvalid,
        ErrorCode::Unreachable,
        ErrorCode::TimedOut,
    ]),
    get(
        "/v1/plugins",
        "The plugins with state, grants, limits and commands.",
        Data(of::<Vec<PluginInfo>>),
    ),
    get("/v1/plugins/{name}", "One plugin.", Data(of::<PluginInfo>)).fails(LOOKS),
    post(
        "/v1/plugins/disable-all",
        "Switches every plugin off; they end first, then the config is written.",
        Data(of::<DoneInfo>),
    )
    .query(NOW)
    .fails(EDITS),
    post(
        "/v1/plugins/{name}/enable",
        "Switches a plugin on, and waits until it runs or says why not.",
        Data(of::<DoneInfo>),
    )
    .fails(SWITCHES),
    post(
        "/v1/plugins/{name}/disable",
        "Switches a plugin off. It gets no stream any more when this answers.",
        Data(of::<DoneInfo>),
    )
    .query(NOW)
    .fails(SWITCHES),
    post(
        "/v1/plugins/{name}/reload",
        "Reads the config again and loads the plugin afresh.",
        Data(of::<DoneInfo>),
    )
    .fails(SWITCHES),
    post(
        "/v1/plugins/{name}/confirm",
        "Keeps an upgrade that waits to be confirmed.",
        Data(of::<DoneInfo>),
    )
    .fails(LOOKS),
    get(
        "/v1/plugins/{name}/logs",
        "What a plugin wrote and what happened to it.",
        Lines(of::<PluginLogLine>),
    )
    .query(LOG)
    .fails(LOOKS),
    get(
        "/v1/plugins/{name}/calls",
        "Every call that a plugin makes of the host from now on.",
        Lines(of::<PluginCall>),
    )
    .fails(LOOKS),
    post(
        "/v1/plugins/{name}/commands/{command}",
        "Runs a command of a plugin, with its arguments as the body. It ends when the caller goes.",
        Lines(object),
    )
    .takes(object)
    .fails(REMOTE),
    post(
        "/v1/config/reload",
        "Reads the config and `authorized_keys` again.",
        Data(of::<DoneInfo>),
    )
    .fails(EDITS),
    post(
        "/v1/proxies",
        "Writes a proxy into the config, and answers once it listens or has failed.",
        Data(of::<ConnectInfo>),
    )
    .takes(of::<ProxyRequest>)
    .fails(EDITS),
    put(
        "/v1/proxies/{name}",
        "Switches a proxy of the config on or off.",
        Data(of::<ConnectInfo>),
    )
    .takes(of::<ProxyUpdate>)
    .fails(EDITS),
    delete(
        "/v1/proxies/{name}",
        "Takes a proxy out of the config.",
        Data(of::<DoneInfo>),
    )
    .fails(EDITS),
    get(
        "/v1/logs",
        "The last lines of the daemon's own log.",
        Lines(of::<PluginLogLine>),
    )
    .query(LOG),
    get(
        "/v1/config/status",
        "How the config stands: what waits to be confirmed, and the last good ones.",
        Data(of::<ConfigStatus>),
    )
    .fails(CONFIGS),
    get(
        "/v1/config/plan",
        "What reading the config file again would do.",
        Data(object),
    )
    .fails(CONFIGS),
    post(
        "/v1/config/plan",
        "What this config would do in the place of the one in force.",
        Data(object),
    )
    .takes(of::<ConfigPlanRequest>)
    .fails(CONFIGS),
    post(
        "/v1/config/apply",
        "Puts a config in force, for good or until its deadline.",
        Data(of::<ConfigOutcome>),
    )
    .takes(of::<ConfigApplyRequest>)
    .fails(CONFIGS),
    post(
        "/v1/config/confirm",
        "Keeps the config that waits.",
        Data(of::<ConfigOutcome>),
    )
    .fails(CONFIGS),
    post(
        "/v1/config/rollback",
        "Goes back to the config from before, or to one of the last good ones.",
        Data(of::<ConfigOutcome>),
    )
    .takes(of::<ConfigRollbackRequest>)
    .fails(CONFIGS),
    get(
        "/metrics",
        "Metrics for Prometheus, as OpenMetrics.",
        Text("application/openmetrics-text"),
    ),
    get(
        "/v1/events",
        "What happens from now on: peers, paths, decisions of the gate, plugins, the config.",
        Lines(of::<Event>),
    )
    .fails(&[ErrorCode::Conflict]),
    get("/v1/openapi.json", "This document.", Document),
    post(
        "/v1/cookie/rotate",
        "Writes a new cookie; the old one is worth nothing when this answers.",
        Data(of::<DoneInfo>),
    )
    .fails(&[ErrorCode::Conflict]),
    post(
        "/v1/shutdown",
        "Ends the daemon in good order.",
        Data(of::<DoneInfo>),
    ),
];
