//! Where plugins come from: what is installed, what is missing, and what does not start.

use std::fs;

use peerup_config::{PluginLimits, default_plugins};
use peerup_package::Package;

use super::*;

/// A component that is empty but for its sections.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

fn entry(settings: serde_json::Value) -> PluginEntry {
    PluginEntry {
        enabled: true,
        grants: Default::default(),
        settings: settings.as_object().cloned().unwrap_or_default(),
        limits: PluginLimits::default(),
    }
}

fn installed(folder: &Path, rest: &str) -> PluginName {
    let text =
        format!("name = \"chess\"\nversion = \"0.1.0\"\ncontract = \"0.1.0\"\nsummary = \"Plays.\"\n{rest}");
    let package = Package::pack(EMPTY, &text, None).unwrap();
    PluginFolder::new(folder)
        .edit(|lock, store| {
            store.put(&package)?;
            let locked = LockedPackage::of(&package, "chess.peerup", "2026-01-01T00:00:00Z");
            lock.set(&package, locked).unwrap();
            Ok::<_, FolderError>(())
        })
        .unwrap();
    "chess".parse().unwrap()
}

fn told(sources: &Sources, name: &PluginName, entry: &PluginEntry) -> String {
    match sources.find(name).and_then(|source| source.spec(entry)) {
        Ok(spec) => panic!("{:?}", spec.manifest),
        Err(error) => error.reason,
    }
}

#[test]
fn the_bundled_ones_are_always_there() {
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(folder.path());
    for (name, entry) in default_plugins() {
        let spec = sources.find(&name).unwrap().spec(&entry).unwrap();
        assert_eq!(spec.manifest.name, name);
        assert!(is_bundled(&name));
    }
}

#[test]
fn an_installed_one_is_loaded_from_the_store_with_its_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let setting = "[settings.level]\ntype = \"integer\"\ndescription = \"d\"\ndefault = 3\nmaximum = 9\n";
    let name = installed(folder.path(), setting);
    let found = sources(folder.path());
    let spec = found
        .find(&name)
        .unwrap()
        .spec(&entry(serde_json::Value::Null))
        .unwrap();
    assert_eq!(spec.settings, "{\"level\":3}");
    assert!(spec.wasm.starts_with(EMPTY));
    let wrong = entry(serde_json::json!({ "level": 10 }));
    assert!(told(&found, &name, &wrong).contains("plugins.chess.settings.level: 10 is more than 9"));
}

#[test]
fn a_missing_or_damaged_package_names_the_command_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let name = installed(folder.path(), "");
    let path = PluginFolder::new(folder.path());
    let path = path.package_path(&path.read().unwrap().get(&name).unwrap().current.digest);
    fs::write(&path, "damage").unwrap();
    let found = sources(folder.path());
    let plain = entry(serde_json::Value::Null);
    assert!(told(&found, &name, &plain).contains("damaged"));
    fs::remove_file(&path).unwrap();
    assert!(told(&found, &name, &plain).contains("peerup plugin install chess.peerup"));
}

#[test]
fn one_without_what_it_needs_does_not_start_and_says_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let asks =
        "[[capability]]\nname = \"tcp.connect\"\nreason = \"the engine\"\nvalues = [\"localhost:9\"]\n";
    let name = installed(folder.path(), asks);
    let found = sources(folder.path());
    let reason = told(&found, &name, &entry(serde_json::Value::Null));
    assert!(
        reason.contains("plugins.chess.grants.tcp.connect: localhost:9 (the engine)"),
        "{reason}"
    );
}

#[test]
fn a_lock_file_that_does_not_hold_stops_no_bundled_plugin() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(PluginFolder::new(folder.path()).lock_path(), "nonsense").unwrap();
    let found = sources(folder.path());
    assert!(found.find(&"ping".parse().unwrap()).is_ok());
    let reason = told(&found, &"chess".parse().unwrap(), &entry(serde_json::Value::Null));
    assert!(reason.contains("plugins.lock"), "{reason}");
}
