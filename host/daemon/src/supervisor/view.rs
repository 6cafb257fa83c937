//! What the supervisor tells of each plugin. Written by its actor, read by everybody.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use jiff::Timestamp;
use peerup_api::{PluginCommandInfo, PluginFlagInfo, PluginInfo, PluginLimitsInfo};
use peerup_config::PluginEntry;
use peerup_engine::{PluginStats, Splices};
use peerup_lifecycle::{Generation, Stage};
use peerup_model::{ErrorCode, Failure, PluginName};
use peerup_package::{CommandSpec, Digest};

use super::{package::Package, routing::Slot};

/// One plugin as it was after the last change.
pub(crate) type View = Arc<PluginView>;
/// All of them.
pub(super) type Views = Arc<BTreeMap<PluginName, View>>;

/// What is known of one plugin.
#[derive(Debug)]
pub(crate) struct PluginView {
    pub(crate) name: PluginName,
    pub(crate) stage: Stage,
    /// A generation is being loaded or checked.
    pub(crate) is_changing: bool,
    pub(crate) is_wanted: bool,
    /// It does not run because a grant is missing.
    pub(super) is_denied: bool,
    pub(super) since: Instant,
    pub(super) failure: Option<String>,
    pub(super) swap_failure: Option<(Generation, String)>,
    pub(super) last_error: Option<String>,
    pub(super) restarts: u64,
    pub(super) entry: PluginEntry,
    /// The version that runs, else the last one that was tried.
    pub(super) package: Option<Arc<Package>>,
    pub(super) active: Option<Arc<Slot>>,
    /// Every loaded generation, those that drain among them.
    pub(super) slots: Vec<Arc<Slot>>,
    /// Counts of generations that are gone.
    pub(super) past: PluginStats,
    pub(super) splices: Splices,
}

impl PluginView {
    /// The failure that who wants to use it gets.
    pub(super) fn failure_to_run(&self) -> Failure {
        let name = &self.name;
        match (&self.failure, self.stage) {
            (Some(reason), _) => Failure::new(
                self.failure_code(),
                format!("the plugin {name} does not run: {reason}"),
            ),
            (None, stage) => Failure::new(ErrorCode::Conflict, format!("the plugin {name} is {stage}"))
                .with_hint("try again in a moment"),
        }
    }

    pub(super) fn failure_code(&self) -> ErrorCode {
        match self.is_denied {
            true => ErrorCode::Denied,
            false => ErrorCode::Failed,
        }
    }

    /// Returns which installed package runs; none where nothing runs, or it travels with the binary.
    pub(crate) fn runs(&self) -> Option<Digest> {
        self.active.as_ref()?;
        self.package.as_ref()?.installed
    }

    /// Returns the version that runs or was tried last.
    pub(crate) fn version(&self) -> Option<&str> {
        Some(self.package.as_ref()?.manifest.version.as_str())
    }

    /// Says why what was asked for last does not run, where that is known.
    pub(crate) fn problem(&self) -> Option<&str> {
        let active = self.active.as_ref().map(|slot| slot.generation());
        let swap = self.swap_failure.as_ref();
        let swap = swap.filter(|(failed, _)| active.is_some_and(|active| *failed > active));
        self.failure
            .as_deref()
            .or(swap.map(|(_, reason)| reason.as_str()))
    }

    /// Says why an installed package does not run, if it does not: what was asked for last must have been taken up.
    pub(crate) fn lacks(&self, wanted: Digest) -> Option<String> {
        let is_settled = self.stage == Stage::Active && !self.is_changing;
        match (is_settled && self.runs() == Some(wanted), self.problem()) {
            (true, None) => None,
            (_, Some(problem)) => Some(format!("it does not run yet: {problem}")),
            (false, None) => Some("it does not run yet".to_owned()),
        }
    }

    /// Returns it as the API tells it.
    pub(crate) fn describe(&self) -> PluginInfo {
        let stats = self.stats();
        let manifest = self.package.as_ref().map(|package| &package.manifest);
        let grants = match &self.active {
            Some(slot) => serde_json::to_value(slot.plugin().grants().as_ref()),
            None => serde_json::to_value(&self.entry.grants),
        };
        let since = Timestamp::now()
            .checked_sub(jiff::SignedDuration::try_from(self.since.elapsed()).unwrap_or_default())
            .unwrap_or_default();
        let swap_failure = self.swap_failure.as_ref().map(|(_, reason)| reason.clone());
        PluginInfo {
            name: self.name.to_string(),
            version: manifest.map(|one| one.version.clone()).unwrap_or_default(),
            summary: manifest.map(|one| one.summary.clone()).unwrap_or_default(),
            state: self.stage.to_string(),
            reason: self.failure.clone().or(swap_failure),
            enabled: self.entry.enabled,
            contract: manifest.map(|one| one.contract.clone()).unwrap_or_default(),
            digest: self.package.as_ref().map(|package| package.digest.clone()),
            trial: None,
            last_trial: None,
            since: since.to_string(),
            restarts: self.restarts,
            last_error: stats.last_error.clone().or_else(|| self.last_error.clone()),
            instances: stats.instances_live,
            instances_total: stats.instances_total,
            // Also those of generations that are gone.
            tunnels: self
                .splices
                .list()
                .iter()
                .filter(|tunnel| tunnel.plugin == self.name)
                .count(),
            tunnels_total: stats.spliced_total,
            traps: stats.traps,
            denials: stats.denials,
            bytes: stats.bytes_in + stats.bytes_out,
            grants: grants.unwrap_or_default(),
            limits: PluginLimitsInfo {
                memory: self.entry.limits.memory,
                cpu_ms: u64::try_from(self.entry.limits.cpu.as_millis()).unwrap_or(u64::MAX),
                instances: u64::from(self.entry.limits.instances),
            },
            commands: manifest
                .map(|one| one.commands.as_slice())
                .unwrap_or_default()
                .iter()
                .map(command_info)
                .collect(),
        }
    }

    /// How often its service was started again after a failure.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Returns what all its generations have done.
    pub(crate) fn stats(&self) -> PluginStats {
        let mut sum = self.past.clone();
        for slot in &self.slots {
            add(&mut sum, &slot.plugin().stats());
        }
        sum
    }
}

/// Adds the counts of one generation to those of others.
pub(super) fn add(sum: &mut PluginStats, one: &PluginStats) {
    sum.instances_live += one.instances_live;
    sum.instances_total += one.instances_total;
    sum.spliced_live += one.spliced_live;
    sum.spliced_total += one.spliced_total;
    sum.traps += one.traps;
    sum.denials += one.denials;
    sum.bytes_in += one.bytes_in;
    sum.bytes_out += one.bytes_out;
    sum.calls += one.calls;
    sum.cpu += one.cpu;
    sum.memory_peak = sum.memory_peak.max(one.memory_peak);
    sum.handles_total += one.handles_total;
    sum.datagrams += one.datagrams;
    sum.log_lines_dropped += one.log_lines_dropped;
    // All of them have the one store.
    sum.store_bytes = one.store_bytes.or(sum.store_bytes);
    if one.last_error.is_some() {
        sum.last_error.clone_from(&one.last_error);
    }
}

fn command_info(command: &CommandSpec) -> PluginCommandInfo {
    let flags = command.flags.iter().map(|flag| PluginFlagInfo {
        name: flag.name.clone(),
        kind: flag.kind.as_str().to_owned(),
        summary: flag.summary.clone(),
        required: flag.required,
        default: flag.default.clone(),
        positional: flag.positional,
    });
    PluginCommandInfo {
        name: command.name.clone(),
        summary: command.summary.clone(),
        flags: flags.collect(),
    }
}
