//! The places of a daemon outside of itself: where it answers scrapes, where and how much it logs. Each is exchanged while
//! the daemon runs, the new one first.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::{FutureExt, future::BoxFuture};
use peerup_config::{LogConfig, NodeConfig};
use peerup_ops::{LogControl, ScrapePlace};

use crate::{
    app::App,
    metrics,
    place_keeper::{Exchanged, PlaceKeeper, Unmet},
};

const SCRAPES: &str = "metrics.listen";
const LOG: &str = "log";

/// The places.
#[derive(Debug)]
pub(crate) struct Places {
    app: Weak<App>,
    scrapes: ScrapePlace,
    /// The way to change the log, where this process leaves it to the daemon.
    log: Option<LogControl>,
    unmet: Mutex<Vec<Unmet>>,
}

impl Places {
    pub(crate) fn new(app: Weak<App>, log: Option<LogControl>) -> Self {
        Self {
            app,
            scrapes: ScrapePlace::default(),
            log,
            unmet: Mutex::default(),
        }
    }

    async fn take_all(&self, config: &NodeConfig) -> Exchanged {
        let mut exchanged = Exchanged::default();
        let Some(app) = self.app.upgrade() else {
            return exchanged;
        };
        exchanged.note(SCRAPES, self.serve_scrapes(&app, config).await);
        exchanged.note(LOG, self.lead_log(&config.log).await);
        let mut unmet = self.unmet.lock().unwrap_or_else(PoisonError::into_inner);
        for new in exchanged.unmet.iter().filter(|new| !unmet.contains(new)) {
            tracing::error!(why = %new.why, "{} is not in force; what was before stays", new.key);
        }
        unmet.clone_from(&exchanged.unmet);
        exchanged
    }

    async fn serve_scrapes(&self, app: &Arc<App>, config: &NodeConfig) -> Result<bool, String> {
        let wanted = config.metrics.listen;
        let router = metrics::router(app.clone());
        let served = self.scrapes.serve_at(wanted, router, &app.tasks, &app.shutdown);
        served.await.map_err(|error| {
            let address = wanted.map(|address| address.to_string()).unwrap_or_default();
            format!("{address} cannot be listened on: {error}; see who has it with: ss -ltnp")
        })
    }

    async fn lead_log(&self, config: &LogConfig) -> Result<bool, String> {
        let Some(log) = self.log.clone() else {
            return Ok(false);
        };
        let config = config.clone();
        let applying = tokio::task::spawn_blocking(move || log.apply(&config));
        match applying.await {
            Ok(Ok(())) => Ok(false),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(format!("a task ended early: {error}")),
        }
    }
}

impl Exchanged {
    fn note(&mut self, key: &'static str, outcome: Result<bool, String>) {
        match outcome {
            Ok(true) => drop(self.keys.insert(key.to_owned())),
            Ok(false) => {}
            Err(why) => self.unmet.push(Unmet { key, why }),
        }
    }
}

impl PlaceKeeper for Places {
    fn take<'a>(&'a self, config: &'a NodeConfig) -> BoxFuture<'a, Exchanged> {
        self.take_all(config).boxed()
    }

    fn unmet(&self) -> Vec<Unmet> {
        self.unmet.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
