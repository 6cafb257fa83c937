//! The endpoints that answer line by line: what a plugin's command says as it says it.
//!
//! A command belongs to the request that started it and ends when the caller goes. A proxy does not, unless
//! the caller asks to follow it.

use std::sync::Arc;

use axum::{body::Bytes, extract::State, response::Response};
use libp2p_identity::PeerId;
use peerup_api::{ConnectRequest, PingRequest, PluginCall, PluginLogLine, TracerouteRequest};
use peerup_engine::{CommandEvent, CommandRun, PluginError};
use peerup_model::{ErrorCode, Failure, Grants};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{broadcast::error::RecvError, mpsc};

use super::{
    answer::{Format, JsonBody, LINES_IN_FLIGHT, Path, Query, Refusal},
    routes,
};
use crate::{app::App, forward, log_ring::Reading, plugin_failure};

/// The most pings that one request may ask for; 0 asks for no end.
const MAX_PINGS: u64 = 1_000_000;

pub(super) async fn ping(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<PingRequest>,
) -> Result<Response, Refusal> {
    if request.count > MAX_PINGS || request.interval_ms < 10 || request.timeout_ms == 0 {
        return Err(Failure::new(
            ErrorCode::Invalid,
            format!("at most {MAX_PINGS} pings, at least 10 ms apart, each with a time-out above zero"),
        )
        .into());
    }
    let peer = another(&app, &request.peer).await?;
    let arguments = serde_json::json!({
        "peer": peer.to_base58(), "count": request.count, "interval_ms": request.interval_ms,
        "timeout_ms": request.timeout_ms, "until_direct": request.until_direct,
    });
    run_command(&app, "ping", "ping", arguments, format).await
}

pub(super) async fn traceroute(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<TracerouteRequest>,
) -> Result<Response, Refusal> {
    if request.timeout_ms == 0 {
        return Err(Failure::new(ErrorCode::Invalid, "a time-out above zero is needed").into());
    }
    let peer = another(&app, &request.peer).await?;
    let arguments = serde_json::json!({ "peer": peer.to_base58(), "timeout_ms": request.timeout_ms });
    run_command(&app, "traceroute", "traceroute", arguments, format).await
}

/// Finds out who a text stands for; this node itself is refused.
async fn another(app: &App, peer: &str) -> Result<PeerId, Failure> {
    let (peer, _) = app.resolve(peer).await?;
    if peer == app.peer_id() {
        return Err(Failure::new(ErrorCode::Invalid, "this is the node's own peer id"));
    }
    Ok(peer)
}

pub(super) async fn command(
    State(app): State<Arc<App>>,
    format: Format,
    Path((plugin, command)): Path<(String, String)>,
    JsonBody(arguments): JsonBody<Value>,
) -> Result<Response, Refusal> {
    run_command(&app, &plugin, &command, arguments, format).await
}

async fn run_command(
    app: &Arc<App>,
    plugin: &str,
    command: &str,
    arguments: Value,
    format: Format,
) -> Result<Response, Refusal> {
    let lease = app.plugins.require(plugin)?;
    let plugin = lease.plugin();
    let known = plugin
        .manifest()
        .commands
        .iter()
        .any(|known| known.name == command);
    if !known {
        let message = format!("the plugin {} has no command {command}", plugin.name());
        return Err(Failure::new(ErrorCode::NotFound, message).into());
    }
    let mut run = plugin
        .run_command(command, arguments, Grants::default())
        .map_err(|error| plugin_failure(&error))?;
    // A command that fails before it says anything is answered with its status, not as a stream.
    let Some(first) = run.next_event().await else {
        run.finish().await.map_err(|error| {
            app.plugins.note(&lease, &error);
            plugin_failure(&error)
        })?;
        let (_, lines) = mpsc::channel(1);
        return Ok(format.stream(lines));
    };
    let (sender, lines) = mpsc::channel(LINES_IN_FLIGHT);
    let (shutdown, plugins) = (app.shutdown.clone(), app.plugins.clone());
    app.tasks.spawn(async move {
        let passed_on = async {
            if let Err(error) = pass_on(first, run, &sender, format).await {
                plugins.note(&lease, &error);
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = passed_on => {}
        }
    });
    Ok(format.stream(lines))
}

async fn pass_on(
    first: CommandEvent,
    mut run: CommandRun,
    lines: &mpsc::Sender<Bytes>,
    format: Format,
) -> Result<(), PluginError> {
    let mut next = Some(first);
    while let Some(event) = next {
        if lines.send(event_line(&event, format)).await.is_err() {
            run.cancel();
            return Ok(());
        }
        next = tokio::select! {
            () = lines.closed() => {
                run.cancel();
                return Ok(());
            }
            event = run.next_event() => event,
        };
    }
    let outcome = run.finish().await;
    if let Err(error) = &outcome {
        let _ = lines.send(format.failure_line(&plugin_failure(error))).await;
    }
    outcome
}

fn event_line(event: &CommandEvent, format: Format) -> Bytes {
    format.line(&event.text, &event.json)
}

/// `POST /v1/connect`, and with `?follow=true` a proxy that lives as long as the request.
pub(super) async fn connect(
    State(app): State<Arc<App>>,
    format: Format,
    Query(query): Query<FollowQuery>,
    JsonBody(request): JsonBody<ConnectRequest>,
) -> Result<Response, Refusal> {
    if !query.follow {
        return routes::connect(&app, request, format).await;
    }
    let mut started = forward::start(&app, request).await?;
    let (sender, lines) = mpsc::channel(LINES_IN_FLIGHT);
    let task_app = app.clone();
    app.tasks.spawn(async move {
        let info = serde_json::to_value(&started.info).unwrap_or_default();
        let text = format!("listening on {}", started.info.listen_address);
        let _ = sender.send(format.line(&text, &info)).await;
        loop {
            let event = tokio::select! {
                () = sender.closed() => break,
                event = started.events.recv() => event,
            };
            let Some(event) = event else { break };
            if sender.send(event_line(&event, format)).await.is_err() {
                break;
            }
        }
        task_app.proxies.remove(&started.info.id);
        started.ended.cancelled().await;
        if !sender.is_closed() {
            let failure = Failure::new(ErrorCode::Failed, "the proxy has ended")
                .with_hint("is the daemon still running? see its log, and: peerup status");
            let _ = sender.send(format.failure_line(&failure)).await;
        }
    });
    Ok(format.stream(lines))
}

/// What `POST /v1/connect` takes.
#[derive(Debug, Deserialize)]
pub(super) struct FollowQuery {
    /// Whether to answer with lines, and to end the proxy when the caller goes.
    #[serde(default)]
    follow: bool,
}

/// Lines of `GET /v1/plugins/{name}/logs` where the caller names no number.
const LOG_LINES: usize = 100;

/// The last lines of a plugin's log, and with `?follow=true` those that come.
pub(super) async fn plugin_logs(
    State(app): State<Arc<App>>,
    format: Format,
    Path(name): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Refusal> {
    let name = routes::known_plugin(&app, &name)?;
    let reading = app.logs.read(&name, query.lines.unwrap_or(LOG_LINES));
    Ok(stream_log(&app, reading, query.follow, format))
}

/// The last lines of the daemon's own log, and with `?follow=true` those that come.
pub(super) async fn logs(
    State(app): State<Arc<App>>,
    format: Format,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Refusal> {
    let reading = app.log.read(query.lines.unwrap_or(LOG_LINES));
    Ok(stream_log(&app, reading, query.follow, format))
}

fn stream_log(app: &App, mut reading: Reading, follow: bool, format: Format) -> Response {
    let (sender, lines) = mpsc::channel(LINES_IN_FLIGHT);
    let shutdown = app.shutdown.clone();
    app.tasks.spawn(async move {
        let told = async {
            for line in &reading.so_far {
                if sender.send(log_line(line, format)).await.is_err() {
                    return;
                }
            }
            if !follow {
                return;
            }
            loop {
                let news = tokio::select! {
                    () = sender.closed() => return,
                    news = reading.news.recv() => news,
                };
                let line = match news {
                    Ok(line) => log_line(&line, format),
                    Err(RecvError::Lagged(missed)) => missed_line(missed, format),
                    Err(RecvError::Closed) => return,
                };
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = told => {}
        }
    });
    format.stream(lines)
}

/// The calls that a plugin makes of the host, as it makes them.
pub(super) async fn plugin_calls(
    State(app): State<Arc<App>>,
    format: Format,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let name = routes::known_plugin(&app, &name)?;
    let mut following = app.calls.follow(&name);
    let (sender, lines) = mpsc::channel(LINES_IN_FLIGHT);
    let shutdown = app.shutdown.clone();
    app.tasks.spawn(async move {
        loop {
            let news = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = sender.closed() => return,
                news = following.news.recv() => news,
            };
            let line = match news {
                Ok(call) => call_line(&call, format),
                Err(RecvError::Lagged(missed)) => missed_line(missed, format),
                Err(RecvError::Closed) => return,
            };
            // A slow reader must not hold the end of the daemon up.
            let sent = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                sent = sender.send(line) => sent,
            };
            if sent.is_err() {
                return;
            }
        }
    });
    Ok(format.stream(lines))
}

fn call_line(call: &PluginCall, format: Format) -> Bytes {
    let PluginCall {
        time,
        run,
        call: name,
        on,
        error,
        ..
    } = call;
    let outcome = error
        .as_ref()
        .map(|error| format!(": {error}"))
        .unwrap_or_default();
    let text = format!("{time} {run:<8} {name} {on}{outcome}");
    format.line(&text, &serde_json::to_value(call).unwrap_or_default())
}

/// What `GET /v1/plugins/{name}/logs` takes.
#[derive(Debug, Deserialize)]
pub(super) struct LogsQuery {
    /// How many of the lines so far.
    lines: Option<usize>,
    /// Whether to go on with those that come.
    #[serde(default)]
    follow: bool,
}

fn log_line(line: &PluginLogLine, format: Format) -> Bytes {
    let time = peerup_api::whole_seconds(&line.time);
    let text = format!("{time} {:<5} {}: {}", line.level, line.source, line.text);
    format.line(&text, &serde_json::to_value(line).unwrap_or_default())
}

fn missed_line(missed: u64, format: Format) -> Bytes {
    let line = PluginLogLine {
        time: jiff::Timestamp::now().to_string(),
        level: "warn".to_owned(),
        source: "host".to_owned(),
        text: format!("{missed} lines were left out: they came faster than they were read"),
    };
    log_line(&line, format)
}
