//! `serve` and `config validate`.

use std::io;
use std::path::Path;

use libp2p::multiaddr::Protocol;
use multiaddr::Multiaddr;
use peerup_model::{ErrorCode, Failure};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::{Found, tell};
use crate::server::{Relay, StartError, check};

/// Runs the relay until a signal ends it.
pub(super) fn serve(found: &Found) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(ErrorCode::Failed, format!("cannot start the runtime: {error}")))?;
    runtime.block_on(run(found))
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

async fn run(found: &Found) -> Result<(), Failure> {
    let on = |kind| {
        signal(kind)
            .map_err(|error| Failure::new(ErrorCode::Failed, format!("cannot listen for signals: {error}")))
    };
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let start = Relay::start(found.config.clone());
    let relay = start.await.map_err(|error| start_failure(&error, &found.path))?;
    tell(&format!("ready {}", relay.peer_id()));
    for address in relay.addresses() {
        tell(&address.to_string());
    }
    notify(&NotifyState::Ready);
    let ended = tokio::select! {
        biased;
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = relay.ended() => true,
    };
    notify(&NotifyState::Stopping);
    relay.shutdown().await;
    match ended {
        false => Ok(()),
        true => Err(
            Failure::new(ErrorCode::Failed, "the relay ended by itself").with_hint(
                "its last log lines say why; start it again, or let systemd do so with Restart=on-failure",
            ),
        ),
    }
}

fn notify(state: &NotifyState<'_>) {
    // Without systemd there is nobody to notify, which is no error there.
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}

/// Says what a start failed on, and the next step.
fn start_failure(error: &StartError, config: &Path) -> Failure {
    let failure = |code| Failure::new(code, error.to_string());
    match error {
        StartError::Key(error) => super::identity_failure(error),
        StartError::AuthorizedKeys(error) => super::keys_failure(error),
        StartError::Listen { address, source } => {
            let config = config.display();
            match port(address).filter(|_| source.kind() == io::ErrorKind::AddrInUse) {
                Some(port) => failure(ErrorCode::Conflict).with_hint(format!(
                    "see who holds it with `ss -ltnup 'sport = :{port}'`, or change network.listen_addresses in {config}"
                )),
                None => failure(ErrorCode::Failed)
                    .with_hint(format!("change network.listen_addresses in {config}")),
            }
        }
        _ => failure(ErrorCode::Failed),
    }
}

fn port(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    })
}
