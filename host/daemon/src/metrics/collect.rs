//! Fills the table for one scrape, and answers `GET /metrics`.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering};

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use peerup_model::Failure;
use peerup_net::NodeSnapshot;
use peerup_ops::{METRICS_TYPE, Sheet, add_process};

use super::table::{self, METRICS};
use crate::{
    app::App,
    meters::{Meters, path_label},
    status,
    supervisor::PluginView,
};

/// States of a plugin, as [`peerup_lifecycle::Stage`] writes them.
const STATES: [&str; 6] = ["loading", "ready", "active", "draining", "stopped", "failed"];
/// How a rule of the alerts can stand.
const ALERT_STATES: [&str; 3] = ["inactive", "pending", "firing"];
/// Peers that have series of their own in one scrape.
const MAX_PEERS: usize = 1024;

/// Returns the router for the TCP address that the config names.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new().route("/metrics", get(answer)).with_state(app)
}

async fn answer(State(app): State<Arc<App>>) -> Response {
    match scrape(&app).await {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(failure) => (
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            format!("{}\n", failure.message),
        )
            .into_response(),
    }
}

/// Returns everything as OpenMetrics text.
pub(crate) async fn scrape(app: &App) -> Result<String, Failure> {
    let snapshot = status::snapshot(app).await?;
    let health = app.node.health().await.ok();
    let mut sheet = Sheet::new(METRICS);
    add_daemon(&mut sheet, app);
    if let Some(health) = health {
        sheet.count(&table::LISTENERS, &[], health.listeners);
    }
    add_peers(&mut sheet, app, &snapshot);
    add_streams(&mut sheet, &app.meters);
    for limit in app.throttles.view() {
        let labels = [limit.kind, limit.of.as_str()];
        sheet.whole(&table::LIMIT, &labels, limit.rate);
        sheet.whole(&table::LIMIT_WAITS, &labels, limit.stats.waits);
        sheet.real(&table::LIMIT_WAITED, &labels, limit.stats.waited.as_secs_f64());
    }
    add_node(&mut sheet, app);
    for view in app.plugins.views().values() {
        add_plugin(&mut sheet, view);
    }
    add_alerts(&mut sheet, app);
    add_config(&mut sheet, app);
    add_process(&mut sheet);
    let left_out = sheet.left_out();
    sheet.whole(&table::LEFT_OUT, &[], left_out);
    Ok(sheet.encode())
}

fn add_daemon(sheet: &mut Sheet, app: &App) {
    let own = app.peer_id().to_base58();
    sheet.whole(&table::BUILD, &[env!("CARGO_PKG_VERSION"), &own], 1);
    sheet.real(&table::UPTIME, &[], app.started.elapsed().as_secs_f64());
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    sheet.count(&table::TASKS, &[], tasks);
    for (check, passes) in app.watch().checks() {
        sheet.flag(&table::CHECK, &[check], passes);
    }
}

fn add_peers(sheet: &mut Sheet, app: &App, snapshot: &NodeSnapshot) {
    let mut by_path: BTreeMap<&str, usize> =
        ["quic", "tcp", "websocket", "relay"].map(|path| (path, 0)).into();
    let mut connected = 0;
    for (index, peer) in snapshot.peers.iter().enumerate() {
        for connection in &peer.connections {
            *by_path.entry(path_label(connection.path)).or_default() += 1;
        }
        let best = peer.connections.iter().find(|one| status::is_answering(one));
        connected += usize::from(best.is_some());
        if index >= MAX_PEERS {
            continue;
        }
        let id = peer.peer.to_base58();
        let name = app.name_of(&peer.peer).unwrap_or_default();
        sheet.whole(&table::PEER, &[&id, &name, status::role_of(app, &peer.peer)], 1);
        if let Some((rtt, path)) = best.and_then(|best| Some((best.rtt?, best.path))) {
            sheet.real(&table::PEER_RTT, &[&id, path_label(path)], rtt.as_secs_f64());
        }
    }
    sheet.count(&table::PEERS, &[], connected);
    for (path, count) in by_path {
        sheet.count(&table::CONNECTIONS, &[path], count);
    }
    for relay in &snapshot.relays {
        let name = app.name_of(&relay.peer).unwrap_or_default();
        sheet.flag(&table::RELAY, &[&relay.peer.to_base58(), &name], relay.reserved);
    }
}

fn add_streams(sheet: &mut Sheet, meters: &Meters) {
    for one in meters.traffic.view() {
        let labels = [one.service.as_str(), one.peer.as_str(), one.path];
        let with = |last| [labels[0], labels[1], labels[2], last];
        sheet.whole(&table::STREAM_BYTES, &with("in"), one.bytes_in);
        sheet.whole(&table::STREAM_BYTES, &with("out"), one.bytes_out);
        sheet.whole(&table::STREAMS, &with("peer"), one.by_peer);
        sheet.whole(&table::STREAMS, &with("node"), one.by_node);
        sheet.count(&table::STREAMS_OPEN, &labels, one.open);
    }
    for (reason, count) in meters.refusals() {
        sheet.whole(&table::REFUSALS, &[reason], count);
    }
    for (outcome, count) in meters.openings() {
        sheet.whole(&table::OPENINGS, &[outcome], count);
    }
}

fn add_node(sheet: &mut Sheet, app: &App) {
    for (path, outcome, count) in app.node.counters().dials() {
        sheet.whole(&table::DIALS, &[path, outcome], count);
    }
    for (outcome, count) in app.node.counters().punches() {
        sheet.whole(&table::PUNCHES, &[outcome], count);
    }
    let gate = app.node.gate();
    for (decision, count) in [
        ("admitted", gate.admitted()),
        ("denied", gate.denied()),
        ("throttled", gate.throttled()),
    ] {
        sheet.whole(&table::GATE, &[decision], count);
    }
    sheet.whole(&table::EXPELLED, &[], gate.expelled());
    sheet.count(&table::AUTHORIZED, &[], app.access.members().len());
}

fn add_plugin(sheet: &mut Sheet, view: &PluginView) {
    let (name, stats) = (view.name.as_str(), view.stats());
    let stage = view.stage.to_string();
    for state in STATES {
        sheet.flag(&table::PLUGIN_STATE, &[name, state], state == stage);
    }
    sheet.whole(&table::PLUGIN_CALLS, &[name], stats.calls);
    sheet.whole(&table::PLUGIN_TRAPS, &[name], stats.traps);
    sheet.whole(&table::PLUGIN_DENIALS, &[name], stats.denials);
    sheet.whole(&table::PLUGIN_RESTARTS, &[name], view.restarts());
    sheet.count(&table::PLUGIN_INSTANCES, &[name], stats.instances_live);
    sheet.whole(&table::PLUGIN_INSTANCES_MADE, &[name], stats.instances_total);
    sheet.count(&table::PLUGIN_TUNNELS, &[name], stats.spliced_live);
    sheet.whole(&table::PLUGIN_TUNNELS_MADE, &[name], stats.spliced_total);
    sheet.whole(&table::PLUGIN_BYTES, &[name, "in"], stats.bytes_in);
    sheet.whole(&table::PLUGIN_BYTES, &[name, "out"], stats.bytes_out);
    sheet.real(&table::PLUGIN_CPU, &[name], stats.cpu.as_secs_f64());
    sheet.whole(&table::PLUGIN_MEMORY, &[name], stats.memory_peak);
    sheet.whole(&table::PLUGIN_HANDLES, &[name], stats.handles_total);
    sheet.whole(&table::PLUGIN_DATAGRAMS, &[name], stats.datagrams);
    if let Some(bytes) = stats.store_bytes {
        sheet.whole(&table::PLUGIN_STORE, &[name], bytes);
    }
    sheet.whole(&table::PLUGIN_LOG, &[name], stats.log_lines_dropped);
}

fn add_alerts(sheet: &mut Sheet, app: &App) {
    for (rule, stage) in app.alerts.stages() {
        for state in ALERT_STATES {
            sheet.flag(&table::ALERT, &[&rule, state], state == stage);
        }
    }
    for counts in app.alerts.counts() {
        for (outcome, count) in counts.outcomes {
            sheet.whole(&table::ALERT_MESSAGES, &[&counts.target, outcome], count);
        }
    }
}

fn add_config(sheet: &mut Sheet, app: &App) {
    let reloads = &app.meters.reloads;
    sheet.whole(&table::RELOADS, &["ok"], reloads.ok.load(Ordering::Relaxed));
    sheet.whole(
        &table::RELOADS,
        &["failed"],
        reloads.failed.load(Ordering::Relaxed),
    );
    sheet.real(
        &table::RELOADED,
        &[],
        reloads.last_ok.load(Ordering::Relaxed) as f64,
    );
    sheet.flag(
        &table::RELOAD_OK,
        &[],
        reloads.last_worked.load(Ordering::Relaxed),
    );
    sheet.whole(&table::AUDIT_DROPPED, &[], app.audit.dropped());
}
