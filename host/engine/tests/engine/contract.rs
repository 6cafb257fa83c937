//! Versions of the contract: what an old component finds, and what is told of one that does not fit.

use std::borrow::Cow;

use peerup_engine::{LoadError, Plugin, PluginSpec, SERVED_VERSIONS};
use peerup_model::Grants;
use peerup_package::Manifest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{OnePeer, call, engine, grants, hostile, request, run, until, within};

const PING: &[u8] = include_bytes!("../contract-0.1.0/ping.wasm");
const PING_MANIFEST: &str = include_str!("../contract-0.1.0/ping.toml");

fn of(wat: &str) -> PluginSpec {
    PluginSpec {
        wasm: Cow::Owned(wat::parse_str(wat).unwrap()),
        ..hostile()
    }
}

async fn refusal(wat: &str) -> String {
    let loaded: Result<Plugin, LoadError> = engine().load(of(wat), OnePeer::new()).await;
    loaded.unwrap_err().to_string()
}

#[tokio::test]
async fn a_component_of_0_1_0_runs_here() {
    let spec = PluginSpec {
        manifest: Manifest::parse(PING_MANIFEST).unwrap(),
        wasm: Cow::Borrowed(PING),
        grants: grants(json!({ "protocols": ["/peerup/ping/1.0.0"] })),
        ..hostile()
    };
    assert_eq!(spec.manifest.contract, "0.1.0");
    let host = OnePeer::new();
    let plugin = engine().load(spec, host.clone()).await.unwrap();
    assert!(plugin.exports().inbound && plugin.exports().command && !plugin.exports().service);
    let mut inbound = request("x");
    inbound.protocol = "/peerup/ping/1.0.0".to_owned();
    let (mut far, handler) = call(&plugin, inbound);
    far.write_all(b"ping\n").await.unwrap();
    let mut answer = [0; 5];
    within(far.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"pong\n");
    far.shutdown().await.unwrap();
    within(handler).await.unwrap().unwrap();

    let arguments = json!({ "peer": "home", "count": 1 });
    let measuring = run(&plugin, "ping", arguments, Grants::default());
    let answering = async {
        until(|| !host.opened.lock().unwrap().is_empty()).await;
        let (protocol, mut far) = host.opened.lock().unwrap().pop().unwrap();
        assert_eq!(protocol, "/peerup/ping/1.0.0");
        within(far.read_exact(&mut answer)).await.unwrap();
        far.write_all(b"pong\n").await.unwrap();
        far
    };
    let ((events, outcome), _far) = tokio::join!(measuring, answering);
    outcome.unwrap();
    assert!(!events.is_empty());
    assert!(SERVED_VERSIONS.contains(&"0.1.0") && SERVED_VERSIONS.contains(&"0.1.1"));
}

#[tokio::test]
async fn an_interface_that_is_not_served_is_named() {
    let text =
        refusal(r#"(component (import "peerup:plugin/lasers@0.1.1" (instance (export "fire" (func)))))"#)
            .await;
    assert!(
        text.ends_with(
            "it imports peerup:plugin/lasers@0.1.1, and contract 0.1.1, which this host serves, has no such interface"
        ),
        "{text}"
    );
    let text =
        refusal(r#"(component (import "wasi:sockets/network@0.2.0" (instance (export "go" (func)))))"#).await;
    assert!(
        text.contains("it imports wasi:sockets/network@0.2.0, which this host does not serve"),
        "{text}"
    );
}

#[tokio::test]
async fn another_version_is_named_with_ours() {
    let text = refusal(r#"(component (import "peerup:plugin/settings@0.2.0" (instance (export "get" (func (result string))))))"#).await;
    assert!(
        text.ends_with(
            "it imports peerup:plugin/settings@0.2.0, and this host serves peerup:plugin/settings@0.1.1"
        ),
        "{text}"
    );
    let text =
        refusal(r#"(component (instance $none) (export "peerup:plugin/command@0.2.0" (instance $none)))"#)
            .await;
    assert!(
        text.ends_with(
            "it exports peerup:plugin/command@0.2.0, and this host serves peerup:plugin/command@0.1.1"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn a_function_that_is_missing_or_has_another_shape_is_named() {
    let text = refusal(r#"(component (import "peerup:plugin/settings@0.1.2" (instance (export "set" (func (param "value" string))))))"#).await;
    assert!(
        text.ends_with(
            "it imports set of peerup:plugin/settings@0.1.2, which this host's peerup:plugin/settings@0.1.1 does not have"
        ),
        "{text}"
    );
    let text = refusal(r#"(component (import "peerup:plugin/settings@0.1.1" (instance (export "get" (func (result u32))))))"#).await;
    assert!(
        text.contains(
            "get of peerup:plugin/settings@0.1.1, which it imports, has another shape than in this host's"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn exports_that_this_host_cannot_call_are_named() {
    let text = refusal("(component)").await;
    assert!(
        text.ends_with(
            "it exports none of inbound, command, service, resolver, answer, task of contract 0.1.1"
        ),
        "{text}"
    );
    let text =
        refusal(r#"(component (instance $none) (export "peerup:plugin/lasers@0.1.1" (instance $none)))"#)
            .await;
    assert!(text.contains("it exports peerup:plugin/lasers@0.1.1"), "{text}");
    let text =
        refusal(r#"(component (instance $none) (export "peerup:plugin/command@0.1.1" (instance $none)))"#)
            .await;
    assert!(
        text.contains("it exports peerup:plugin/command@0.1.1 in another shape than this host knows"),
        "{text}"
    );
}
