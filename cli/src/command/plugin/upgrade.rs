//! `plugin upgrade` and `plugin rollback`: another version in the place of the one that runs. Whatever goes wrong,
//! the version before stays.

use std::path::Path;

use peerup_api::{PluginTrialInfo, whole_seconds};
use peerup_config::{ConfigFile, NodeConfig};
use peerup_model::{ErrorCode, Failure, PluginName};
use peerup_ops::{read_trial, who_asks};
use peerup_package::{LockedPackage, LockedPlugin, Manifest, Package, Rights, RightsDifference, asks_more};

use super::{
    Refusal,
    consent::{self, Answer},
    failed, fetch, folder_of, not_installed, now, read_name, tell_daemon, trial, usage,
};
use crate::{arguments::PluginUpgrade, context::Context, output};

pub(super) async fn run(context: &Context, arguments: &PluginUpgrade) -> Result<(), Failure> {
    let name = read_name(&arguments.name)?;
    let wanted = read_trial(arguments.confirm_timeout, &arguments.confirm_if, who_asks())?;
    let (config_path, config) = context.load()?;
    let folder = folder_of(&config_path);
    let lock = folder.read().map_err(Refusal::from)?;
    let there = lock.get(&name).ok_or_else(|| not_installed(&name))?;
    lock.check_settled(&name).map_err(Refusal::from)?;
    let source = arguments
        .source
        .clone()
        .unwrap_or_else(|| newest(&there.current.source));
    let fetched = fetch::fetch(context, &source).await?;
    let package = &fetched.package;
    check_name(&name, package)?;
    lock.check_author(package).map_err(Refusal::from)?;
    check_newer(&there.current, package, arguments)?;
    // One that is damaged is no reason to refuse the one that replaces it.
    let before = folder.load(&name, &there.current).ok();
    let before = before.as_ref().map(Package::manifest);
    let change = Change::new(&config, before, package.manifest());
    consent::show(context, package);
    change.show(context, there, package);
    let rights = change.decide(context, arguments).await?;

    let grants = consent::entries(package.manifest(), &rights);
    // First the config: cut short between the two, the version before runs on with what was just granted to it.
    if !grants.is_empty() {
        ConfigFile::new(&config_path)
            .edit(|editor| editor.add_grants(&name, &grants))
            .map_err(|error| peerup_daemon::edit_failure(&error))?;
    }
    let source = fetched.source.clone();
    let trial = folder.edit(|lock, store| {
        let Some(before) = lock.get(&name).map(|plugin| plugin.current.digest) else {
            return Err(not_installed(&name).into());
        };
        store.put(package)?;
        lock.set(package, LockedPackage::of(package, source, now()))?;
        if let Some(wanted) = wanted.filter(|_| before != package.digest()) {
            lock.begin_trial(&name, trial::begin(&wanted));
        }
        Ok::<_, Refusal>(lock.get(&name).and_then(trial::describe))
    })?;
    tell_daemon(context, &config_path, &name, Some(&package.manifest().version)).await;
    change.report(context, there, package, (&rights, trial.as_ref()))?;
    match trial {
        Some(trial) if !trial.checks.is_empty() && !arguments.no_wait => {
            trial::follow(context, &config_path, &name, &trial).await
        }
        Some(trial) if !context.json => {
            context.note(&format!(
                "{} comes back at {} unless somebody runs: peerup plugin confirm {name}",
                trial.previous,
                whole_seconds(&trial.deadline)
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Refuses an older version that nobody named: whoever holds the place where the newest one lies could bring back one
/// with a hole that is known.
fn check_newer(current: &LockedPackage, package: &Package, arguments: &PluginUpgrade) -> Result<(), Failure> {
    let (name, offered) = (&package.manifest().name, &package.manifest().version);
    if arguments.source.is_some() || !current.is_newer_than(offered) {
        return Ok(());
    }
    Err(Failure::new(
        ErrorCode::Denied,
        format!(
            "{name} {} is installed, and {} has the older {offered}",
            current.version, current.source
        ),
    )
    .with_hint(format!(
        "to go back, run: peerup plugin rollback {name}; or name the source: peerup plugin upgrade {name} SOURCE"
    )))
}

/// Where a newer version would be: the same file or folder, or the tag of a reference without its digest.
fn newest(source: &str) -> String {
    match source.split_once('@') {
        Some((tagged, _)) if source.starts_with("oci://") => tagged.to_owned(),
        _ => source.to_owned(),
    }
}

fn check_name(name: &PluginName, package: &Package) -> Result<(), Failure> {
    let found = &package.manifest().name;
    match found == name {
        true => Ok(()),
        false => Err(usage(format!("that is the plugin {found}, not {name}"))
            .with_hint("install it with: peerup plugin install SOURCE")),
    }
}

/// What an upgrade changes in the plugin's rights.
#[derive(Debug)]
struct Change<'a> {
    manifest: &'a Manifest,
    granted: Rights,
    difference: RightsDifference,
    /// What it asks for that nobody has answered yet.
    more: Rights,
}

impl<'a> Change<'a> {
    fn new(config: &NodeConfig, before: Option<&Manifest>, manifest: &'a Manifest) -> Self {
        let entry = config.plugins.get(&manifest.name);
        let granted = entry
            .map(|entry| Rights::granted(&entry.grants))
            .unwrap_or_default();
        let (difference, more) = match before {
            Some(before) => (
                RightsDifference::between(before, manifest),
                asks_more(before, manifest, &granted),
            ),
            None => (
                RightsDifference::default(),
                Rights::wanted(manifest).beyond(&[&granted]),
            ),
        };
        Self {
            manifest,
            granted,
            difference,
            more,
        }
    }

    fn show(&self, context: &Context, there: &LockedPlugin, package: &Package) {
        let (from, to) = (&there.current.version, &package.manifest().version);
        context.note(&format!("{} {from} -> {to}", self.manifest.name));
        let difference = &self.difference;
        for line in consent::difference_lines(self.manifest, difference) {
            context.note(&line);
        }
        let idle = difference.removed.iter().any(|(name, _)| self.granted.has(name));
        if idle {
            context.note(&format!(
                "what it asks for no longer stays granted until you take it out of plugins.{}.grants",
                self.manifest.name
            ));
        }
    }

    /// Returns what to grant on top; refuses more rights without consent.
    async fn decide(&self, context: &Context, arguments: &PluginUpgrade) -> Result<Rights, Failure> {
        let rights = match consent::answer(self.manifest, &self.more, &arguments.consent)? {
            Answer::Granted(rights) => rights.beyond(&[&self.granted]),
            Answer::Open => {
                self.show_lines(context, &self.more.decided());
                if !context.may_ask() {
                    return Err(Failure::new(
                        ErrorCode::Denied,
                        format!("{} asks for more: {}", self.manifest.name, self.more),
                    )
                    .with_hint("nothing was changed; agree with --yes-as-declared, or to a part of it with --grant CAP=VALUE"));
                }
                if !consent::ask(&format!("Upgrade {} with these rights?", self.manifest.name)).await? {
                    return Err(Failure::new(ErrorCode::Denied, "nothing was changed")
                        .with_hint("choose the rights with --grant CAP=VALUE"));
                }
                return self.enough(self.more.decided());
            }
        };
        self.show_lines(context, &rights);
        self.enough(rights)
    }

    fn show_lines(&self, context: &Context, rights: &Rights) {
        if !rights.is_empty() {
            let section = consent::section(self.manifest, rights, true);
            context.note(&format!(
                "the config gets, in the section that is there:\n{}",
                section.to_yaml(&self.manifest.name)
            ));
        }
    }

    fn enough(&self, rights: Rights) -> Result<Rights, Failure> {
        rights
            .to_grants()
            .map_err(|error| Failure::new(ErrorCode::Invalid, error.to_string()))?;
        let mut all = self.granted.clone();
        for (name, values) in rights.iter() {
            match values {
                [] => all.add(name, None),
                values => values.iter().try_for_each(|value| all.add(name, Some(value))),
            }
            .map_err(failed)?;
        }
        consent::check_enough(self.manifest, &all, ErrorCode::Denied)?;
        Ok(rights)
    }

    fn report(
        &self,
        context: &Context,
        there: &LockedPlugin,
        package: &Package,
        (rights, trial): (&Rights, Option<&PluginTrialInfo>),
    ) -> Result<(), Failure> {
        let same = there.current.digest == package.digest();
        let status = if same { "unchanged" } else { "upgraded" };
        let manifest = self.manifest;
        if context.json {
            return output::json(&serde_json::json!({
                "status": status,
                "name": manifest.name,
                "version": manifest.version,
                "contract": manifest.contract,
                "digest": package.digest(),
                "author": package.author(),
                "previous": { "version": there.current.version, "digest": there.current.digest },
                "difference": self.difference,
                "granted": rights,
                "trial": trial,
            }));
        }
        output::line(format!(
            "{status} {} {} {}",
            manifest.name,
            manifest.version,
            package.digest()
        ))
    }
}

pub(super) async fn roll_back(context: &Context, name: &str) -> Result<(), Failure> {
    let name = read_name(name)?;
    let config = context.config_path()?;
    let (now_runs, before) = swap(&config, &name)?;
    tell_daemon(context, &config, &name, Some(&now_runs.version)).await;
    if context.json {
        return output::json(&serde_json::json!({
            "status": "rolled back",
            "name": name,
            "version": now_runs.version,
            "digest": now_runs.digest,
            "previous": { "version": before.version, "digest": before.digest },
        }));
    }
    output::line(format!(
        "rolled back {name} {} {}",
        now_runs.version, now_runs.digest
    ))
}

/// Swaps the two versions, after the one before was read and found whole.
fn swap(config: &Path, name: &PluginName) -> Result<(LockedPackage, LockedPackage), Failure> {
    let swapped = folder_of(config).edit(|lock, store| {
        let there = lock.get(name).cloned().ok_or_else(|| not_installed(name))?;
        let Some(previous) = there.previous else {
            return Err(Failure::new(
                ErrorCode::NotFound,
                format!("there is no version of {name} before {}", there.current.version),
            )
            .with_hint(format!("install one with: peerup plugin upgrade {name} SOURCE"))
            .into());
        };
        store.load(name, &previous)?;
        lock.roll_back(name);
        Ok::<_, Refusal>((previous, there.current))
    })?;
    Ok(swapped)
}
