//! What an author should know of a plugin before others run it: mistakes, rights that are wider than they look, and
//! what is missing. Pure; each finding says why.

mod metadata;
mod rights;
mod surface;

use std::fmt;

use serde::Serialize;

use crate::{manifest::Manifest, surface::Surface};

/// Past this a component is called large: whoever installs it waits, and each start compiles or loads it.
pub const LARGE_COMPONENT_BYTES: usize = 2 << 20;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot work as it is.
    Error,
    /// It works, and somebody is likely to regret it.
    Warning,
    /// It could be better.
    Advice,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Advice => "advice",
        })
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: a key of `plugin.toml` such as `capability tcp.connect`, or a part such as `size`.
    pub about: String,
    /// What is so.
    pub message: String,
    /// Why that matters, and what to do.
    pub why: String,
}

impl Finding {
    /// Makes a finding.
    pub fn new(
        severity: Severity,
        about: impl Into<String>,
        message: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            about: about.into(),
            message: message.into(),
            why: why.into(),
        }
    }

    fn error(about: impl Into<String>, message: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Severity::Error, about, message, why)
    }

    fn warning(about: impl Into<String>, message: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Severity::Warning, about, message, why)
    }

    fn advice(about: impl Into<String>, message: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Severity::Advice, about, message, why)
    }
}

/// A component as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Built<'a> {
    /// What it imports and exports.
    pub surface: &'a Surface,
    /// Its size in bytes.
    pub bytes: usize,
}

/// Returns what there is to say of a plugin, the worst first. Without a component only its manifest is looked at.
pub fn lint(manifest: &Manifest, built: Option<Built<'_>>) -> Vec<Finding> {
    let mut findings = metadata::check(manifest);
    findings.extend(rights::check(manifest, built.map(|built| built.surface)));
    if let Some(built) = built {
        findings.extend(surface::check(manifest, built.surface));
        findings.extend(metadata::size(built.bytes));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

#[cfg(test)]
mod tests;
