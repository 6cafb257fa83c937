//! What the embedded components are: small, whole, and without rights that their code does not use.

use std::collections::BTreeSet;

use peerup_bundle::{BUNDLED, Bundled};
use serde::Deserialize;
use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload};

/// Past this a plugin has grown by accident.
const MAX_SIZE: usize = 200 * 1024;

/// The imports and exports at the top of a component.
struct Surface {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
}

impl Surface {
    fn of(plugin: &Bundled) -> Self {
        let mut surface = Self {
            imports: BTreeSet::new(),
            exports: BTreeSet::new(),
        };
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(plugin.wasm) {
            match payload.expect("the linker writes whole components") {
                Payload::Version { encoding, .. } => {
                    if depth == 0 {
                        assert_eq!(encoding, Encoding::Component, "{} is no component", plugin.name);
                    }
                    depth += 1;
                }
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    let names = section
                        .into_iter()
                        .map(|import| import.expect("an import is whole").name.name.to_owned());
                    surface.imports.extend(names);
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    let instances = section
                        .into_iter()
                        .map(Result::unwrap)
                        .filter(|export| export.kind == ComponentExternalKind::Instance);
                    surface
                        .exports
                        .extend(instances.map(|export| export.name.name.to_owned()));
                }
                _ => {}
            }
        }
        surface
    }

    fn ours(&self) -> Vec<&str> {
        self.imports
            .iter()
            .filter_map(|name| name.strip_prefix("peerup:plugin/")?.strip_suffix("@0.1.1"))
            .collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    version: String,
    contract: String,
    summary: String,
    #[serde(default)]
    protocols: Vec<String>,
    #[serde(default)]
    capability: Vec<Capability>,
    #[serde(default)]
    command: Vec<Command>,
    #[serde(default)]
    settings: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Capability {
    name: String,
    reason: String,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    name: String,
    summary: String,
    /// The arguments, which the package's own tests look at.
    #[serde(default, rename = "flag")]
    _flags: Vec<toml::Table>,
}

fn all() -> Vec<&'static Bundled> {
    let all = BUNDLED.iter();
    #[cfg(feature = "test-guests")]
    let all = all.chain(peerup_bundle::TEST_GUESTS);
    all.collect()
}

fn plugin(name: &str) -> &'static Bundled {
    all()
        .into_iter()
        .find(|plugin| plugin.name == name)
        .expect("a bundled plugin")
}

#[test]
fn every_component_exports_what_it_serves() {
    for plugin in all() {
        let surface = Surface::of(plugin);
        let manifest: Manifest = toml::from_str(plugin.manifest).unwrap();
        let exports = |names: [&str; 2]| {
            let mut names = names
                .iter()
                .map(|name| format!("peerup:plugin/{name}@{}", manifest.contract));
            names.any(|name| surface.exports.contains(&name))
        };
        let serves = !manifest.protocols.is_empty();
        assert_eq!(exports(["inbound", "answer"]), serves, "{}", plugin.name);
        assert_eq!(
            exports(["command", "task"]),
            !manifest.command.is_empty(),
            "{}",
            plugin.name
        );
    }
}

/// The DNS library is larger than all the rest.
fn max_size(plugin: &str) -> usize {
    match plugin {
        "names-dns" => 3 * MAX_SIZE,
        _ => MAX_SIZE,
    }
}

#[test]
fn what_travels_with_the_binary_is_small() {
    for plugin in BUNDLED {
        assert!(
            plugin.wasm.len() <= max_size(plugin.name),
            "{} has {} bytes",
            plugin.name,
            plugin.wasm.len()
        );
    }
}

#[test]
fn no_bundled_component_imports_files_or_sockets_of_wasi() {
    for plugin in BUNDLED {
        for import in Surface::of(plugin).imports {
            assert!(
                !import.starts_with("wasi:sockets/") && !import.starts_with("wasi:filesystem/"),
                "{} imports {import}",
                plugin.name
            );
        }
    }
}

#[test]
fn a_plugin_imports_what_it_uses_and_no_more() {
    assert_eq!(Surface::of(plugin("ping")).ours(), ["output", "streams", "types"]);
    assert_eq!(
        Surface::of(plugin("tcp-proxy")).ours(),
        ["log", "output", "streams", "tcp", "types"]
    );
    assert_eq!(
        Surface::of(plugin("traceroute")).ours(),
        ["output", "peers", "streams", "types"]
    );
}

#[test]
fn time_comes_from_wasi_0_3() {
    for name in ["ping", "tcp-proxy", "traceroute"] {
        let imports = Surface::of(plugin(name)).imports;
        let clocks: Vec<_> = imports
            .iter()
            .filter(|name| name.starts_with("wasi:clocks/"))
            .collect();
        assert_eq!(
            clocks,
            ["wasi:clocks/monotonic-clock@0.3.0", "wasi:clocks/types@0.3.0"],
            "{name}"
        );
    }
}

#[test]
fn every_manifest_says_what_the_component_is() {
    for plugin in all() {
        let manifest: Manifest = toml::from_str(plugin.manifest).unwrap();
        assert_eq!(manifest.name, plugin.name);
        let old = plugin.name == "probe-0-1-0";
        assert_eq!(manifest.contract, if old { "0.1.0" } else { "0.1.1" });
        assert_eq!(manifest.version.split('.').count(), 3);
        assert!(!manifest.summary.is_empty());
        let resolver = plugin.name.starts_with("names-");
        assert!(resolver || !manifest.protocols.is_empty() || !manifest.command.is_empty());
        for capability in &manifest.capability {
            let known = [
                "protocols",
                "tcp.connect",
                "tcp.listen",
                "udp.connect",
                "names.resolve",
                "names.list",
                "peers.read",
                "peers.addresses",
            ];
            assert!(known.contains(&capability.name.as_str()), "{}", capability.name);
            assert!(!capability.reason.is_empty() || capability.optional);
        }
        for (key, setting) in &manifest.settings {
            assert!(setting["description"].is_str(), "{} {key}", plugin.name);
        }
        for command in &manifest.command {
            assert!(!command.name.is_empty() && !command.summary.is_empty());
        }
    }
}
