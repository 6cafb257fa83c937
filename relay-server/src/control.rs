//! The way to ask a running relay: what the handle sends to the actor, and what it gets back.

use std::io;
use std::sync::{Arc, OnceLock};

use libp2p::PeerId;
use libp2p::metrics::Registry;
use peerup_api::ConfigState;
use peerup_config::RelayConfig;
use peerup_ops::Watch;
use tokio::sync::{mpsc, oneshot};

use crate::asn::{AsnError, AsnTable};
use crate::metrics::{self, Meters};
use crate::reload::Reloaded;
use crate::snapshot::RelaySnapshot;

/// What the handle asks of the actor.
pub(crate) enum RelayCommand {
    /// Say that the actor is alive, and what it listens on and listened on.
    Health { reply: oneshot::Sender<(usize, usize)> },
    /// Describe the relay.
    Snapshot { reply: oneshot::Sender<RelaySnapshot> },
    /// Close every connection of a peer; answers how many there were.
    Disconnect {
        peer: PeerId,
        reply: oneshot::Sender<usize>,
    },
    /// Put what can be live of another config in force.
    Reload {
        config: Box<RelayConfig>,
        asn: Option<Arc<AsnTable>>,
        reply: oneshot::Sender<Reloaded>,
    },
    /// Stand still for so long, as a bug would make the actor do.
    #[cfg(debug_assertions)]
    Stall { time: std::time::Duration },
}

/// What a relay that has ended answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay has ended")]
pub struct Ended;

/// Why another config did not come into force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The table of AS numbers cannot be used.
    #[error(transparent)]
    AsnTable(#[from] AsnError),
    /// There is no relay any more.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// The way to ask a running relay. Cheap to clone; it does not keep the relay running.
#[derive(Debug, Clone)]
pub struct RelayControl {
    commands: mpsc::Sender<RelayCommand>,
    meters: Arc<Meters>,
    transports: Arc<Registry>,
    watch: Arc<OnceLock<Watch>>,
}

impl RelayControl {
    pub(crate) fn new(
        commands: mpsc::Sender<RelayCommand>,
        meters: Arc<Meters>,
        transports: Registry,
    ) -> Self {
        Self {
            commands,
            meters,
            transports: Arc::new(transports),
            watch: Arc::default(),
        }
    }

    /// Asks whether the actor is alive; returns the sockets that it listens on, and those at its start. Waits for as
    /// long as it stands still.
    ///
    /// # Errors
    /// It has ended.
    pub async fn health(&self) -> Result<(usize, usize), Ended> {
        self.ask(|reply| RelayCommand::Health { reply }).await
    }

    /// Describes the relay as it is now.
    ///
    /// # Errors
    /// It has ended.
    pub async fn snapshot(&self) -> Result<RelaySnapshot, Ended> {
        let mut snapshot = self.ask(|reply| RelayCommand::Snapshot { reply }).await?;
        snapshot.checks = self.watch.get().map(Watch::checks).unwrap_or_default();
        Ok(snapshot)
    }

    /// Closes every connection of a peer and returns how many there were. It may come back, unless it lost its right.
    ///
    /// # Errors
    /// The relay has ended.
    pub async fn disconnect(&self, peer: PeerId) -> Result<usize, Ended> {
        self.ask(|reply| RelayCommand::Disconnect { peer, reply }).await
    }

    /// Puts what can be live of another config in force, reads the list of authorised peers again, and says what came
    /// into force and what waits for the next start.
    ///
    /// # Errors
    /// The table of AS numbers cannot be used, or the relay has ended; nothing has changed then.
    pub async fn reload(&self, config: RelayConfig) -> Result<Reloaded, ReloadError> {
        let asn = load_asn(config.resources.asn_table.clone()).await?;
        let config = Box::new(config);
        Ok(self
            .ask(|reply| RelayCommand::Reload { config, asn, reply })
            .await?)
    }

    /// Counts whether a config could be read again.
    pub(crate) fn count_reload(&self, worked: bool) {
        self.meters.count_reload(worked);
    }

    /// Returns its metrics as OpenMetrics text, with how its config stands.
    ///
    /// # Errors
    /// The relay has ended.
    pub async fn scrape(&self, config: &ConfigState) -> Result<String, Ended> {
        let snapshot = self.snapshot().await?;
        Ok(metrics::scrape(&snapshot, config, &self.meters, &self.transports))
    }

    /// Takes where the watchdog tells what it finds. Called once.
    pub(crate) fn set_watch(&self, watch: Watch) {
        let _ = self.watch.set(watch);
    }

    /// Makes the actor stand still, so that a test sees what notices that.
    #[cfg(debug_assertions)]
    pub(crate) async fn stall(&self, time: std::time::Duration) {
        let _ = self.commands.send(RelayCommand::Stall { time }).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> RelayCommand) -> Result<T, Ended> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }
}

/// Reads the table of AS numbers, if there is one, beside the swarm's loop.
pub(crate) async fn load_asn(path: Option<std::path::PathBuf>) -> Result<Option<Arc<AsnTable>>, AsnError> {
    let Some(path) = path else { return Ok(None) };
    let named = path.clone();
    let loaded = tokio::task::spawn_blocking(move || AsnTable::load(&path)).await;
    let table = loaded.unwrap_or_else(|error| {
        Err(AsnError::Read {
            path: named,
            source: io::Error::other(error),
        })
    })?;
    tracing::info!(prefixes = table.len(), "the table of AS numbers is in use");
    Ok(Some(Arc::new(table)))
}
