//! `plugin check`: what an author should know before others run the plugin.

use std::path::Path;

use peerup_model::{ErrorCode, Failure};
use peerup_package::{
    Built, CapabilityUse, Finding, MAX_COMPONENT_BYTES, Manifest, ManifestError, Package, RightsDifference,
    Severity, Surface, capability_uses, lint, read_package,
};
use serde::Serialize;

use super::{build, consent, failed, fetch, folder_of, measure, project};
use crate::{arguments::PluginCheck, context::Context, output};

/// What is looked at.
struct Subject {
    manifest: Manifest,
    /// None where it was not built yet.
    component: Option<Vec<u8>>,
    /// A package, and whether it is signed; none for a folder.
    signed: Option<bool>,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Report {
    name: Option<String>,
    version: Option<String>,
    bytes: Option<usize>,
    start: Option<measure::Start>,
    capabilities: Vec<CapabilityUse>,
    findings: Vec<Finding>,
    /// Against the version before.
    before: Option<Before>,
}

/// What changes for those who run the version before.
#[derive(Debug, Serialize)]
struct Before {
    version: String,
    difference: RightsDifference,
    #[serde(skip)]
    lines: Vec<String>,
}

pub(super) async fn run(context: &Context, arguments: &PluginCheck) -> Result<(), Failure> {
    let report = match subject(&arguments.source)? {
        Ok(subject) => {
            let before = before(context, arguments, &subject.manifest).await?;
            look(subject, before).await
        }
        Err(mistakes) => mistakes,
    };
    match context.json {
        true => output::json(&report)?,
        false => print(context, &report)?,
    }
    let errors = report.count(Severity::Error);
    if errors == 0 {
        return Ok(());
    }
    let shown = report.name.as_deref().unwrap_or(project::MANIFEST);
    Err(Failure::new(
        ErrorCode::Failed,
        format!("{shown} has {}", counted(errors, "error")),
    )
    .with_hint("correct what stands above and check again"))
}

/// Reads what was named. A manifest with mistakes is a report of its own: there is nothing more to look at.
fn subject(source: &Path) -> Result<Result<Subject, Report>, Failure> {
    if !source.is_dir() {
        let package = read_package(source).map_err(|error| fetch::read_failure(&error))?;
        return Ok(Ok(Subject {
            manifest: package.manifest().clone(),
            signed: Some(package.author().is_some()),
            component: Some(package.into_bytes()),
        }));
    }
    let text = project::manifest_text(source)?;
    match Manifest::parse(&text) {
        Err(error) => Ok(Err(Report::mistakes(&error))),
        Ok(manifest) => {
            // One that is too large is a finding; `pack` says the same.
            let component = project::find_component(source).ok();
            let read = |path: std::path::PathBuf| {
                project::read(&path, 2 * MAX_COMPONENT_BYTES)
                    .map_err(|error| failed(format!("{} cannot be read: {error}", path.display())))
            };
            Ok(Ok(Subject {
                manifest,
                component: component.map(read).transpose()?,
                signed: None,
            }))
        }
    }
}

async fn look(subject: Subject, before: Option<Before>) -> Report {
    let Subject {
        manifest,
        component,
        signed,
    } = subject;
    let mut report = Report {
        name: Some(manifest.name.to_string()),
        version: Some(manifest.version.clone()),
        bytes: component.as_ref().map(Vec::len),
        start: None,
        capabilities: Vec::new(),
        findings: Vec::new(),
        before,
    };
    let surface = component.as_deref().map(Surface::read);
    match &surface {
        Some(Ok(surface)) => {
            report.capabilities = capability_uses(&manifest, surface);
            let bytes = report.bytes.unwrap_or_default();
            report.findings = lint(&manifest, Some(Built { surface, bytes }));
        }
        Some(Err(error)) => {
            report.findings = lint(&manifest, None);
            report.add(
                Severity::Error,
                "component",
                error.to_string(),
                "no host can load it; build it again",
            );
        }
        None => {
            report.findings = lint(&manifest, None);
            let message = "it is not built, so only plugin.toml was looked at".to_owned();
            report.add(
                Severity::Advice,
                "component",
                message,
                "build it: peerup plugin build",
            );
        }
    }
    if let (Some(Ok(_)), Some(component)) = (&surface, component) {
        match measure::start(&manifest, component).await {
            Ok(start) => {
                report.findings.extend(start.findings());
                report.start = Some(start);
            }
            Err(failure) => {
                let why = "a daemon of this version cannot run it";
                report.add(Severity::Error, "component", failure.message, why);
            }
        }
    }
    if signed == Some(false) {
        let why =
            "nobody can tell a later version of yours from somebody else's; peerup plugin pack --sign KEY";
        report.add(Severity::Advice, "signature", "it is not signed".to_owned(), why);
    }
    report.findings.sort_by_key(|finding| finding.severity);
    report
}

/// Compares with the version that was named, or with the one that is installed here.
async fn before(
    context: &Context,
    arguments: &PluginCheck,
    manifest: &Manifest,
) -> Result<Option<Before>, Failure> {
    let package = match &arguments.against {
        Some(source) => Some(fetch::fetch(context, source).await?.package),
        None => installed(context, manifest),
    };
    let Some(package) = package else {
        return Ok(None);
    };
    let old = package.manifest();
    if old.name != manifest.name {
        return Err(
            super::usage(format!("that is the plugin {}, not {}", old.name, manifest.name))
                .with_hint("name a version of the same plugin with --against FILE"),
        );
    }
    let difference = RightsDifference::between(old, manifest);
    Ok(Some(Before {
        version: old.version.clone(),
        lines: consent::difference_lines(manifest, &difference),
        difference,
    }))
}

/// The installed version; none where nothing is, whatever the reason: authors need no node.
fn installed(context: &Context, manifest: &Manifest) -> Option<Package> {
    let folder = folder_of(&context.config_path().ok()?);
    let lock = folder.read().ok()?;
    folder
        .load(&manifest.name, &lock.get(&manifest.name)?.current)
        .ok()
}

impl Report {
    /// Every mistake of a manifest that is not valid.
    fn mistakes(error: &ManifestError) -> Self {
        let why = "nothing reads a plugin.toml that is not valid";
        let findings = match error {
            ManifestError::Invalid { problems } => problems
                .iter()
                .map(|problem| {
                    let about = format!("{}:{}:{}", project::MANIFEST, problem.line, problem.column);
                    let key = if problem.key.is_empty() {
                        String::new()
                    } else {
                        format!("{}: ", problem.key)
                    };
                    Finding::new(Severity::Error, about, format!("{key}{}", problem.message), why)
                })
                .collect(),
            other => vec![Finding::new(
                Severity::Error,
                project::MANIFEST,
                other.to_string(),
                why,
            )],
        };
        Self {
            name: None,
            version: None,
            bytes: None,
            start: None,
            capabilities: Vec::new(),
            findings,
            before: None,
        }
    }

    fn add(&mut self, severity: Severity, about: &str, message: String, why: &str) {
        self.findings.push(Finding::new(severity, about, message, why));
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }
}

fn print(context: &Context, report: &Report) -> Result<(), Failure> {
    for finding in &report.findings {
        output::line(format!(
            "{}: {}: {}",
            finding.severity, finding.about, finding.message
        ))?;
        output::line(format!("  {}", finding.why))?;
    }
    build::print_uses(&report.capabilities)?;
    if let Some(before) = &report.before {
        output::line(format!("against {}:", before.version))?;
        for line in &before.lines {
            output::line(line)?;
        }
    }
    let (Some(name), Some(version)) = (&report.name, &report.version) else {
        return Ok(());
    };
    let size = report
        .bytes
        .map_or_else(|| "not built".to_owned(), |bytes| output::bytes(bytes as u64));
    output::line(format!(
        "{name} {version}, {size}: {}, {}, {} advice",
        counted(report.count(Severity::Error), "error"),
        counted(report.count(Severity::Warning), "warning"),
        report.count(Severity::Advice)
    ))?;
    if let Some(start) = report.start {
        context.note(&start.told());
    }
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
