//! Where plugins come from: what is installed, what is missing, and what does not start.

use std::fs;

use peerup_config::default_plugins;
use peerup_package::Package;

use super::*;

/// A component that is empty but for its sections.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

fn entry(settings: serde_json::Value) -> PluginEntry {
    PluginEntry {
        settings: settings.as_object().cloned().unwrap_or_default(),
        ..PluginEntry::default()
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

fn spec_of(sources: &Sources, name: &PluginName, entry: &PluginEntry) -> Result<PluginSpec, SourceError> {
    let (manifest, wasm) = sources.find(name)?.read()?;
    spec(&manifest, wasm, entry)
}

fn told(sources: &Sources, name: &PluginName, entry: &PluginEntry) -> String {
    match spec_of(sources, name, entry) {
        Ok(spec) => panic!("{:?}", spec.manifest),
        Err(error) => error.reason,
    }
}

#[test]
fn the_bundled_ones_are_always_there() {
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(folder.path());
    for (name, entry) in default_plugins() {
        let spec = spec_of(&sources, &name, &entry).unwrap();
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
    let spec = spec_of(&found, &name, &entry(serde_json::Value::Null)).unwrap();
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
fn a_lock_file_that_does_not_hold_stops_no_bundled_plugin() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(PluginFolder::new(folder.path()).lock_path(), "nonsense").unwrap();
    let found = sources(folder.path());
    assert!(found.find(&"ping".parse().unwrap()).is_ok());
    let reason = told(&found, &"chess".parse().unwrap(), &entry(serde_json::Value::Null));
    assert!(reason.contains("plugins.lock"), "{reason}");
}
