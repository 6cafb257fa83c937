//! Which crate may use which: the table of `docs/ARCHITECTURE.md`, enforced on every manifest.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

/// Each crate of the host side by folder, and the crates of this repository that it may depend on.
const ALLOWED: [(&str, &[&str]); 19] = [
    ("host/model", &[]),
    ("host/bundle", &[]),
    ("host/testkit", &[]),
    ("host/lifecycle", &[]),
    ("host/ops", &["peerup-model", "peerup-config", "peerup-api"]),
    ("host/trust", &["peerup-model"]),
    ("host/config", &["peerup-model"]),
    ("host/paths", &["peerup-model"]),
    ("host/api", &["peerup-model"]),
    ("host/net", &["peerup-model", "peerup-trust", "peerup-paths"]),
    ("host/package", &["peerup-model"]),
    ("host/registry", &[]),
    ("host/engine", &["peerup-model", "peerup-package"]),
    (
        "host/harness",
        &["peerup-model", "peerup-package", "peerup-engine"],
    ),
    (
        "host/daemon",
        &[
            "peerup-model",
            "peerup-trust",
            "peerup-config",
            "peerup-paths",
            "peerup-lifecycle",
            "peerup-api",
            "peerup-net",
            "peerup-package",
            "peerup-engine",
            "peerup-bundle",
            "peerup-ops",
        ],
    ),
    (
        "relay-server",
        &[
            "peerup-model",
            "peerup-trust",
            "peerup-config",
            "peerup-api",
            "peerup-net",
            "peerup-ops",
        ],
    ),
    (
        "cli",
        &[
            "peerup-model",
            "peerup-config",
            "peerup-trust",
            "peerup-api",
            "peerup-package",
            "peerup-registry",
            "peerup-engine",
            "peerup-harness",
            "peerup-daemon",
            "peerup-ops",
        ],
    ),
    ("xtask", &["peerup-testkit"]),
    ("plugin-sdk", &[]),
];

/// What tests of a crate may use on top. Every crate's tests may use the testkit.
const ALLOWED_IN_TESTS: [(&str, &[&str]); 3] = [
    ("host/engine", &["peerup-bundle"]),
    ("host/harness", &["peerup-bundle"]),
    ("cli", &["relay-server", "peerup-bundle"]),
];

const TESTKIT: &str = "peerup-testkit";

/// What a plugin may use: the public contract and nothing of the host.
const ALLOWED_IN_PLUGINS: &[&str] = &["peerup-plugin-sdk", "peerup-plugin-sdk-macros"];

/// Folders with manifests that only exist for tests and samples, free to use what they need.
const FREE: [&str; 2] = ["fuzz", "examples"];

/// Checks every manifest in the repository.
///
/// # Errors
/// Where a manifest cannot be read.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut manifests = BTreeMap::new();
    collect(root, root, &mut manifests)?;
    let own: Vec<String> = manifests.values().filter_map(name).collect();
    let mut complaints = Vec::new();
    for (folder, manifest) in &manifests {
        if name(manifest).is_some() && !FREE.iter().any(|free| folder.starts_with(free)) {
            complaints.extend(check_one(folder, manifest, &own));
        }
    }
    Ok(complaints)
}

fn collect(root: &Path, folder: &Path, manifests: &mut BTreeMap<String, toml::Table>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !super::SKIPPED_FOLDERS
                .iter()
                .any(|skipped| entry.file_name() == *skipped)
            {
                collect(root, &path, manifests)?;
            }
        } else if entry.file_name() == "Cargo.toml" {
            let text = fs::read_to_string(&path)?;
            let parsed = text
                .parse()
                .with_context(|| format!("{} does not parse", path.display()))?;
            let relative = folder.strip_prefix(root).unwrap_or(folder);
            manifests.insert(relative.to_string_lossy().into_owned(), parsed);
        }
    }
    Ok(())
}

fn name(manifest: &toml::Table) -> Option<String> {
    let name = manifest.get("package")?.get("name")?;
    Some(name.as_str()?.to_owned())
}

fn check_one(folder: &str, manifest: &toml::Table, own: &[String]) -> Vec<String> {
    let in_table = ALLOWED.iter().find(|(known, _)| *known == folder);
    let allowed = match in_table {
        Some((_, allowed)) => *allowed,
        None if folder.starts_with("plugins/") || folder.starts_with("plugin-sdk/") => ALLOWED_IN_PLUGINS,
        None => {
            return vec![format!(
                "{folder}: not in the table of crates; a new crate needs an ADR"
            )];
        }
    };
    let in_tests = ALLOWED_IN_TESTS.iter().find(|(known, _)| *known == folder);
    let in_tests = in_tests.map_or(&[][..], |(_, extra)| *extra);

    let mut complaints = Vec::new();
    for (kind, dependency) in dependencies(manifest) {
        if !own.contains(&dependency) {
            continue;
        }
        let for_tests =
            kind == "dev-dependencies" && (dependency == TESTKIT || in_tests.contains(&dependency.as_str()));
        if !allowed.contains(&dependency.as_str()) && !for_tests {
            complaints.push(format!(
                "{folder}: {kind} on {dependency} is not in the table of edges"
            ));
        }
    }
    complaints
}

/// Returns kind and package of every dependency, those for single targets included.
fn dependencies(manifest: &toml::Table) -> Vec<(&'static str, String)> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let per_target = targets
        .into_iter()
        .flat_map(toml::Table::values)
        .filter_map(toml::Value::as_table);
    let mut found = Vec::new();
    for table in std::iter::once(manifest).chain(per_target) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let entries = table.get(kind).and_then(toml::Value::as_table);
            for (key, value) in entries.into_iter().flatten() {
                let renamed = value.get("package").and_then(toml::Value::as_str);
                found.push((kind, renamed.unwrap_or(key).to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(folder: &str, manifest: &str) -> Vec<String> {
        let own = [
            "peerup-model",
            "peerup-net",
            "peerup-engine",
            "peerup-bundle",
            TESTKIT,
        ];
        check_one(folder, &manifest.parse().unwrap(), &own.map(str::to_owned))
    }

    #[test]
    fn an_edge_outside_the_table_is_named() {
        let found = complaints(
            "host/engine",
            "[dependencies]\npeerup-net.workspace = true\nserde = \"1\"",
        );
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|complaint| complaint.contains("peerup-net")));
    }

    #[test]
    fn renames_and_targets_do_not_hide_an_edge() {
        let renamed = "[dependencies]\nx = { package = \"peerup-net\", path = \"../net\" }";
        assert_eq!(complaints("host/engine", renamed).len(), 1);
        let targeted = "[target.'cfg(unix)'.dependencies]\npeerup-net = { path = \"../net\" }";
        assert_eq!(complaints("host/engine", targeted).len(), 1);
    }

    #[test]
    fn tests_may_use_more() {
        let manifest = "[dev-dependencies]\npeerup-bundle.workspace = true\npeerup-testkit.workspace = true";
        assert!(complaints("host/engine", manifest).is_empty());
        assert_eq!(complaints("host/model", manifest).len(), 1);
        let shipped = "[dependencies]\npeerup-testkit.workspace = true";
        assert_eq!(complaints("host/net", shipped).len(), 1);
    }
}
