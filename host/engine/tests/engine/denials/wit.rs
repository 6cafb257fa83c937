//! The functions that a version of the contract has for plugins, read from its text.

use std::{fs, path::Path};

/// Returns `interface.function` and `interface.resource.function` of every interface that a plugin can import.
pub(super) fn functions(version: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../wit/{version}/peerup-plugin.wit"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let world = text.split_once("world imports {").unwrap().1;
    let world = world.split_once('}').unwrap().0;
    let imported: Vec<&str> = world
        .split(';')
        .filter_map(|line| line.trim().strip_prefix("import "))
        .collect();
    let mut found = Vec::new();
    for interface in imported {
        let body = text.split_once(&format!("interface {interface} {{")).unwrap().1;
        let body = body.split_once("\n}").unwrap().0;
        let mut resource = None;
        for line in body.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("resource ") {
                resource = name.strip_suffix(" {");
            } else if line == "}" {
                resource = None;
            } else if let Some((name, kind)) = line.split_once(": ")
                && (kind.starts_with("func(") || kind.starts_with("async func("))
            {
                let parts = [Some(interface), resource, Some(name)];
                found.push(parts.into_iter().flatten().collect::<Vec<_>>().join("."));
            }
        }
    }
    found
}
