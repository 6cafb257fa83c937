//! Grants that are taken away, and folders that lead elsewhere later: what was open stops at its next use.

use std::{fs, os::unix::fs::symlink};

use peerup_engine::{HostError, Limits, PluginError, PluginSpec};
use peerup_model::Grants;
use peerup_package::Manifest;
use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::support::{OnePeer, engine, grants, hostile, load, refused, told, within};

/// The plugin that carries TCP, with these grants.
fn proxy(grants: Grants) -> PluginSpec {
    let bundled = peerup_bundle::BUNDLED
        .iter()
        .find(|one| one.name == "tcp-proxy")
        .unwrap();
    PluginSpec {
        manifest: Manifest::parse(bundled.manifest).unwrap(),
        wasm: bundled.wasm.into(),
        grants,
        settings: "{}".to_owned(),
        limits: Limits::default(),
    }
}

#[tokio::test]
async fn a_listener_takes_nobody_in_once_its_grant_is_gone() {
    let engine = engine();
    let protocols = json!(["/peerup/web/1.0.0"]);
    let both = grants(json!({ "protocols": protocols, "tcp": { "listen": ["127.0.0.1:0"] } }));
    let host = OnePeer::new();
    let plugin = engine.load(proxy(both), host.clone()).await.unwrap();
    let arguments = json!({ "peer": "home", "service": "web", "listen": "127.0.0.1:0" });
    let mut run = plugin
        .run_command("forward", arguments, Grants::default())
        .unwrap();
    let listening = within(run.next_event()).await.unwrap();
    let address = listening.json["address"].as_str().unwrap().to_owned();
    let _first = TcpStream::connect(&address).await.unwrap();
    crate::support::until(|| host.opened.lock().unwrap().len() == 1).await;

    plugin.set_grants(grants(json!({ "protocols": protocols })));
    // Let go after it was connected, or while it was.
    if let Ok(mut second) = TcpStream::connect(&address).await {
        let ended = within(second.read(&mut [0; 1])).await;
        assert!(ended.is_err() || ended.is_ok_and(|count| count == 0));
    }
    match within(run.finish()).await {
        Err(PluginError::Guest(HostError::Denied(text))) => {
            assert!(text.contains("tcp.listen on 127.0.0.1:0"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        host.opened.lock().unwrap().len(),
        1,
        "nothing was opened for the second one"
    );
}

#[tokio::test]
async fn a_folder_that_leads_elsewhere_later_is_not_opened() {
    let root = tempfile::tempdir().unwrap();
    let (granted, secret) = (root.path().join("granted"), root.path().join("secret"));
    for folder in [&granted, &secret] {
        fs::create_dir(folder).unwrap();
        fs::write(
            folder.join("file"),
            folder.file_name().unwrap().as_encoded_bytes(),
        )
        .unwrap();
    }
    let engine = engine();
    let spec = PluginSpec {
        grants: grants(json!({ "directories": [{ "path": granted, "as": "/data", "access": "ro" }] })),
        ..hostile()
    };
    let plugin = load(&engine, spec).await;
    assert_eq!(
        told(&plugin, "read", json!({ "path": "/data/file" })).await,
        "granted"
    );

    // Somebody who may write beside it puts a link in its place.
    fs::rename(&granted, root.path().join("moved")).unwrap();
    symlink(&secret, &granted).unwrap();
    let run = plugin.run_command("read", json!({ "path": "/data/file" }), Grants::default());
    match within(run.unwrap().finish()).await {
        Err(PluginError::Unready { reason, .. }) => assert!(reason.contains("leads elsewhere"), "{reason}"),
        other => panic!("{other:?}"),
    }
    // Granted anew it is the operator's word that counts.
    let again = plugin.grants();
    plugin.set_grants(Grants::clone(&again));
    assert_eq!(
        told(&plugin, "read", json!({ "path": "/data/file" })).await,
        "secret"
    );
    plugin.set_grants(Grants::default());
    refused(&plugin, "read", json!({ "path": "/data/file" })).await;
}
