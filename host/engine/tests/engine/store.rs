//! The store: what it keeps, what it refuses, and what a damaged file costs.

use std::{fs, path::Path};

use peerup_engine::{EngineConfig, HostError, Plugin, PluginSpec};
use peerup_model::Grants;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{engine_with, grants, hostile, load, refused, run, told};

fn with_store(size: &str) -> PluginSpec {
    PluginSpec {
        grants: grants(json!({ "store": size })),
        ..hostile()
    }
}

async fn plugin_in(folder: &Path, spec: PluginSpec) -> Plugin {
    let engine = engine_with(EngineConfig {
        data_dir: Some(folder.to_owned()),
        ..EngineConfig::default()
    });
    load(&engine, spec).await
}

#[tokio::test]
async fn a_store_needs_a_grant() {
    let folder = TempDir::new().unwrap();
    let plugin = plugin_in(folder.path(), hostile()).await;
    for behaviour in ["store-set", "store-get", "store-keys", "store-count"] {
        let outcome = refused(&plugin, behaviour, json!({ "key": "a", "count": 1 })).await;
        let HostError::Denied(text) = outcome else {
            panic!("{behaviour}: {outcome}");
        };
        assert!(
            text.ends_with("to allow it, write in the config: plugins.hostile.grants.store: 10MB"),
            "{text}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn values_survive_the_daemon_and_an_upgrade() {
    let folder = TempDir::new().unwrap();
    let first = plugin_in(folder.path(), with_store("1MB")).await;
    assert_eq!(told(&first, "store-get", json!({ "key": "a" })).await, "none");
    for (key, value) in [("a", "1"), ("b/1", "2"), ("b/2", "3"), ("b/3", "4"), ("c", "5")] {
        told(&first, "store-set", json!({ "key": key, "value": value })).await;
    }
    told(&first, "store-delete", json!({ "key": "a" })).await;
    assert_eq!(first.stats().store_bytes, Some(14));
    drop(first);

    let engine = engine_with(EngineConfig {
        data_dir: Some(folder.path().to_owned()),
        ..EngineConfig::default()
    });
    let (old, new) = (
        load(&engine, with_store("1MB")).await,
        load(&engine, with_store("1MB")).await,
    );
    assert_eq!(told(&old, "store-get", json!({ "key": "c" })).await, "5");
    told(&new, "store-set", json!({ "key": "c", "value": "6" })).await;
    assert_eq!(told(&old, "store-get", json!({ "key": "c" })).await, "6");
    let keys = |after: &str, count: u32| json!({ "key": "b/", "value": after, "count": count });
    assert_eq!(told(&new, "store-keys", keys("", 10)).await, "b/1,b/2,b/3");
    assert_eq!(told(&new, "store-keys", keys("b/1", 1)).await, "b/2");
    assert_eq!(told(&new, "store-keys", keys("a", 10)).await, "b/1,b/2,b/3");
    assert_eq!(told(&new, "store-keys", keys("b/3", 10)).await, "");
}

#[tokio::test]
async fn a_batch_is_made_as_a_whole_and_two_who_count_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let plugin = plugin_in(folder.path(), with_store("1MB")).await;
    let half = refused(&plugin, "store-half", json!({})).await;
    assert!(matches!(half, HostError::Invalid(_)), "{half}");
    assert_eq!(told(&plugin, "store-get", json!({ "key": "half" })).await, "none");
    let count = || {
        run(
            &plugin,
            "store-count",
            json!({ "key": "n", "count": 20 }),
            Grants::default(),
        )
    };
    let (one, other) = tokio::join!(count(), count());
    one.1.unwrap();
    other.1.unwrap();
    assert_eq!(told(&plugin, "store-get", json!({ "key": "n" })).await, "40");
}

#[tokio::test]
async fn what_is_too_large_too_long_or_too_much_is_refused_and_nothing_is_lost() {
    let folder = TempDir::new().unwrap();
    let plugin = plugin_in(folder.path(), with_store("350KB")).await;
    let long = refused(&plugin, "store-long-key", json!({})).await;
    assert!(matches!(long, HostError::Invalid(_)), "{long}");
    let empty = refused(&plugin, "store-set", json!({ "key": "" })).await;
    assert!(matches!(empty, HostError::Invalid(_)), "{empty}");
    let many = refused(&plugin, "store-many", json!({ "count": 50_000 })).await;
    assert!(matches!(many, HostError::Limit(_)), "{many}");
    let full = refused(&plugin, "store-fill", json!({ "count": 1000 })).await;
    assert!(
        matches!(&full, HostError::Limit(text) if text.contains("plugins.hostile.grants.store")),
        "{full}"
    );
    assert_eq!(
        told(&plugin, "store-keys", json!({ "count": 10 })).await,
        "fill0,fill1,fill2"
    );
    // Cut down below what is there: it can be read and made smaller.
    plugin.set_grants(grants(json!({ "store": "10KB" })));
    told(&plugin, "store-delete", json!({ "key": "fill0" })).await;
    assert_eq!(
        told(&plugin, "store-keys", json!({ "count": 10 })).await,
        "fill1,fill2"
    );
}

#[tokio::test]
async fn a_damaged_file_is_put_aside_and_a_new_one_begun() {
    let folder = TempDir::new().unwrap();
    let first = plugin_in(folder.path(), with_store("1MB")).await;
    told(&first, "store-set", json!({ "key": "a", "value": "1" })).await;
    drop(first);
    let path = folder.path().join("hostile.redb");
    for damage in [b"not a database at all".to_vec(), {
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(5000);
        bytes
    }] {
        fs::write(&path, &damage).unwrap();
        let plugin = plugin_in(folder.path(), with_store("1MB")).await;
        assert_eq!(told(&plugin, "store-get", json!({ "key": "a" })).await, "none");
        told(&plugin, "store-set", json!({ "key": "a", "value": "2" })).await;
        drop(plugin);
    }
    let aside = fs::read_dir(folder.path()).unwrap().flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains("damaged"));
    assert_eq!(aside.count(), 2);
}

#[tokio::test]
async fn a_host_without_a_folder_keeps_no_stores() {
    let engine = engine_with(EngineConfig::default());
    let plugin = load(&engine, with_store("1MB")).await;
    let outcome = refused(&plugin, "store-get", json!({ "key": "a" })).await;
    assert!(matches!(outcome, HostError::Unreachable(_)), "{outcome}");
}
