//! What a component imports and exports against what its manifest says.

use super::Finding;
use crate::{
    manifest::Manifest,
    surface::Surface,
    usage::{CapabilityUse, UseStatus, capability_uses},
};

pub(super) fn check(manifest: &Manifest, surface: &Surface) -> Vec<Finding> {
    let uses = capability_uses(manifest, surface);
    let mut findings: Vec<Finding> = uses.iter().filter_map(of_use).collect();
    findings.extend(contract(manifest, surface));
    findings.extend(exports(manifest, surface));
    findings.extend(settings(manifest, surface));
    findings
}

fn of_use(one: &CapabilityUse) -> Option<Finding> {
    let about = format!("capability {}", one.name);
    match one.status {
        UseStatus::Used => None,
        UseStatus::Undeclared => Some(Finding::error(
            about,
            format!("{}: {}", one.status, one.evidence.join(", ")),
            "install asks the operator only for what is declared, so every such call is denied. Add a [[capability]] with \
             its reason; optional = true where the plugin can do without",
        )),
        UseStatus::Unused => Some(Finding::warning(
            about,
            one.status.to_string(),
            "the operator is asked for a right that does nothing, and a later version could use it unseen. Take it out",
        )),
    }
}

fn contract(manifest: &Manifest, surface: &Surface) -> Option<Finding> {
    let built = surface.contract()?;
    let declared: semver::Version = manifest.contract.parse().ok()?;
    if built == declared {
        return None;
    }
    let message = format!("plugin.toml says {declared}, and the component is built for {built}");
    Some(Finding::error(
        "contract",
        message,
        format!("a host decides by it whether it can run the plugin; write contract = \"{built}\""),
    ))
}

fn exports(manifest: &Manifest, surface: &Surface) -> Vec<Finding> {
    let mut findings = Vec::new();
    let runs = surface.exports_interface("command") || surface.exports_interface("task");
    if !manifest.commands.is_empty() && !runs {
        findings.push(Finding::error(
            "command",
            "plugin.toml has commands, and the component exports neither command nor task",
            "they cannot be run; in Rust add `command` to register!",
        ));
    }
    if manifest.commands.is_empty() && runs {
        findings.push(Finding::warning(
            "command",
            "the component exports commands, and plugin.toml has none",
            "nobody learns of them; add a [[command]] for each",
        ));
    }
    if !manifest.protocols.is_empty() && !surface.exports_interface("inbound") {
        findings.push(Finding::error(
            "protocols",
            "plugin.toml serves protocols, and the component does not export inbound",
            "its streams would be refused; `answer` serves services only. In Rust add `inbound` to register!",
        ));
    }
    findings
}

fn settings(manifest: &Manifest, surface: &Surface) -> Option<Finding> {
    match (
        manifest.settings.settings().is_some(),
        surface.imports_interface("settings"),
    ) {
        (false, true) => Some(Finding::advice(
            "settings",
            "the component reads its settings, and plugin.toml has no [settings]",
            "any are taken then: a mistyped key is found only when the plugin runs. Describe each in [settings.KEY]",
        )),
        (true, false) => Some(Finding::warning(
            "settings",
            "plugin.toml has [settings], and the component does not read them",
            "what the operator sets has no effect",
        )),
        _ => None,
    }
}
