//! The plugin SDK that this binary carries, unpacked once for each version into the person's data folder. Every use
//! compares what lies there with what the binary carries, byte for byte.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use peerup_model::Failure;

use super::failed;

mod files {
    include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));
}

/// The version of the SDK that this binary carries.
pub(super) const VERSION: &str = files::VERSION;
/// The crate's name.
pub(super) const CRATE: &str = "peerup-plugin-sdk";
/// Where the crate lies in what is unpacked.
const FOLDER: &str = "plugin-sdk";

/// Unpacks the SDK where it is missing or not what it should be, and returns the crate's folder.
pub(super) fn ensure() -> Result<PathBuf, Failure> {
    let home = data_home().ok_or_else(|| {
        failed("there is no place for the plugin SDK: neither XDG_DATA_HOME nor HOME is set")
            .with_hint("set one of them to an absolute path")
    })?;
    let place = home.join("peerup/sdk");
    ensure_in(&place).map_err(|error| {
        failed(format!(
            "the plugin SDK cannot be unpacked into {}: {error}",
            place.display()
        ))
        .with_hint("check the folder and its rights, or set XDG_DATA_HOME")
    })
}

/// Relative paths are to be ignored, says the specification of base directories.
fn data_home() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")))
}

fn ensure_in(place: &Path) -> io::Result<PathBuf> {
    let folder = place.join(VERSION);
    if is_whole(&folder) {
        return Ok(folder.join(FOLDER));
    }
    fs::create_dir_all(place)?;
    let beside = place.join(format!(".{VERSION}.{}", std::process::id()));
    let unpacked = unpack(&beside).and_then(|()| swap(&beside, &folder));
    let _ = fs::remove_dir_all(&beside);
    unpacked.map(|()| folder.join(FOLDER))
}

fn unpack(folder: &Path) -> io::Result<()> {
    // Left by a process of the same number that was killed.
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for (name, bytes) in files::FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// Puts the new folder in the place of one that is missing or damaged.
fn swap(new: &Path, folder: &Path) -> io::Result<()> {
    let mut old = new.as_os_str().to_owned();
    old.push(".old");
    let old = PathBuf::from(old);
    match fs::rename(folder, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let renamed = fs::rename(new, folder);
    let _ = fs::remove_dir_all(&old);
    match renamed {
        // Another process was faster.
        Err(_) if is_whole(folder) => Ok(()),
        other => other,
    }
}

/// Whether every file is there as it should be. What else lies there is no part of the crate.
fn is_whole(folder: &Path) -> bool {
    files::FILES
        .iter()
        .all(|(name, bytes)| fs::read(folder.join(name)).is_ok_and(|found| found == *bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_missing_is_unpacked_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = ensure_in(place.path()).unwrap();
        assert_eq!(folder, place.path().join(VERSION).join("plugin-sdk"));
        let library = folder.join("src/lib.rs");
        let whole = fs::read(&library).unwrap();
        for damage in [Some(&b"pub fn backdoor() {}"[..]), None] {
            match damage {
                Some(bytes) => fs::write(&library, bytes).unwrap(),
                None => fs::remove_file(&library).unwrap(),
            }
            ensure_in(place.path()).unwrap();
            assert_eq!(fs::read(&library).unwrap(), whole);
        }
        let left: Vec<_> = fs::read_dir(place.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left, [VERSION]);
    }

    #[test]
    fn what_is_whole_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = ensure_in(place.path()).unwrap();
        let made = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let before = made(&folder);
        ensure_in(place.path()).unwrap();
        assert_eq!(made(&folder), before);
    }

    #[test]
    fn the_manifest_stands_alone() {
        let (_, manifest) = files::FILES
            .iter()
            .find(|(name, _)| *name == "plugin-sdk/Cargo.toml")
            .unwrap();
        let text = std::str::from_utf8(manifest).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        assert!(!text.contains("workspace"), "{text}");
        assert_eq!(manifest["package"]["version"].as_str(), Some(VERSION));
        assert!(manifest["dependencies"]["wit-bindgen"]["features"].is_array());
    }
}
