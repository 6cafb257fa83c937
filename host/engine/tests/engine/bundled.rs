//! The plugins that travel with the binary, as the daemon uses them.

use std::{borrow::Cow, io};

use peerup_engine::{CommandRun, Engine, Limits, Plugin, PluginSpec};
use peerup_model::{Grants, PeerGrant, TcpGrants};
use peerup_package::Manifest;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{OnePeer, engine, until, within};

/// Loads a plugin that travels with the binary, with the grants that all of them need.
pub(crate) async fn bundled(engine: &Engine, name: &str, host: std::sync::Arc<OnePeer>) -> Plugin {
    let plugin = peerup_bundle::BUNDLED
        .iter()
        .find(|plugin| plugin.name == name)
        .unwrap();
    let spec = PluginSpec {
        manifest: Manifest::parse(plugin.manifest).unwrap(),
        wasm: Cow::Borrowed(plugin.wasm),
        grants: Grants {
            protocols: vec![
                "/peerup/*/1.0.0".parse().unwrap(),
                "/peerup/ping/1.0.0".parse().unwrap(),
            ],
            tcp: TcpGrants {
                listen: vec!["127.0.0.1:*".parse().unwrap()],
                ..TcpGrants::default()
            },
            peers: vec![PeerGrant::Read, PeerGrant::Addresses],
            ..Grants::default()
        },
        settings: "{}".to_owned(),
        limits: Limits::default(),
    };
    engine.load(spec, host).await.unwrap()
}

#[tokio::test]
async fn every_bundled_plugin_loads() {
    let engine = engine();
    for plugin in peerup_bundle::BUNDLED {
        let loaded = bundled(&engine, plugin.name, OnePeer::new()).await;
        assert_eq!(loaded.name().as_str(), plugin.name);
        let resolver = plugin.name.starts_with("names-");
        assert_eq!(loaded.exports().resolver, resolver);
        assert_eq!(loaded.exports().command, !resolver);
        assert_eq!(loaded.exports().inbound, !resolver && plugin.name != "traceroute");
    }
}

/// Starts a proxy and connects to it: the run, the client's stream, and the stream that came to the peer.
async fn forwarded(plugin: &Plugin, host: &OnePeer) -> (CommandRun, TcpStream, tokio::io::DuplexStream) {
    let arguments = json!({ "peer": "home", "service": "web", "listen": "127.0.0.1:0" });
    let mut run = plugin
        .run_command("forward", arguments, Grants::default())
        .unwrap();
    let event = within(run.next_event()).await.unwrap();
    let address = event.json["address"]
        .as_str()
        .unwrap_or_else(|| panic!("{event:?}"))
        .to_owned();
    let client = within(TcpStream::connect(&address)).await.unwrap();
    until(|| plugin.stats().spliced_live == 1).await;
    let (protocol, far) = host.opened.lock().unwrap().pop().unwrap();
    assert_eq!(protocol, "/peerup/web/1.0.0");
    (run, client, far)
}

#[tokio::test]
async fn a_proxy_carries_bytes_and_a_cancelled_one_can_be_drained() {
    let engine = engine();
    let host = OnePeer::new();
    let plugin = bundled(&engine, "tcp-proxy", host.clone()).await;
    let (run, mut client, mut far) = forwarded(&plugin, &host).await;
    client.write_all(b"hello").await.unwrap();
    let mut got = [0; 5];
    within(far.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"hello");
    let tunnels = run.tunnels();
    assert_eq!(tunnels.live(), 1);
    run.cancel();
    until(|| plugin.stats().instances_live == 0).await;
    far.write_all(b"still").await.unwrap();
    within(client.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"still");
    drop((client, far));
    assert_eq!(within(tunnels.drain(std::time::Duration::from_secs(10))).await, 0);
}

#[tokio::test]
async fn a_dropped_proxy_takes_its_tunnels_with_it_unless_they_were_detached() {
    let engine = engine();
    let host = OnePeer::new();
    let plugin = bundled(&engine, "tcp-proxy", host.clone()).await;
    let (run, mut client, _far) = forwarded(&plugin, &host).await;
    drop(run);
    let error = within(client.read(&mut [0; 16])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    until(|| plugin.stats().spliced_live == 0).await;

    let (mut run, mut client, mut far) = forwarded(&plugin, &host).await;
    run.detach_tunnels();
    drop(run);
    until(|| plugin.stats().instances_live == 0).await;
    client.write_all(b"on").await.unwrap();
    within(far.read_exact(&mut [0; 2])).await.unwrap();
}
