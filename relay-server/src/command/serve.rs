//! `serve` and `config validate`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use peerup_config::{RelayConfig, Vault, parse_relay, read_relay};
use peerup_model::{ErrorCode, Failure};
use peerup_ops::{
    Asked, Attempt, Guarded, LogControl, Observer, Signals, choose_config, config_problem, watch_config,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Found, tell};
use crate::admin::{self, AdminRequest, AdminSocket};
use crate::control::RelayControl;
use crate::failure::{config_failure, start_failure};
use crate::health;
use crate::keeper::ConfigKeeper;
use crate::server::{Relay, check};
use crate::snapshot::RelaySnapshot;

/// How often the status that systemd shows is looked at.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// How long what runs beside the relay may take to end.
const END_TIME: Duration = Duration::from_millis(500);

/// Runs the relay until a signal ends it.
pub(super) fn serve(config: &Path, log: LogControl) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(ErrorCode::Failed, format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(run(config, log));
    // The relay has ended its tasks; a look-up that no DNS server answers must not hold the process up.
    runtime.shutdown_background();
    outcome
}

/// Checks what `serve` reads before it listens.
pub(super) fn validate(found: &Found) -> Result<(), Failure> {
    let peers = check(&found.config).map_err(|error| start_failure(&error, &found.path))?;
    tell(&format!(
        "{} is valid; {peers} peers are authorized",
        found.path.display()
    ));
    Ok(())
}

async fn run(named: &Path, log: LogControl) -> Result<(), Failure> {
    // What the relay says of its files is read in other folders than its own.
    let path = &std::path::absolute(named).unwrap_or_else(|_| named.to_owned());
    let signals = Signals::new();
    let mut signals = signals
        .map_err(|error| Failure::new(ErrorCode::Failed, format!("no signals can be heeded: {error}")))?;
    let mut socket = match AdminSocket::claim(named).await {
        Ok(socket) => Some(socket),
        Err(failure) if failure.code == ErrorCode::Conflict => return Err(failure),
        Err(failure) => {
            tracing::warn!(
                "{}; `status`, `reload`, `disconnect` and `config` do not reach this relay",
                failure.message
            );
            None
        }
    };
    let vault = Arc::new(Vault::new(path));
    let chosen = choose_config(vault, &mut Starting { path }).await;
    let ((relay, config), held) = chosen.map_err(|failure| nothing_to_start(failure, path))?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let control = relay.control();
    let keeper = ConfigKeeper::new(
        control.clone(),
        (path.to_owned(), config),
        tasks.clone(),
        stop.clone(),
        (Some(log), health::router),
    );
    keeper.guard().install(held).await;
    let keeper = Arc::new(keeper);
    tasks.spawn(watch_config(keeper.clone()));
    // A port that is taken must not keep the relay from running.
    for unmet in keeper.take_places(&keeper.in_force()).await {
        tracing::error!("{unmet}");
    }
    if let Some(listener) = socket.as_mut().and_then(AdminSocket::listener) {
        tasks.spawn(admin::serve(listener, keeper.clone(), stop.clone()));
    }
    let identity = socket.as_ref().map(AdminSocket::identity);
    let observers = observers(&control, identity, named);
    control.set_watch(peerup_ops::watch(observers, &tasks, &stop));
    tell(&format!("ready {}", relay.peer_id()));
    for address in relay.addresses() {
        tell(&address.to_string());
    }
    let status = status_line(&keeper).await;
    peerup_ops::notify_ready(&status);
    tasks.spawn(tell_status(keeper.clone(), status, stop.clone()));
    let ended = loop {
        tokio::select! {
            biased;
            asked = signals.next() => match asked {
                Asked::End => break false,
                Asked::Reload => reload(&keeper).await,
                #[cfg(debug_assertions)]
                Asked::Stall => stall(&control).await,
            },
            () = relay.ended() => break true,
        }
    };
    peerup_ops::notify_stopping();
    stop.cancel();
    tasks.close();
    relay.shutdown().await;
    // Nothing of them is worth waiting for.
    let _ = tokio::time::timeout(END_TIME, tasks.wait()).await;
    drop(socket);
    match ended {
        false => Ok(()),
        true => Err(
            Failure::new(ErrorCode::Failed, "the relay ended by itself").with_hint(
                "its last log lines say why; start it again, or let systemd do so with Restart=on-failure",
            ),
        ),
    }
}

/// A relay that is tried with one config after another.
struct Starting<'a> {
    path: &'a Path,
}

impl Attempt for Starting<'_> {
    type Started = (Relay, RelayConfig);

    async fn start(&mut self, text: &str) -> Result<Self::Started, Failure> {
        let loaded = parse_relay(text, self.path).map_err(|error| config_failure(&error))?;
        for warning in &loaded.warnings {
            tracing::warn!("{}: {warning}", self.path.display());
        }
        let relay = Relay::start(loaded.config.clone()).await;
        let relay = relay.map_err(|error| start_failure(&error, self.path))?;
        Ok((relay, loaded.config))
    }
}

/// Says why there was nothing to start with: the file is not there, or cannot be read.
fn nothing_to_start(failure: Failure, path: &Path) -> Failure {
    let is_told = failure.code != ErrorCode::ConfigInvalid || failure.hint.is_some();
    match read_relay(path) {
        Err(error) if !is_told => config_failure(&error),
        _ => failure,
    }
}

/// What the watchdog looks at: all of it is this process, and none of it the network.
fn observers(control: &RelayControl, socket: Option<(PathBuf, (u64, u64))>, config: &Path) -> Vec<Observer> {
    let (alive, listening) = (control.clone(), control.clone());
    let mut observers = vec![
        Observer::new("loop", move || {
            let control = alive.clone();
            async move {
                control
                    .health()
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
        }),
        Observer::new("listeners", move || {
            let control = listening.clone();
            async move {
                match control.health().await {
                    Ok((0, 1..)) => Err("every listener has closed".to_owned()),
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            }
        }),
    ];
    if let Some((path, inode)) = socket {
        let config = config.to_owned();
        observers.push(Observer::new("admin", move || {
            let (path, config) = (path.clone(), config.clone());
            async move {
                if !AdminSocket::is_ours(&path, inode) {
                    return Err(format!("{} is not this relay's socket any more", path.display()));
                }
                let answer = admin::ask(&config, &AdminRequest::Ping).await;
                answer.map(drop).map_err(|failure| failure.message)
            }
        }));
    }
    observers
}

async fn reload(keeper: &Arc<ConfigKeeper>) {
    peerup_ops::notify_reloading();
    let status = match keeper.reload().await {
        Ok(_) => status_line(keeper).await,
        Err(failure) => {
            let next = failure.hint.as_deref().unwrap_or_default();
            tracing::error!("{failure}; {next}");
            // What does not load is told until it does; what only may not be read now is told once.
            match problem(keeper).await {
                Some(problem) => problem,
                None => format!("the config was not read again: {}", failure.message),
            }
        }
    };
    peerup_ops::notify_ready(&status);
}

async fn tell_status(keeper: Arc<ConfigKeeper>, mut told: String, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = keeper.guard().stands_otherwise() => {}
            () = tokio::time::sleep(STATUS_INTERVAL) => {}
        }
        let status = status_line(&keeper).await;
        if status != told {
            peerup_ops::notify_status(&status);
            told = status;
        }
    }
}

async fn problem(keeper: &ConfigKeeper) -> Option<String> {
    let relay = keeper.control().snapshot().await.ok()?;
    keeper.problems(&relay).into_iter().next()
}

async fn status_line(keeper: &ConfigKeeper) -> String {
    let Ok(relay) = keeper.control().snapshot().await else {
        return String::new();
    };
    let problem = config_problem(keeper).or_else(|| keeper.problems(&relay).into_iter().next());
    problem.unwrap_or_else(|| line(&relay))
}

fn line(relay: &RelaySnapshot) -> String {
    format!(
        "{} peers connected, {} reservations, {} circuits",
        relay.peers.len(),
        relay.reservations,
        relay.circuits
    )
}

/// What a test asks for with `SIGUSR1`: that the relay stands still for so many milliseconds.
#[cfg(debug_assertions)]
async fn stall(control: &RelayControl) {
    let asked = std::env::var("PEERUP_DEBUG_STALL_MS").ok();
    if let Some(time) = asked.and_then(|text| text.parse().ok()) {
        control.stall(Duration::from_millis(time)).await;
    }
}
