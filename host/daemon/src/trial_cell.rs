//! Where the node keeps which upgrades of plugins wait to be confirmed, for whoever asks.

mod news;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use arc_swap::ArcSwap;
use peerup_api::{ConfigCheck, PluginTrialInfo};
use peerup_config::now;
use peerup_model::PluginName;
use tokio::sync::{Mutex, Notify};

pub(crate) use self::news::{Known, News, known, news};

/// What a check says that was not tried.
const NOT_TRIED: &str = "not tried yet";

/// What waits, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    pub(crate) state: Mutex<State>,
    pub(crate) seen: ArcSwap<BTreeMap<PluginName, Waiting>>,
    looked: Notify,
}

/// What the last look found.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) known: BTreeMap<PluginName, Known>,
    /// For each check why it was not met at the last try: none once it is met.
    pub(crate) unmet: BTreeMap<PluginName, Vec<Option<String>>>,
    /// Those that were over and taken out of force while the disk did not take it.
    pub(crate) forced: BTreeSet<(PluginName, u64)>,
    /// The disk does not take it, which was told.
    pub(crate) told: bool,
}

/// One upgrade that waits.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) known: Known,
    pub(crate) left: Duration,
    pub(crate) unmet: Vec<Option<String>>,
}

impl Trials {
    /// Returns how an upgrade of a plugin waits, if one does.
    pub(crate) fn describe(&self, name: &str) -> Option<PluginTrialInfo> {
        let seen = self.seen.load();
        let (_, waiting) = seen.iter().find(|(known, _)| known.as_str() == name)?;
        Some(waiting.describe())
    }

    /// Has the watcher wake, since something else may be the next to end.
    pub(crate) fn wake(&self) {
        self.looked.notify_one();
    }

    /// Returns after [`Trials::wake`], also one that was before. For one who waits. Cancel safe.
    pub(crate) async fn looked(&self) {
        self.looked.notified().await;
    }

    /// Returns what waits, in a sentence each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let seen = self.seen.load();
        let waits = seen.iter().map(|(name, waiting)| {
            let info = waiting.describe();
            format!(
                "the plugin {name} {} waits to be confirmed, and {} comes back at {}; keep it with: peerup plugin confirm {name}",
                info.version, info.previous, info.deadline
            )
        });
        waits.collect()
    }
}

impl Waiting {
    fn describe(&self) -> PluginTrialInfo {
        let trial = &self.known.trial;
        let left_ms = u64::try_from(self.left.as_millis()).unwrap_or(u64::MAX);
        let unmet = self.unmet.iter().cloned();
        let unmet = unmet.chain(std::iter::repeat(Some(NOT_TRIED.to_owned())));
        PluginTrialInfo {
            version: self.known.current.version.clone(),
            previous: self.known.previous.version.clone(),
            deadline: peerup_ops::rfc3339(now().wall_ms.saturating_add(left_ms)),
            seconds_left: left_ms.div_ceil(1000),
            applied: peerup_ops::rfc3339(trial.deadline.applied_ms),
            by: trial.by.clone(),
            checks: trial
                .checks
                .iter()
                .zip(unmet)
                .map(|(check, unmet)| ConfigCheck {
                    check: check.clone(),
                    met: unmet.is_none(),
                    reason: unmet,
                })
                .collect(),
        }
    }
}
