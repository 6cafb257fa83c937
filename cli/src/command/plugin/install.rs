//! `plugin install`: shows what a plugin wants, and writes package, lock file and config, in this order: one that
//! was cut short is done by running it again.

use std::path::Path;

use peerup_config::{ConfigEditor, ConfigFile, EditError};
use peerup_model::{ErrorCode, Failure};
use peerup_package::{LockedPackage, Manifest, Package, Rights};

use super::{
    Refusal,
    consent::{self, Answer},
    fetch, folder_of, now, tell_daemon,
};
use crate::{arguments::PluginInstall, context::Context, output};

pub(super) async fn run(context: &Context, arguments: &PluginInstall) -> Result<(), Failure> {
    let (config, _) = context.load()?;
    let fetched = fetch::fetch(context, &arguments.source).await?;
    let package = &fetched.package;
    let manifest = package.manifest();
    check_name(&config, package)?;
    consent::show(context, package);
    let rights = decide(context, manifest, arguments)?;
    if !arguments.no_enable {
        consent::check_enough(manifest, &rights, ErrorCode::Invalid).map_err(|failure| {
            let hint = failure.hint.clone().unwrap_or_default();
            failure.with_hint(format!("{hint}, or install it switched off with --no-enable"))
        })?;
    }
    let plan = Plan::new(&config, manifest, &rights, !arguments.no_enable)?;
    context.note(&format!("the config {} gets:\n{}", config.display(), plan.shown));
    ask(arguments, manifest).await?;

    let source = fetched.source.clone();
    folder_of(&config).edit(|lock, store| {
        // Somebody else may have been faster.
        check_lock(lock, package)?;
        store.put(package)?;
        lock.set(package, LockedPackage::of(package, source, now()))?;
        Ok::<_, Refusal>(())
    })?;
    plan.write(&config)?;
    tell_daemon(context, &config, &manifest.name, Some(&manifest.version)).await;
    report(context, &fetched.source, package, &plan)
}

/// The change to the config, tried on a copy before anything is written.
#[derive(Debug)]
struct Plan {
    name: peerup_model::PluginName,
    change: Change,
    /// What the config gets, as lines.
    shown: String,
}

#[derive(Debug)]
enum Change {
    Section(peerup_config::PluginSection),
    Grants {
        /// What is new.
        grants: Vec<peerup_config::GrantEntry>,
        /// It was on, and is installed switched off.
        switched_off: bool,
    },
}

impl Plan {
    fn new(config: &Path, manifest: &Manifest, rights: &Rights, enabled: bool) -> Result<Self, Failure> {
        rights
            .to_grants()
            .map_err(|error| Failure::new(ErrorCode::Invalid, error.to_string()))?;
        let text = std::fs::read_to_string(config)
            .map_err(|error| super::failed(format!("{} cannot be read: {error}", config.display())))?;
        let mut editor =
            ConfigEditor::new(&text, config).map_err(|error| peerup_daemon::edit_failure(&error))?;
        let name = manifest.name.clone();
        let there = editor.config().plugins.get(&name);
        let plan = match there {
            None => {
                let section = consent::section(manifest, rights, enabled);
                Self {
                    shown: section.to_yaml(&name),
                    change: Change::Section(section),
                    name,
                }
            }
            // The operator wrote it before, or an install was cut short: it stays, and gets what is new.
            Some(entry) => {
                let more = rights.beyond(&[&Rights::granted(&entry.grants)]);
                let grants = consent::entries(manifest, &more);
                let switched_off = entry.enabled && !enabled;
                let mut shown = format!("# the section plugins.{name} is there; it keeps what it grants:\n");
                for line in entry.grants.lines() {
                    shown.push_str(&format!("#   {line}\n"));
                }
                if !grants.is_empty() {
                    let section = consent::section(manifest, &more, entry.enabled && enabled);
                    shown.push_str(&section.to_yaml(&name));
                }
                Self {
                    shown,
                    change: Change::Grants { grants, switched_off },
                    name,
                }
            }
        };
        plan.apply(&mut editor)
            .map_err(|error| peerup_daemon::edit_failure(&error))?;
        Ok(plan)
    }

    fn apply(&self, editor: &mut ConfigEditor) -> Result<(), EditError> {
        match &self.change {
            Change::Section(section) => editor.add_plugin(&self.name, section),
            Change::Grants { grants, switched_off } => {
                if *switched_off {
                    editor.set_plugin_enabled(&self.name, false)?;
                }
                editor.add_grants(&self.name, grants)
            }
        }
    }

    fn write(&self, config: &Path) -> Result<(), Failure> {
        ConfigFile::new(config)
            .edit(|editor| self.apply(editor))
            .map(drop)
            .map_err(|error| peerup_daemon::edit_failure(&error))
    }
}

fn check_name(config: &Path, package: &Package) -> Result<(), Failure> {
    let name = &package.manifest().name;
    if peerup_daemon::is_bundled(name) {
        return Err(Failure::new(
            ErrorCode::Conflict,
            format!("{name} is a plugin that comes with peerup, and no other can take its name"),
        )
        .with_hint("ask its author for another name"));
    }
    let lock = folder_of(config).read().map_err(Refusal::from)?;
    Ok(check_lock(&lock, package)?)
}

fn check_lock(lock: &peerup_package::LockFile, package: &Package) -> Result<(), Refusal> {
    lock.check_author(package)?;
    let name = &package.manifest().name;
    match lock.get(name) {
        Some(there) if there.current.digest != package.digest() => Err(Failure::new(
            ErrorCode::Conflict,
            format!("{name} {} is installed already", there.current.version),
        )
        .with_hint(format!(
            "install the other version with: peerup plugin upgrade {name} SOURCE"
        ))
        .into()),
        _ => Ok(()),
    }
}

fn decide(context: &Context, manifest: &Manifest, arguments: &PluginInstall) -> Result<Rights, Failure> {
    let wanted = Rights::wanted(manifest);
    match consent::answer(manifest, &wanted, &arguments.consent)? {
        Answer::Granted(rights) => Ok(rights),
        Answer::Open if context.may_ask() => Ok(wanted.decided()),
        Answer::Open => {
            let section = consent::section(manifest, &wanted.decided(), !arguments.no_enable);
            context.note(&format!(
                "with --yes-as-declared the config would get:\n{}",
                section.to_yaml(&manifest.name)
            ));
            Err(consent::flags_needed(ErrorCode::Invalid, manifest, &wanted))
        }
    }
}

/// Asks for consent where no flag gave it, after everything was shown.
async fn ask(arguments: &PluginInstall, manifest: &Manifest) -> Result<(), Failure> {
    let open = consent::answer(manifest, &Rights::wanted(manifest), &arguments.consent)? == Answer::Open;
    if open && !consent::ask(&format!("Install {} with these rights?", manifest.name)).await? {
        return Err(Failure::new(ErrorCode::Denied, "nothing was installed")
            .with_hint("choose the rights with --grant CAP=VALUE"));
    }
    Ok(())
}

fn report(context: &Context, source: &str, package: &Package, plan: &Plan) -> Result<(), Failure> {
    let manifest = package.manifest();
    if context.json {
        return output::json(&serde_json::json!({
            "status": "installed",
            "name": manifest.name,
            "version": manifest.version,
            "contract": manifest.contract,
            "digest": package.digest(),
            "author": package.author(),
            "source": source,
            "wants": manifest.capabilities,
            "config": plan.shown,
        }));
    }
    output::line(format!(
        "installed {} {} {}",
        manifest.name,
        manifest.version,
        package.digest()
    ))
}
