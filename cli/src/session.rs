//! Who answers a command: the running daemon, or a temporary node in this process.
//!
//! Two nodes with one identity break each other's reservations, so a daemon that lives is always asked.

use std::path::{Path, PathBuf};

use peerup_api::Client;
use peerup_daemon::{Daemon, DaemonLog, DaemonOptions, Mode};
use peerup_model::{ErrorCode, Failure};

use crate::context::Context;

/// A client, and the temporary node behind it where there is one.
#[derive(Debug)]
pub(crate) struct Session {
    /// Speaks to the daemon or to the temporary node.
    pub(crate) client: Client,
    node: Option<Daemon>,
}

impl Session {
    /// Speaks to the running daemon.
    pub(crate) async fn attach(context: &Context) -> Result<Self, Failure> {
        let client = running(&context.config_path()?).await;
        client.map(|client| Self { client, node: None }).ok_or_else(|| {
            Failure::new(ErrorCode::NoDaemon, "no daemon is running")
                .with_hint("start it with: peerup daemon")
        })
    }

    /// Speaks to the running daemon, or starts a temporary node.
    pub(crate) async fn attach_or_start(
        context: &Context,
        config: PathBuf,
        mode: Mode,
    ) -> Result<Self, Failure> {
        if let Some(client) = running(&config).await {
            return Ok(Self { client, node: None });
        }
        context.note("no daemon is running: starting a temporary node for this command");
        let node = Daemon::start(DaemonOptions {
            config,
            mode,
            log: DaemonLog::default(),
        })
        .await?;
        Ok(Self {
            client: node.client(),
            node: Some(node),
        })
    }

    /// Ends the temporary node, if there is one, and returns what the command came to.
    pub(crate) async fn finish<T>(self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if let Some(node) = self.node {
            node.stop().await;
        }
        outcome
    }
}

/// Returns a client of the daemon of this config, if one lives.
pub(crate) async fn running(config: &Path) -> Option<Client> {
    let client = Client::new(config.parent().unwrap_or(Path::new(".")));
    client.is_alive().await.then_some(client)
}

/// Runs something until it ends or the person or the system asks for the end.
pub(crate) async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        // Signals are watched for before the work begins: one that comes in between would be lost.
        biased;
        () = interrupted() => Err(Failure::new(ErrorCode::Interrupted, "interrupted")),
        outcome = work => outcome,
    }
}

/// Waits for SIGINT, SIGTERM or SIGHUP.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            // Without a handler the signal ends the process in its own way.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}
