//! Where the node keeps which upgrades of plugins wait to be confirmed, for whoever asks.

mod behind;
mod news;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use arc_swap::ArcSwap;
use peerup_api::{ConfigCheck, PluginInfo, PluginTrialEnd, PluginTrialInfo};
use peerup_config::now;
use peerup_model::PluginName;
use tokio::sync::{Mutex, Notify};

pub(crate) use self::{
    behind::{Behind, Stands},
    news::{Known, News, known, news},
};

/// What a check says that was not tried.
const NOT_TRIED: &str = "not tried yet";

/// What waits, for whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    pub(crate) state: Mutex<State>,
    pub(crate) seen: ArcSwap<BTreeMap<PluginName, Waiting>>,
    /// What became of those that waited, and those that run another version than the one that holds.
    pub(crate) told: ArcSwap<TrialsTold>,
    looked: Notify,
}

/// What is told of plugins that wait no more.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrialsTold {
    pub(crate) ended: BTreeMap<PluginName, PluginTrialEnd>,
    pub(crate) behind: Vec<String>,
}

/// What the last look found.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) known: BTreeMap<PluginName, Known>,
    /// For each check why it was not met at the last try: none once it is met.
    pub(crate) unmet: BTreeMap<PluginName, Vec<Option<String>>>,
    /// Those that were over and taken out of force while the disk did not take it.
    pub(crate) forced: BTreeSet<(PluginName, u64)>,
    /// Those that run another version than the one that holds.
    pub(crate) behind: Behind,
    /// What became of the last upgrade of each that waited.
    pub(crate) ended: BTreeMap<PluginName, PluginTrialEnd>,
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
    /// Adds to a plugin how an upgrade of it waits, if one does, and what became of the one before.
    pub(crate) fn add_to(&self, plugin: &mut PluginInfo) {
        let Ok(name) = plugin.name.parse::<PluginName>() else {
            return;
        };
        plugin.trial = self.seen.load().get(&name).map(Waiting::describe);
        plugin.last_trial = self.told.load().ended.get(&name).cloned();
    }

    /// Has the watcher wake, since something else may be the next to end.
    pub(crate) fn wake(&self) {
        self.looked.notify_one();
    }

    /// Returns after [`Trials::wake`], also one that was before. For one who waits. Cancel safe.
    pub(crate) async fn looked(&self) {
        self.looked.notified().await;
    }

    /// Returns what waits, and what is not the version that it should be, in a sentence each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let seen = self.seen.load();
        let waits = seen.iter().map(|(name, waiting)| {
            let info = waiting.describe();
            format!(
                "the plugin {name} {} waits to be confirmed, and {} comes back at {}; keep it with: peerup plugin confirm {name}",
                info.version, info.previous, info.deadline
            )
        });
        waits.chain(self.told.load().behind.iter().cloned()).collect()
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
