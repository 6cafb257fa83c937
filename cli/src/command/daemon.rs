//! `daemon`: runs it, and speaks to the running one.

use peerup_api::{ConnectInfo, ConnectRequest, PeerInfo, ServiceInfo};
use peerup_daemon::{Daemon, DaemonOptions, Mode};
use peerup_model::Failure;
use peerup_ops::{Asked, Signals};

use super::{ping, proxy, service, service_unit, status};
use crate::{arguments::DaemonCommand, context::Context, output, session::Session};

pub(crate) async fn run(context: &Context, command: Option<DaemonCommand>) -> Result<(), Failure> {
    match command {
        None | Some(DaemonCommand::Start) => start(context).await,
        Some(DaemonCommand::Status) => {
            let session = Session::attach(context).await?;
            status::print_running(context, &session.client).await
        }
        Some(DaemonCommand::Stop) => act(context, "/v1/shutdown").await,
        Some(DaemonCommand::Reload) => act(context, "/v1/config/reload").await,
        Some(DaemonCommand::Services) => {
            let session = Session::attach(context).await?;
            let services: Vec<ServiceInfo> = get(&session, "/v1/services").await?;
            service::print(context, &services)
        }
        Some(DaemonCommand::Peers { all }) => peers(context, all).await,
        Some(DaemonCommand::Ping(arguments)) => {
            let session = Session::attach(context).await?;
            ping::through(context, &session.client, arguments).await
        }
        Some(DaemonCommand::Connect {
            peer,
            service,
            listen,
        }) => {
            let listen = proxy::read_listen(Some(&listen))?;
            connect(
                context,
                ConnectRequest {
                    peer,
                    service,
                    listen,
                },
            )
            .await
        }
        Some(DaemonCommand::Disconnect { id }) => disconnect(context, &id).await,
        Some(DaemonCommand::Install(arguments)) => service_unit::install(context, &arguments),
        Some(DaemonCommand::Uninstall(place)) => service_unit::uninstall(context, &place),
    }
}

async fn get<T: serde::de::DeserializeOwned>(session: &Session, path: &str) -> Result<T, Failure> {
    session
        .client
        .get(path)
        .await
        .map_err(peerup_api::ClientError::into_failure)
}

/// Runs the daemon in the foreground until a signal or a request ends it.
async fn start(context: &Context) -> Result<(), Failure> {
    let config = context.config_path()?;
    // Signals are heeded from the first moment on: a start that is cut short leaves no socket behind.
    let signals = Signals::new();
    let mut signals = signals.map_err(|error| super::failed(format!("no signals can be heeded: {error}")))?;
    let mut signal = Box::pin(signals.ends());
    let daemon = tokio::select! {
        biased;
        () = &mut signal => return Ok(()),
        started = Daemon::start(DaemonOptions { config, mode: Mode::Daemon, log: context.log.clone() }) => started?,
    };
    drop(signal);
    let token = daemon.shutdown_token();
    let ready = daemon.wait_ready();
    let problems = tokio::select! {
        biased;
        () = signals.ends() => {
            token.cancel();
            Vec::new()
        }
        problems = ready => problems,
    };
    let socket = daemon.socket().unwrap_or_default();
    for problem in &problems {
        context.note(&format!("not all is well: {problem}"));
    }
    if !daemon.shutdown_token().is_cancelled() {
        context.note(&format!("ready {} {}", daemon.peer_id(), socket.display()));
    }
    serve_signals(&daemon, &mut signals).await;
    daemon.run().await;
    Ok(())
}

/// Reloads and ends the daemon as signals ask for it. Returns when it is to end.
async fn serve_signals(daemon: &Daemon, signals: &mut Signals) {
    let token = daemon.shutdown_token();
    loop {
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            asked = signals.next() => match asked {
                Asked::End => token.cancel(),
                Asked::Reload => match daemon.reload().await {
                    Ok(()) => tracing::info!("the config was read again"),
                    Err(failure) => {
                        tracing::error!(error = %failure.message, "the reload failed; what it did not change stays in force");
                    }
                },
                #[cfg(debug_assertions)]
                Asked::Stall => stall(daemon).await,
            }
        }
    }
}

/// What a test asks for with `SIGUSR1`: that the node's task stands still for so many milliseconds.
#[cfg(debug_assertions)]
async fn stall(daemon: &Daemon) {
    let asked = std::env::var("PEERUP_DEBUG_STALL_MS").ok();
    if let Some(time) = asked.and_then(|text| text.parse().ok()) {
        daemon.stall(std::time::Duration::from_millis(time)).await;
    }
}

async fn act(context: &Context, path: &str) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let done: serde_json::Value = session
        .client
        .post(path, &serde_json::json!({}))
        .await
        .map_err(peerup_api::ClientError::into_failure)?;
    tell(context, &done)
}

/// Prints what an action came to.
pub(super) fn tell(context: &Context, done: &serde_json::Value) -> Result<(), Failure> {
    if context.json {
        return output::json(done);
    }
    context.note(
        done.get("status")
            .and_then(|status| status.as_str())
            .unwrap_or("done"),
    );
    Ok(())
}

pub(super) async fn peers(context: &Context, all: bool) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let path = if all { "/v1/peers?all=true" } else { "/v1/peers" };
    let peers: Vec<PeerInfo> = get(&session, path).await?;
    if context.json {
        return output::json(&peers);
    }
    if peers.is_empty() {
        context.note("no peer is connected");
    }
    let rows: Vec<[String; 7]> = peers.iter().map(peer_row).collect();
    output::table(
        ["NAME", "ID", "ROLE", "PATH", "RTT", "LAST ANSWER", "AGENT"],
        &rows,
    )
}

fn peer_row(peer: &PeerInfo) -> [String; 7] {
    let path = match (&peer.path, &peer.transport, &peer.via) {
        (Some(path), Some(transport), _) => format!("{path} {transport}"),
        (Some(path), None, Some(via)) => format!("{path} via {via}"),
        (path, ..) => output::or_dash(path.as_ref()),
    };
    let left = peer.connections.first().and_then(|best| best.budget?.bytes_left);
    let path = match left {
        Some(left) => format!("{path} ({} left)", output::bytes(left)),
        None => path,
    };
    [
        output::or_dash(peer.name.as_ref()),
        peer.id.clone(),
        peer.role.clone(),
        path,
        peer.rtt_ms
            .map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.1}ms")),
        peer.last_seen_s
            .map_or_else(|| "-".to_owned(), |age| format!("{age}s ago")),
        output::or_dash(peer.agent_version.as_ref()),
    ]
}

async fn connect(context: &Context, request: ConnectRequest) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let info: ConnectInfo = session
        .client
        .post("/v1/connect", &request)
        .await
        .map_err(peerup_api::ClientError::into_failure)?;
    if context.json {
        return output::json(&info);
    }
    output::line(format!("{} {}", info.id, info.listen_address))
}

async fn disconnect(context: &Context, id: &str) -> Result<(), Failure> {
    let session = Session::attach(context).await?;
    let path = format!("/v1/connect/{id}");
    let done: serde_json::Value = session
        .client
        .delete(&path, None::<&()>)
        .await
        .map_err(peerup_api::ClientError::into_failure)?;
    tell(context, &done)
}
