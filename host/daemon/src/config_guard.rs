//! The node under the guard of its config: what the driver in `peerup-ops` needs to apply, revert and try it.

mod checks;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use peerup_config::{ConfirmCheck, EditError, NodeConfig, parse_node, plan};
use peerup_model::Failure;
use peerup_ops::{GuardCell, Guarded};
use tokio::sync::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::checks::run as try_check;
use crate::{app::App, failure::PROGRAM};

impl Guarded for App {
    const PROGRAM: &'static str = PROGRAM;
    const START: &'static str = "peerup daemon";

    fn guard(&self) -> &GuardCell {
        &self.guard
    }

    fn edits(&self) -> &Mutex<()> {
        &self.edit
    }

    fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn ending(&self) -> &CancellationToken {
        &self.shutdown
    }

    fn config_file(&self) -> &Path {
        self.config_path()
    }

    fn check_text(&self, text: &str) -> Result<(), Failure> {
        read(self, text).map(drop)
    }

    async fn enforce(self: &Arc<Self>, text: &str) -> Result<(), String> {
        let config = parse_node(text, self.config_path())
            .map_err(|error| error.to_string())?
            .config;
        let effects = self
            .put_in_force_whole(config)
            .await
            .map_err(|failure| failure.message)?;
        tracing::debug!(?effects, "a config was put in force");
        Ok(())
    }

    fn runs_all_of(&self, text: &str) -> bool {
        let Ok(loaded) = parse_node(text, self.config_path()) else {
            return false;
        };
        loaded.config == *self.config() && needs_restart(self, &loaded.config).is_empty()
    }

    fn needs_restart(&self) -> Vec<String> {
        needs_restart(self, &self.config())
    }

    async fn try_check(self: &Arc<Self>, check: &ConfirmCheck) -> Result<(), String> {
        checks::run(self, check).await
    }

    fn lock_failure(error: &EditError) -> Failure {
        crate::edit_failure(error)
    }
}

/// Checks a text as far as the running node can: it is a config, and this node could take it over.
pub(crate) fn read(app: &App, text: &str) -> Result<NodeConfig, Failure> {
    let loaded = parse_node(text, app.config_path()).map_err(|error| crate::config_failure(&error))?;
    app.services
        .check_room(&app.config(), &loaded.config)
        .map_err(|error| crate::edit_failure(&error))?;
    Ok(loaded.config)
}

/// Returns the keys that are in force only after the next start.
fn needs_restart(app: &App, config: &NodeConfig) -> Vec<String> {
    let plan = plan(&app.started_with, config);
    plan.effects.needs_restart.into_iter().collect()
}
