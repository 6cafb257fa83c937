//! One plugin under the supervisor: its machine, what is loaded of it, and what the config says.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use peerup_config::PluginEntry;
use peerup_engine::{Plugin, PluginStats, Splices};
use peerup_lifecycle::{Generation, Lifecycle, LoadFailure, Manner, Policy, Run, Traits};
use peerup_model::PluginName;
use tokio_util::sync::CancellationToken;

use super::{
    grants,
    package::{Package, Source},
    routing::Slot,
    runtime::LoadOutcome,
    view::PluginView,
};
use crate::sources;

/// One plugin.
pub(super) struct Managed {
    pub(super) machine: Lifecycle<Source>,
    pub(super) entry: PluginEntry,
    /// The config does not name it any more: it is forgotten once it has stopped.
    pub(super) is_forgotten: bool,
    /// Loads under way; cancelled ones need not begin.
    pub(super) loading: BTreeMap<Generation, CancellationToken>,
    pub(super) loaded: BTreeMap<Generation, Loaded>,
    pub(super) services: BTreeMap<Run, ServiceRun>,
    pub(super) package: Option<Arc<Package>>,
    pub(super) past: PluginStats,
}

/// One loaded generation.
pub(super) struct Loaded {
    pub(super) slot: Arc<Slot>,
    pub(super) package: Option<Arc<Package>>,
    /// A newer generation took its place, so its tunnels run on when it goes.
    pub(super) is_replaced: bool,
    /// Tunnels of generations that it replaced. They end with it.
    pub(super) inherited: Vec<u64>,
    /// Ends the task that waits for it to drain.
    pub(super) over: CancellationToken,
}

/// One run of a service.
pub(super) struct ServiceRun {
    pub(super) generation: Generation,
    pub(super) stopping: CancellationToken,
    pub(super) cancelled: CancellationToken,
    /// Cancelled once nothing of the run is left.
    pub(super) ended: CancellationToken,
}

/// What a plugin does about another config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is loaded.
    Started,
    /// It ends.
    Stopped,
    /// It is loaded afresh.
    Reloaded,
    /// It runs on with other rights or settings.
    Changed,
    /// Nothing.
    Noted,
}

impl Managed {
    pub(super) fn new(entry: PluginEntry, policy: Policy, seed: u64, now: Instant) -> Self {
        let policy = Policy {
            drain: entry.limits.drain,
            ..policy
        };
        Self {
            machine: Lifecycle::new(Source::Library, policy, seed, now),
            entry,
            is_forgotten: false,
            loading: BTreeMap::new(),
            loaded: BTreeMap::new(),
            services: BTreeMap::new(),
            package: None,
            past: PluginStats::default(),
        }
    }

    /// Takes what the config says of it now, and says what it does about it. `is_protection_new`: other files than before are
    /// kept out of plugins' reach.
    pub(super) fn take(&mut self, entry: &PluginEntry, is_protection_new: bool, now: Instant) -> Taken {
        let before = std::mem::replace(&mut self.entry, entry.clone());
        let was_forgotten = std::mem::take(&mut self.is_forgotten);
        self.machine.set_drain(entry.limits.drain);
        if before.grants != entry.grants {
            // Rights that were taken away are gone at once, whatever becomes of the plugin.
            for loaded in self.loaded.values() {
                loaded.slot.plugin().set_grants(entry.grants.clone());
            }
        }
        let was_enabled = before.enabled && !was_forgotten;
        match (was_enabled, entry.enabled) {
            (was_enabled, false) => {
                self.machine.handle_disable(Manner::Drain, now);
                if was_enabled { Taken::Stopped } else { Taken::Noted }
            }
            (false, true) => {
                self.machine.handle_enable(now);
                Taken::Started
            }
            (true, true) => {
                let are_rights_new = is_protection_new || before.grants != entry.grants;
                let missing = are_rights_new.then(|| self.missing_grant()).flatten();
                let forbidden = are_rights_new.then(|| self.forbidden_directory()).flatten();
                if let Some(forbidden) = forbidden {
                    // What it writes there meanwhile would be in force.
                    self.machine.handle_revoked(&forbidden, Manner::Now, now);
                    Taken::Stopped
                } else if let Some(missing) = missing {
                    self.machine.handle_revoked(&missing, Manner::Drain, now);
                    Taken::Stopped
                } else if before.limits != entry.limits
                    || (are_rights_new && self.machine.failure().is_some())
                {
                    self.machine.handle_reload(now);
                    Taken::Reloaded
                } else if before.settings != entry.settings {
                    if self.takes(&entry.settings) {
                        self.machine.handle_settings_changed(now);
                        Taken::Changed
                    } else {
                        // The load says what is wrong with them, and the one that runs goes on with its own.
                        self.machine.handle_reload(now);
                        Taken::Reloaded
                    }
                } else if before.grants != entry.grants {
                    Taken::Changed
                } else {
                    Taken::Noted
                }
            }
        }
    }

    /// Whether settings fit the plugin's own schema.
    fn takes(&self, settings: &serde_json::Map<String, serde_json::Value>) -> bool {
        let package = self.package.as_ref();
        package.is_none_or(|package| package.manifest.settings.check(settings).is_empty())
    }

    pub(super) fn missing_grant(&self) -> Option<String> {
        let package = self.package.as_ref()?;
        grants::missing(&package.manifest, &self.entry.grants)
    }

    /// Why it may not have a directory any more, where it has one that holds one of the daemon's own files.
    fn forbidden_directory(&self) -> Option<String> {
        let mut loaded = self.loaded.values();
        loaded.find_map(|loaded| loaded.slot.plugin().forbidden_directory())
    }

    pub(super) fn take_load(&mut self, generation: Generation, outcome: LoadOutcome, now: Instant) {
        self.loading.remove(&generation);
        let is_awaited = self.machine.candidate() == Some(generation);
        if is_awaited && self.machine.active().is_none() && outcome.package.is_some() {
            self.package.clone_from(&outcome.package);
        }
        match outcome.loaded {
            Ok((plugin, traits)) => self.take_plugin(generation, plugin, outcome.package, traits, now),
            Err(failure) => self.machine.handle_load_failed(generation, failure, now),
        }
    }

    fn take_plugin(
        &mut self,
        generation: Generation,
        plugin: Plugin,
        package: Option<Arc<Package>>,
        traits: Traits,
        now: Instant,
    ) {
        let manifest = plugin.manifest();
        if let Some(missing) = grants::missing(manifest, &self.entry.grants) {
            // The config changed while it was loaded.
            let failure = LoadFailure {
                reason: missing,
                lasting: true,
            };
            plugin.stop();
            self.machine.handle_load_failed(generation, failure, now);
            return;
        }
        plugin.set_grants(self.entry.grants.clone());
        plugin.set_settings(sources::settings(plugin.manifest(), &self.entry));
        let loaded = Loaded {
            slot: Slot::new(plugin, generation),
            package,
            is_replaced: false,
            inherited: Vec::new(),
            over: CancellationToken::new(),
        };
        self.loaded.insert(generation, loaded);
        // One that nobody waits for is cancelled by the machine's answer to this.
        self.machine.handle_loaded(generation, traits, now);
    }

    pub(super) fn view(&self, name: &PluginName, splices: &Splices) -> PluginView {
        let machine = &self.machine;
        let active = machine
            .active()
            .and_then(|generation| self.loaded.get(&generation));
        PluginView {
            name: name.clone(),
            stage: machine.stage(),
            is_changing: machine.candidate().is_some(),
            is_wanted: machine.is_wanted(),
            is_denied: machine.failure().is_some() && self.missing_grant().is_some(),
            since: machine.since(),
            failure: machine.failure().map(str::to_owned),
            swap_failure: machine
                .swap_failure()
                .map(|(generation, reason)| (generation, reason.to_owned())),
            last_error: machine.last_error().map(str::to_owned),
            restarts: machine.restarts(),
            entry: self.entry.clone(),
            package: self.package.clone(),
            active: active.map(|loaded| loaded.slot.clone()),
            slots: self.loaded.values().map(|loaded| loaded.slot.clone()).collect(),
            past: self.past.clone(),
            splices: splices.clone(),
        }
    }
}
