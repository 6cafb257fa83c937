//! The checks that confirm a config: each is tried once here, and told why it was not met.

use std::time::Duration;

use peerup_config::{ConfirmCheck, PathQuery};
use peerup_model::{Failure, Grants, PathPolicy, service_protocol};
use tokio::io::AsyncReadExt;

use crate::{app::App, network, plugin_failure, status};

/// How long one try of a check may take.
const TRY_TIME: Duration = Duration::from_secs(10);
/// How long a ping waits for its answer.
const PING_MS: u64 = 3_000;
/// How long a service may take to refuse a stream that it seemed to take.
const REFUSAL_TIME: Duration = Duration::from_millis(500);
/// The plugin and the command that measure.
const PING: &str = "ping";

/// Tries one check.
pub(crate) async fn run(app: &App, check: &ConfirmCheck) -> Result<(), String> {
    let tried = async {
        match check {
            ConfirmCheck::Ping(peer) => ping(app, peer).await,
            ConfirmCheck::Connect(peer, service) => connect(app, peer, service).await,
            ConfirmCheck::Relay => relay(app).await,
        }
    };
    tokio::time::timeout(TRY_TIME, tried)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {TRY_TIME:?}")))
}

fn told(failure: Failure) -> String {
    failure.message
}

async fn ping(app: &App, peer: &str) -> Result<(), String> {
    let (peer, _) = app.resolve(peer).await.map_err(told)?;
    let lease = app.plugins.require(PING).map_err(told)?;
    let arguments = serde_json::json!({
        "peer": peer.to_base58(), "count": 1, "interval_ms": 1000, "timeout_ms": PING_MS,
        "until_direct": false,
    });
    let mut run = lease
        .plugin()
        .run_command(PING, arguments, Grants::default())
        .map_err(|error| plugin_failure(&error).message)?;
    let mut answered = false;
    while let Some(event) = run.next_event().await {
        answered |= event.json.get("rtt_ms").is_some();
    }
    match (answered, run.finish().await) {
        (true, _) => Ok(()),
        (false, Err(error)) => Err(plugin_failure(&error).message),
        (false, Ok(())) => Err("nothing came back".to_owned()),
    }
}

/// Opens a stream to the service. One whose own address refuses connections is reset a moment later.
async fn connect(app: &App, peer: &str, service: &peerup_model::ServiceName) -> Result<(), String> {
    let (peer, _) = app.resolve(peer).await.map_err(told)?;
    let query = PathQuery {
        peer: &peer,
        service: Some(service),
        plugin: None,
        asked: PathPolicy::PreferDirect,
    };
    let mut stream = network::open_stream(app, &service_protocol(service), &query)
        .await
        .map_err(told)?;
    let mut first = [0; 1];
    match tokio::time::timeout(REFUSAL_TIME, stream.read(&mut first)).await {
        Ok(Err(error)) => Err(format!("the service {service} refused the stream: {error}")),
        _ => Ok(()),
    }
}

async fn relay(app: &App) -> Result<(), String> {
    let relays = status::relays(app).await.map_err(told)?;
    if relays.iter().any(|relay| relay.reserved) {
        return Ok(());
    }
    let why = relays.first().and_then(|relay| relay.last_error.clone());
    Err(match (relays.is_empty(), why) {
        (true, _) => "the config has no relay".to_owned(),
        (false, Some(why)) => why,
        (false, None) => "no relay holds a reservation yet".to_owned(),
    })
}
