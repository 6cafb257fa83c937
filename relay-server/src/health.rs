//! `GET /healthz` and `GET /metrics`, where the config has them on.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use libp2p::relay::{HOP_PROTOCOL_NAME, STOP_PROTOCOL_NAME};
use libp2p::{identify, ping};
use peerup_model::{ADMIT_PROTOCOL, KAD_PROTOCOL};
use peerup_ops::METRICS_TYPE;
use serde::Serialize;

use crate::control::Ended;
use crate::keeper::ConfigKeeper;

/// What `/healthz` answers.
#[derive(Debug, Serialize)]
struct Health {
    /// `ok` or `degraded`.
    status: &'static str,
    peer_id: String,
    version: &'static str,
    uptime_seconds: u64,
    connected_peers: usize,
    protocols: Vec<String>,
}

/// What the relay speaks.
fn protocols() -> Vec<String> {
    let autonat = "/libp2p/autonat/2/dial-request";
    [
        HOP_PROTOCOL_NAME.as_ref(),
        STOP_PROTOCOL_NAME.as_ref(),
        identify::PROTOCOL_NAME.as_ref(),
        ping::PROTOCOL_NAME.as_ref(),
        KAD_PROTOCOL,
        ADMIT_PROTOCOL,
        autonat,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Returns the router of the health endpoint.
pub(crate) fn router(keeper: Arc<ConfigKeeper>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(scrape))
        .with_state(keeper)
}

async fn healthz(State(keeper): State<Arc<ConfigKeeper>>) -> Response {
    match keeper.control().snapshot().await {
        Ok(relay) => {
            let health = Health {
                status: relay.health(),
                peer_id: relay.peer_id.to_base58(),
                version: env!("CARGO_PKG_VERSION"),
                uptime_seconds: relay.uptime.as_secs(),
                connected_peers: relay.peers.len(),
                protocols: protocols(),
            };
            let code = match health.status {
                "ok" => StatusCode::OK,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            (code, axum::Json(health)).into_response()
        }
        Err(ended) => gone(ended),
    }
}

async fn scrape(State(keeper): State<Arc<ConfigKeeper>>) -> Response {
    let config = peerup_ops::config_state(&*keeper);
    match keeper.control().scrape(&config).await {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(ended) => gone(ended),
    }
}

fn gone(ended: Ended) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{ended}\n")).into_response()
}
