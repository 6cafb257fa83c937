//! What a plugin says about itself for people, and its size.

use super::{Finding, LARGE_COMPONENT_BYTES};
use crate::{manifest::Manifest, package::MAX_COMPONENT_BYTES};

/// What fits into a line of a list.
const SHORT_SUMMARY: usize = 100;

pub(super) fn check(manifest: &Manifest) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, value, why) in [
        (
            "author",
            &manifest.author,
            "people ask who made what they run. The signature says which key, not whose it is",
        ),
        (
            "homepage",
            &manifest.homepage,
            "people look there before they grant rights, and for the next version",
        ),
        (
            "license",
            &manifest.license,
            "without a licence nobody may pass it on. Write an SPDX expression such as MIT OR Apache-2.0",
        ),
    ] {
        if value.is_none() {
            findings.push(Finding::advice(key, format!("there is no {key}"), why));
        }
    }
    if manifest.summary.chars().count() > SHORT_SUMMARY {
        let message = format!("it has more than {SHORT_SUMMARY} characters");
        findings.push(Finding::advice("summary", message, "lists show it on one line"));
    }
    findings
}

pub(super) fn size(bytes: usize) -> Option<Finding> {
    if bytes > MAX_COMPONENT_BYTES {
        let message =
            format!("the component has {bytes} bytes, and a package holds {MAX_COMPONENT_BYTES} at most");
        return Some(Finding::error("size", message, "it cannot be packed"));
    }
    (bytes > LARGE_COMPONENT_BYTES).then(|| {
        Finding::warning(
            "size",
            format!("the component has {bytes} bytes, more than {LARGE_COMPONENT_BYTES}"),
            "it is sent, kept and compiled whole. Rust gets small with opt-level = \"s\", lto, strip and panic = \
             \"abort\" in [profile.release]; an interpreter stays large",
        )
    })
}
