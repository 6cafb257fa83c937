//! Granted directories and environment variables, and the ways out of them.

use std::{fs, os::unix::fs::symlink, path::Path};

use peerup_engine::{EngineConfig, HostError, LoadError, PluginError, PluginSpec};
use peerup_model::Grants;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{OnePeer, engine, engine_with, grants, hostile, load, refused, run, told};

fn with_folder(folder: &Path, access: &str) -> PluginSpec {
    PluginSpec {
        grants: grants(json!({ "directories": [{ "path": folder, "as": "/music", "access": access }] })),
        ..hostile()
    }
}

fn at(path: &str) -> Value {
    json!({ "path": path, "value": "written" })
}

#[tokio::test]
async fn a_directory_is_read_or_written_as_granted() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("song"), "la").unwrap();
    let engine = engine();
    let none = load(&engine, hostile()).await;
    assert!(matches!(
        refused(&none, "read", at("/music/song")).await,
        HostError::Refused(_)
    ));
    let reader = load(&engine, with_folder(folder.path(), "ro")).await;
    assert_eq!(told(&reader, "read", at("/music/song")).await, "la");
    assert_eq!(told(&reader, "list", at("/music")).await, "song");
    assert!(matches!(
        refused(&reader, "write", at("/music/new")).await,
        HostError::Refused(_)
    ));
    assert!(matches!(
        refused(&reader, "write", at("/music/song")).await,
        HostError::Refused(_)
    ));
    let writer = load(&engine, with_folder(folder.path(), "rw")).await;
    told(&writer, "write", at("/music/new")).await;
    assert_eq!(fs::read_to_string(folder.path().join("new")).unwrap(), "written");
    assert_eq!(fs::read_to_string(folder.path().join("song")).unwrap(), "la");
}

#[tokio::test]
async fn nothing_leads_out_of_a_directory() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let folder = TempDir::new().unwrap();
    symlink(outside.path().join("secret"), folder.path().join("link")).unwrap();
    symlink(outside.path(), folder.path().join("folder")).unwrap();
    symlink("..", folder.path().join("up")).unwrap();
    let engine = engine();
    let plugin = load(&engine, with_folder(folder.path(), "rw")).await;
    let name = outside.path().file_name().unwrap().to_str().unwrap();
    for path in [
        "/music/link".to_owned(),
        "/music/folder/secret".to_owned(),
        format!("/music/up/{name}/secret"),
        format!("/music/../{name}/secret"),
        format!("/music/a/../../{name}/secret"),
        outside.path().join("secret").to_str().unwrap().to_owned(),
        "/etc/passwd".to_owned(),
        "../../../../../../etc/passwd".to_owned(),
        "/music/link\0x".to_owned(),
    ] {
        for behaviour in ["read", "write"] {
            let outcome = refused(&plugin, behaviour, at(&path)).await;
            assert!(
                matches!(outcome, HostError::Refused(_)),
                "{behaviour} {path}: {outcome}"
            );
        }
    }
    assert_eq!(
        fs::read_to_string(outside.path().join("secret")).unwrap(),
        "secret"
    );
}

#[tokio::test]
async fn a_directory_that_cannot_be_had_keeps_the_plugin_from_starting() {
    let folder = TempDir::new().unwrap();
    let engine = engine_with(EngineConfig {
        forbidden_paths: vec![folder.path().join("own").join("identity.key")],
        ..EngineConfig::default()
    });
    fs::create_dir_all(folder.path().join("own").join("below")).unwrap();
    fs::write(folder.path().join("own").join("identity.key"), "key").unwrap();
    symlink(folder.path().join("own"), folder.path().join("alias")).unwrap();
    symlink("/proc", folder.path().join("kernel")).unwrap();
    let reason = async |path: &Path| match engine.load(with_folder(path, "ro"), OnePeer::new()).await {
        Err(LoadError::Directory { reason, .. }) => reason,
        other => panic!("{}: {other:?}", path.display()),
    };
    let missing = reason(&folder.path().join("missing")).await;
    assert!(
        missing.contains("make it, or take it out of the grants"),
        "{missing}"
    );
    let file = reason(&folder.path().join("own").join("identity.key")).await;
    assert!(file.contains("is no directory"), "{file}");
    for own in ["own", "alias", "."] {
        let own = reason(&folder.path().join(own)).await;
        assert!(own.contains("where the daemon keeps its own files"), "{own}");
    }
    let kernel = reason(&folder.path().join("kernel")).await;
    assert!(kernel.contains("belongs to the kernel"), "{kernel}");
    let beside = folder.path().join("own").join("below");
    let plugin = engine
        .load(with_folder(&beside, "ro"), OnePeer::new())
        .await
        .unwrap();
    // Gone after the start: the run says so, and a check before a change of grants does.
    fs::remove_dir(&beside).unwrap();
    let (_, outcome) = run(&plugin, "list", at("/music"), Grants::default()).await;
    assert!(matches!(outcome, Err(PluginError::Unready { .. })), "{outcome:?}");
    plugin.check_grants(&plugin.grants()).unwrap_err();
    plugin.check_grants(&Grants::default()).unwrap();
}

#[tokio::test]
async fn a_directory_that_may_not_be_had_any_more_is_told_and_keeps_new_instances_from_starting() {
    let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let engine = engine_with(EngineConfig {
        data_dir: Some(data.path().to_owned()),
        ..EngineConfig::default()
    });
    let plugin = engine
        .load(with_folder(folder.path(), "rw"), OnePeer::new())
        .await
        .unwrap();
    assert_eq!(plugin.forbidden_directory(), None);
    engine.set_forbidden_paths(vec![folder.path().join("keys")]);
    let reason = plugin.forbidden_directory().unwrap();
    assert!(
        reason.contains("where the daemon keeps its own files"),
        "{reason}"
    );
    let (_, outcome) = run(&plugin, "list", at("/music"), Grants::default()).await;
    assert!(matches!(outcome, Err(PluginError::Unready { .. })), "{outcome:?}");
    engine.set_forbidden_paths(Vec::new());
    assert_eq!(plugin.forbidden_directory(), None);
    // The stores are the daemon's own whatever else is.
    match engine.load(with_folder(data.path(), "ro"), OnePeer::new()).await {
        Err(LoadError::Directory { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn variables_are_seen_by_their_name_and_no_other() {
    let engine = engine();
    let plugin = load(&engine, hostile()).await;
    let wanted = json!({ "name": "CARGO_MANIFEST_DIR" });
    assert_eq!(told(&plugin, "variable", wanted.clone()).await, "none");
    assert_eq!(told(&plugin, "variables", json!({})).await, "0");
    plugin.set_grants(grants(
        json!({ "environment": ["CARGO_MANIFEST_DIR", "NO_SUCH_VARIABLE"] }),
    ));
    assert_eq!(
        told(&plugin, "variable", wanted).await,
        env!("CARGO_MANIFEST_DIR")
    );
    assert_eq!(told(&plugin, "variable", json!({ "name": "PATH" })).await, "none");
    assert_eq!(told(&plugin, "variables", json!({})).await, "1");
}
