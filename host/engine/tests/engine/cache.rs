//! Compiled plugins on disk.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use peerup_engine::{Engine, EngineConfig};
use tempfile::TempDir;

use crate::support::{hostile, load, outcome_of, request};

fn cached(folder: &Path) -> Engine {
    Engine::new(EngineConfig {
        cache_dir: Some(folder.to_owned()),
        max_instances: 8,
        ..EngineConfig::default()
    })
    .unwrap()
}

fn only_file(folder: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

#[tokio::test]
async fn a_second_engine_takes_the_plugin_from_the_cache() {
    let home = TempDir::new().unwrap();
    let folder = home.path().join("plugins");
    load(&cached(&folder), hostile()).await;
    let file = only_file(&folder);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    let before = fs::metadata(&file).unwrap().ino();
    let plugin = load(&cached(&folder), hostile()).await;
    outcome_of(&plugin, request("drop-ok")).await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().ino(), before, "it was compiled anew");
}

#[tokio::test]
async fn a_torn_or_changed_file_is_compiled_anew() {
    let home = TempDir::new().unwrap();
    let folder = home.path().join("plugins");
    load(&cached(&folder), hostile()).await;
    let file = only_file(&folder);
    let whole = fs::read(&file).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for damaged in [&whole[..whole.len() / 2], &[], &[0; 10], &changed] {
        fs::write(&file, damaged).unwrap();
        let plugin = load(&cached(&folder), hostile()).await;
        outcome_of(&plugin, request("drop-ok")).await.unwrap();
        assert_eq!(fs::read(only_file(&folder)).unwrap().len(), whole.len());
    }
}

#[tokio::test]
async fn a_folder_that_others_can_write_to_is_not_used() {
    let home = TempDir::new().unwrap();
    let folder = home.path().join("plugins");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    load(&cached(&folder), hostile()).await;
    assert!(fs::read_dir(&folder).unwrap().next().is_none());
}
