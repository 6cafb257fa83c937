//! `plugin build`: builds the plugin in a folder, holds the component against this host and against its manifest.

use peerup_model::{ErrorCode, Failure};
use peerup_package::{CapabilityUse, MAX_COMPONENT_BYTES, Surface, UseStatus, capability_uses};

use super::{failed, measure, project, toolchain};
use crate::{arguments::PluginBuild, context::Context, output};

pub(super) async fn run(context: &Context, arguments: &PluginBuild) -> Result<(), Failure> {
    let manifest = project::manifest(&arguments.dir)?;
    let profile = match arguments.debug {
        true => toolchain::Profile::Debug,
        false => toolchain::Profile::Release,
    };
    let component = toolchain::build(&arguments.dir, profile).await?;
    let shown = component.display();
    let bytes = project::read(&component, MAX_COMPONENT_BYTES)
        .map_err(|error| failed(format!("{shown} cannot be read: {error}")))?;
    let surface = Surface::read(&bytes).map_err(|error| failed(format!("{shown}: {error}")))?;
    let size = bytes.len();
    let start = measure::start(&manifest, bytes).await?;
    let uses = capability_uses(&manifest, &surface);
    let contract = surface.contract().map(|version| version.to_string());
    if context.json {
        output::json(&serde_json::json!({
            "name": manifest.name,
            "version": manifest.version,
            "component": component,
            "bytes": size,
            "contract": contract,
            "exports": surface.exports().collect::<Vec<_>>(),
            "start": start,
            "capabilities": uses,
        }))?;
    } else {
        let kilobytes = output::bytes(size as u64);
        let contract = contract.unwrap_or_default();
        output::line(format!("{shown}  {kilobytes}  contract {contract}"))?;
        print_uses(&uses)?;
        context.note(&start.told());
    }
    check_uses(&uses)
}

/// Prints what is used and what is declared.
pub(super) fn print_uses(uses: &[CapabilityUse]) -> Result<(), Failure> {
    let row = |one: &CapabilityUse| {
        let seen = one.evidence.join(", ");
        [one.name.to_string(), one.status.to_string(), seen]
    };
    let rows: Vec<[String; 3]> = uses.iter().map(row).collect();
    output::table(["CAPABILITY", "STATUS", "SEEN"], &rows)
}

/// Fails where a right is used that nobody will be asked for.
fn check_uses(uses: &[CapabilityUse]) -> Result<(), Failure> {
    let undeclared: Vec<&CapabilityUse> = uses
        .iter()
        .filter(|one| one.status == UseStatus::Undeclared)
        .collect();
    let [first, ..] = undeclared.as_slice() else {
        return Ok(());
    };
    let names: Vec<String> = undeclared.iter().map(|one| one.name.to_string()).collect();
    Err(Failure::new(
        ErrorCode::Failed,
        format!("used but not declared in plugin.toml: {}", names.join(", ")),
    )
    .with_hint(format!(
        "add to plugin.toml: [[capability]] name = \"{}\", reason = \"...\"; or do without",
        first.name
    )))
}
