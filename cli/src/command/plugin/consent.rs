//! What the operator says to the rights that a plugin asks for: by flags, or on a terminal. Nothing is ever
//! granted that was not shown.

use std::io::{self, BufRead, Write};

use peerup_config::{GrantEntry, PluginSection};
use peerup_model::{ErrorCode, Failure};
use peerup_package::{Capability, CapabilityName, Manifest, Package, Rights, RightsDifference, missing};

use super::{failed, usage};
use crate::{arguments::PluginConsent, context::Context, session};

/// What the flags say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// These rights and no others.
    Granted(Rights),
    /// Nothing: somebody has to be asked, or flags are to be named.
    Open,
}

/// Reads the flags. Without one, a plugin that asks for nothing needs no answer.
pub(super) fn answer(
    manifest: &Manifest,
    wanted: &Rights,
    consent: &PluginConsent,
) -> Result<Answer, Failure> {
    let mut rights = match consent.yes_as_declared {
        true => wanted.decided(),
        false => Rights::default(),
    };
    for text in &consent.grants {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.as_str(), None),
        };
        let name: CapabilityName = name
            .parse()
            .map_err(|error: peerup_package::UnknownCapability| usage(format!("--grant {error}")))?;
        if manifest.capability(name).is_none() {
            return Err(usage(format!("{} does not ask for {name}", manifest.name))
                .with_hint(format!("it asks for: {wanted}")));
        }
        rights
            .add(name, value)
            .map_err(|problem| usage(format!("--grant {text}: {problem}")))?;
    }
    let said = consent.yes_as_declared || !consent.grants.is_empty();
    Ok(match said || wanted.is_empty() {
        true => Answer::Granted(rights),
        false => Answer::Open,
    })
}

/// Asks on the terminal. Anything but yes is no; Ctrl-C ends the command as it does everywhere else.
pub(in crate::command) async fn ask(question: &str) -> Result<bool, Failure> {
    let failed = |error: io::Error| failed(format!("the terminal cannot be asked: {error}"));
    let line = session::until_interrupted(async {
        let mut err = io::stderr();
        write!(err, "{question} [y/N] ")
            .and_then(|()| err.flush())
            .map_err(failed)?;
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        answer.await.map_err(io::Error::other).flatten().map_err(failed)
    })
    .await?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Tells who a plugin is and what it asks for, with its reasons.
pub(super) fn show(context: &Context, package: &Package) {
    let manifest = package.manifest();
    let author = match package.author() {
        Some(author) => format!("signed by {author}"),
        None => "not signed".to_owned(),
    };
    context.note(&format!(
        "{} {} (contract {}), {author}\n  {}",
        manifest.name, manifest.version, manifest.contract, manifest.summary
    ));
    if manifest.capabilities.is_empty() {
        context.note("it asks for no rights");
        return;
    }
    context.note("it asks for:");
    for capability in &manifest.capabilities {
        context.note(&format!("  {}", describe(capability)));
    }
}

fn describe(capability: &Capability) -> String {
    let values = match (capability.values.is_empty(), capability.name.takes_values()) {
        (false, _) => format!(" {}", capability.values.join(", ")),
        (true, true) if capability.name == CapabilityName::Protocols => " as it serves them".to_owned(),
        (true, true) => " (you choose the values)".to_owned(),
        (true, false) => String::new(),
    };
    let optional = if capability.optional {
        ", can run without"
    } else {
        ""
    };
    format!("{}{values}: {}{optional}", capability.name, capability.reason)
}

/// Says what changes in the rights, a line each.
pub(super) fn difference_lines(manifest: &Manifest, difference: &RightsDifference) -> Vec<String> {
    if difference.is_empty() {
        return vec!["it asks for the same rights".to_owned()];
    }
    let mut lines = Vec::new();
    for (word, rights) in [("+", &difference.added), ("-", &difference.removed)] {
        for (name, values) in rights.iter() {
            let reason = manifest.capability(name).filter(|_| word == "+");
            let reason = reason.map_or(String::new(), |it| format!(": {}", it.reason));
            let values = match values {
                [] => String::new(),
                values => format!(" {}", values.join(", ")),
            };
            lines.push(format!("  {word} {name}{values}{reason}"));
        }
    }
    let widened = difference.widened.iter();
    lines.extend(widened.map(|one| format!("  > {} {} instead of {}", one.name, one.after, one.before)));
    let required = difference.now_required.iter();
    lines.extend(required.map(|name| format!("  ! {name} was optional and is not any more")));
    lines
}

/// The section that is written for these rights: what is shown is what is written.
pub(super) fn section(manifest: &Manifest, rights: &Rights, enabled: bool) -> PluginSection {
    PluginSection {
        enabled,
        grants: entries(manifest, rights),
    }
}

/// The grants of these rights as the config has them.
pub(super) fn entries(manifest: &Manifest, rights: &Rights) -> Vec<GrantEntry> {
    rights
        .lines(Some(manifest))
        .into_iter()
        .map(|line| GrantEntry {
            path: line.path.iter().map(|&key| key.to_owned()).collect(),
            values: line.values,
            single: line.single,
            comments: line.reasons,
        })
        .collect()
}

/// Fails where a plugin could not start with these rights.
pub(super) fn check_enough(manifest: &Manifest, rights: &Rights, code: ErrorCode) -> Result<(), Failure> {
    let lacking = missing(manifest, rights);
    if lacking.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = lacking
        .iter()
        .map(|capability| format!("{} ({})", capability.name, capability.reason))
        .collect();
    let flags: Vec<String> = lacking.iter().map(|capability| flag(capability)).collect();
    Err(Failure::new(
        code,
        format!("{} cannot run without {}", manifest.name, told.join(", ")),
    )
    .with_hint(format!("add {}", flags.join(" "))))
}

/// The flag that would grant a capability.
pub(super) fn flag(capability: &Capability) -> String {
    let name = capability.name;
    match name.takes_values() {
        true => format!(
            "--grant {name}={}",
            capability.values.first().map_or(name.example(), String::as_str)
        ),
        false => format!("--grant {name}"),
    }
}

/// Says which flags answer for a person who cannot be asked.
pub(super) fn flags_needed(code: ErrorCode, manifest: &Manifest, asked: &Rights) -> Failure {
    Failure::new(
        code,
        format!("{} asks for {asked}, and nobody can be asked", manifest.name),
    )
    .with_hint(
        "grant all that it declares with --yes-as-declared, or name what to grant with --grant CAP=VALUE",
    )
}
